"""The measures of all matrices as CSV rows, and a summary over layers and seeds in Markdown."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any, get_args

import numpy as np

from aoft_bench.analysis.gaussian import reference, spectral_ratio
from aoft_bench.analysis.inputs import MatrixSet
from aoft_bench.analysis.matrices import LayerMatrix, Vectors
from aoft_bench.analysis.measures import measure, spectral_norm
from aoft_bench.results.writers.csv import csv_of
from aoft_bench.results.writers.markdown import escaped

ORIGIN = ("setting", "backbone", "weights", "row", "dataset", "seed", "hash", "state", "layer", "matrix", "part")
SHAPE = ("vectors", "count", "length", "fit", "zero", "pairs")
PAIRS = ("mean_angle", "mean_abs_from_90", "std_angle", "coherence", "gram_unit", "gram_raw")
NORMS = ("spectral_norm", "frobenius_norm")
OF_REFERENCE = ("mean_abs_from_90", "std_angle", "coherence", "gram_unit", "gram_raw", "spectral_norm")
COLUMNS = (*ORIGIN, *SHAPE, *PAIRS, *NORMS, *(f"gaussian_{name}" for name in OF_REFERENCE))

Measurement = dict[str, Any]  # a row of the CSV file, by COLUMNS


def rows_of(sets: Iterable[MatrixSet]) -> list[Measurement]:
    """One for the columns and one for the rows of every matrix, one for every update; absent values are None.

    fit: whether `count` vectors of this length can be orthogonal at all (count <= length). gaussian_*: the reference;
    its spectral norm is that of a Gaussian matrix of the same shape and Frobenius norm.
    """
    return [row for origin in sets for matrix in origin.matrices for row in _rows(origin, matrix)]


def _rows(origin: MatrixSet, matrix: LayerMatrix) -> list[Measurement]:
    frobenius = float(np.linalg.norm(matrix.values))
    row: Measurement = dict.fromkeys(COLUMNS) | {
        **{name: getattr(origin, name) for name in ("setting", "backbone", "row", "dataset", "seed", "hash", "state")},
        "weights": origin.weights[:12],
        "layer": matrix.layer,
        "matrix": matrix.name,
        "part": matrix.part,
        "spectral_norm": spectral_norm(matrix.values),
        "frobenius_norm": frobenius,
    }
    if matrix.part == "update":  # only its singular values are known
        return [row]
    row["gaussian_spectral_norm"] = frobenius * spectral_ratio(*matrix.values.shape)
    return [row | _angles(matrix, which) for which in get_args(Vectors)]


def _angles(matrix: LayerMatrix, which: Vectors) -> Measurement:
    measured = measure(matrix.vectors(which))
    expected = asdict(reference(measured.count, measured.length))
    return {
        "vectors": which,
        "fit": "yes" if measured.count <= measured.length else "no",
        **asdict(measured),
        **{f"gaussian_{name}": value for name, value in expected.items()},
    }


def csv_text(rows: Iterable[Measurement], codes: Mapping[str, str]) -> str:
    """The rows as CSV; measures with four significant digits, absent ones empty. codes: what a row of a table is called
    there -> in CSV files."""
    lines = [{**row, "row": codes.get(row["row"], row["row"])} for row in rows]
    return csv_of(
        [{k: f"{value:.4g}" if isinstance(value, float) else value for k, value in line.items()} for line in lines]
    )


def summary(rows: list[Measurement]) -> str:
    """Means over layers, datasets and seeds as Markdown, a table for each backbone and setting; reference in brackets.

    Of W_down and W_up only the long vectors are shown, those that can be orthogonal.
    """
    groups: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for row in rows:
        if row["part"] == "weight" or row["part"] == "update" or row["fit"] == "yes":
            groups[row["setting"], row["backbone"]].append(row)
    return "\n".join(_summary(setting or backbone, groups[setting, backbone]) for setting, backbone in groups)


def _summary(title: str, rows: list[Measurement]) -> str:
    head = ["of", "state", "vectors", "mean off 90°", "std", "coherence", "‖UUᵀ - I‖", "‖VVᵀ - I‖", "spectral norm"]
    lines = [f"## {escaped(title)}\n", f"| {' | '.join(head)} |", f"|{' --- |' * 3}{' ---: |' * (len(head) - 3)}"]
    groups: dict[tuple[str, ...], list[Measurement]] = defaultdict(list)
    for row in rows:
        name = f"W_{row['matrix']}" if row["part"] == "weight" else f"{row['row']} {row['part']}"
        shape = f"{row['count']} {row['vectors']} of length {row['length']}" if row["vectors"] else ""
        groups[name, row["state"], shape].append(row)
    for (of, state, shape), members in groups.items():
        cells = [_mean_and_reference(members, name) for name in OF_REFERENCE]
        lines.append(f"| {escaped(of)} | {state} | {shape} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_and_reference(rows: list[Measurement], name: str) -> str:
    found, expected = ([row[key] for row in rows if row[key] is not None] for key in (name, f"gaussian_{name}"))
    if not found:
        return "-"
    return f"{fmean(found):.3g}" + (f" ({fmean(expected):.3g})" if expected else "")
