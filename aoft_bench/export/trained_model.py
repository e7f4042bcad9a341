"""What every format is written from: a trained model, what its classes are called, and images to check it on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aoft_bench.backbones.networks import timm_arguments
from aoft_bench.data.resample import short_side_for_crop
from aoft_bench.data.transforms import normalize
from aoft_bench.experiments.experiment import Experiment
from aoft_bench.experiments.trained_run import TrainedRun
from aoft_bench.training.model import AdaptedModel
from aoft_bench.utils.errors import UserError

CHECKED = 16  # images on which an exported model is compared with the trained one
TOLERANCE = 1e-5  # largest difference of a logit, as a share of the largest logit or of 1: see docs/export.md


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in evaluation mode, on the CPU.

    class_names: of the classes in the order of the logits, their numbers where they have no names; images (N, 3, S, S):
    normalized training images; logits (N, classes): the model's, before anything is merged; cropped: the short side
    that images are resized to before a central crop, None where they are squashed.
    """

    run: TrainedRun
    adapted: AdaptedModel
    class_names: tuple[str, ...]
    images: Tensor
    logits: Tensor
    cropped: int | None

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return self.run.config.backbone.img_size

    @property
    def architecture(self) -> tuple[str, dict[str, Any]]:
        """(name without a tag, arguments) of the network for `timm.create_model`."""
        name, arguments = timm_arguments(self.run.config.backbone)
        return name.partition(".")[0], arguments

    def check(self, logits: Tensor, what: str) -> float:
        """The largest difference of `logits` of the same images; `UserError` if it is more than rounding."""
        difference = (logits - self.logits).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, self.logits.abs().max().item()):
            raise UserError(
                f"{what} does not compute what was trained: its logits of {len(self.images)} training images are up to "
                f"{difference:.2g} off; nothing was written; choose another format"
            )
        return difference

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How an image becomes the input, in the words of timm's configurations.

        TensorFlow's bilinear, which timm does not have, is called bilinear_tf, as in data.interpolation.
        """
        # timm resizes the short side to floor(size / crop_pct)
        crop = ("center", self.size / (self.cropped + 0.5)) if self.cropped else ("squash", 1.0)
        return {
            "input_size": [3, self.size, self.size],
            "interpolation": self.run.config.data.interpolation,
            "crop_mode": crop[0],
            "crop_pct": crop[1],
            "mean": list(self.adapted.mean),
            "std": list(self.adapted.std),
        }


def load(run: TrainedRun) -> TrainedModel:
    """The model of a run. Raises `UserError` if its data or its backbone are missing or are not those of the record."""
    experiment = run.experiment()
    adapted = run.trained()
    adapted.model.eval()
    images = normalize(_some_images(experiment), adapted.mean, adapted.std)
    with torch.inference_mode():
        logits = adapted.model(images)
    prepared = experiment.prepared
    names = prepared.class_names or tuple(map(str, range(prepared.classes)))
    cropped = None if prepared.shape else short_side_for_crop(run.config.backbone.img_size)
    return TrainedModel(run, adapted, names, images.clone(), logits.clone(), cropped)


def _some_images(experiment: Experiment) -> Tensor:
    """The first training images (N, C, S, S) uint8, resized for the model."""
    batches = experiment.plain_batches()
    if isinstance(batches.images, Tensor):
        return batches.images[:CHECKED].cpu()
    return next(iter(batches))[0][:CHECKED].cpu()
