"""What an adapted network has kept of the pre-trained one: its features by block, and a linear probe on another task.

Features of a block are its output averaged over the patches, those of `head` what the head reads. They are taken in
float32 from the images that the method was trained on, in order and not augmented. A probe is trained on the features
of train800 of its task and scored on val200. No test split is opened.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aoft_bench import data
from aoft_bench.analysis.similarity import linear_cka, mean_cosine
from aoft_bench.backbones.layout import block_paths, features
from aoft_bench.config.schema import DataOptions
from aoft_bench.data.locations import Draw, Locations
from aoft_bench.data.prepared_task import prepare
from aoft_bench.data.transforms import normalize
from aoft_bench.experiments.experiment import Experiment, ordered_batches
from aoft_bench.experiments.trained_run import TrainedRun
from aoft_bench.training.model import AdaptedModel

HEAD = "head"
PENALTIES = np.logspace(-2, 5, 15)  # of the ridge regression


@dataclass(frozen=True)
class Similarity:
    """Features of `images` images before and after training. place: a block, from 1, or `HEAD`."""

    place: str
    cka: float
    cosine: float
    images: int


@dataclass(frozen=True)
class Probe:
    """A linear probe on the features before and after training. before, after: how many of `images` are right; lost:
    right before and wrong after; gained: the other way round."""

    dataset: str
    images: int
    before: int
    after: int
    lost: int
    gained: int


class Forgetting:
    """Measures runs; the features of a pre-trained network are probed once for all runs that start from it."""

    def __init__(self, probes: Iterable[str] = ()) -> None:
        self._tasks = [data.task(name) for name in probes]
        self._before: dict[Any, np.ndarray] = {}

    def measure(self, run: TrainedRun) -> tuple[list[Similarity], list[Probe]]:
        """Both measures of one run. Raises `UserError` if its data, its backbone or those of a probe are not here."""
        experiment = run.experiment()
        before, after = (model_on(experiment, model) for model in (run.backbone(), run.trained()))
        return list(_kept(experiment, before, after)), [self._probe(task, run, before, after) for task in self._tasks]

    def _probe(self, task: data.Task, run: TrainedRun, before: AdaptedModel, after: AdaptedModel) -> Probe:
        config, device = run.config, next(before.model.parameters()).device
        prepared = prepare(
            task,
            _places(config.data),
            image_size=config.backbone.img_size,
            interpolation=config.data.interpolation,
        )
        splits = [ordered_batches(prepared.train(name), config, device) for name in ("train800", "val200")]
        key = (prepared.fingerprint, run.record["weights"]["sha256"], str(config.backbone), before.mean, before.std)
        if key not in self._before:
            self._before[key] = right(before, splits)
        first, second = self._before[key], right(after, splits)
        lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
        return Probe(task.name, len(first), int(first.sum()), int(second.sum()), lost, gained)


def _places(options: DataOptions) -> Locations:
    """Where a probe's images are: the places of the run, without what the run says of images of the user's own."""
    source = options.source if options.source in ("folder", "tfds") else "auto"
    return replace(Locations.of(options), source=source, hf=None, label=None, draw=Draw())


def model_on(experiment: Experiment, adapted: AdaptedModel) -> AdaptedModel:
    """The model in evaluation mode, on the experiment's device."""
    adapted.model.eval().to(experiment.device)
    return adapted


def _kept(experiment: Experiment, before: AdaptedModel, after: AdaptedModel) -> Iterator[Similarity]:
    split = experiment.prepared.train(experiment.trained_split)
    batches = ordered_batches(split, experiment.config, experiment.device)
    first, second = ({place: features for place, features in features_of(one, batches)} for one in (before, after))
    for place, x in first.items():
        y = second[place]
        yield Similarity(place, linear_cka(x, y), mean_cosine(x, y), len(x))


@torch.inference_mode()
def features_of(adapted: AdaptedModel, batches: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[str, Tensor]]:
    """(place, features (N, D) on the CPU) of every block, in order, and of the head's input, of all images."""
    found: dict[str, list[Tensor]] = {}
    with _watched(adapted.model, found):
        for images, _ in batches:
            read = features(adapted.model, normalize(images, adapted.mean, adapted.std))
            found.setdefault(HEAD, []).append(read.float().cpu())
    return [(place, torch.cat(parts)) for place, parts in found.items()]


@contextmanager
def _watched(model: nn.Module, found: dict[str, list[Tensor]]) -> Iterator[None]:
    """While it is open, the averaged output of every block is added to `found`, by the block's number from 1."""
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    patches = int(grid[0] * grid[1]) if grid else 0

    def keep(place: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tokens = output[0] if isinstance(output, tuple) else output  # of a network beside, its state is the second
            # prompts, class and register tokens stand before the patches; Swin's patches are (B, H, W, D)
            patchwise = tokens[:, -patches:] if tokens.ndim == 3 else tokens.flatten(1, 2)
            found.setdefault(place, []).append(patchwise.mean(dim=1).float().cpu())

        return hook

    # where a method wraps a block, its output is that of the wrapper
    paths = [path.removesuffix(".block") for path, _ in block_paths(model)]
    handles = [
        model.get_submodule(path).register_forward_hook(keep(str(number))) for number, path in enumerate(paths, 1)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def right(adapted: AdaptedModel, splits: Sequence[Iterable[tuple[Tensor, Tensor]]]) -> np.ndarray:
    """Of each image of the second split, whether a linear probe that was fitted on the first predicts its label (N,).

    The probe is ridge regression on one target a class, 1 or -1, of features with mean 0 and standard deviation 1; the
    penalty is the one of `PENALTIES` with the least leave-one-out error on the first split (scikit-learn's
    RidgeClassifierCV).
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, labels), (unseen, wanted) = (_head_features(adapted, batches) for batches in splits)
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=PENALTIES)).fit(x, labels)
    correct: np.ndarray = probe.predict(unseen) == wanted
    return correct


@torch.inference_mode()
def _head_features(adapted: AdaptedModel, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        (features(adapted.model, normalize(images, adapted.mean, adapted.std)).double().cpu(), labels.cpu())
        for images, labels in batches
    ]
    x, labels = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return x, labels
