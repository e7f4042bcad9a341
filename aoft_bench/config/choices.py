"""The choices of `method=`: one YAML of conf/method each, which names a registered method and gives its options.

A file of a method's own name holds its defaults. Others are settings of a method that are rows of their own in a table
(``lora_matched``); they name the file that they start from as the first of their Hydra defaults.
"""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError, unknown


def choices(folders: list[Path] | None = None) -> list[str]:
    """Names of all choices, sorted. folders: configuration folders; by default conf/."""
    return sorted({path.stem for folder in _folders(folders) for path in folder.glob("*.yaml")})


def read(choice: str, folders: list[Path] | None = None) -> tuple[str, dict[str, Any]]:
    """(registered method, options) of a choice, as Hydra would compose them.

    Raises `UserError` for a choice, or a base of one, that has no file, and for a file that names no method.
    """
    tree: Any = OmegaConf.to_container(_merged(choice, _folders(folders)), resolve=True)
    options = dict(tree.get("method") or {})
    if "name" not in options:
        raise UserError(
            f"method/{choice}.yaml does not say which method it is of: give method.name, or start from another file by "
            "its defaults, as lora_matched.yaml does"
        )
    options.pop("label", None)
    return options.pop("name"), options


def _merged(choice: str, folders: list[Path]) -> Any:
    paths = [folder / f"{choice}.yaml" for folder in folders if (folder / f"{choice}.yaml").is_file()]
    if not paths:
        raise unknown("method", choice, choices([folder.parent for folder in folders]))
    path = paths[-1]
    tree: Any = OmegaConf.load(path)
    bases = [name for name in tree.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    return OmegaConf.merge(*(_merged(base, folders) for base in bases), tree)


def _folders(folders: list[Path] | None) -> list[Path]:
    return [folder / "method" for folder in folders or [conf_dir()]]
