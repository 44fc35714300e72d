"""What is a photograph, and what is only a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.data.layouts.detect import described, open_dataset
from leadline.data.layouts.headers import channels_and_bits, is_measurement
from leadline.data.layouts.unlabelled import passed_over
from leadline.data.validate.check import check

PHOTO = np.arange(12 * 16 * 3, dtype=np.int64).reshape(12, 16, 3).astype(np.uint8)
GREY16 = np.full((12, 16), 3000, np.uint16)


def save(path: Path, values: np.ndarray = PHOTO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def names(root: Path) -> list[str]:
    return [key.image for key in open_dataset(root, "all", layout="unlabelled").keys]


@pytest.mark.parametrize(
    "other",
    [
        "scene_cam_00_geometry_preview/f.0.normal_cam.png", "a/velodyne_raw/1.png", "groundtruth_depth/1.png",
        "pseudo_depth/1.png", "x/normals/1.jpg", "trainannot/1.png", "Semantic/1.png", "masks/1.png",
        "Confidence/1.png", "photo_depth.png", "photo_mask.png", "photo.normal.png", "photo_vis.png",
        "depth_photo.png", "photo-label.png",
    ],
)  # fmt: skip
def test_pictures_that_names_call_measurements_are_no_photographs(tmp_path: Path, other: str) -> None:
    save(tmp_path / "photo.jpg")
    save(tmp_path / other)
    assert names(tmp_path) == ["photo.jpg"] and passed_over(tmp_path) == 1


@pytest.mark.parametrize(
    "name", ["mask.jpg", "n03724870_mask.jpg", "depth_of_field.jpg", "normal.png", "vis-a-vis.png"]
)
def test_a_photograph_may_be_called_as_it_likes(tmp_path: Path, name: str) -> None:
    save(tmp_path / "photo.jpg")
    save(tmp_path / name)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "values"),
    [("a.png", GREY16), ("a.tif", GREY16), ("a.tiff", GREY16 * np.float32(1e-3)), ("a.tif", GREY16.astype(np.int32))],
)
def test_one_channel_of_many_bits_is_never_a_photograph(tmp_path: Path, name: str, values: np.ndarray) -> None:
    save(tmp_path / "photo.png")
    save(tmp_path / "grey.png", PHOTO[..., 0])
    save(tmp_path / name, values)
    assert is_measurement(tmp_path / name)
    assert names(tmp_path) == ["grey.png", "photo.png"]


def test_headers_tell_channels_and_bits(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5\n# made by hand\n2 1\n65535\n\0\1\0\2")
    (tmp_path / "b.pgm").write_bytes(b"P5 2 1 255 ab")
    save(tmp_path / "c.png", PHOTO)
    save(tmp_path / "d.tif", PHOTO)
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    (tmp_path / "f.tif").write_bytes(b"II*")
    found = [
        channels_and_bits(tmp_path / name)
        for name in ("a.pgm", "b.pgm", "c.png", "d.tif", "e.png", "f.tif", "gone.png")
    ]
    assert found == [(1, 16), (1, 8), *[(3, 8)] * 5]


def test_a_folder_of_depth_alone_holds_no_photographs(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY16)
    with pytest.raises(BadData, match="its 1 pictures are depth maps, labels or the like"):
        open_dataset(tmp_path, layout="unlabelled")


def test_hypersims_previews_are_photographs_and_its_geometry_is_not(tmp_path: Path) -> None:
    ahead = tmp_path / "ai_001_001" / "images"
    for i in range(2):
        save(ahead / "scene_cam_00_final_preview" / f"frame.{i:04d}.tonemap.jpg")
        for what in ("depth_meters", "normal_cam", "render_entity_id"):
            save(ahead / "scene_cam_00_geometry_preview" / f"frame.{i:04d}.{what}.png")
        home = ahead / "scene_cam_00_geometry_hdf5"
        home.mkdir(exist_ok=True)
        (home / f"frame.{i:04d}.depth_meters.hdf5").write_bytes(b"HDF")
    data = open_dataset(tmp_path)
    assert [key.image.rsplit("/", 1)[1] for key in data.keys] == ["frame.0000.tonemap.jpg", "frame.0001.tonemap.jpg"]


def test_depth_that_is_not_paired_is_an_error_that_says_what_to_do(
    tmp_path: Path, rooms: list[Room], capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, rooms[:3])
    (tmp_path / "images").rename(tmp_path / "Foo")
    (tmp_path / "depth").rename(tmp_path / "Bar")
    assert described(tmp_path)[1].layout == "unlabelled"
    assert main(["data", "check", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "3 files look like depth maps" in out and "Bar/ (3, such as 000.png)" in out and "3 files" in err
    assert "no depth to look at" not in out
    assert main(["data", "ls", str(tmp_path)]) == 0 and "Bar/ (3" in capsys.readouterr().out
    (tmp_path / "dataset.toml").write_text('layout = "unlabelled"\n')
    assert check(tmp_path).ok


@pytest.mark.parametrize("name", ["a.npy", "b_depth.npz", "c.exr"])
def test_arrays_among_photographs_look_like_depth(tmp_path: Path, name: str) -> None:
    save(tmp_path / "photo.png")
    (tmp_path / name).write_bytes(b"x")
    assert not check(tmp_path).ok
    (tmp_path / name).unlink()
    assert check(tmp_path).ok


def test_photographs_alone_are_fine(tmp_path: Path) -> None:
    save(tmp_path / "photo.png")
    [finding] = check(tmp_path).findings
    assert (finding.severity, finding.what) == ("note", "no depth to look at")
