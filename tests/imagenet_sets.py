"""Small folders in the layouts in which ImageNet, V2, Sketch, A and R are distributed, of six classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331")  # the first of the 1,000
OF_A, OF_R = (1, 3), (0, 3)
_COOP = {
    "imagenet/": "imagenet/images/",
    "imagenetv2-": "imagenetv2/imagenetv2-",
    "sketch/": "imagenet-sketch/images/",
    "imagenet-a/": "imagenet-adversarial/imagenet-a/",
    "imagenet-r/": "imagenet-rendition/imagenet-r/",
}


def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ImageNet have six classes, A and R two of them each."""
    lists = {
        "imagenet_synsets.txt": CLASSES,
        "imagenet_a_synsets.txt": tuple(CLASSES[label] for label in OF_A),
        "imagenet_r_synsets.txt": tuple(CLASSES[label] for label in OF_R),
    }
    monkeypatch.setattr("aoft_bench.data.imagenet_classes._read", lists.__getitem__)


def make_sets(root: Path, as_coop: bool = False) -> None:
    """Write the five sets; each class has a colour of its own, so that it can be learned."""
    rng = np.random.default_rng(0)

    def write(place: str, label: int, count: int, suffix: str, shade: int = 0) -> None:
        if as_coop:
            place = next(to + place.removeprefix(at) for at, to in _COOP.items() if place.startswith(at))
        (root / place).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 60, (40, 45 + index, 3)) + np.array([35 * label, 190 - 35 * label, shade])
            Image.fromarray(pixels.astype(np.uint8)).save(root / place / f"{index}{suffix}")

    for label, wnid in enumerate(CLASSES):
        write(f"imagenet/train/{wnid}", label, 5, ".JPEG")
        write(f"imagenet/val/{wnid}", label, 2, ".JPEG")
        write(f"imagenetv2-matched-frequency-format-val/{label}", label, 1, ".jpeg")
        write(f"sketch/{wnid}", label, 1, ".JPEG", shade=90)
    for name, labels in (("imagenet-a", OF_A), ("imagenet-r", OF_R)):
        for label in labels:
            write(f"{name}/{CLASSES[label]}", label, 2, ".jpg", shade=180)
        at = root / (_COOP[f"{name}/"] if as_coop else name)
        (at / "README.txt").write_text("beside the folders of classes\n")
