"""The files of conf/ as Hydra's compose API reads them, but parsed once: that was half of the time of composing."""

import functools
import pickle
from pathlib import Path

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from aoft_bench.config.schema import TITLE


class ParsedFiles(ConfigSource):
    """The files of a folder, by ``parsed://FOLDER`` in Hydra's search path. A file that changes is read again.

    The title of a method or a backbone is left out: it is no option of a run.
    """

    @staticmethod
    def scheme() -> str:
        return "parsed"

    def load_config(self, config_path: str) -> ConfigResult:
        """A file's content, new for each call, since Hydra changes it."""
        path = self._file(config_path)
        status = path.stat()
        header, content = _parsed(path, status.st_mtime_ns, status.st_size, status.st_ino)
        return ConfigResult(self.provider, self.full_path(), pickle.loads(content), dict(header))

    def available(self) -> bool:
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        return (Path(self.path) / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        return self._file(config_path).is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> "list[str]":
        """Names of the groups and configurations in a group, sorted."""
        names: list[str] = []
        for path in (Path(self.path) / config_path).iterdir():
            self._list_add_result(names, str(Path(config_path) / path.name), path.name, results_filter)
        return sorted(set(names))

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / self._normalize_file_name(config_path)


@functools.lru_cache(maxsize=1000)
def _parsed(path: Path, *version: int) -> tuple[dict[str, str | None], bytes]:
    """(header, pickled content) of a file. version: what changes with its content."""
    header = ConfigSource._get_header_dict(path.read_text(encoding="utf-8")[:512])
    content = OmegaConf.load(path)
    if path.parent.name in ("method", "backbone") and isinstance(content, DictConfig):
        content.pop(TITLE, None)
    return header, pickle.dumps(content)
