"""The largest test split, dSprites' 73,728 images: what it takes on disk and in memory. Slow: `make test-data`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aoft_bench.data import task
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import fill
from aoft_bench.data.sources.base import Example, Source

pytestmark = pytest.mark.data

DSPRITES = task("dsprites_location")

SCORE = """
import sys
from pathlib import Path
import timm, torch
from aoft_bench.data import cache
from aoft_bench.data.loader import StreamedBatches
from aoft_bench.training.score import predict

directory = Path(sys.argv[1])
images, labels = cache.read_split(directory, cache.read_meta(directory, "dsprites_location"), "test")
starts = [0, 36864, 72448]  # begin, middle and end: all of it takes minutes
model = timm.models.vision_transformer.VisionTransformer(patch_size=56, embed_dim=32, depth=1, num_heads=2)
parts = [StreamedBatches(images[i:i + 1280], labels[i:i + 1280], 64, size=224) for i in starts]
half = (0.5, 0.5, 0.5)
scored = [len(predict(model, p, mean=half, std=half, device=torch.device("cpu"), precision="fp32")[0]) for p in parts]
# not ru_maxrss, which begins at the memory of the process that started this one
peak = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(len(images), sum(scored), *peak)
"""


def drawn(split: str, index: int) -> Example:
    """A white square on black, somewhere."""
    column, row = (int(place) for place in np.random.default_rng([len(split), index]).integers(0, 48, 2))
    image = np.zeros((64, 64, 1), np.uint8)
    image[row : row + 16, column : column + 16] = 255
    return Example(image, column // 3, "")


def test_the_largest_test_split_stays_small(tmp_path: Path) -> None:
    source = Source(
        kind="tfds",
        note="drawn",
        official=False,
        official_note="drawn",
        classes=16,
        class_names=None,
        stamp="drawn",
        sizes=DSPRITES.sizes,
        native_shape=lambda limit: (64, 64, 1),
        channels=lambda: 1,
        read=drawn,
    )
    ready = fill(DSPRITES, source, Locations(tmp_path), 224, "bicubic")
    disk = sum(path.stat().st_size for path in ready.directory.iterdir())
    assert ready.sizes["test"] == 73728 and disk < 0.5e9
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(ready.directory)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    images, scored, kilobytes = map(int, done.stdout.split())
    assert (images, scored) == (73728, 3840) and kilobytes < 1.5e6
