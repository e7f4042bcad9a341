"""What the files of conf/method and conf/backbone give: the choices of ``method=`` and ``backbone=``.

A file of conf/method that has a method's own name holds its defaults. Others are settings of a method that are rows of
their own in a table (``lora_matched``); they start from another file by their defaults list.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aoft_bench.config.check import check, problems_of
from aoft_bench.config.compose import Composer
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError, unknown


def choices(folders: Sequence[Path] = ()) -> list[str]:
    """Names of all choices of ``method=``, sorted. folders: of configurations, searched after conf/."""
    return Composer(folders).choices("method")


def read(choice: str, folders: Sequence[Path] = ()) -> tuple[str, dict[str, Any]]:
    """(registered method, options) of a choice of ``method=``.

    Raises `UserError` for a choice, or a base of one, that has no file, and for a file that names no method.
    """
    options = dict(_section("method", choice, folders))
    if "name" not in options:
        raise UserError(
            f"method/{choice}.yaml does not say which method it is of: give method.name, or start from another file by "
            "its defaults, as lora_matched.yaml does"
        )
    options.pop("label", None)
    return options.pop("name"), options


def backbone_options(choice: str, /, **changes: Any) -> BackboneOptions:
    """The options in conf/backbone/<choice>.yaml, with changes; `UserError` for no such file, and for wrong values."""
    options = _section("backbone", choice) | changes
    if problems := check(BackboneOptions, options, "backbone"):
        raise UserError(problems_of(problems))
    return BackboneOptions(**options)


def _section(group: str, choice: str, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """What the file of a choice, with those that it starts from, gives for the section of its group."""
    composer = Composer(folders)
    if choice not in (known := composer.choices(group)):
        raise unknown(group, choice, known)
    return dict(composer.compose(f"{group}/{choice}").get(group) or {})
