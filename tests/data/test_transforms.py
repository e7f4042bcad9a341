"""Resizing equals Pillow, normalising is exact."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aoft_bench.data.resample import INTERPOLATIONS, squash, weights
from aoft_bench.data.transforms import NORMALIZATIONS, flip, normalize, resize
from aoft_bench.utils.errors import UserError

PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
SHAPES = [
    ((32, 32), 224),
    ((64, 64), 224),
    ((225, 300), 224),
    ((300, 225), 224),
    ((37, 501), 64),
    ((9, 7), 33),
    ((5, 5), 5),
    ((1, 3), 8),
]


def pictures(height: int, width: int, channels: int) -> np.ndarray:
    """Noise, black-and-white noise (the worst overshoot), white, and a ramp: (4, H, W, C) uint8."""
    rng = np.random.default_rng(0)
    shape = (height, width, channels)
    ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], shape)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    binary = (rng.random(shape) < 0.5).astype(np.uint8) * 255
    return np.stack([noise, binary, np.full(shape, 255, np.uint8), ramp])


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def pillow(image: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """Pillow's answer: in one call, except that Pillow 13 resizes tall images in the other order than all before it."""
    flat = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if flat.height > flat.width:
        flat = flat.resize((size, flat.height), PILLOW[interpolation])
    return np.asarray(flat.resize((size, size), PILLOW[interpolation])).reshape(size, size, -1)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_equals_pillow(interpolation, shape, size, channels):
    images = pictures(*shape, channels)
    ours = resize(tensor(images), size, interpolation)
    assert ours.dtype == torch.uint8 and ours.shape == (4, channels, size, size)
    for image, one in zip(images, ours, strict=True):
        theirs = pillow(image, size, interpolation)
        np.testing.assert_array_equal(one.permute(1, 2, 0).numpy(), theirs)  # we promise one grey level, and keep none
        np.testing.assert_array_equal(squash(image, size, interpolation), theirs)


@given(
    height=st.integers(1, 64),
    width=st.integers(1, 64),
    size=st.integers(1, 64),
    channels=st.sampled_from([1, 3]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_small_image_is_resized_as_by_pillow(height, width, size, channels, interpolation, seed):
    rng = np.random.default_rng(seed)
    image = (rng.random((height, width, channels)) < 0.5).astype(np.uint8) * 255  # the worst overshoot
    expected = pillow(image, size, interpolation).astype(int)
    resized = resize(tensor(image[None]), size, interpolation)[0].permute(1, 2, 0).numpy()
    assert np.abs(resized - expected).max() <= 1
    np.testing.assert_array_equal(squash(image, size, interpolation), expected)


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_bilinear_tf_equals_torch_without_antialias(shape, size):
    images = tensor(pictures(*shape, 3))
    exact = torch.nn.functional.interpolate(images.double(), (size, size), mode="bilinear", align_corners=False)
    assert (resize(images, size, "bilinear_tf").double() - exact).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_the_path_without_torch_agrees(channels):
    images = pictures(30, 47, channels)
    ours = resize(tensor(images), 40, "bilinear_tf").permute(0, 2, 3, 1).numpy()
    for image, one in zip(images, ours, strict=True):
        np.testing.assert_array_equal(one, squash(image, 40, "bilinear_tf"))


def test_rounding_between_the_passes_matters_for_overshoot():
    """Without it the answer leaves Pillow's by more than a level: the test above can fail."""
    image = pictures(32, 32, 1)[1]
    both = weights(32, 64, "bicubic")
    unclamped = np.floor(both @ image[..., 0] @ both.T + 0.5).clip(0, 255)
    theirs = np.asarray(Image.fromarray(image[..., 0]).resize((64, 64), PILLOW["bicubic"]))
    assert np.abs(unclamped - theirs).max() > 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("source", "size"), [(7, 20), (20, 7), (1, 5), (5, 1), (600, 224)])
def test_weights_sum_to_one(interpolation, source, size):
    np.testing.assert_allclose(weights(source, size, interpolation).sum(axis=1), 1, atol=1e-4)


def test_chunks_and_autocast_do_not_change_the_result():
    images = tensor(pictures(33, 50, 3))
    whole = resize(images, 48, "bicubic")
    many = resize(images.repeat(300, 1, 1, 1), 48, "bicubic")  # 1,200 images of 7,200 values are more than a chunk
    assert torch.equal(many, whole.repeat(300, 1, 1, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resize(images, 48, "bicubic"), whole)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(UserError, match="unknown interpolation 'bicubc' .did you mean 'bicubic'"):
        resize(tensor(pictures(8, 8, 1)), 16, "bicubc")


PUBLISHED = {
    "half": ([0.5] * 3, [0.5] * 3),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "none": ([0.0] * 3, [1.0] * 3),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_is_exact_for_all_levels(name, channels):
    assert set(NORMALIZATIONS) == set(PUBLISHED)
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, channels, 16, 16)
    values = normalize(levels, *NORMALIZATIONS[name])
    assert values.shape == (2, 3, 16, 16) and values.dtype == torch.float32
    mean, std = (torch.tensor(part, dtype=torch.float64).view(1, 3, 1, 1) for part in PUBLISHED[name])
    exact = (levels.double() / 255 - mean) / std
    torch.testing.assert_close(values.double(), exact, rtol=0, atol=4e-7)


def test_flip_mirrors_about_half_of_the_images_and_repeats_with_its_seed():
    images = torch.arange(200 * 3 * 2 * 4).remainder(251).to(torch.uint8).view(200, 3, 2, 4)
    flipped = flip(images, torch.Generator().manual_seed(1))
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert bool((mirrored ^ kept).all()) and 70 < int(mirrored.sum()) < 130
    assert torch.equal(flipped, flip(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(flipped, flip(images, torch.Generator().manual_seed(2)))
