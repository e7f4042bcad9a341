"""The images of the embedded tasks: scikit-learn's digits and three tasks of drawn shapes.

==================  =============================================  =======  =======  ======  ====================
name                images                                         classes  size     C       splits
==================  =============================================  =======  =======  ======  ====================
digits              handwritten digits (real)                      10       8 x 8    1       800 / 200 / 797
shapes_count        1 to 8 shapes that do not overlap              8        32 x 32  1       800 / 200 / 2000
shapes_location     one shape; its x position                      16       32 x 32  1       800 / 200 / 2000
shapes_orientation  one drop shape; its angle                      16       32 x 32  1       800 / 200 / 2000
==================  =============================================  =======  =======  ======  ====================

Digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (the UCI test part), as shipped with
scikit-learn. Shapes: white on black, in the manner of dSprites (Matthey et al., 2017), drawn here and not copied.

Shapes are drawn with integers: the sine table is rounded once, everything after it is int64. With floating point one
bit in another NumPy version's `cos` could change a pixel, and with it a published number.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

SIDE = 32  # of a drawn image, in pixels
UNIT = 64  # positions and radii are integers in 1/64 pixel
SAMPLES = 4  # along each axis of a pixel, whose value is the fraction of its 16 samples that are inside a shape
TURN = 1024  # angles are integers in 1/1024 turn

_SHIFT = 12  # the sine table holds round(sin * 2^12)
# rounding removes any difference in the last bit between mathematical libraries
_SINE = [round(math.sin(2 * math.pi * step / TURN) * (1 << _SHIFT)) for step in range(TURN)]

_SPLITS = {"train800": 800, "val200": 200, "test": 2000}
_BINS = 16  # of location and of orientation


class RawSplit(NamedTuple):
    """Images (N, H, W, C) uint8, C in {1, 3}, and labels (N,) int64 in 0 .. classes - 1."""

    images: np.ndarray
    labels: np.ndarray


# --- digits ----------------------------------------------------------------------------------------------------------


def _digits() -> dict[str, RawSplit]:
    """The 1,797 digits, 0 .. 16 scaled to round(255 v / 16), in a fixed random order: 800 / 200 / 797.

    The order is the stable argsort of 1,797 uniform numbers, since `Generator.permutation` may change with numpy.
    """
    from sklearn.datasets import load_digits  # here, so that the drawn tasks work without scikit-learn

    bunch = load_digits()
    grey = bunch.images.astype(np.int64)
    # (510 v + 16) // 32 is 255 v / 16 rounded half up, in integers
    images = ((510 * grey + 16) // 32).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    order = np.argsort(_random(0).random(len(labels)), kind="stable")
    return _cut(images[order], labels[order])


# --- drawn shapes ----------------------------------------------------------------------------------------------------


def _square(u: np.ndarray, v: np.ndarray, r: int) -> np.ndarray:
    return 10 * np.maximum(np.abs(u), np.abs(v)) <= 7 * r


def _ellipse(u: np.ndarray, v: np.ndarray, r: int) -> np.ndarray:
    return 9 * u * u + 25 * v * v <= 9 * r * r


def _triangle(u: np.ndarray, v: np.ndarray, r: int) -> np.ndarray:
    """Equilateral, circumradius r, one corner at angle 0; 71/41 is the square root of 3 to 0.02 %."""
    return (2 * u >= -r) & (41 * u + 71 * np.abs(v) <= 41 * r)


def _cross(u: np.ndarray, v: np.ndarray, r: int) -> np.ndarray:
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return (20 * long <= 19 * r) & (10 * short <= 3 * r)


def _drop(u: np.ndarray, v: np.ndarray, r: int) -> np.ndarray:
    """A disc of radius r/2 around (-r/2, 0) and the two tangents to it that meet at the tip (r, 0).

    The tangent points are at (-r/3, +- 0.471 r); 99/70 is the square root of 2, so that the flank 2 sqrt(2) |v| = r - u
    becomes 99 |v| <= 35 (r - u).
    """
    disc = (2 * u + r) ** 2 + 4 * v * v <= r * r
    tip = (3 * u >= -r) & (99 * np.abs(v) <= 35 * (r - u))
    return disc | tip


_Shape = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
_KINDS: tuple[_Shape, ...] = (_square, _ellipse, _triangle, _cross)


def _draw(image: np.ndarray, shape: _Shape, x: int, y: int, radius: int, angle: int) -> None:
    """Add to `image` (SIDE, SIDE) int64 how many of each pixel's 16 samples lie inside the shape.

    The shape is centred at (x, y), extends at most `radius` from there (both in 1/64 pixel, y downwards) and is turned
    by `angle` (1/1024 turn, clockwise on the screen). A sample p is inside when the shape's formula holds for p minus
    the centre, turned back by the angle.
    """
    left, right = max(0, (x - radius) // UNIT), min(SIDE, (x + radius) // UNIT + 1)
    top, bottom = max(0, (y - radius) // UNIT), min(SIDE, (y + radius) // UNIT + 1)
    pitch = UNIT // SAMPLES
    dx = (np.arange(left * SAMPLES, right * SAMPLES, dtype=np.int64) * pitch + pitch // 2 - x)[None, :]
    dy = (np.arange(top * SAMPLES, bottom * SAMPLES, dtype=np.int64) * pitch + pitch // 2 - y)[:, None]
    sine, cosine = _SINE[angle % TURN], _SINE[(angle + TURN // 4) % TURN]
    # an arithmetic shift rounds down, on every machine the same way
    inside = shape((cosine * dx + sine * dy) >> _SHIFT, (cosine * dy - sine * dx) >> _SHIFT, radius)
    samples = inside.reshape(bottom - top, SAMPLES, right - left, SAMPLES)
    image[top:bottom, left:right] += samples.sum(axis=(1, 3), dtype=np.int64)


def _count() -> dict[str, RawSplit]:
    """1 .. 8 shapes of random kind, angle, position and radius (2.2 to 3.8 pixels); the label is the number less one.

    The circles around the shapes keep a distance of 0.75 pixel. Each image draws its radii from its own range, so that
    the white area says less about the number.
    """

    def one(rng: np.random.Generator, image: np.ndarray) -> int:
        number = _integer(rng, 1, 9)
        low = _integer(rng, 140, 210)
        while True:
            placed: list[tuple[int, int, int]] = []
            # the first shapes may leave no room: then start again with the same number
            for _ in range(200):
                radius = low + _integer(rng, 0, 34)
                x, y = (_integer(rng, radius, SIDE * UNIT - radius + 1) for _ in range(2))
                if all((x - a) ** 2 + (y - b) ** 2 >= (radius + r + 48) ** 2 for a, b, r in placed):
                    placed.append((x, y, radius))
                    if len(placed) == number:
                        for a, b, r in placed:
                            _draw(image, _KINDS[_integer(rng, 0, len(_KINDS))], a, b, r, _integer(rng, 0, TURN))
                        return number - 1

    return _drawn(1, one)


def _location() -> dict[str, RawSplit]:
    """One shape of random kind, angle, y and radius (2 to 4 pixels); the label is its x in 16 bins of 1.5 pixels.

    The bins cover 4 <= x < 28 pixels, so that no shape is cut off at the border, which would be another cue.
    """

    def one(rng: np.random.Generator, image: np.ndarray) -> int:
        radius = _integer(rng, 2 * UNIT, 4 * UNIT + 1)
        width = (SIDE - 8) * UNIT // _BINS
        x = _integer(rng, 4 * UNIT, 4 * UNIT + _BINS * width)
        y = _integer(rng, radius, SIDE * UNIT - radius + 1)
        _draw(image, _KINDS[_integer(rng, 0, len(_KINDS))], x, y, radius, _integer(rng, 0, TURN))
        return (x - 4 * UNIT) // width

    return _drawn(2, one)


def _orientation() -> dict[str, RawSplit]:
    """One drop of random position and radius (6 to 10 pixels); the label is the direction of its tip in 16 bins of 22.5
    degrees, clockwise from the right."""

    def one(rng: np.random.Generator, image: np.ndarray) -> int:
        radius = _integer(rng, 6 * UNIT, 10 * UNIT + 1)
        x, y = (_integer(rng, radius, SIDE * UNIT - radius + 1) for _ in range(2))
        angle = _integer(rng, 0, TURN)
        _draw(image, _drop, x, y, radius, angle)
        return angle // (TURN // _BINS)

    return _drawn(3, one)


# --- shared ----------------------------------------------------------------------------------------------------------


def _random(seed: int) -> np.random.Generator:
    # PCG64 by name: the generator of `default_rng` may change
    return np.random.Generator(np.random.PCG64(seed))


def _integer(rng: np.random.Generator, low: int, high: int) -> int:
    """A uniform integer in low <= n < high."""
    return int(rng.integers(low, high))


def _drawn(seed: int, one: Callable[[np.random.Generator, np.ndarray], int]) -> dict[str, RawSplit]:
    """3,000 images, cut into the splits in the order drawn; `one` fills an image and returns its label."""
    rng = _random(seed)
    total = sum(_SPLITS.values())
    coverage = np.zeros((total, SIDE, SIDE), dtype=np.int64)
    labels = np.array([one(rng, image) for image in coverage], dtype=np.int64)
    # round half up, in integers; shapes do not overlap, so a pixel has at most 16 samples
    full = SAMPLES * SAMPLES
    images = ((510 * coverage + full) // (2 * full)).astype(np.uint8)[..., None]
    return _cut(images, labels)


def _cut(images: np.ndarray, labels: np.ndarray) -> dict[str, RawSplit]:
    """The first 800 for training, the next 200 for validation, the rest for the test."""
    cuts = {"train800": slice(0, 800), "val200": slice(800, 1000), "test": slice(1000, None)}
    return {split: RawSplit(images[part], labels[part]) for split, part in cuts.items()}


# name -> a function that gives the splits `train800`, `val200` and `test`, the same on every call and machine
LOADERS: Mapping[str, Callable[[], dict[str, RawSplit]]] = {
    "digits": _digits,
    "shapes_count": _count,
    "shapes_location": _location,
    "shapes_orientation": _orientation,
}
