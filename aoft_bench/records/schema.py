"""What a record holds, and what must follow from what in it.

A record is a dictionary of plain values; `RecordSchema` describes it, and `check_record` is made of every record before
it is written and whenever it is read. Sections may hold more than is described here. What has a default is missing in
some of the older records.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from aoft_bench.records.identity import record_hash
from aoft_bench.records.protocols import PROTOCOLS
from aoft_bench.utils.errors import UserError

SCHEMA = 1

Record = dict[str, Any]

Count = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0)]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]

_EDITED = "was it edited? run it again"


class Section(BaseModel):
    """A part of a record. "8" is no number and 1 is no truth value; names that are not described are left alone."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class ProtocolSplits(Section):
    """name: an entry of `records.protocols`; train, score: its splits."""

    name: str
    train: str | None = None
    score: str | None = None
    epoch: str = "last"


class Metrics(Section):
    """The result. top1: in %, of the last epoch, 100 x correct / total. best_*: see `Protocol.best_test_epoch`."""

    split: str
    top1: Size
    correct: int
    total: int
    best_test_epoch_top1: Size | None = None
    best_test_epoch: Count | None = None

    @model_validator(mode="after")
    def _check_top1(self) -> "Metrics":
        right, total = self.correct, self.total
        if not 0 <= right <= total or not total or abs(self.top1 - 100 * right / total) > 1e-6:
            raise ValueError(f"metrics.top1 is {self.top1:g}, but {right:,} of {total:,} are right; {_EDITED}")
        return self


class Parameters(Section):
    """Numbers of parameters. trained: without the head."""

    trained: Count
    head: Count
    trained_with_head: Count | None = None
    backbone: Count | None = None

    @model_validator(mode="after")
    def _check_sum(self) -> "Parameters":
        if self.trained_with_head not in (None, self.trained + self.head):
            raise ValueError(
                f"parameters.trained_with_head is {self.trained_with_head:,}, but {self.trained:,} + {self.head:,} are "
                f"trained; {_EDITED}"
            )
        return self


class Data(Section):
    """The images. fingerprint: digest of the prepared arrays; mean, std: of the normalization, by channel."""

    fingerprint: str
    source: str
    official: bool
    official_note: str
    mean: Channels
    std: Channels


class Weights(Section):
    """The backbone's weights. sha256: of their file; source: its name, or the name on the hub."""

    sha256: str
    source: str


class Cost(Section):
    """Seconds, images per second, bytes."""

    train_seconds: Size | None = None
    train_images_per_second: Size | None = None
    score_seconds: Size | None = None
    score_images_per_second: Size | None = None
    peak_memory_bytes: Size | None = None
    trained_file_bytes: Size | None = None


class Hardware(Section):
    """The machine. processes: how many trained together."""

    processes: Count | None = None


class Named(Section):
    name: str


class ConfigData(Section):
    interpolation: str
    normalization: str


class ConfigBackbone(Section):
    name: str
    timm: str
    img_size: int


class ConfigMethod(Section):
    """label: the name of the method's row in a table, if it is not that of the method."""

    name: str
    label: str | None = None


class ConfigRecipe(Section):
    epochs: int
    batch_size: int
    warmup_epochs: int | None


class Config(Section):
    """The configuration, as far as every record needs it."""

    dataset: Named
    data: ConfigData
    backbone: ConfigBackbone
    method: ConfigMethod
    recipe: ConfigRecipe
    protocol: Named
    trainer: dict[str, Any]
    seed: int


class RecordSchema(Section):
    """A whole record."""

    backbone: str
    method: str
    dataset: str
    seed: int
    hash: str
    command: str = ""
    finished: str = ""
    protocol: ProtocolSplits
    metrics: Metrics
    curves: dict[str, list[float]]
    parameters: Parameters
    data: Data
    weights: Weights
    precision: str
    merged: bool | None = None
    cost: Cost
    hardware: Hardware
    versions: dict[str, str | None] = {}
    git: dict[str, Any] = {}
    code: str = ""
    config: Config

    @model_validator(mode="after")
    def _check_split(self) -> "RecordSchema":
        protocol, split = PROTOCOLS.get(self.config.protocol.name), self.metrics.split
        if protocol and split != protocol.score:
            raise ValueError(
                f"metrics.split is {split!r}, but protocol {protocol.name} scores {protocol.score}; {_EDITED}"
            )
        return self

    @model_validator(mode="after")
    def _check_best_epoch(self) -> "RecordSchema":
        best, per_epoch = self.metrics.best_test_epoch_top1, self.curves.get(f"{self.metrics.split}_top1")
        if best is not None and per_epoch and abs(best - max(per_epoch)) > 1e-6:
            raise ValueError(
                f"metrics.best_test_epoch_top1 is {best:g}, but the best of its curve is {max(per_epoch):g}"
            )
        return self

    @model_validator(mode="after")
    def _check_names(self) -> "RecordSchema":
        config = self.config
        for name, stated, configured in (
            ("seed", self.seed, config.seed),
            ("dataset", self.dataset, config.dataset.name),
            ("backbone", self.backbone, config.backbone.name),
            ("method", self.method, config.method.label or config.method.name),
            ("protocol.name", self.protocol.name, config.protocol.name),
        ):
            if stated != configured:
                raise ValueError(f"{name} is {stated!r}, but {configured!r} in its configuration; {_EDITED}")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _check_hash(cls, values: Record, handler: Any) -> Any:
        record = handler(values)
        try:
            digest = record_hash(values)
        except ValueError:
            raise ValueError("config holds a number that is not finite; run the cell again") from None
        if digest != record.hash:
            raise ValueError(
                f"its hash is {record.hash}, but {digest} is that of its configuration, data and weights; "
                "was it edited? run the cell again"
            )
        return record


def check_record(record: Any) -> None:
    """Raise `UserError` with the first thing that is wrong with a record: of another schema, damaged, or edited."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        got = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UserError(f"has schema {got!r}, this version reads {SCHEMA}; use the version that wrote it")
    try:
        RecordSchema.model_validate(record)
    except ValidationError as error:
        raise UserError(_problem(error.errors()[0])) from None


def _problem(error: ErrorDetails) -> str:
    """One thing that is wrong, in words."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    name = "".join(f" ({key + 1})" if isinstance(key, int) else f".{key}" for key in error["loc"])[1:]
    if error["type"] == "finite_number":
        return f"{name} is not a finite number; run the cell again"
    got = "missing" if error["type"] == "missing" else repr(error["input"])
    return f"{name} is {got}; the record is damaged or was edited: run the cell again"
