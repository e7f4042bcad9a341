"""A cell of a table: its identity (what can change its number), and its model, built ready to train or to score."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from aoft_bench import backbones, data, methods
from aoft_bench.backbones.networks import Backbone
from aoft_bench.config.check import problems_of
from aoft_bench.config.schema import RunConfig
from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.image_list import ImageList
from aoft_bench.data.loader import DeviceBatches, StreamedBatches, to_device
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, Split, find, prepare, source_of
from aoft_bench.data.tasks import Task
from aoft_bench.data.transforms import NORMALIZATIONS
from aoft_bench.methods import Handle
from aoft_bench.records.files import CellFiles, cell_files, record_path
from aoft_bench.records.identity import cell_hash, identity
from aoft_bench.records.protocols import Protocol, protocol
from aoft_bench.training import hardware
from aoft_bench.training.module import regularize
from aoft_bench.training.progress import watched
from aoft_bench.training.score import count_correct
from aoft_bench.utils.errors import UserError


@dataclass(frozen=True)
class Cell:
    """A cell whose data and weights are at hand. weights: the backbone's file; digest: `cell_hash` of what counts."""

    config: RunConfig
    protocol: Protocol
    prepared: PreparedTask
    weights: Path
    weights_sha256: str
    device: torch.device
    precision: str
    digest: str

    @property
    def files(self) -> CellFiles:
        return _files(self.config, self.digest)

    @property
    def label(self) -> str:
        c = self.config
        return f"{c.method_label} · {c.dataset.name} · {c.backbone.name} · seed {c.seed}"

    def train_batches(self) -> DeviceBatches | CroppedBatches:
        """Shuffled batches of the protocol's training split, laid out on the device at the model's size."""
        c = self.config
        images, labels = self.prepared.train(self.protocol.train)
        options: dict[str, Any] = {"shuffle": True, "random_flip": c.recipe.flip, "seed": c.seed}
        if isinstance(images, ImageList):
            return CroppedBatches(
                images, labels, c.recipe.batch_size, size=c.backbone.img_size, device=self.device, **options
            )
        laid_out = to_device(images, c.backbone.img_size, c.data.interpolation, self.device)
        return DeviceBatches(laid_out, labels, c.recipe.batch_size, **options)

    def batches_of(self, split: Split) -> StreamedBatches | CroppedBatches:
        """Batches for scoring a split, in order; the centre of images that are cropped (FGVC)."""
        c = self.config
        if isinstance(split.images, ImageList):
            return CroppedBatches(
                split.images,
                split.labels,
                c.trainer.eval_batch_size,
                size=c.backbone.img_size,
                device=self.device,
                random_crop=False,
            )
        return StreamedBatches(
            split.images,
            split.labels,
            c.trainer.eval_batch_size,
            size=c.backbone.img_size,
            interpolation=c.data.interpolation,
            device=self.device,
        )


@dataclass(frozen=True)
class Adapted:
    """A backbone with the method attached. mean, std: the normalisation that the run uses."""

    backbone: Backbone
    handle: Handle
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def model(self) -> nn.Module:
        return self.handle.model


def identify(config: RunConfig) -> Cell:
    """Find data and weights, prepare what can be, and name the cell. Raises `UserError` for what is missing."""
    methods.build(config.method_name, config.method_options)
    chosen = protocol(config.protocol.name)
    device = hardware.device_of(config.trainer)
    precision = hardware.precision_of(config.trainer, device)
    task = data.task(config.dataset.name)
    weights = _both_here(config, task)
    sha256 = backbones.file_sha256(weights)
    prepared = prepare(
        task, Locations.of(config.data), image_size=config.backbone.img_size, interpolation=config.data.interpolation
    )
    digest = cell_hash(identity_of(config, prepared.fingerprint, sha256, precision))
    return Cell(config, chosen, prepared, weights, sha256, device, precision, digest)


def files_of(config: RunConfig) -> CellFiles | None:
    """Where a cell's files are or will be; None while data is not prepared or weights are not here, since they are part
    of its name. Prepares and downloads nothing. Raises `UserError` for data that is missing or wrong.
    """
    weights = backbones.weights_here(config.backbone)
    task, size = data.task(config.dataset.name), config.backbone.img_size
    prepared = find(task, Locations.of(config.data), image_size=size, interpolation=config.data.interpolation)
    if prepared is None or weights is None:
        return None
    precision = hardware.precision_of(config.trainer, hardware.device_of(config.trainer))
    digest = cell_hash(identity_of(config, prepared.fingerprint, backbones.file_sha256(weights), precision))
    return _files(config, digest)


def _files(config: RunConfig, digest: str) -> CellFiles:
    c, root = config, Path(config.results.root).expanduser()
    return cell_files(root, record_path(root, c.backbone.name, c.method_label, c.dataset.name, c.seed, digest))


def _both_here(config: RunConfig, task: Task) -> Path:
    """The weight file; one `UserError` for weights and images that are missing, so that both can be fetched at once."""
    missing = []
    try:
        weights = backbones.weight_file(config.backbone)
    except UserError as error:
        missing.append(str(error))
    try:
        source_of(task, Locations.of(config.data), config.backbone.img_size, config.data.interpolation)
    except UserError as error:
        missing.append(str(error))
    if missing:
        raise UserError(problems_of(missing))
    return weights


def identity_of(config: RunConfig, fingerprint: str, weights_sha256: str, precision: str) -> dict[str, Any]:
    """All that can change the number of a cell; see `records.identity`."""
    return identity(config.as_dict(), fingerprint=fingerprint, weights=weights_sha256, precision=precision)


def build(config: RunConfig, classes: int, device: torch.device, *, weights: bool = True) -> Adapted:
    """The adapted model of a configuration, seeded, on the CPU (Lightning or the caller moves it)."""
    seed_everything(config.seed)
    backbone = backbones.build(config.backbone, classes, drop_path=config.recipe.drop_path, weights=weights)
    regularize(backbone.model, config.recipe)
    hardware.prefer_fast_attention(backbone.model, device)
    handle = methods.attach(backbone.model, methods.build(config.method_name, config.method_options))
    name = config.data.normalization
    mean, std = (backbone.mean, backbone.std) if name == "backbone" else NORMALIZATIONS[name]
    return Adapted(backbone, handle, mean, std)


def seed_everything(seed: int) -> None:
    """Seed all generators that a library may draw from: of torch on every device, NumPy, Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def final_score(cell: Cell, adapted: Adapted, split: Split) -> tuple[int, int, bool]:
    """(correct, total, merged) of a trained cell on a split, on the merged model where the method can merge.

    The only place where a result is counted: training ends here, and `aoft-bench evaluate` comes here too.
    """
    handle = adapted.handle
    merged = handle.mergeable
    if merged:
        handle.merge()
    adapted.model.to(cell.device)
    correct, total = count_correct(
        adapted.model,
        watched(cell.batches_of(split), cell.config.trainer.progress, f"{cell.label}: scoring", len(split.labels)),
        mean=adapted.mean,
        std=adapted.std,
        device=cell.device,
        precision=cell.precision,
    )
    if merged:
        handle.unmerge()
    return correct, total, merged
