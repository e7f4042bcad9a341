"""Published rows: read from CSV, checked against their own arithmetic, and compared with the setting of our rows."""

import contextlib
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aoft_bench.data.tasks import SHIFTS, TASKS
from aoft_bench.results.collect import LeftOut
from aoft_bench.results.ranking import rounded
from aoft_bench.results.rows import group_mean, means
from aoft_bench.results.setting import Setting
from aoft_bench.results.settings import Comparison
from aoft_bench.utils.errors import unknown_text
from aoft_bench.utils.files import read_regular
from aoft_bench.utils.text import one_line, shown

UNKNOWN = "not stated"
BEST_EPOCH, LAST_EPOCH = "best test epoch", "last epoch"

_LARGEST = 2**24  # bytes of a file
_FILES_OF = {  # file -> its benchmark; a line of aoft.csv says which
    "aoft": "",
    "vtab": "vtab1k",
    "vtab_other_backbones": "vtab1k",
    "manyshot": "manyshot",
    "fgvc": "fgvc",
    "domainshift": "domainshift",
}
_COLUMNS = {"method", "source", "params_m", "reported_mean"}
_FACTORS = {
    "checkpoint": (LAST_EPOCH, BEST_EPOCH),
    "images": ("TFDS originals", "JPEG pack"),
    "normalization": ("half", "ImageNet", "none"),
}

_NAMES = {  # columns of the files that are not called as the task is
    "oxford_flowers102": "flowers102",
    "oxford_iiit_pet": "pets",
    "diabetic_retinopathy": "retinopathy",
    "kitti_distance": "kitti",
    "cub200": "cub",
    "oxford_flowers": "flowers",
    "stanford_dogs": "dogs",
    "stanford_cars": "cars",
}
_GROUPS = ("natural", "specialized", "structured")
_KINDS = {"mean19": "flat mean", "group3": "mean of the group means"}
_ARCHITECTURES = {"vit_base_patch16": "ViT-B/16", "vit_large_patch16": "ViT-L/16", "swin_base": "Swin-B"}
_FILES = {"orig_in21k": "IN-21k sup. (orig)", "augreg_in21k": "IN-21k AugReg"}


@dataclass(frozen=True)
class PublishedRow:
    """A line that somebody printed. cells: task, or further test set -> top-1 in %, empty where only means are known;
    groups, mean: as printed; checkpoint, images, normalization: how the numbers came about, or `UNKNOWN`."""

    method: str
    benchmark: str
    backbone: str
    source: str
    params_m: float | None
    cells: dict[str, float]
    groups: dict[str, float]
    mean: float | None
    mean_kind: str
    canonical: bool = True
    note: str = ""
    checkpoint: str = UNKNOWN
    images: str = UNKNOWN
    normalization: str = UNKNOWN

    def computed_group(self, group: str) -> float | None:
        """Mean of the cells of one group; None where there are none."""
        return group_mean(self.cells, list(self.cells), group)

    @property
    def computed(self) -> dict[str, float]:
        """mean19 and group3 of the cells; empty without cells."""
        flat, grouped = means(self.cells, list(self.cells))
        return {} if flat is None or grouped is None else {"mean19": flat, "group3": grouped}

    @property
    def disagreements(self) -> list[str]:
        """Printed means that are not those of the cells, rounded as they are printed, and by how much."""
        found = []
        if self.mean is not None and self.mean_kind in self.computed:
            found += _deviation(self.mean, _KINDS[self.mean_kind], self.computed[self.mean_kind])
            (other,) = self.computed.keys() - {self.mean_kind}
            kinds_differ = abs(self.computed["mean19"] - self.computed["group3"]) > 0.2
            if found and kinds_differ and abs(self.mean - self.computed[other]) < 0.1:
                found[0] += f"; the printed number is their {_KINDS[other]}"
        for name, printed in self.groups.items():
            computed = self.computed_group(name)
            found += [] if computed is None else _deviation(printed, f"{name} mean", computed)
        return found


