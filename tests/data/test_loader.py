"""Batches: complete, repeatable by (seed, epoch), with the epoch set by Lightning."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from aoft_bench.data import loader as loader_module
from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.image_list import ImageList, JoinedArrays, joined
from aoft_bench.data.loader import DeviceBatches, StreamedBatches, drawn_batches, to_device
from aoft_bench.data.transforms import resize

N = 23
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(N)


def batches(**options) -> DeviceBatches:
    return DeviceBatches(to_device(IMAGES, 8, "bicubic"), LABELS, 4, **options)


def order(loader: DeviceBatches | CroppedBatches) -> list[int]:
    return torch.cat([labels for _, labels in loader]).tolist()


def test_in_order_every_image_once_with_the_last_smaller_batch():
    loader = batches()
    images, labels = zip(*loader, strict=True)
    assert len(loader) == len(images) == 6 and [len(part) for part in labels] == [4] * 5 + [3]
    assert torch.cat(labels).tolist() == list(range(N))
    whole = resize(torch.from_numpy(IMAGES).permute(0, 3, 1, 2), 8, "bicubic")
    assert torch.equal(torch.cat(images), whole)


def test_shuffling_repeats_by_seed_and_epoch_and_keeps_images_with_labels():
    loader, again = batches(shuffle=True, seed=5), batches(shuffle=True, seed=5)
    seen = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        again.set_epoch(epoch)
        seen.append(order(loader))
        assert sorted(seen[-1]) == list(range(N)) and seen[-1] == order(again) == order(loader)
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert order(batches(shuffle=True, seed=6)) != seen[0]
    for images, labels in loader:
        assert torch.equal(images, loader.images[labels])


def test_seed_and_epoch_are_not_added_up():
    one, other = batches(shuffle=True, seed=1), batches(shuffle=True, seed=0)
    other.set_epoch(1)
    assert order(one) != order(other)


def cropped(**options) -> CroppedBatches:
    images = ImageList(IMAGES.reshape(-1), np.full((N, 2), (6, 5)))
    return CroppedBatches(images, LABELS, 4, size=5, device="cpu", **options)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning 2.6.6 with torch 2.14
@pytest.mark.filterwarnings("ignore:.*(num_workers|logging interval|srun)")
@pytest.mark.parametrize("made", [batches, cropped])
def test_a_lightning_run_sees_another_order_every_epoch(made):
    import pytorch_lightning as pl

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen: list[int] = []

        def training_step(self, batch, index):
            self.seen += batch[1].tolist()
            return self.weight.sum() * batch[0].float().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    model, loader = Model(), made(shuffle=True)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **silent).fit(model, loader)
    expected = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        expected += order(loader)
    assert model.seen == expected and expected[:N] != expected[N:]


def test_flips_are_drawn_per_image_and_repeat():
    loader = batches(shuffle=True, random_flip=True, seed=2)
    first, second = list(loader), list(loader)
    mirrored = 0
    for (images, labels), (same, _) in zip(first, second, strict=True):
        assert torch.equal(images, same)
        for image, label in zip(images, labels, strict=True):
            original = loader.images[label]
            assert torch.equal(image, original) or torch.equal(image, original.flip(-1))
            mirrored += int(not torch.equal(image, original))
    assert 4 < mirrored < N - 4
    assert order(loader) == order(batches(shuffle=True, seed=2))  # flips do not change the order


def test_streamed_batches_equal_those_on_the_device(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    streamed = StreamedBatches(mapped, LABELS, 4, size=8, interpolation="bilinear_tf")
    resident = DeviceBatches(to_device(mapped, 8, "bilinear_tf"), LABELS, 4)
    assert len(streamed) == len(resident) == 6
    for (images, labels), (others, their_labels) in zip(streamed, resident, strict=True):
        assert torch.equal(images, others) and torch.equal(labels, their_labels) and labels.dtype == torch.int64


def test_training_images_are_streamed_where_the_device_has_no_room_for_them(tmp_path, monkeypatch):
    """The same batches, bit for bit, in every epoch: order, mirrored images, the smaller last batch; and those of two
    splits are those of one array."""
    for name, part in (("train800", IMAGES[:14]), ("val200", IMAGES[14:])):
        np.save(tmp_path / f"{name}.npy", part)
    mapped = joined(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("train800", "val200")))

    def drawn() -> DeviceBatches | StreamedBatches:
        options = {"shuffle": True, "random_flip": True, "seed": 7}
        device = torch.device("cpu")
        return drawn_batches(mapped, LABELS, 4, size=8, interpolation="bicubic", device=device, **options)

    monkeypatch.setattr(loader_module, "_room", lambda device: N * 3 * 8 * 8)
    resident = drawn()
    monkeypatch.setattr(loader_module, "_room", lambda device: N * 3 * 8 * 8 - 1)
    streamed = drawn()
    assert isinstance(resident, DeviceBatches) and isinstance(streamed, StreamedBatches)
    assert len(streamed) == len(resident) == 6
    seen = []
    for epoch in (0, 3):
        resident.set_epoch(epoch)
        streamed.sampler.set_epoch(epoch)
        whole = batches(shuffle=True, random_flip=True, seed=7)
        whole.set_epoch(epoch)
        for (images, labels), (others, their_labels), (expected, _) in zip(streamed, resident, whole, strict=True):
            assert torch.equal(images, others) and torch.equal(labels, their_labels) and torch.equal(images, expected)
        seen.append(order(streamed))
    assert seen[0] != seen[1] and sorted(seen[0]) == list(range(N))


def test_joined_arrays_give_their_images_in_any_order_and_by_slices():
    both = JoinedArrays([IMAGES[:5], IMAGES[5:6], IMAGES[6:]])
    assert len(both) == N and both.shape == IMAGES.shape
    for part in (np.array([22, 5, 0, 4, 6, 5]), slice(3, 9), slice(20, 40), np.array([], np.int64)):
        np.testing.assert_array_equal(both[part], IMAGES[part])
    np.testing.assert_array_equal(both[-1], IMAGES[-1])
    with pytest.raises(ValueError, match="2 kinds of images"):
        JoinedArrays([IMAGES, IMAGES[:, :4]])


def test_wrong_lengths_and_batch_sizes_are_refused():
    with pytest.raises(ValueError, match="23 images but 22 labels"):
        DeviceBatches(to_device(IMAGES, 8, "bicubic"), LABELS[1:], 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        StreamedBatches(IMAGES, LABELS, 0, size=8)


class Disk:
    """Images that record which slices are read; reading fails at the index `broken`."""

    def __init__(self, images: np.ndarray, broken: int | None = None) -> None:
        self.images, self.broken, self.starts = images, broken, list[int]()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> np.ndarray:
        self.starts.append(part.start)
        if part.start == self.broken:
            raise OSError("the disk is gone")
        return self.images[part]


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("waited 10 s")


def test_the_next_batch_is_read_ahead_and_reading_ends_with_its_reader() -> None:
    others = set(threading.enumerate())  # of tests that ran before in this process
    disk = Disk(IMAGES)
    batches = iter(StreamedBatches(disk, LABELS, 4, size=8))
    next(batches)
    wait_until(lambda: disk.starts == [0, 4])  # one ahead, and no more
    next(batches)
    wait_until(lambda: disk.starts == [0, 4, 8])
    batches.close()
    assert disk.starts == [0, 4, 8] and not set(threading.enumerate()) - others
    with pytest.raises(OSError, match="the disk is gone"):
        list(StreamedBatches(Disk(IMAGES, broken=8), LABELS, 4, size=8))
    assert list(StreamedBatches(IMAGES[:0], LABELS[:0], 4, size=8)) == []
