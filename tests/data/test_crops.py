"""Crops equal torchvision's, are the same from the device and from a memory map, and repeat by (seed, epoch)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize
from torchvision.transforms import functional as tv

from aoft_bench.data.crops import CroppedBatches
from aoft_bench.data.image_list import ImageList, joined
from aoft_bench.data.loader import DeviceBatches
from aoft_bench.data.resample import resize_short_side, short_side_for_crop, short_side_shape
from aoft_bench.utils.errors import UserError

MODES = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
SHAPES = [(16, 16), (16, 21), (23, 16), (17, 17), (16, 40), (19, 16), (18, 18)]
SIZE = 14
N = 23
LABELS = np.arange(N)


def coordinates(height: int, width: int, number: int) -> np.ndarray:
    """An image whose pixels are (row, column, number of the image)."""
    down, across = np.mgrid[:height, :width]
    return np.stack([down, across, np.full_like(down, number)], axis=-1).astype(np.uint8)


IMAGES = [coordinates(*SHAPES[index % len(SHAPES)], index) for index in range(N)]


def image_list(images: list[np.ndarray]) -> ImageList:
    return ImageList(np.concatenate([image.reshape(-1) for image in images]), np.array([i.shape[:2] for i in images]))


def batches(images: list[np.ndarray] = IMAGES, **options) -> CroppedBatches:
    options = {"size": SIZE, "device": "cpu"} | options
    return CroppedBatches(image_list(images), np.arange(len(images)), 4, **options)


def crops(loader: CroppedBatches) -> tuple[torch.Tensor, list[int]]:
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels).tolist()


def corner(crop: torch.Tensor) -> tuple[int, int]:
    return int(crop[0, 0, 0]), int(crop[1, 0, 0])


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_an_image_list_gives_views_of_each_image():
    held = image_list(IMAGES)
    assert len(held) == N and held.offsets.dtype == np.int64
    assert held.offsets[:4].tolist() == [0, 768, 1776, 2880]  # 3 * 16 * 16, 3 * 16 * 21, 3 * 23 * 16
    for image, one in zip(IMAGES, held, strict=True):
        np.testing.assert_array_equal(image, one)
        assert np.shares_memory(one, held.flats[0])
    np.testing.assert_array_equal(held[-1], IMAGES[-1])
    with pytest.raises(IndexError):
        held[N]


@pytest.mark.parametrize("resident", [True, False])
def test_two_lists_are_one_without_a_copy_and_give_its_batches(resident):
    whole, parts = image_list(IMAGES), (image_list(IMAGES[:4]), image_list(IMAGES[4:]))
    both = joined(*parts)
    assert len(both) == N and both.offsets.tolist() == whole.offsets.tolist()
    for index, image in enumerate(IMAGES):
        np.testing.assert_array_equal(both[index], image)
        assert np.shares_memory(both[index], parts[index >= 4].flats[0])
    options = {"size": 16, "device": "cpu", "shuffle": True, "random_flip": True, "seed": 3, "resident": resident}
    one, two = (CroppedBatches(images, np.arange(N), 4, **options) for images in (whole, both))
    for (images, labels), (others, their_labels) in zip(one, two, strict=True):
        assert torch.equal(images, others) and torch.equal(labels, their_labels)


@pytest.mark.parametrize(
    ("flat", "sizes", "says"),
    [
        (np.zeros(12, np.uint8), [[2, 3]], "have 18 values, flat has 12"),
        (np.zeros(12, np.float32), [[2, 2]], "flat must be .* got .12,. float32"),
        (np.zeros((2, 2, 3), np.uint8), [[2, 2]], "flat must be"),
        (np.zeros(12, np.uint8), [2, 2], "sizes must be"),
        ([np.zeros(6, np.uint8), np.zeros(6, np.uint8)], [[2, 2]], "lies in two arrays"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(flat, sizes, says):
    with pytest.raises(ValueError, match=says):
        ImageList(flat, np.array(sizes))


def test_the_short_side_follows_the_crop():
    assert [short_side_for_crop(size) for size in (224, 448, 384, 32)] == [256, 512, 439, 37]


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("size", [16, 37, 64])
@pytest.mark.parametrize(
    "shape", [(50, 50), (37, 50), (61, 37), (50, 33), (31, 50), (99, 51), (51, 101), (10, 300), (300, 10), (125, 54)]
)
def test_the_short_side_is_resized_as_by_torchvision(shape, size, interpolation):
    pixels = np.random.default_rng(1).integers(0, 2, (*shape, 3), dtype=np.uint8) * 255  # overshoot is clamped
    image = Image.fromarray(pixels)
    ours = resize_short_side(pixels, size, interpolation)
    assert ours.shape[:2] == short_side_shape(*shape, size) and min(ours.shape[:2]) == size
    if shape[0] >= 2 * shape[1]:  # Pillow 13 goes down first in some of these, all before it across first
        image = Resize((shape[0], ours.shape[1]), MODES[interpolation])(image)
        image = Resize(ours.shape[:2], MODES[interpolation])(image)
    np.testing.assert_array_equal(ours, np.asarray(Resize(size, MODES[interpolation])(image)))


def test_an_interpolation_that_is_for_squashing_only_is_refused():
    with pytest.raises(UserError, match="bilinear_tf is not defined .*data.interpolation=bilinear or bicubic"):
        resize_short_side(IMAGES[0], 8, "bilinear_tf")
    with pytest.raises(UserError, match="unknown interpolation 'bicubik'.*did you mean 'bicubic'"):
        resize_short_side(IMAGES[0], 8, "bicubik")


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("size", [13, 14, 15, 16])
def test_centre_crops_equal_those_of_torchvision(size, resident):
    images, labels = crops(batches(size=size, random_crop=False, resident=resident))
    assert labels == list(range(N)) and images.dtype == torch.uint8 and images.shape == (N, 3, size, size)
    for crop, image in zip(images, IMAGES, strict=True):
        assert torch.equal(crop, as_tensor(CenterCrop(size)(Image.fromarray(image))))


@pytest.mark.parametrize("resident", [False, True])
def test_random_crops_equal_those_of_torchvision_at_the_same_position(resident):
    images, labels = crops(batches(shuffle=True, seed=3, resident=resident))
    places = set()
    for crop, label in zip(images, labels, strict=True):
        top, left = corner(crop)
        places.add((top, left))
        assert torch.equal(crop, as_tensor(tv.crop(Image.fromarray(IMAGES[label]), top, left, SIZE, SIZE)))
    assert len(places) > 5


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("shape", [(10, 300), (300, 10)])
def test_resize_and_centre_crop_equal_torchvision_for_odd_sizes(shape, resident):
    rng = np.random.default_rng(2)
    photographs = [rng.integers(0, 256, (*one, 3), dtype=np.uint8) for one in (shape, (33, 47), (61, 40), (29, 29))]
    size = short_side_for_crop(28)
    assert size == 32
    resized = [resize_short_side(one, size, "bilinear") for one in photographs]
    loader = batches(resized, size=28, random_crop=False, resident=resident)
    images, _ = crops(loader)
    for crop, one in zip(images, photographs, strict=True):
        assert torch.equal(crop, as_tensor(CenterCrop(28)(Resize(size)(Image.fromarray(one)))))


def test_the_device_and_the_memory_map_give_the_same_batches(tmp_path: Path):
    whole = image_list(IMAGES)
    np.save(tmp_path / "flat.npy", whole.flats[0])
    mapped = ImageList(np.load(tmp_path / "flat.npy", mmap_mode="r"), whole.sizes)
    options = {"size": SIZE, "device": "cpu", "shuffle": True, "random_flip": True, "seed": 4}
    streamed = CroppedBatches(mapped, LABELS, 4, resident=False, **options)
    resident = CroppedBatches(mapped, LABELS, 4, resident=True, **options)
    assert isinstance(mapped.flats[0], np.memmap) and resident.resident and not streamed.resident
    assert not CroppedBatches(mapped, LABELS, 4, **options).resident  # the memory map is as near to a CPU
    assert len(streamed) == len(resident) == 6
    for epoch in range(3):
        streamed.set_epoch(epoch)
        resident.set_epoch(epoch)
        for (images, labels), (others, their_labels) in zip(streamed, resident, strict=True):
            assert torch.equal(images, others) and torch.equal(labels, their_labels)
            assert images.is_contiguous() and labels.dtype == torch.int64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_gives_the_batches_of_the_cpu():
    options = {"shuffle": True, "random_flip": True, "seed": 4}
    here, there = batches(**options), batches(device="cuda", **options)
    assert there.resident and torch.equal(crops(here)[0], crops(there)[0].cpu()) and crops(here)[1] == crops(there)[1]
    assert torch.equal(crops(here)[0], crops(batches(device="cuda", resident=False, **options))[0].cpu())


@pytest.mark.parametrize("resident", [False, True])
def test_an_epoch_has_every_image_once_and_repeats_by_seed_and_epoch(resident):
    loader, again = (batches(shuffle=True, random_flip=True, seed=5, resident=resident) for _ in range(2))
    seen = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        images, labels = crops(loader)
        assert sorted(labels) == list(range(N)) and images[:, 2, 0, 0].tolist() == labels  # images stay with labels
        seen.append((images, labels))
    again.set_epoch(2)  # as after a resume: no epoch before it
    assert torch.equal(crops(again)[0], seen[2][0]) and crops(again)[1] == seen[2][1]
    assert seen[0][1] != seen[1][1] != seen[2][1] != seen[0][1]
    assert crops(batches(shuffle=True, random_flip=True, seed=6))[1] != seen[0][1]


def test_another_epoch_has_other_crops_of_the_same_image():
    loader = batches()
    first = [corner(crop) for crop in crops(loader)[0]]
    loader.set_epoch(1)
    second = [corner(crop) for crop in crops(loader)[0]]
    assert sum(one != other for one, other in zip(first, second, strict=True)) > N // 2
    assert first != [corner(crop) for crop in crops(batches(seed=1))[0]]


def test_the_order_is_that_of_whole_images_and_crops_do_not_depend_on_flips_or_the_batch_size():
    order = crops(batches(shuffle=True, seed=7))[1]
    whole = DeviceBatches(torch.zeros(N, 3, 1, 1, dtype=torch.uint8), LABELS, 4, shuffle=True, seed=7)
    assert order == torch.cat([labels for _, labels in whole]).tolist()
    plain, _ = crops(batches(shuffle=True, seed=7))
    mirrored, _ = crops(batches(shuffle=True, seed=7, random_flip=True))
    flipped = [not torch.equal(one, other) for one, other in zip(plain, mirrored, strict=True)]
    for one, other, turned in zip(plain, mirrored, flipped, strict=True):
        assert torch.equal(one, other.flip(-1) if turned else other)
    assert 4 < sum(flipped) < N - 4
    other_size = CroppedBatches(image_list(IMAGES), LABELS, 7, size=SIZE, device="cpu", shuffle=True, seed=7)
    assert torch.equal(crops(other_size)[0], plain)


def test_crops_are_uniform_over_all_positions():
    count, tall = 6000, coordinates(17, 19, 0)  # with crops of 14 pixels 4 tops and 6 lefts
    images, _ = crops(batches([tall] * count, resident=True))
    tops = np.bincount(images[:, 0, 0, 0].numpy())
    lefts = np.bincount(images[:, 1, 0, 0].numpy())
    both = np.bincount(images[:, 0, 0, 0].numpy() * 6 + images[:, 1, 0, 0].numpy())
    for counts, positions in ((tops, 4), (lefts, 6), (both, 24)):
        assert len(counts) == positions
        expected = count / positions
        assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected)).all()


def test_images_of_the_size_of_the_crop_are_not_cropped():
    same = [coordinates(14, 14, index) for index in range(5)]
    for resident in (False, True):
        images, _ = crops(batches(same, resident=resident))
        assert torch.equal(images, torch.from_numpy(np.stack(same)).permute(0, 3, 1, 2))


def test_wrong_lengths_and_batch_sizes_are_refused():
    with pytest.raises(ValueError, match="23 images but 22 labels"):
        CroppedBatches(image_list(IMAGES), LABELS[1:], 4, size=SIZE, device="cpu")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        CroppedBatches(image_list(IMAGES), LABELS, 0, size=SIZE, device="cpu")