def signed(difference: float, digits: int = 1) -> str:
    """A difference as it is printed, with its sign unless it is 0."""
    text = rounded(difference, digits)
    return f"+{text}" if float(text) > 0 else text


def _deviation(printed: float, what: str, computed: float) -> list[str]:
    """That a printed mean is not what its cells give, to the decimals that were printed; else nothing."""
    decimals = max(1, len(f"{printed:g}".partition(".")[2]))
    if float(rounded(computed, decimals)) == printed:
        return []
    return [
        f"prints {printed:g} as its {what}, its cells give {rounded(computed, 2)} ({signed(printed - computed, 2)})"
    ]


def beside(rows: Iterable[PublishedRow], comparison: Comparison) -> list[PublishedRow]:
    """The canonical rows of the benchmark and the kind of network of a comparison; none for the plain layout, and for a
    part of the training images where that is not what the benchmark trains on."""
    if comparison.setting.subset and comparison.layout != "domainshift":
        return []
    kinds = tuple(kind for name, kind in _ARCHITECTURES.items() if comparison.timm.startswith(name))
    return [
        row for row in rows if row.canonical and row.benchmark == comparison.layout and row.backbone.startswith(kinds)
    ]


@dataclass(frozen=True)
class Published:
    """What a folder of published results holds. left_out: files and lines that cannot be used, and why; folder: None
    where there is none."""

    rows: list[PublishedRow] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folder: Path | None = None


def load(root: Path) -> Published:
    """The rows of `root`/published, or of the checkout's results/ where there are none."""
    checkout = Path(__file__).resolve().parents[2] / "results" / "published"
    folder = next((path for path in (root / "published", checkout) if path.is_dir()), None)
    found = Published(folder=folder)
    if folder is None:
        return found
    factors = _factors(folder / "factors.csv", found.left_out)
    for name, benchmark in _FILES_OF.items():
        path, wrong = folder / f"{name}.csv", []
        lines = lines_of(path, _COLUMNS if benchmark else {*_COLUMNS, "benchmark"}, found.left_out)
        for number, line in lines:
            try:
                found.rows.append(_row(line, benchmark or line["benchmark"], factors))
            except ValueError as error:
                wrong.append(f"line {number}: {error}")
        if wrong:
            more = f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
            found.left_out.append(LeftOut(path, f"{wrong[0]}{more}; published/README.md says what a line holds"))
    return found


def differences(row: PublishedRow, comparison: Comparison, checkpoint: str = LAST_EPOCH) -> list[str]:
    """What differs between a published row and ours, as short texts. checkpoint: of which our number is."""
    setting, timm, weights = comparison.setting, comparison.timm, comparison.weights
    found = []
    if setting.split != "test":
        found.append(f"scored on test (ours: {setting.split})")
    if row.checkpoint != checkpoint:
        found.append(_unlike("checkpoint", row.checkpoint, checkpoint))
    tag = timm.rpartition(".")[2]
    if weights != timm or _FILES.get(tag, "?") not in row.backbone:
        found.append(f"backbone {row.backbone} (ours: {weights})")
    if setting.img_size != 224:
        found.append(f"224 px (ours: {setting.img_size})")
    ours = "official" if setting.official else f"not official, from {setting.source}"
    if not setting.official or row.images != "TFDS originals":
        found.append(_unlike("images", row.images, ours))
    normalization = _normalization(setting)
    if row.normalization != normalization:
        found.append(_unlike("normalisation", row.normalization, normalization))
    return found


def _unlike(what: str, theirs: str, ours: str) -> str:
    return f"{what} {theirs} (ours: {ours})"


def _normalization(setting: Setting) -> str:
    known: dict[tuple[float, ...], str] = {(0.5,) * 6: "half", (0.0,) * 3 + (1.0,) * 3: "none"}
    values = (*setting.mean, *setting.std)
    if [round(value, 3) for value in values] == [0.485, 0.456, 0.406, 0.229, 0.224, 0.225]:
        return "ImageNet"
    return known.get(values, "of its own")


