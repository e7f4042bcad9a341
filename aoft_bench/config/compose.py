"""Composing configurations as the door does, without running anything."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, flag_override

from aoft_bench.config.schema import RunConfig, conf_dir, from_dict


class Composer:
    """conf/ and, after it, a folder of primary configurations (-cd).

    Reading the same files again and again is what a large sweep would spend its time on, so cells that differ in their
    seed alone are composed once.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        from hydra._internal.hydra import Hydra
        from hydra._internal.utils import create_config_search_path
        from hydra.core.config_search_path import SearchPathQuery
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        path = create_config_search_path(str(conf_dir()))
        if folder is not None:
            path.append("command-line", f"file://{folder.resolve()}", anchor=SearchPathQuery("main", None))
        self._hydra = Hydra.create_main_hydra2("aoft_bench", path)
        self._name = name
        self._trees: dict[tuple[str, ...], dict[str, Any]] = {}

    def params(self) -> dict[str, str]:
        """hydra.sweeper.params of the primary configuration; empty if it is no sweep."""
        params: Any = OmegaConf.to_container(self._compose([]).hydra.sweeper, resolve=False)
        return params.get("params") or {}

    def cell(self, overrides: list[str]) -> RunConfig:
        """The cell of a job of the sweep; raises `UserError` with everything that is wrong with it."""
        seeds = [word for word in overrides if word.startswith("seed=")]
        others = tuple(word for word in overrides if word not in seeds)
        if others not in self._trees:
            tree = self._compose(list(others))
            with flag_override(tree, ["struct", "readonly"], False):
                del tree["hydra"]
            self._trees[others] = OmegaConf.to_container(tree, resolve=True)  # type: ignore[assignment]
        plain = self._trees[others]
        return from_dict(plain | {"seed": int(seeds[-1].removeprefix("seed="))} if seeds else plain)

    def _compose(self, overrides: list[str]) -> Any:
        from hydra.types import RunMode

        return self._hydra.compose_config(self._name, overrides, run_mode=RunMode.MULTIRUN, from_shell=False)
