"""What a record holds, and what must follow from what in it.

A record is a dictionary of plain values. `check_record` holds it to `RecordSchema` before it is written and whenever it
is read. It describes every field that a table, a figure, the page, `select` or `status` uses. Sections may hold more;
what has a default is missing in some of the older records.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aoft_bench.records.identity import record_hash
from aoft_bench.records.protocols import PROTOCOLS
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import one_line, shown

SCHEMA = 1
AGAIN = "delete it and run the cell again"
NOT_OFFICIAL = "not the official examples"  # begins the note of images of TFDS that are others
DEEPEST = 20  # levels of nesting; a record has six
LARGEST = 2**63  # of a whole number

Record = dict[str, Any]

# the limits are beyond what is ever measured, and below what tables cannot print and figures cannot draw
Whole = Annotated[int, Field(ge=0, le=10**15)]
PositiveWhole = Annotated[int, Field(ge=1, le=10**9)]
Size = Annotated[float, Field(ge=0, le=1e15)]
Percent = Annotated[float, Field(ge=0, le=100)]
Loss = Annotated[float, Field(ge=-3.5e38, le=3.5e38)]  # a float32
Channels = Annotated[list[Loss], Field(min_length=3, max_length=3)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]{1,200}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")]


class Section(BaseModel):
    """A part of a record. Types are strict: "8" is no integer and 1 is no boolean."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Named(Section):
    name: Word


class Shift(Section):
    """The result on a further test set. top1, correct: among its `classes`; correct_of_all: among all classes."""

    top1: Percent
    correct: Whole
    correct_of_all: Whole
    total: Whole
    classes: PositiveWhole


class Metrics(Section):
    """The result. top1: in %, of the last epoch; best_test_epoch_top1: see `Protocol.best_test_epoch`; shifts: further
    test sets, by name."""

    split: Word
    top1: Percent
    correct: Whole
    total: Whole
    best_test_epoch_top1: Percent | None = None
    shifts: dict[str, Shift] = {}


class Parameters(Section):
    """Numbers of parameters. trained: without the head."""

    trained: Whole
    head: Whole
    trained_with_head: Whole | None = None


class Drawn(Section):
    """What `data.draw` drew. rule: its version; splits: those that were missing; train, shots: how many images train;
    pool: digest of the images that it drew from."""

    rule: PositiveWhole
    seed: Whole
    splits: list[Word] = []
    train: PositiveWhole | None = None
    shots: PositiveWhole | None = None
    pool: Digest


class Data(Section):
    """The images. fingerprint: digest of the prepared arrays; sizes: number of images of each split; mean, std: of the
    normalization, by channel; copies: how many of the scored images are among those of training too; drawn: what was
    drawn by rule; class_names: of images of the user's own, in the order of the labels."""

    fingerprint: str
    source: Word
    source_note: str = ""
    official: bool
    official_note: str
    classes: PositiveWhole | None = None
    sizes: dict[str, Whole] = {}
    mean: Channels
    std: Channels
    copies: Whole | None = None
    drawn: Drawn | None = None
    class_names: list[str] | None = None


class Weights(Section):
    """The backbone's weights. sha256: of their file; source: the file's name, or the name on the hub."""

    sha256: Digest
    source: str


class Cost(Section):
    train_seconds: Size | None = None
    score_seconds: Size | None = None
    train_images_per_second: Size | None = None
    score_images_per_second: Size | None = None
    peak_memory_bytes: Size | None = None
    trained_file_bytes: Size | None = None


class Hardware(Section):
    """The machine. gpu: None on a CPU; threads: those of the CPU that were used; processes: how many trained
    together."""

    device: str | None = None
    gpu: str | None = None
    cpu: str | None = None
    cores: Whole | None = None
    threads: Whole | None = None
    system: str | None = None
    processes: PositiveWhole | None = None


class Git(Section):
    """The checkout. dirty: whether files were changed since the commit, None where git could not be asked."""

    commit: Digest | None = None
    dirty: bool | None = None


class ConfigData(Section):
    interpolation: Word
    normalization: Word
    root: str | None = None
    source: Word = "auto"
    shots: PositiveWhole | None = None


class ConfigBackbone(Section):
    img_size: PositiveWhole
    timm: str
    name: Word


class ConfigDataset(Named):
    own: bool = False


class ConfigMethod(Named):
    label: Word | None = None


class ConfigRecipe(Section):
    epochs: PositiveWhole
    batch_size: PositiveWhole
    warmup_epochs: int | None


