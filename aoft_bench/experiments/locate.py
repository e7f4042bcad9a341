"""Where the files of a cell are. Prepares and downloads nothing, and imports torch only where a GPU may be."""

import functools
from collections.abc import Callable
from typing import Any

from aoft_bench import data
from aoft_bench.backbones.weights import file_sha256, weights_here
from aoft_bench.config.schema import DataOptions, DatasetOptions, RunConfig, TrainerOptions
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import find
from aoft_bench.experiments.device import kind_of, precision_of
from aoft_bench.records.files import CellFiles, cell_files, record_path
from aoft_bench.records.identity import cell_hash, identity
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path


class Locator:
    """Finds the files of the cells of a sweep; data, weights and device are looked for once for all of them."""

    def __init__(self) -> None:
        self._fingerprint = _once(_fingerprint)
        self._weights = _once(weights_here)
        self._precision = _once(_precision)

    def lacking(self, config: RunConfig) -> list[str]:
        """Which of "data" and "weights" a cell needs and are not here, or are wrong."""
        found = {
            "data": (self._fingerprint, (config.dataset, config.data, config.backbone.img_size)),
            "weights": (self._weights, (config.backbone,)),
        }
        return [name for name, (find_it, arguments) in found.items() if not _is_here(find_it, arguments)]

    def files(self, config: RunConfig) -> CellFiles | None:
        """The files of a cell, which may not exist yet.

        None if data is not prepared or weights are missing, since their digests are part of the files' names. Raises
        `UserError` for data that is missing or wrong, and then for a backbone that does not exist.
        """
        fingerprint = self._fingerprint(config.dataset, config.data, config.backbone.img_size)
        weights = self._weights(config.backbone)
        if fingerprint is None or weights is None:
            return None
        precision = self._precision(config.trainer)
        return files_of(config, hash_of(config, fingerprint, file_sha256(weights), precision))


def hash_of(config: RunConfig, fingerprint: str, weights_sha256: str, precision: str) -> str:
    """The hash of a cell. fingerprint: digest of its data."""
    return cell_hash(identity(config.as_dict(), fingerprint=fingerprint, weights=weights_sha256, precision=precision))


def files_of(config: RunConfig, digest: str) -> CellFiles:
    """The files of the cell with this hash."""
    c, root = config, user_path(config.results.root, "results.root")
    return cell_files(root, record_path(root, c.backbone.name, c.method.label, c.dataset.name, c.seed, digest))


def _fingerprint(dataset: DatasetOptions, options: DataOptions, img_size: int) -> str | None:
    task, places = data.task_of(dataset), Locations.of(options)
    prepared = find(task, places, image_size=img_size, interpolation=options.interpolation)
    return prepared.fingerprint if prepared else None


def _is_here(find_it: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    try:
        return find_it(*arguments) is not None
    except UserError:
        return False


def _precision(options: TrainerOptions) -> str:
    return precision_of(options, kind_of(options))


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called once for the same arguments, of which it remembers a `UserError` too."""
    results: dict[Any, Any] = {}

    @functools.wraps(function)
    def remembered(*arguments: Any) -> Any:
        if arguments not in results:
            try:
                results[arguments] = function(*arguments)
            except UserError as error:
                results[arguments] = error
        if isinstance(found := results[arguments], UserError):
            raise UserError(str(found))
        return found

    return remembered
