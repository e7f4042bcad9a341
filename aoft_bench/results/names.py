"""Names of settings, as the files of figures and tables have them."""

import hashlib
import json
import re
from dataclasses import asdict

from aoft_bench.results.settings import Comparison

LONGEST = 100  # characters; with the figure's kind and the folder's path it must stay below what file systems allow


def stem(comparison: Comparison) -> str:
    """First part of the names of a setting's files: ``<suite>-<backbone>-<protocol>-<px>px-<epochs>ep-<digits>``.

    It depends on the setting alone, so it stays when other records come; the six hexadecimal digits are of a hash over
    all that a setting is.
    """
    setting = comparison.setting
    # a part of the images is newer than the first names
    values = {name: value for name, value in asdict(setting).items() if value or name != "subset"}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]
    names = (setting.suite, setting.backbone, setting.protocol, f"{setting.img_size}px", f"{setting.epochs}ep", digest)
    return slug("-".join(names))


def slug(text: str) -> str:
    """`text` as part of a file's name: letters, digits, _ . + - only, and not too long."""
    name = re.sub(r"[^A-Za-z0-9_.+]+", "-", text).strip("-.")
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 7]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return name
