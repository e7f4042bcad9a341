"""What records must share to be compared: all that a number depends on but the method."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aoft_bench.data.tasks import find
from aoft_bench.records.schema import Record
from aoft_bench.results.image_sets import subset_of


@dataclass(frozen=True, order=True)
class Setting:
    """What records must share to be compared.

    source: `data.source` of the records; official: proven to be the official images and splits; images: 0, or the
    number of a further set of images of the same dataset, source and setting; subset: which part of the training
    images was drawn, in words, empty for all.
    """

    suite: str
    backbone: str
    img_size: int
    protocol: str
    split: str
    epochs: int
    precision: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    official: bool
    source: str
    images: int = 0
    subset: str = field(default="", repr=False)  # newer than the anchors of the page, which are made of the others

    def as_columns(self) -> dict[str, str]:
        """By name, for the columns of CSV files."""
        return {
            "suite": ", ".join(part for part in (self.suite, self.subset) if part),
            "backbone": self.backbone,
            "weights": self.sha256[:12],
            "protocol": self.protocol,
            "split": self.split,
            "epochs": str(self.epochs),
            "img_size": str(self.img_size),
            "interpolation": self.interpolation,
            "normalization": f"{triple(self.mean)}, {triple(self.std)}",
            "precision": self.precision,
            "images": self.source,
            "official": str(self.official).lower(),
        }


def setting_of(record: Record) -> Setting:
    config, data = record["config"], record["data"]
    return Setting(
        suite=find(record["dataset"]).suite,
        backbone=_backbone_of(record),
        img_size=config["backbone"]["img_size"],
        protocol=record["protocol"]["name"],
        split=record["metrics"]["split"],
        epochs=config["recipe"]["epochs"],
        precision=record["precision"],
        interpolation=config["data"]["interpolation"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        sha256=record["weights"]["sha256"],
        official=data["official"],
        source=data["source"],
        subset=subset_of(data.get("drawn") or {}),
    )


def _backbone_of(record: Record) -> str:
    """The backbone's name, with what was done to its position embeddings if that was not the default."""
    resize = record["config"]["backbone"].get("pos_embed_resize")
    return f"{record['backbone']}, position embeddings by {resize}" if resize else str(record["backbone"])


def triple(values: Sequence[float]) -> str:
    """Three channel values, one where they are equal."""
    return "/".join(dict.fromkeys(f"{value:g}" for value in values))
