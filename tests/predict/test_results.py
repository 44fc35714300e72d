"""Results on disk: what each format holds, and names that never collide."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leadline.core.types import Depth
from leadline.predict.cameras import Seen, by_view
from leadline.predict.writers import FORMATS, Saver, output_names, write_ply

VALUES = np.array([[0.5, 1.2344, 70.0], [2.0, 3.0, 4.0]], np.float32)
VALID = np.array([[True, True, True], [True, True, False]])
METRIC = Depth(VALUES, valid=VALID)
FRAME = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def saver(*formats: str, kind: str = "metric", **options: float) -> Saver:
    return Saver(formats, "net", kind, **options)  # type: ignore[arg-type]


def test_png16_holds_millimetres_and_zero_for_none(tmp_path: Path) -> None:
    near = Depth(np.minimum(VALUES, 60), valid=VALID)
    (path,) = saver("png16").write(tmp_path, "a", FRAME, near)
    with Image.open(path) as image:
        assert image.mode == "I;16" and image.info["leadline:depth_scale"] == "1000"
        assert np.array(image).tolist() == [[500, 1234, 60000], [2000, 3000, 0]]


def test_png16_of_what_millimetres_cannot_hold_has_another_scale_and_says_so(tmp_path: Path) -> None:
    from leadline.data.depth_io import read_depth

    with pytest.warns(UserWarning, match="a_depth.png has 256 units per metre.*1 of its pixels"):
        (path,) = saver("png16").write(tmp_path, "a", FRAME, METRIC)
    depth, valid = read_depth(path)
    assert (valid == VALID).all() and np.abs(depth - VALUES)[VALID].max() < 1 / 256


def test_npy_holds_metres_and_zero_for_none(tmp_path: Path) -> None:
    (path,) = saver("npy").write(tmp_path, "a", FRAME, METRIC)
    stored = np.load(path, allow_pickle=False)
    assert stored.dtype == np.float32
    assert (stored == np.where(VALID, VALUES, 0)).all()


def test_relative_values_of_zero_and_less_survive(tmp_path: Path) -> None:
    depth = Depth(VALUES - 1, "relative_disparity", VALID)
    npy, npz = saver("npy", "npz", kind="relative_disparity").write(tmp_path, "a", FRAME, depth)
    assert np.array_equal(np.load(npy), np.where(VALID, VALUES - 1, np.nan), equal_nan=True)
    with np.load(npz, allow_pickle=False) as stored:
        assert sorted(stored.files) == ["kind", "relative_disparity", "unit", "valid"]  # never depth
        assert str(stored["kind"]) == "relative_disparity"
        assert (stored["valid"] == VALID).all()


def test_metric_results_are_read_back_as_data(tmp_path: Path) -> None:
    from leadline.data.depth_io import read_depth

    for path in saver("npy", "npz").write(tmp_path, "a", FRAME, METRIC):
        depth, valid = read_depth(path)
        assert (valid == VALID).all()
        assert (depth == np.where(VALID, VALUES, 0)).all()


def test_side_is_the_photograph_beside_its_depth(tmp_path: Path) -> None:
    vis, side = saver("vis", "side").write(tmp_path, "a", FRAME, METRIC)
    left, right = np.split(np.asarray(Image.open(side)), [FRAME.shape[1]], axis=1)
    assert (left == FRAME).all() and (right == np.asarray(Image.open(vis))).all()


def test_vis_says_what_it_shows(tmp_path: Path) -> None:
    (path,) = saver("vis", vmax=5.0).write(tmp_path, "a", FRAME, METRIC)
    with Image.open(path) as image:
        assert image.mode == "RGB"
        facts = {key: value for key, value in image.info.items() if key.startswith("leadline:")}
    assert facts == {"leadline:model": "net", "leadline:kind": "metric", "leadline:unit": "m", "leadline:range": "0 5"}


def test_ply_holds_coloured_points_in_metres(tmp_path: Path) -> None:
    (path,) = saver("ply", fov=90.0).write(tmp_path, "a", FRAME, METRIC)
    header, _, body = path.read_bytes().partition(b"end_header\n")
    assert b"format binary_little_endian 1.0\n" in header and b"element vertex 5\n" in header
    assert re.findall(rb"property (\w+) (\w+)", header) == [
        *((b"float", axis) for axis in (b"x", b"y", b"z")),
        *((b"uchar", colour) for colour in (b"red", b"green", b"blue")),
    ]
    points = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert (points["xyz"][:, 2] == VALUES[VALID]).all()
    assert (points["rgb"] == FRAME[VALID]).all()
    # fov 90 degrees over 3 pixels: focal length 1.5, middle at (1, 0.5)
    assert np.allclose(points["xyz"][0], [-1 / 1.5 * 0.5, -0.5 / 1.5 * 0.5, 0.5])


@pytest.mark.slow
def test_another_program_reads_the_ply(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    (path,) = saver("ply").write(tmp_path, "a", FRAME, METRIC)
    cloud = trimesh.load(path)
    assert np.allclose(cloud.vertices[:, 2], VALUES[VALID])
    assert (cloud.colors[:, :3] == FRAME[VALID]).all()


def test_a_ply_without_points_is_still_a_ply(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", FRAME, Depth(VALUES, valid=np.zeros_like(VALID)), Seen(by_view((2, 3), 58), "x"))
    assert b"element vertex 0\n" in (tmp_path / "a.ply").read_bytes()


@pytest.mark.parametrize("name", ["png16", "ply"])
def test_metric_formats_refuse_what_has_no_unit(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is in metres.*relative_depth.*save npy"):
        saver(name, kind="relative_depth")


@pytest.mark.parametrize(
    ("formats", "options", "message"),
    [
        (("gif",), {}, "one or more of png16, npy, npz, vis, side, ply"),
        ((), {}, "one or more of"),
        (("ply",), {"fov": 180.0}, "between 0 and 180"),
        (("vis",), {"vmin": 3.0, "vmax": 2.0}, "vmin < vmax"),
        (("vis",), {"colormap": "nope"}, "unknown to matplotlib"),
    ],
)
def test_what_cannot_be_honoured_is_refused_before_any_work(
    formats: tuple[str, ...], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        saver(*formats, **options)


def test_files_that_share_a_stem_get_names_of_their_own() -> None:
    paths = [Path("a.jpg"), Path("a.png"), Path("A.JPG"), Path("b/a.jpg"), Path("a_png.jpg")]
    assert output_names(paths, Path("out"), ["_vis.png"]) == ["a", "a_png", "A_JPG", "a_jpg_2", "a_png_jpg"]


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jpg", tmp_path / "a_vis.png"]
    names = output_names(paths, tmp_path, ["_vis.png"])
    assert not {tmp_path / f"{name}_vis.png" for name in names} & set(paths)


def test_an_input_behind_a_link_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    paths = [tmp_path / "a.jpg", tmp_path / "real" / "a_vis.png"]
    assert output_names(paths, tmp_path / "link", ["_vis.png"])[0] != "a"


@settings(max_examples=20)
@given(st.lists(st.from_regex(r"(x/)?[aA](_jpg)?(_vis)?\.(jpg|png)", fullmatch=True), max_size=6))
def test_no_two_results_and_no_result_and_input_share_a_file(names: list[str]) -> None:
    paths = [Path(name) for name in names]
    endings = [ending for ending, _ in FORMATS.values()]
    for out in (Path(), Path("x"), Path("out")):
        chosen = output_names(paths, out, endings)
        results = [f"{(out / name).resolve()}{ending}".casefold() for name in chosen for ending in endings]
        assert len(set(results)) == len(results) == len(paths) * len(endings)
        assert not set(results) & {str(path.resolve()).casefold() for path in paths}


@pytest.mark.parametrize("ending", ["npy", "npz", "ply", "vis"])
def test_of_a_result_that_cannot_be_finished_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    name, writer = FORMATS[ending]

    def halfway(path: Path, frame: np.ndarray, depth: Depth, of: Saver) -> None:
        writer(path, frame, depth, of)
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, ending, (name, halfway))
    with pytest.raises(OSError, match="No space"):
        saver(ending).write(tmp_path, "a", FRAME, METRIC)
    assert list(tmp_path.iterdir()) == []