class Trial(Section):
    """What `aoft-bench tune` made of a run: a trial, which was compared with others after each rung, and stopped at one
    or trained to the end.

    rung: the one that it reached, counted from 1; rungs: their epochs, the last one all of the run's; trials: how many
    settings are trained up to each.
    """

    rung: PositiveWhole
    rungs: Annotated[list[PositiveWhole], Field(min_length=1, max_length=100)]
    trials: Annotated[list[PositiveWhole], Field(min_length=1, max_length=100)]


class Config(Section):
    """The configuration, as far as every record needs it."""

    backbone: ConfigBackbone
    dataset: ConfigDataset
    data: ConfigData
    method: ConfigMethod
    recipe: ConfigRecipe
    protocol: Named
    trainer: dict[str, Any]
    seed: int


class RecordSchema(Section):
    """A whole record.

    prepared: SHA-256 of what the method chose from training images, of a method that does. trained_sha256: of the file
    beside it, with what was trained; predictions_sha256: of the file of its predictions. Both are empty in older
    records, the second where results.predictions=none too. trial: of a run of `aoft-bench tune`.
    """

    backbone: Word
    method: Word
    dataset: Word
    seed: int
    hash: Digest
    command: str | None = None
    finished: str | None = None
    protocol: Named
    metrics: Metrics
    curves: dict[str, list[Loss]]
    parameters: Parameters
    prepared: str | None = None
    data: Data
    weights: Weights
    trained_sha256: Digest | Literal[""] = ""
    predictions_sha256: Digest | Literal[""] = ""
    precision: Word
    cost: Cost
    hardware: Hardware
    versions: dict[str, str | None] = {}
    git: Git | None = None
    code: Digest | None = None
    trial: Trial | None = None
    config: Config

    @model_validator(mode="wrap")
    @classmethod
    def _check_consistency(cls, values: Record, handler: Any) -> Any:
        record = handler(values)
        for contradiction in _contradictions(record, values):
            raise ValueError(f"{contradiction}; was it edited? {AGAIN}")
        return record


