"""Image files: every mode becomes RGB; what is damaged, of another format or too large is refused with its name."""

import io
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aoft_bench.data.decode import decode, image_size
from aoft_bench.utils.errors import UserError

GREY = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", Image.fromarray(GREY)),
        ("grey16.png", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("grey16.tif", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("rgb.png", Image.fromarray(GREY).convert("RGB")),
        ("alpha.png", Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (8, 8), 3)])),
        ("rgba.png", Image.merge("RGBA", [Image.fromarray(GREY)] * 3 + [Image.new("L", (8, 8), 3)])),
        ("palette.png", Image.fromarray(GREY).convert("P")),
        ("cmyk.tif", Image.merge("CMYK", [Image.new("L", (8, 8), 0)] * 3 + [Image.fromarray(255 - GREY)])),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, name, image):
    image.save(tmp_path / name)
    pixels = decode(tmp_path / name, "here")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.repeat(GREY[..., None], 3, axis=2))


def test_a_palette_with_transparency_becomes_rgb_without_a_warning(tmp_path):
    image = Image.fromarray(GREY).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "here")[..., 1], GREY)


def test_a_bilevel_image_becomes_black_and_white(tmp_path):
    Image.fromarray(GREY > 99).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "here")[..., 2], (GREY > 99) * 255)


@pytest.mark.parametrize(("dtype", "says"), [(np.float32, "floating point"), (np.int32, "32-bit pixels")])
def test_pixels_without_a_known_range_are_refused(tmp_path, dtype, says):
    Image.fromarray(GREY.astype(dtype) * 1000).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=says):
        decode(tmp_path / "a.tif", "here")


def encoded(kind: str, size: tuple[int, int] = (60, 40), **options: object) -> bytes:
    """An image file of a pattern with noise, in a format of Pillow."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[1], : size[0]]
    pattern = np.stack([x * 4, y * 6, (x * y) // 10], -1) % 256 * 0.8 + rng.normal(25, 5, (size[1], size[0], 3))
    out = io.BytesIO()
    Image.fromarray(pattern.clip(1, 255).astype(np.uint8)).save(out, kind, **options)
    return out.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """The pixels of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(content)
        return decode(path, "here")


FILES = {
    "jpeg": encoded("JPEG"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "avif": encoded("AVIF"),
    "bmp": encoded("BMP"),
    "gif": encoded("GIF"),
    "tiff": encoded("TIFF"),
    "lzw tiff": encoded("TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_whose_second_half_is_zeros_or_missing_is_refused(name, recwarn):
    content = FILES[name]
    half = len(content) // 2
    assert decoded(content).shape == (40, 60, 3)
    for damaged in (content[:half] + bytes(len(content) - half), content[:half], content[:-40]):
        with pytest.raises(UserError, match=r"/a \(here\): .*; replace the file") as raised:
            decoded(damaged)
        assert "\n" not in str(raised.value)
    decoded(content + bytes(len(content) // 200))


def test_a_png_file_whose_checksum_is_wrong_is_refused():
    """Pillow stops reading when it has all pixels, which is before their checksum."""
    flat = io.BytesIO()
    Image.new("RGB", (40, 40), (7, 7, 7)).save(flat, "PNG")
    content = flat.getvalue()
    for end in range(len(content) - 20, len(content) - 12):
        with pytest.raises(UserError, match="a .here.: "):
            decoded(content[:end] + bytes([content[end] ^ 1]) + content[end + 1 :])


def test_a_jpeg_file_without_an_end_is_refused_even_if_its_thumbnail_has_one():
    thumbnail = FILES["jpeg"]
    exif = b"\xff\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    content = thumbnail[:2] + exif + thumbnail[2:]
    assert np.array_equal(decoded(content), decoded(thumbnail))
    with pytest.raises(UserError, match=r"no end \(the JPEG marker EOI\)|truncated"):
        decoded(content[:-2] + bytes(2))


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_flat_image_is_not_taken_for_a_damaged_one(shade):
    image = Image.new("RGB", (500, 300), (shade, shade, shade))
    for kind, options in (("WEBP", {"quality": 10}), ("WEBP", {"lossless": True}), ("AVIF", {}), ("PNG", {})):
        out = io.BytesIO()
        image.save(out, kind, **options)
        assert abs(int(decoded(out.getvalue()).mean()) - shade) < 3


@pytest.mark.parametrize("kind", ["EPS", "PPM", "PDF", "ICO", "TGA", "JPEG2000"])
def test_another_format_is_never_opened(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(kind))
    for read in (lambda: decode(path, "here"), lambda: image_size(path, "here")):
        with pytest.raises(UserError, match=r"not an image of a known format \(JPEG, PNG, WEBP, BMP, GIF, TIFF"):
            read()


@pytest.mark.parametrize("side", [10_000, 20_000, 2**31 - 1])
def test_a_declared_size_that_no_image_has_is_refused(tmp_path, side):
    small = encoded("PNG")
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + small[24:29]
    path = tmp_path / "a.png"
    path.write_bytes(small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:])
    for read in (lambda: decode(path, "here"), lambda: image_size(path, "here")):
        with pytest.raises(UserError, match="declares more than 89,478,485 pixels"):
            read()
