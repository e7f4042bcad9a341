"""What a record holds, and what must follow from what in it.

A record is a dictionary of plain values. `check_record` holds it to `RecordSchema` before it is written and whenever it
is read. Sections may hold more than is described here; what has a default is missing in some of the older records.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aoft_bench.records.identity import record_hash
from aoft_bench.records.protocols import PROTOCOLS
from aoft_bench.utils.errors import UserError

SCHEMA = 1

Record = dict[str, Any]

Count = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0)]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class Section(BaseModel):
    """A part of a record. Types are strict: "8" is no integer and 1 is no boolean."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Named(Section):
    name: str


class Metrics(Section):
    """The result. top1: in %, of the last epoch; best_test_epoch_top1: see `Protocol.best_test_epoch`."""

    split: str
    top1: Size
    correct: int
    total: int
    best_test_epoch_top1: Size | None = None


class Parameters(Section):
    """Numbers of parameters. trained: without the head."""

    trained: Count
    head: Count
    trained_with_head: Count | None = None


class Data(Section):
    """The images. fingerprint: digest of the prepared arrays; mean, std: of the normalization, by channel; copies: how
    many of the scored images are among those of training too."""

    fingerprint: str
    source: str
    official: bool
    official_note: str
    mean: Channels
    std: Channels
    copies: Count | None = None


class Weights(Section):
    """The backbone's weights. sha256: of their file; source: the file's name, or the name on the hub."""

    sha256: str
    source: str


class Cost(Section):
    train_images_per_second: Size | None = None
    score_images_per_second: Size | None = None
    peak_memory_bytes: Size | None = None
    trained_file_bytes: Size | None = None


class Hardware(Section):
    processes: Count | None = None


class ConfigData(Section):
    interpolation: str
    normalization: str


class ConfigBackbone(Section):
    img_size: int
    timm: str
    name: str


class ConfigMethod(Named):
    label: str | None = None


class ConfigRecipe(Section):
    epochs: int
    batch_size: int
    warmup_epochs: int | None


class Config(Section):
    """The configuration, as far as every record needs it."""

    backbone: ConfigBackbone
    dataset: Named
    data: ConfigData
    method: ConfigMethod
    recipe: ConfigRecipe
    protocol: Named
    trainer: dict[str, Any]
    seed: int


class RecordSchema(Section):
    """A whole record.

    prepared: SHA-256 of what the method chose from training images, of a method that does. trained_sha256: of the file
    beside it, with what was trained; empty in older records.
    """

    backbone: str
    method: str
    dataset: str
    seed: int
    hash: str
    protocol: Named
    metrics: Metrics
    curves: dict[str, list[float]]
    parameters: Parameters
    prepared: str | None = None
    data: Data
    weights: Weights
    trained_sha256: str = ""
    precision: str
    cost: Cost
    hardware: Hardware
    versions: dict[str, Any] = {}
    config: Config

    @model_validator(mode="wrap")
    @classmethod
    def _check_consistency(cls, values: Record, handler: Any) -> Any:
        record = handler(values)
        for contradiction in _contradictions(record, values):
            raise ValueError(f"{contradiction}; was it edited? run the cell again")
        return record


def check_record(record: Any) -> None:
    """Raise `UserError` with the first thing that is wrong with a record: of another schema, damaged, or edited."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        got = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UserError(f"has schema {got!r}, this version reads {SCHEMA}; use the version that wrote it")
    try:
        RecordSchema.model_validate(record)
    except ValidationError as error:
        raise UserError(_text_of(error)) from None


def _contradictions(record: RecordSchema, values: Record) -> Iterator[str]:
    """What does not follow from what else the record says."""
    metrics, counts, config = record.metrics, record.parameters, record.config
    top1, right, total = metrics.top1, metrics.correct, metrics.total
    if not 0 <= right <= total or not total or abs(top1 - 100 * right / total) > 1e-6:
        yield f"metrics.top1 is {top1:g}, but {right:,} of {total:,} are right"
    protocol, split = PROTOCOLS.get(config.protocol.name), metrics.split
    if protocol and split != protocol.score:
        yield f"metrics.split is {split!r}, but protocol {protocol.name} scores {protocol.score}"
    both = counts.trained_with_head
    if both not in (None, counts.trained + counts.head):
        yield f"parameters.trained_with_head is {both:,}, but {counts.trained:,} + {counts.head:,} are trained"
    best, per_epoch = metrics.best_test_epoch_top1, record.curves.get(f"{split}_top1")
    if best is not None and per_epoch and abs(best - max(per_epoch)) > 1e-6:
        yield f"metrics.best_test_epoch_top1 is {best:g}, but the best of its curve is {max(per_epoch):g}"
    for name, stated, configured in (
        ("seed", record.seed, config.seed),
        ("dataset", record.dataset, config.dataset.name),
        ("backbone", record.backbone, config.backbone.name),
        ("method", record.method, config.method.label or config.method.name),
        ("protocol.name", record.protocol.name, config.protocol.name),
    ):
        if stated != configured:
            yield f"{name} is {stated!r}, but {configured!r} in its configuration"
    try:
        digest = record_hash(values)
    except ValueError:
        yield "config holds a number that is not finite"
    else:
        if digest != record.hash:
            yield f"its hash is {record.hash}, but {digest} is that of its configuration, data and weights"


def _text_of(error: ValidationError) -> str:
    """The first problem in a line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = "".join(f" ({key + 1})" if isinstance(key, int) else f".{key}" for key in first["loc"])[1:]
    if first["type"] == "finite_number":
        return f"{name} is not a finite number; run the cell again"
    got = "missing" if first["type"] == "missing" else repr(first["input"])
    if first["type"] == "model_type" and first["input"] is None:
        name += _first_value(first["loc"])
    return f"{name} is {got}; the record is damaged or was edited: run the cell again"


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
