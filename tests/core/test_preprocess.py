"""Frames in and out of a net's input; photographs of every kind people have, and files that are none."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from leadline.core.errors import BadImage
from leadline.core.preprocess import MAX_PIXELS, from_pillow, prepare, read_image, restore
from leadline.core.spec import Head, Preprocess
from leadline.predict.predictor import Predictor

RGB = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def png_of(width: int, height: int) -> bytes:
    """The start of a PNG that claims this size: enough for a reader to know it, without the pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_a_lossless_file_gives_its_pixels(tmp_path: Path, suffix: str) -> None:
    assert (read_image(saved(tmp_path / f"x.{suffix}", Image.fromarray(RGB))) == RGB).all()


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_lossy_file_gives_nearly_its_pixels(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    read = read_image(saved(tmp_path / f"x.{suffix}", Image.fromarray(flat), quality=95))
    assert read.shape == flat.shape
    assert np.abs(read.astype(int) - flat).max() <= 4


def test_the_name_does_not_decide_the_format(tmp_path: Path) -> None:
    assert (read_image(saved(tmp_path / "x.jpg", Image.fromarray(RGB), format="PNG")) == RGB).all()


def test_a_1x1_image_is_read(tmp_path: Path) -> None:
    assert (read_image(saved(tmp_path / "x.png", Image.fromarray(RGB[:1, :1]))) == RGB[:1, :1]).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_spans_0_to_255(tmp_path: Path, suffix: str) -> None:
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    read = read_image(saved(tmp_path / f"x.{suffix}", Image.fromarray(grey)))
    assert read.tolist() == [[[v] * 3 for v in (0, 1, 128, 255)]]


def test_integer_and_float_grey_are_read_on_the_16_bit_scale(tmp_path: Path) -> None:
    for values in (np.array([[0, 32896, 65535]], np.int32), np.array([[0, 32896, 65535]], np.float32)):
        read = read_image(saved(tmp_path / "x.tiff", Image.fromarray(values)))
        assert read[0, :, 0].tolist() == [0, 128, 255]


def test_float_grey_from_0_to_1_is_not_black(tmp_path: Path) -> None:
    read = read_image(saved(tmp_path / "x.tiff", Image.fromarray(np.array([[0, 0.5, 1]], np.float32))))
    assert read[0, :, 0].tolist() == [0, 128, 255]


def test_float_grey_from_0_to_255_is_not_black(tmp_path: Path) -> None:
    read = read_image(saved(tmp_path / "x.tiff", Image.fromarray(np.array([[0, 1.5, 128, 255]], np.float32))))
    assert read[0, :, 0].tolist() == [0, 2, 128, 255]


@pytest.mark.parametrize("value", [-1.0, 70000.0, np.nan])
def test_float_grey_without_a_known_scale_is_refused(tmp_path: Path, value: float) -> None:
    path = saved(tmp_path / "x.tiff", Image.fromarray(np.array([[0, value]], np.float32)))
    with pytest.raises(BadImage, match=r"x\.tiff.*0\.\.65535"):
        read_image(path)


def test_a_palette_image_gives_its_colours(tmp_path: Path) -> None:
    few = Image.fromarray(RGB).quantize(4)
    assert (read_image(saved(tmp_path / "x.png", few)) == np.array(few.convert("RGB"))).all()


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path / "x.png", image, transparency=0)
    assert read_image(path).tolist() == [[[255, 255, 255], [0, 255, 0]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    pixels = [[[90] * (len(mode) - 1) + [alpha] for alpha in (0, 255)]]
    image = Image.fromarray(np.array(pixels, np.uint8))
    assert image.mode == mode
    assert read_image(saved(tmp_path / "x.png", image)).tolist() == [[[255] * 3, [90] * 3]]


def test_a_1_bit_image_is_black_and_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_image(saved(tmp_path / "x.png", image)).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    read = read_image(saved(tmp_path / f"x.{suffix}", red))
    assert np.abs(read.astype(int) - (250, 10, 10)).max() <= 6


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_rotated_image_stands_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"x.{suffix}", Image.fromarray(RGB), exif=exif)
    read = read_image(path)
    assert read.shape[:2] == ((9, 6) if orientation >= 5 else (6, 9))
    with Image.open(path) as image:
        assert (read == np.array(ImageOps.exif_transpose(image).convert("RGB"))).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_damage_that_pillow_finds_is_a_bad_image(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = saved(tmp_path / f"x.{suffix}", Image.fromarray(pixels))
    whole, refused = path.read_bytes(), 0
    for place in range(8, len(whole), 31):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with Image.open(path) as image:
                        image.load()
            except Exception:
                refused += 1
                with pytest.raises(BadImage):
                    read_image(path)
    assert refused > 5


def test_damaged_exif_does_not_hide_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(RGB), exif=b"Exif\x00\x00XX\x00*\x00\x00\x00\x08\x00\x01")
    assert (read_image(path) == RGB).all()


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
def test_a_truncated_file_is_a_bad_image(tmp_path: Path, suffix: str, share: float) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    path = saved(tmp_path / f"x.{suffix}", Image.fromarray(pixels))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadImage, match=rf"x\.{suffix}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"empty \(0 bytes\)"), (b"hello", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image")],
)
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImage, match=rf"photo\.jpg.*{message}"):
        read_image(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"nothing\.jpg does not exist"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(BadImage, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("size", [(10_001, 10_000), (40_000, 40_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    path = tmp_path / "x.png"
    path.write_bytes(png_of(*size))
    with pytest.raises(BadImage, match="100 million pixels"):
        read_image(path)


def test_a_size_below_the_limit_is_not_refused_for_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png_of(9_500, 10_000))  # pillow itself warns from 89 million on
    with pytest.raises(BadImage, match="cut short"):
        read_image(path)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"GIF89a"]),
)
def test_no_bytes_at_all_raise_anything_but_a_bad_image(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x"
    path.write_bytes(start + content)
    try:
        assert read_image(path).dtype == np.uint8
    except BadImage as error:
        assert str(path) in str(error)


def test_a_pillow_image_is_read_as_its_file_is(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(RGB).quantize(4))
    with Image.open(path) as image:
        assert (from_pillow(image) == read_image(path)).all()


def test_real_photographs_are_read(shared_data: Path) -> None:
    for path in sorted((shared_data / "photos").rglob("*.jpg"))[:5]:
        image = read_image(path)
        assert image.dtype == np.uint8
        assert min(image.shape[:2]) >= 300
        assert image.std() > 5


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([1.0, 0.912, 0.5, 0.01]), st.booleans())
def test_any_frame_size_fits_and_comes_back(height: int, width: int, part: float, nearest: bool) -> None:
    how = Preprocess(size=(8, 12), view=(part, 1.0), resize="nearest" if nearest else "bilinear")
    frame = np.full((height, width, 3), 51, np.uint8)
    batch = prepare(frame, how)
    assert batch.shape == (1, 3, 8, 12)
    assert np.allclose(batch, 0.2)
    values, valid = restore(batch[0, 0], (height, width), how)
    assert values.shape == valid.shape == (height, width)
    assert valid.any()
    assert np.allclose(values[valid], 0.2)


def test_what_the_net_has_not_seen_is_not_valid() -> None:
    _, valid = restore(np.ones((4, 4), np.float32), (10, 10), Preprocess(size=(4, 4), view=(0.6, 0.8)))
    assert valid.sum() == 6 * 8
    assert valid[2:8, 1:9].all()


def test_numbers_that_are_not_finite_are_not_valid() -> None:
    _, valid = restore(np.full((4, 4), np.nan, np.float32), (8, 8), Preprocess(size=(4, 4)))
    assert not valid.any()


@pytest.mark.parametrize("frame", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_a_frame_of_another_form_is_an_error(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H,W,3\] is needed"):
        prepare(frame, Preprocess())


def test_depth_of_a_frame_has_its_size_and_the_kind_of_the_head() -> None:
    predictor = Predictor("white", lambda x: x[:, :1] * 10, Preprocess(), Head("relative_depth"))
    depth = predictor(np.full((5, 7, 3), 255, np.uint8))
    assert depth.values.shape == (5, 7)
    assert depth.kind == depth.unit == "relative_depth"
    assert np.allclose(depth.values, 10)
