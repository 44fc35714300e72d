"""Pictures that would fill the memory, pipes and damaged files: who opens one says so, or passes it over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.png_bomb import bomb
from support.tiny_scenes import render

from leadline.core.errors import BadData
from leadline.core.orientation import UPRIGHT
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.masks import read_mask
from leadline.data.pictures import opened_picture
from leadline.data.synthetic.dataset import _files, _refuse_other
from leadline.data.synthetic.textures import textures
from leadline.data.transforms.stereo import _size
from leadline.data.validate.leakage import _hash
from leadline.data.validate.orientation import _fit, _orientation
from leadline.predict.cameras import _read

Spoil = Callable[[Path], object]
SPOILT: dict[str, Spoil] = {
    "refused by leadline": lambda path: path.write_bytes(bomb(11_000, 10_000, 8)),
    "refused by pillow": lambda path: path.write_bytes(bomb(20_000, 20_000, 8)),
    "cut": lambda path: path.write_bytes(bomb(8, 8)[:20]),
    "empty": lambda path: path.write_bytes(b""),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "missing": lambda path: None,
}
READS: dict[str, tuple[Callable[[Path], Any], object]] = {
    "stereo": (_size, None),
    "leakage": (lambda path: _hash(path.parent, Dataset("d", (Frame("a", path.name),), _no_item), 0), None),
    "turned": (_orientation, UPRIGHT),
    "fit": (lambda path: _fit(path.parent, Frame("a", path.name, path.name), 6), "cannot be read"),
    "camera": (_read, (UPRIGHT, {})),
}
on_what = pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)


def _no_item(key: object) -> Any:
    raise AssertionError(key)


@on_what
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(("read", "answer"), READS.values(), ids=READS)
def test_what_only_looks_passes_them_over(
    tmp_path: Path, read: Callable[[Path], Any], answer: object, name: str, spoil: Spoil
) -> None:
    spoil(tmp_path / name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read(tmp_path / name) == answer
    assert not said


@on_what
def test_a_mask_is_refused_in_one_line(tmp_path: Path, spoil: Spoil) -> None:
    spoil(tmp_path / "a.png")
    with pytest.raises(BadData, match=r"a\.png cannot be read as a mask \(.+\); copy it again, or ") as caught:
        read_mask(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


@on_what
def test_textures_are_made_of_the_other_photographs(tmp_path: Path, spoil: Spoil) -> None:
    Image.fromarray(render(0)[0]).save(tmp_path / "b.png")
    alone = textures(tmp_path)
    textures.cache_clear()
    spoil(tmp_path / "a.png")
    assert np.array_equal(textures(tmp_path).texels, alone.texels)


def test_a_picture_up_to_the_limit_is_opened_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb(10_000, 10_000, 8))
    with opened_picture(tmp_path / "a.png", ("PNG",)) as picture:
        assert picture.size == (10_000, 10_000)
    with pytest.raises(OSError, match="cannot identify"), opened_picture(tmp_path / "a.png", ("JPEG",)):
        pass


@on_what
def test_a_folder_of_synthetic_scenes_with_a_spoilt_one_is_not_written_to(tmp_path: Path, spoil: Spoil) -> None:
    image, depth = render(0)
    firsts = {"room": Item(image, depth, depth > 0, "0")}
    spoilt = _files(tmp_path, ("room", 0), False)[0]
    spoilt.parent.mkdir(parents=True)
    (tmp_path / "dataset.toml").write_text("as before")
    _refuse_other(tmp_path, "as before", firsts, False)
    spoil(spoilt)
    if os.path.lexists(spoilt):
        with pytest.raises(BadData, match=r"\.jpg cannot be read: .+; choose another folder or remove this one"):
            _refuse_other(tmp_path, "as before", firsts, False)
    (tmp_path / "dataset.toml").write_bytes(b"\0\xff no text")
    with pytest.raises(BadData, match=r"dataset\.toml cannot be read: it is not text in UTF-8"):
        _refuse_other(tmp_path, "as before", firsts, False)
