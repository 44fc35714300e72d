"""Which layer and channel of an OpenEXR file is the depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leadline.core.errors import BadData
from leadline.data.depth_exr import choose_channel
from leadline.data.depth_io import read_values

PATH = Path("a.exr")
BLENDER = ("Combined.R", "Combined.G", "Combined.B", "Combined.A", "Depth.Z", "Mist.Z", "Normal.X", "Normal.Y")
BLENDER = tuple(f"ViewLayer.{name}" for name in (*BLENDER, "Normal.Z", "Position.X", "Position.Y", "Position.Z"))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("Y", "Z"), "Z"),
        (("R", "G", "B", "A", "Z"), "Z"),
        (("Z", "ZBack"), "Z"),
        (("Y", "A"), "Y"),
        (("V",), "V"),
        (("R",), "R"),
        (("anything",), "anything"),
        (BLENDER, "ViewLayer.Depth.Z"),
        (("ViewLayer.Depth.V", "ViewLayer.Combined.R"), "ViewLayer.Depth.V"),
        (("depth.R", "depth.G", "depth.B"), "depth.R"),
        (("Depth.X", "Depth.Y", "Depth.Z"), "Depth.Z"),
        (("R", "G", "B", "distance"), "distance"),
        (("Normal.X", "Normal.Y", "Normal.Z", "left.Z"), "left.Z"),
    ],
)
def test_the_depth_is_found_among_all_channels(names: tuple[str, ...], chosen: str) -> None:
    assert choose_channel(PATH, names, "metric", None) == chosen
    assert choose_channel(PATH, names[::-1], "metric", None) == chosen


@pytest.mark.parametrize(
    "names",
    [
        ("R", "G", "B"),
        ("Y", "RY", "BY"),
        ("X", "Y", "Z"),
        ("Normal.X", "Normal.Y", "Normal.Z"),
        ("left.Z", "right.Z"),
        ("View.Depth.Z", "View_001.Depth.Z"),
        ("Mist.Z", "Combined.R"),
        ("confidence",),
        ("A", "B"),
    ],
)
def test_where_nothing_tells_the_channels_are_listed(names: tuple[str, ...]) -> None:
    with pytest.raises(BadData, match=rf"a\.exr.*{names[0]}.*{names[-1]}.*depth_key|a\.exr holds confidence"):
        choose_channel(PATH, names, "metric", None)


@pytest.mark.parametrize("names", [("disparity",), ("disparity.Y",), ("inverse_depth",)])
def test_disparity_is_never_metres(names: tuple[str, ...]) -> None:
    with pytest.raises(BadData, match=r"a\.exr"):
        choose_channel(PATH, names, "metric", None)


def test_a_key_chooses_the_channel() -> None:
    with pytest.raises(BadData, match="holds relative_disparity"):
        choose_channel(PATH, ("disparity.Y", "Z"), "metric", "disparity.Y")
    assert choose_channel(PATH, ("R", "G", "B"), "metric", "G") == "G"
    with pytest.raises(BadData, match="no channel called 'Z'"):
        choose_channel(PATH, ("R", "G", "B"), "metric", "Z")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint32])
def test_the_chosen_channel_is_read_in_its_own_number_type(tmp_path: Path, dtype: type) -> None:
    exr = pytest.importorskip("OpenEXR")
    depth = np.arange(12).reshape(3, 4).astype(dtype)
    channels = {"Y": np.ones((3, 4), np.float32), "Z": depth, "A": np.ones((3, 4), np.float16)}
    exr.File({"type": exr.scanlineimage, "compression": exr.ZIP_COMPRESSION}, channels).write(str(tmp_path / "a.exr"))
    back = read_values(tmp_path / "a.exr")
    assert back.dtype == dtype and (back == depth).all()


def test_parts_are_looked_through_and_named(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    grey, depth = np.ones((3, 4), np.float32), np.full((3, 4), 7, np.float32)
    colour = exr.Part({"type": exr.scanlineimage, "name": "beauty"}, {"R": grey, "G": grey, "B": grey})
    exr.File([colour, exr.Part({"type": exr.scanlineimage, "name": "depth"}, {"Y": depth})]).write(
        str(tmp_path / "a.exr")
    )
    assert (read_values(tmp_path / "a.exr") == 7).all() and (read_values(tmp_path / "a.exr", key="beauty.R") == 1).all()
    exr.File([colour, exr.Part({"type": exr.scanlineimage, "name": "other"}, {"Y": depth})]).write(
        str(tmp_path / "b.exr")
    )
    with pytest.raises(BadData, match=r"beauty\.R.*other\.Y"):
        read_values(tmp_path / "b.exr")


def test_more_pixels_than_are_read_are_refused_in_any_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exr = pytest.importorskip("OpenEXR")
    large = np.ones((20, 20), np.float32)
    exr.File({"type": exr.scanlineimage}, {"Z": large}).write(str(tmp_path / "a.exr"))
    parts = [exr.Part({"type": exr.scanlineimage, "name": name}, {"Z": large}) for name in ("depth", "b")]
    exr.File(parts).write(str(tmp_path / "b.exr"))
    monkeypatch.setattr("leadline.data.depth_names.MAX_PIXELS", 100)
    for name in ("a.exr", "b.exr"):
        with pytest.raises(BadData, match="claims 20 x 20 pixels; more than 100"):
            read_values(tmp_path / name)
