"""Where matrices come from: a backbone, or a record, whose matrices are taken at the start of its run and after it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from aoft_bench import methods
from aoft_bench.analysis.matrices import LayerMatrix, backbone_matrices, factor_matrices
from aoft_bench.backbones.networks import build
from aoft_bench.config.schema import BackboneOptions, from_dict
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import read_usable
from aoft_bench.results.names import stem
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class MatrixSet:
    """Matrices of one origin. weights: SHA-256 of the backbone's file; state: when a method's matrices were taken.
    Empty for a backbone: row, the label of the record's row in its comparison; setting: the name of the comparison
    (`results.names.stem`)."""

    backbone: str
    weights: str
    state: Literal["pretrained", "start", "trained"]
    matrices: list[LayerMatrix]
    row: str = ""
    setting: str = ""
    dataset: str = ""
    seed: int | None = None
    hash: str = ""


@dataclass(frozen=True)
class Found:
    """The matrices of records. comparisons: their rows, by setting; left_out: one line for each file of a folder that
    cannot be analysed."""

    sets: list[MatrixSet]
    comparisons: dict[str, Comparison]
    left_out: list[str]


def of_backbone(options: BackboneOptions, sha256: str = "") -> MatrixSet:
    """A backbone's own matrices. sha256: what the file of its weights must have, if given; `UserError` for another."""
    backbone = build(options, num_classes=0, sha256=sha256)
    return MatrixSet(options.name, backbone.sha256, "pretrained", backbone_matrices(backbone.model))


def of_records(paths: list[Path], checkpoint: str | None) -> Found:
    """The matrices of records, before and after training, and those of their backbones.

    paths: record files, and folders of them; checkpoint: the file of the backbone's weights, if not the one that the
    records name. Raises `UserError` for a file of `paths` that cannot be analysed; files in folders are left out.
    """
    loaded: dict[str, tuple[Record, list[MatrixSet]]] = {}
    left_out: list[str] = []
    without_factors: list[str] = []
    for path, in_folder in record_paths(paths):
        try:
            record = read_usable(path, anywhere=not in_folder)
            if in_folder and not _has_factors(record):
                without_factors.append(record["method"])
                continue
            loaded.setdefault(str(path.resolve()), (record, _of_record(record, path)))
        except UserError as error:
            if not in_folder:
                raise
            left_out.append(str(error))
    if without_factors:
        names = ", ".join(sorted(set(without_factors)))
        left_out.append(f"{len(without_factors)} records of methods that have no W_down and W_up: {names}")
    records = [record for record, _ in loaded.values()]
    comparisons = {stem(one): one for one in build_comparisons(records)}
    of_record = {id(record): sets for record, sets in loaded.values()}
    labelled = [
        replace(one, row=row.label, setting=setting)
        for setting, comparison in comparisons.items()
        for row in comparison.rows
        for record in row.records
        for one in of_record[id(record)]
    ]
    found, missing = _backbones_of(records, checkpoint)
    return Found(found + labelled, comparisons, left_out + missing)


def record_paths(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """(path, whether it was found in a folder) of every record."""
    for path in paths:
        if not path.is_dir():
            yield path, False
            continue
        root = path / "records" if (path / "records").is_dir() else path
        inside = sorted(root.rglob("seed*.json"))
        if not inside:
            raise UserError(f"no records below {path}; give a results folder, a folder in its records/, or a record")
        yield from ((record, True) for record in inside)


def _has_factors(record: Record) -> bool:
    return record["config"]["method"]["name"] in methods.names_with_factors()


def _of_record(record: Record, path: Path) -> list[MatrixSet]:
    """The matrices at the start of the record's run and after it."""
    from aoft_bench.experiments.trained_run import open_run

    if not _has_factors(record):
        others = ", ".join(methods.names_with_factors())
        raise UserError(f"{path}: {record['method']} has no W_down and W_up to look at; methods that have: {others}")
    run = open_run(path, record)
    adapted = run.start(weights=False)  # the architecture is enough, and the seed gives the start
    origin = {name: record[name] for name in ("backbone", "dataset", "seed", "hash")}
    weights = record["weights"]["sha256"]
    start = MatrixSet(weights=weights, state="start", matrices=factor_matrices(adapted.handle), **origin)
    trained = factor_matrices(run.load(adapted).handle)
    return [start, replace(start, state="trained", matrices=trained)]


def _backbones_of(records: list[Record], checkpoint: str | None) -> tuple[list[MatrixSet], list[str]]:
    """The backbones of records, each once, and a line for each whose weights are not here."""
    found: dict[str, MatrixSet] = {}
    missing: dict[str, str] = {}
    for record in records:
        sha256, options = record["weights"]["sha256"], from_dict(record["config"]).backbone
        if sha256 in found or sha256 in missing:
            continue
        options = replace(options, checkpoint=checkpoint or options.checkpoint)
        try:
            found[sha256] = of_backbone(options, sha256)
        except UserError as error:
            missing[sha256] = f"the backbone {record['backbone']}: {error}"
    return list(found.values()), list(missing.values())
