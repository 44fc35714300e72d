from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core.errors import BadData, MissingPackage
from leadline.data.depth_io import read_depth, read_stored, read_values, to_metres, write_depth

FORMATS = (".png", ".npy", ".npz", ".exr")
# Written by opencv 4.10: 18 rows of 3 half floats, (row + column) / 8, ZIP-compressed, in two chunks.
OPENCV_EXR = (
    "di8xAQIAAABjaGFubmVscwBjaGxpc3QAEwAAAFkAAQAAAAAAAAABAAAAAQAAAABjb21wcmVzc2lvbgBjb21wcmVzc2lvbgABAAAAA2RhdGFXaW5k"
    "b3cAYm94MmkAEAAAAAAAAAAAAAAAAgAAABEAAABkaXNwbGF5V2luZG93AGJveDJpABAAAAAAAAAAAAAAAAIAAAARAAAAbGluZU9yZGVyAGxpbmVP"
    "cmRlcgABAAAAAHBpeGVsQXNwZWN0UmF0aW8AZmxvYXQABAAAAAAAgD9zY3JlZW5XaW5kb3dDZW50ZXIAdjJmAAgAAAAAAAAAAAAAAHNjcmVlbldp"
    "bmRvd1dpZHRoAGZsb2F0AAQAAAAAAIA/ACUBAAAAAAAATgEAAAAAAAAAAAAAIQAAAHicY2jAChhwgAMOG1pqWprqmoCosb4RjoBasJMAEc4jwRAA"
    "AAAMAAAAAEBAQIBAQECAQMBA"
)


@pytest.fixture
def depth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 60, (19, 7)).astype(np.float32)


@pytest.mark.parametrize("suffix", FORMATS)
def test_depth_comes_back_as_written(tmp_path: Path, depth: np.ndarray, suffix: str) -> None:
    valid = depth > 3
    write_depth(tmp_path / f"d{suffix}", depth, valid)
    back, counts = read_depth(tmp_path / f"d{suffix}")
    assert back.dtype == np.float32 and counts.dtype == bool
    assert (counts == valid).all() and (back[~valid] == 0).all()
    assert np.abs(back - depth)[valid].max() <= (0.00051 if suffix == ".png" else 0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_given_scale_holds_for_every_format(tmp_path: Path, depth: np.ndarray, suffix: str) -> None:
    write_depth(tmp_path / f"d{suffix}", depth, scale=256)
    assert np.abs(read_depth(tmp_path / f"d{suffix}", scale=256)[0] - depth).max() < 1 / 256


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9])
def test_a_file_cut_short_is_named(tmp_path: Path, depth: np.ndarray, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    write_depth(path, depth)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadData, match=rf"cut\{suffix}.*copy it again"):
        read_depth(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_another_kind_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"text{suffix}").write_text("this is no depth map " * 20)
    with pytest.raises(BadData, match=rf"text\{suffix}"):
        read_depth(tmp_path / f"text{suffix}")


def test_missing_files_folders_and_unknown_suffixes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"gone\.png does not exist"):
        read_depth(tmp_path / "gone.png")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(BadData, match="is a folder"):
        read_depth(tmp_path / "folder.npy")
    with pytest.raises(BadData, match=r"\.png, .*not in '\.jpg'"):
        read_depth(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_pictures_for_the_eye_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "vis.png")
    with pytest.raises(BadData, match=r"vis\.png"):
        read_depth(tmp_path / "vis.png")


@pytest.mark.parametrize(
    ("name", "dtype"), [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.int32), ("a.tiff", np.float32)]
)
def test_all_grey_depths_of_pictures_are_read(tmp_path: Path, name: str, dtype: type) -> None:
    Image.fromarray(np.array([[0, 7], [100, 200]], dtype)).save(tmp_path / name)
    back, valid = read_depth(tmp_path / name, scale=10)
    assert back.tolist() == [[0, np.float32(0.7)], [10, 20]] and valid.tolist() == [[False, True], [True, True]]


def test_arrays_of_one_channel_are_squeezed_and_others_refused(tmp_path: Path) -> None:
    for shape in ((4, 5, 1), (1, 4, 5)):
        np.save(tmp_path / "a.npy", np.ones(shape, np.float64))
        assert read_depth(tmp_path / "a.npy")[0].shape == (4, 5)
    for bad in (np.ones((4, 5, 3)), np.ones(4), np.ones((0, 4)), np.array([[True]]), np.array([["x"]])):
        np.save(tmp_path / "a.npy", bad)
        with pytest.raises(BadData, match=r"a\.npy"):
            read_depth(tmp_path / "a.npy")


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BadData, match=r"a\.npy"):
        read_depth(tmp_path / "a.npy")


def test_integers_are_millimetres_and_floats_metres_unless_said(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.array([[2500]], np.int64))
    np.save(tmp_path / "f.npy", np.array([[2.5]], np.float64))
    assert read_depth(tmp_path / "i.npy")[0] == read_depth(tmp_path / "f.npy")[0] == 2.5
    assert read_depth(tmp_path / "f.npy", scale=2)[0] == 1.25


def test_nan_infinity_and_what_is_not_above_zero_are_invalid() -> None:
    depth, valid = to_metres(np.array([[np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0]]))
    assert valid.tolist() == [[False] * 5 + [True]] and depth.tolist() == [[0, 0, 0, 0, 0, 2]]


