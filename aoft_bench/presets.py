"""The choices of `method=`: one YAML of conf/method each, which names a registered method and gives its options.

A file of a method's own name holds its defaults. Others are settings of a method that are rows of their own in a table
(``lora_matched``); they name the file that they start from as the first of their Hydra defaults.
"""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from aoft_bench.config import conf_dir


def choices(folders: list[Path] | None = None) -> list[str]:
    """Names of all choices, sorted. folders: configuration folders; by default conf/."""
    return sorted({path.stem for folder in _folders(folders) for path in folder.glob("*.yaml")})


def read(choice: str, folders: list[Path] | None = None) -> tuple[str, dict[str, Any]]:
    """(registered method, options) of a choice, as Hydra would compose them."""
    tree: Any = OmegaConf.to_container(_merged(choice, _folders(folders)), resolve=True)
    options = dict(tree["method"])
    options.pop("label", None)
    return options.pop("name"), options


def _merged(choice: str, folders: list[Path]) -> Any:
    path = next(folder / f"{choice}.yaml" for folder in reversed(folders) if (folder / f"{choice}.yaml").is_file())
    tree: Any = OmegaConf.load(path)
    bases = [name for name in tree.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    return OmegaConf.merge(*(_merged(base, folders) for base in bases), tree)


def _folders(folders: list[Path] | None) -> list[Path]:
    return [folder / "method" for folder in folders or [conf_dir()]]
