"""What tables, figures and pages call methods, backbones and datasets: names as papers print them.

A method or a backbone has the `title` of its file in conf/, a dataset that of its entry in `data.tasks`. The file
titles.yaml of a results folder may give others. What has none is called by its code name, as on the command line.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from aoft_bench.config.folders import conf_dir
from aoft_bench.config.method_packages import conf_folders
from aoft_bench.config.schema import TITLE
from aoft_bench.data.tasks import find
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import read_regular
from aoft_bench.utils.text import is_one_line, one_line, shown

FILE = "titles.yaml"
KINDS = ("method", "backbone", "dataset")
LONGEST = 100  # characters
RANDOM = "_random"  # ends the name of a backbone whose weights were drawn

_LARGEST = 2**20  # bytes of a file


@dataclass(frozen=True)
class Titles:
    """given: titles of a results folder's own, by kind and code name."""

    given: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> "Titles":
        """Those of a results folder. Raises `UserError` for a titles.yaml that is not kind -> name -> text."""
        path = root / FILE
        if not path.exists():
            return cls()
        name = one_line(str(path))
        try:
            tree = yaml.safe_load(read_regular(path, _LARGEST)) or {}
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            raise UserError(f"{name} is not YAML: give lines like `method: {{lora: LoRA}}`") from None
        if not isinstance(tree, dict):
            raise UserError(f"{name}: got {shown(tree)}, give lines like `method: {{lora: LoRA}}`")
        for kind, some in tree.items():
            if kind not in KINDS:
                raise unknown(f"kind of titles in {name}", str(kind), KINDS)
            if not isinstance(some, dict):
                raise UserError(f"{name}: {kind} is {shown(some)}, give names and titles")
            for key, title in some.items():
                if not (isinstance(title, str) and title.strip() and is_one_line(title) and len(title) <= LONGEST):
                    raise UserError(
                        f"{name}: {kind} {shown(key)} is called {shown(title)}, "
                        f"give a line of 1 to {LONGEST} characters"
                    )
        return cls(tree)

    def method(self, name: str) -> str:
        """What a row of conf/method is called."""
        return self._given("method", name) or _of_file("method", name) or name

    def backbone(self, name: str) -> str:
        """What a backbone is called; "ViT-B/16 (IN-21k), random weights" for vit_b16_in21k_random."""
        title = self._given("backbone", name) or _of_file("backbone", name)
        if not title and (base := name.removesuffix(RANDOM)) != name:
            return f"{self.backbone(base)}, random weights"
        return title or name

    def dataset(self, name: str) -> str:
        """What a dataset is called; one's own images have the name that was given to them."""
        return self._given("dataset", name) or find(name).title or name

    def _given(self, kind: str, name: str) -> str:
        return self.given.get(kind, {}).get(name, "")


BUILT_IN = Titles()


@functools.cache
def _of_file(group: str, name: str) -> str:
    """The title in the file of a name in a group of conf/; empty without one."""
    paths = (folder / group / f"{name}.yaml" for folder in (conf_dir(), *conf_folders()))
    path = None if "/" in name else next((path for path in paths if path.is_file()), None)
    if path is None:
        return ""
    return str((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(TITLE, ""))
