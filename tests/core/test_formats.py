"""Which files are photographs: the endings that count and the formats behind them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from leadline.core.errors import BadImage
from leadline.core.formats import IMAGE_SUFFIXES, formats, guess
from leadline.core.preprocess import read_image

ROOT = Path(__file__).resolve().parents[2]
RGB = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
NAMES = {".jp": "JPEG", ".jf": "JPEG", ".ji": "JPEG", ".mpo": "JPEG", ".pgm": "PPM", ".pnm": "PPM", ".apng": "PNG"}


@pytest.mark.parametrize("ending", [ending for ending in IMAGE_SUFFIXES if ending not in (".heic", ".heif", ".hif")])
def test_every_ending_that_counts_is_read(tmp_path: Path, ending: str) -> None:
    known = {".jp2": "JPEG2000", ".j2k": "JPEG2000", ".dib": "BMP", **NAMES}
    kind = next((kind for start, kind in known.items() if ending.startswith(start)), None)
    Image.fromarray(RGB).save(tmp_path / f"a{ending}", format=kind)
    assert read_image(tmp_path / f"a{ending}").shape == RGB.shape


def test_avif_counts_where_pillow_reads_it() -> None:
    assert (".avif" in IMAGE_SUFFIXES) == features.check("avif") == ("AVIF" in formats())


def test_formats_that_start_other_programs_are_never_tried() -> None:
    assert not {"EPS", "PDF", "WMF", "FPX", "MIC"} & set(formats())


@pytest.mark.parametrize(("works", "expected"), [(True, "True (3, 2, 3)"), (False, "True refused")])
def test_heic_counts_where_its_reader_is_installed(tmp_path: Path, works: bool, expected: str) -> None:
    """A stand-in for pillow-heif, which makes one picture of any file; broken, it cannot be imported."""
    reader = """
from PIL import Image, ImageFile
class Reader(ImageFile.ImageFile):
    format = "HEIF"
    def _open(self):
        self._size, self._mode, self.tile = (2, 3), "RGB", []
    def load(self):
        self.im = Image.new("RGB", (2, 3)).im
        return self.im.pixel_access(False)
def register_heif_opener():
    Image.register_open("HEIF", Reader, lambda start: start[4:12] == b"ftypheic")
"""
    (tmp_path / "pillow_heif.py").write_text(reader if works else "raise ImportError('for another system')")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    code = (
        "import sys; from leadline.core.preprocess import IMAGE_SUFFIXES, read_image\n"
        "from leadline.core.errors import BadImage\n"
        "try: said = read_image(sys.argv[1]).shape\n"
        "except BadImage: said = 'refused'\n"
        "print('.heic' in IMAGE_SUFFIXES, said)"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.heic")],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\0\0\0\x18ftypheic", "pip install pillow-heif"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"not found\n", "a text"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", ""),
        (b"", ""),
    ],
)
def test_what_is_no_photograph_is_named_by_its_first_bytes(tmp_path: Path, start: bytes, said: str) -> None:
    assert said in guess(start) and bool(guess(start)) == bool(said)
    (tmp_path / "a.jpg").write_bytes(start or b"\0")
    with pytest.raises(BadImage, match=f"a.jpg is not an image.*(it is .*{said}|its start is damaged)"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 300 + ".jpg", "loop.jpg", "nothing.jpg", "pipe.jpg", "/dev/null"])
def test_a_name_that_no_photograph_has_is_a_bad_image(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "nothing.jpg").symlink_to("away.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImage, match=r"cannot be read|link to what is not there|a pipe, a socket or a device"):
        read_image(tmp_path / name)