def check_record(record: Any) -> None:
    """Raise `UserError` with the first thing that is wrong with a record: of another schema, damaged, or edited."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        got = shown(record.get("schema")) if isinstance(record, dict) else repr(type(record).__name__)
        raise UserError(f"has schema {got}, this version reads {SCHEMA}; use the version that wrote it")
    if problem := _no_number(record):
        raise UserError(f"{problem[1:]}; {AGAIN}")
    try:
        RecordSchema.model_validate(record)
    except ValidationError as error:
        raise UserError(_text_of(error)) from None


def is_stopped(record: Record) -> bool:
    """Whether a checked record is of a trial that was stopped before its last epoch: no result."""
    trial = record.get("trial")
    return trial is not None and trial["rung"] < len(trial["rungs"])


def _no_number(values: Any, level: int = 1) -> str:
    """Which number in some nested values is not finite or too large, as ".config.seed is ..."; empty if all are good.

    Sections hold more than the model describes, and the page shows all of it.
    """
    for name, value in values.items() if type(values) is dict else enumerate(values):
        kind, problem = type(value), ""
        if kind is dict or kind is list:
            problem = _no_number(value, level + 1) if level < DEEPEST else " is nested too deeply"
        elif kind is float:
            problem = "" if -math.inf < value < math.inf else " is not a finite number"
        elif kind is int:
            problem = "" if -LARGEST < value < LARGEST else " is too large a number"
        if problem:
            return _part(name) + problem
    return ""


def _contradictions(record: RecordSchema, values: Record) -> Iterator[str]:
    """What does not follow from what else the record says."""
    metrics, counts, config = record.metrics, record.parameters, record.config
    top1, right, total = metrics.top1, metrics.correct, metrics.total
    if right > total or not total or abs(top1 - 100 * right / total) > 1e-6:
        yield f"metrics.top1 is {top1:g}, but {right:,} of {total:,} are right"
    for name, one in metrics.shifts.items():
        sizes = record.data.sizes
        if not one.correct_of_all <= one.correct <= one.total or abs(one.top1 - 100 * one.correct / one.total) > 1e-6:
            yield f"metrics.shifts.{name}.top1 is {one.top1:g}, but {one.correct:,} of {one.total:,} are right"
        if sizes.get(name) != one.total:
            yield f"metrics.shifts.{name}.total is {one.total:,}, but data.sizes.{name} is {sizes.get(name)}"
    protocol, split = PROTOCOLS.get(config.protocol.name), metrics.split
    if protocol and split != protocol.score:
        yield f"metrics.split is {shown(split)}, but protocol {protocol.name} scores {protocol.score}"
    both = counts.trained_with_head
    if both not in (None, counts.trained + counts.head):
        yield f"parameters.trained_with_head is {both:,}, but {counts.trained:,} + {counts.head:,} are trained"
    best, per_epoch = metrics.best_test_epoch_top1, record.curves.get(f"{split}_top1")
    if best is not None and per_epoch and abs(best - max(per_epoch)) > 1e-6:
        yield f"metrics.best_test_epoch_top1 is {best:g}, but the best of its curve is {max(per_epoch):g}"
    yield from _wrong_images(record)
    yield from _wrong_trial(record)
    for name, stated, configured in (
        ("seed", record.seed, config.seed),
        ("dataset", record.dataset, config.dataset.name),
        ("backbone", record.backbone, config.backbone.name),
        ("method", record.method, config.method.label or config.method.name),
        ("protocol.name", record.protocol.name, config.protocol.name),
    ):
        if stated != configured:
            yield f"{name} is {shown(stated)}, but {shown(configured)} in its configuration"
    digest = record_hash(values)
    if digest != record.hash:
        yield f"its hash is {record.hash}, but {digest} is that of its configuration, data and weights"


def _wrong_images(record: RecordSchema) -> Iterator[str]:
    """What of the data section does not follow from where the images came from, and how many there were."""
    data, config, split, total = record.data, record.config.data, record.metrics.split, record.metrics.total
    if data.sizes.get(split, total) != total:
        yield f"metrics.total is {total:,}, but data.sizes.{split} is {data.sizes[split]:,}"
    if data.source == "tfds" and (config.root is not None or config.source == "folder"):
        given = f"config.data.root is {shown(config.root)}, config.data.source {shown(config.source)}"
        yield f"data.source is 'tfds', but {given}"
    if data.official and (data.source != "tfds" or (data.source_note and not data.source_note.startswith("TFDS "))):
        yield f"data.official is true, but the images are from {shown(data.source)} ({shown(data.source_note)})"
    if (shots := data.drawn and data.drawn.shots) != config.shots:
        yield f"data.drawn.shots is {shown(shots)}, but config.data.shots is {shown(config.shots)}"
    if data.official and data.official_note.startswith(NOT_OFFICIAL):
        yield f"data.official is true, but data.official_note is {shown(data.official_note)}"


def _wrong_trial(record: RecordSchema) -> Iterator[str]:
    """What of a trial does not follow from the epochs of its recipe and of its curve."""
    trial, epochs, curve = record.trial, record.config.recipe.epochs, record.curves.get(f"{record.metrics.split}_top1")
    if trial is None:
        return
    if record.config.protocol.name != "tune":
        yield f"it is a trial of aoft-bench tune, but its protocol is {shown(record.config.protocol.name)}"
    if trial.rungs != sorted(set(trial.rungs)) or trial.rungs[-1] != epochs:
        yield f"trial.rungs is {trial.rungs}, but they rise to the {epochs:,} epochs of the recipe"
    if trial.rung > len(trial.rungs) or len(trial.trials) != len(trial.rungs):
        yield f"trial.rung is {trial.rung}, of {len(trial.rungs)} rungs and {len(trial.trials)} numbers of trials"
    elif len(curve or []) != (reached := trial.rungs[trial.rung - 1]):
        yield f"trial.rung is {trial.rung}, after {reached:,} epochs, but its curve has {len(curve or [])}"


def _text_of(error: ValidationError) -> str:
    """The first problem in a line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = "".join(map(_part, first["loc"]))[1:]
    got = "missing" if first["type"] == "missing" else shown(first["input"])
    if first["type"] == "model_type" and first["input"] is None:
        name += _first_value(first["loc"])
    return f"{name} is {got}; the record is damaged or was edited: {AGAIN}"


def _part(key: str | int) -> str:
    """A part of the name of a value in a record: a name, or a place in a list."""
    return f" ({key + 1})" if isinstance(key, int) else f".{one_line(str(key))[:80]}"


def _first_value(section: tuple[int | str, ...]) -> str:
    """The way from a section to the first value in it, as in .backbone.img_size."""
    kind, way = RecordSchema, ""
    for name in section:
        kind = kind.model_fields[str(name)].annotation  # type: ignore[assignment]
    while isinstance(kind, type) and issubclass(kind, Section):
        name, field = next(iter(kind.model_fields.items()))
        if not field.is_required():
            break
        kind, way = field.annotation, f"{way}.{name}"  # type: ignore[assignment]
    return way