@pytest.mark.parametrize("block", [1, 7, 100, 10_000])
def test_metres_do_not_depend_on_the_parts_in_which_they_are_made(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(1, 41 * 13 + 1, dtype=np.uint16).reshape(41, 13)
    monkeypatch.setattr("leadline.data.depth_io._BLOCK", block)
    assert (to_metres(values, scale=256)[0] == (values / 256).astype(np.float32)).all()


def test_offset_scale_and_marks_follow_the_formula() -> None:
    stored = np.array([[0, 10, 255]], np.uint8)
    depth, valid = to_metres(stored, scale=25.5, offset=0.5, invalid=-1)
    assert valid.all() and np.allclose(depth, (stored + 0.5) / 25.5)
    assert to_metres(stored, scale=25.5, offset=0.5, invalid=(0, 255))[1].tolist() == [[False, True, False]]
    assert to_metres(stored, scale=25.5, offset=0.5, invalid=None)[1].all()


@pytest.mark.parametrize(
    ("dtype", "mark"),
    [("f4", 1e10), ("f4", 1e11), ("f8", 1e11), ("f2", 60000), ("f4", -1), ("u2", 65535), ("u1", 255), ("i4", -9999)],
)
def test_marks_are_known_in_every_number_type(dtype: str, mark: float) -> None:
    values = np.array([[1, 2, 3]]).astype(dtype)
    values[0, 1] = np.dtype(dtype).type(mark)
    assert to_metres(values, scale=1, invalid=(0, mark))[1].tolist() == [[True, False, True]]


def test_marks_that_a_number_type_cannot_hold_are_nowhere() -> None:
    values = np.array([[1, 2]], np.uint16)
    assert to_metres(values, invalid=(-1.0, 1e10, 1.5, float("inf"), float("nan")))[1].all()


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_impossible_scales_are_refused(scale: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale is"):
        to_metres(np.ones((1, 1)), scale=scale)
    with pytest.raises(ValueError, match="scale is"):
        write_depth(tmp_path / "a.png", np.ones((1, 1), np.float32), scale=scale)


def test_a_png_stores_nothing_for_what_it_cannot_hold_and_says_how_much(tmp_path: Path) -> None:
    depth = np.array([[65.535, 65.6, 0.001, 0.0004, np.nan]], np.float32)
    with pytest.warns(UserWarning, match=r"a\.png lost 1 of 5 pixels.*16 bits hold 65\.53 m at 1000 units"):
        write_depth(tmp_path / "a.png", depth, scale=1000)
    assert read_values(tmp_path / "a.png").tolist() == [[65535, 0, 1, 0, 0]]


@pytest.mark.parametrize(("farthest", "scale"), [(65.5, 1000), (80, 256), (300, 100)])
def test_a_png_takes_the_scale_that_holds_everything_and_states_it(
    tmp_path: Path, farthest: float, scale: float, recwarn: pytest.WarningsRecorder
) -> None:
    depth = np.array([[1.0, 20.0, farthest]], np.float32)
    write_depth(tmp_path / "a.png", depth)
    assert [str(w.message).count("1 of its pixels are farther than 65.5 m") for w in recwarn] == [1] * (farthest > 66)
    back, valid = read_depth(tmp_path / "a.png")
    assert valid.all() and np.abs(back - depth).max() <= 0.5 / scale + 1e-4
    assert read_stored(tmp_path / "a.png").scale == scale


def test_another_scale_than_the_file_states_is_refused_with_both(tmp_path: Path) -> None:
    write_depth(tmp_path / "a.png", np.ones((2, 2), np.float32), scale=256)
    with pytest.raises(BadData, match=r"a\.png says that it has 256 units.*depth_scale is 1000"):
        read_depth(tmp_path / "a.png", scale=1000)


@pytest.mark.parametrize("said", ["0", "nan", "mm", "-3"])
def test_a_scale_that_is_none_in_a_file_is_named(tmp_path: Path, said: str) -> None:
    facts = PngInfo()
    facts.add_text("leadline:depth_scale", said)
    Image.fromarray(np.ones((2, 2), np.uint16)).save(tmp_path / "a.png", pnginfo=facts)
    with pytest.raises(BadData, match=f"a.png says that it has '{said}' units"):
        read_depth(tmp_path / "a.png")


def test_writing_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.jpg"):
        write_depth(tmp_path / "a.jpg", np.ones((1, 1), np.float32))
    with pytest.raises(ValueError, match=r"\[H,W\]"):
        write_depth(tmp_path / "a.png", np.ones((1, 1, 1), np.float32))


def test_exr_of_another_program_is_read(tmp_path: Path) -> None:
    (tmp_path / "d.exr").write_bytes(base64.b64decode(OPENCV_EXR))
    values = read_values(tmp_path / "d.exr")
    assert values.dtype == np.float16 and (values == np.add.outer(np.arange(18), np.arange(3)) / 8).all()


@pytest.mark.parametrize(("names", "read"), [(("R", "Z"), True), (("left.depth", "A"), True), (("A", "B"), False)])
def test_exr_picks_the_depth_channel_and_names_the_others(tmp_path: Path, names: tuple[str, ...], read: bool) -> None:
    exr = pytest.importorskip("OpenEXR")
    channels = {name: np.full((2, 3), 7 if name in ("Z", "left.depth") else 5, np.float32) for name in names}
    exr.File({"type": exr.scanlineimage}, channels).write(str(tmp_path / "d.exr"))
    if read:
        assert (read_values(tmp_path / "d.exr") == 7).all()
    else:
        with pytest.raises(BadData, match="channels A, B"):
            read_values(tmp_path / "d.exr")


def test_exr_that_claims_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_depth(tmp_path / "d.exr", np.ones((2, 2), np.float32))
    monkeypatch.setattr("leadline.data.depth_names.MAX_PIXELS", 3)
    with pytest.raises(BadData, match="more than 3 pixels"):
        read_values(tmp_path / "d.exr")


def test_without_its_package_exr_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(MissingPackage, match=r"pip install 'leadline\[exr\]'"):
        write_depth(tmp_path / "d.exr", np.ones((2, 2), np.float32))