def lines_of(path: Path, columns: Iterable[str], left_out: list[LeftOut]) -> list[tuple[int, dict[str, str]]]:
    """(number, values) of the lines of a file with these columns; none, and why in `left_out`, for a file that cannot
    be read. The number is where the line ends in the file: blank lines count too."""
    if not path.exists():
        return []
    try:
        text = read_regular(path, _LARGEST).decode("utf-8")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = [_NAMES.get(name, name) for name in reader.fieldnames or ()]
        missing = sorted(set(columns) - set(names))
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        if len(names) > len(set(names)):
            raise ValueError(f"it has two columns for {next(name for name in names if names.count(name) > 1)}")
        return [(reader.reader.line_num, line) for line in reader]
    except OSError as error:
        left_out.append(LeftOut(path, f"cannot be read: {error.strerror or error}; delete it"))
    except (ValueError, csv.Error) as error:
        left_out.append(LeftOut(path, f"is damaged: {one_line(str(error))}; published/README.md says what it holds"))
    return []


def _factors(path: Path, left_out: list[LeftOut]) -> list[dict[str, str]]:
    """The lines of factors.csv whose values are known."""
    good = []
    for number, line in lines_of(path, {"method", "source", *_FACTORS}, left_out):
        wrong = [name for name, known in _FACTORS.items() if line[name] not in ("", None, *known)]
        if wrong:
            what = unknown_text(wrong[0], line[wrong[0]], _FACTORS[wrong[0]])
            left_out.append(LeftOut(path, f"line {number}: {what}; published/README.md says what a line holds"))
        else:
            good.append(line)
    return good


def _row(line: dict[str, str], benchmark: str, factors: Sequence[dict[str, str]]) -> PublishedRow:
    if None in line or None in line.values():
        raise ValueError("it has more or fewer values than there are columns")
    method, source = line["method"], line["source"]
    known_names = {*TASKS, *SHIFTS}
    cells = {task: value for name, value in line.items() if (task := _NAMES.get(name, name)) in known_names and value}
    printed = ("printed_N", "printed_S", "printed_X")
    groups = {name: line.get(column, "") for name, column in zip(_GROUPS, printed, strict=True)}
    if not cells:  # else these columns were computed from the cells
        groups |= {name: line.get(name, "") for name in _GROUPS}
    known = dict.fromkeys(_FACTORS, UNKNOWN)
    for factor in factors:
        of_method = not factor["method"] or method in factor["method"].split(";")
        if of_method and factor["source"] in ("", source):
            known |= {name: factor[name] for name in known if factor[name]}
    return PublishedRow(
        method=method,
        benchmark=benchmark,
        backbone=line.get("backbone", "").strip() or _fgvc_backbone(method, source),
        source=source,
        params_m=_number("params_m", line["params_m"], most=1e6),
        cells=_numbers(cells),
        groups=_numbers(groups),
        mean=_number("reported_mean", line["reported_mean"]),
        mean_kind=line.get("mean_kind", "mean19"),
        canonical=line.get("canonical", "1") == "1",
        note=line.get("note", ""),
        **known,
    )


def _numbers(texts: Mapping[str, str]) -> dict[str, float]:
    """Those that are not empty."""
    found = {name: _number(name, text) for name, text in texts.items()}
    return {name: number for name, number in found.items() if number is not None}


def _number(name: str, text: str, most: float = 100) -> float | None:
    """None for an empty text. Raises `ValueError` for what is no number from 0 to `most`."""
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) <= most:
            return number
    raise ValueError(f"{name} is {shown(text)}, not a number from 0 to {most:g}")


def _fgvc_backbone(method: str, source: str) -> str:
    """fgvc.csv names no backbone; the second table of HTA says AugReg where it is not the original file."""
    if "(AugReg)" in method:
        return f"ViT-B/16 {_FILES['augreg_in21k']}"
    return f"ViT-B/16 {_FILES['orig_in21k']}" if source.startswith("HTA") else f"ViT-B/16, file {UNKNOWN}"
