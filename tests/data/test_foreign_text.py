"""Every text file of a data set as editors on other systems write it: with a byte order mark, in UTF-16, with CR."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadData
from leadline.data.label_set import open_labels
from leadline.data.layouts.detect import open_dataset

WAYS: dict[str, Callable[[str], bytes]] = {
    "marked": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "utf-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "windows": lambda text: text.replace("\n", "\r\n").encode(),
    "cr": lambda text: text.replace("\n", "\r").encode(),
}
way = pytest.mark.parametrize("written", WAYS.values(), ids=WAYS)


def pair(image: Path, depth: Path) -> None:
    for path, pixels in ((image, np.zeros((20, 64, 3), np.uint8)), (depth, np.full((20, 64), 2000, np.uint16))):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@way
def test_the_description_and_the_intrinsics(tmp_path: Path, written: Callable[[str], bytes]) -> None:
    pair(tmp_path / "images" / "0.png", tmp_path / "depth" / "0.png")
    (tmp_path / "dataset.toml").write_bytes(written("# ours\ndepth_scale = 500\n"))
    (tmp_path / "camera-intrinsics.txt").write_bytes(written("50 0 32\n0 50 10\n0 0 1\n"))
    sample = open_dataset(tmp_path, "all")[0]
    assert sample.target.max() == 4.0
    assert sample.intrinsics is not None and sample.intrinsics[0, 0] == 50


@way
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_the_lists_of_bts(tmp_path: Path, written: Callable[[str], bytes], slash: str) -> None:
    pair(tmp_path / "room" / "rgb 0.png".replace(" ", "_"), tmp_path / "room" / "d_0.png")
    lines = "/room/rgb_0.png /room/d_0.png 518.8579\n".replace("/", slash)
    (tmp_path / "nyu_test_files_with_gt.txt").write_bytes(written(lines))
    assert len(open_dataset(tmp_path, "test")) == 1
    assert open_dataset(tmp_path, "test")[0].valid.all()


@way
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_the_tables_of_densedepth(tmp_path: Path, written: Callable[[str], bytes], slash: str) -> None:
    pair(tmp_path / "data" / "a room" / "0.jpg", tmp_path / "data" / "a room" / "0.png")
    line = f"data{slash}a room{slash}0.jpg , data{slash}a room{slash}0.png\n"
    (tmp_path / "nyu2_train.csv").write_bytes(written(line))
    assert open_dataset(tmp_path, "train")[0].valid.all()


@way
def test_the_lists_of_tum(tmp_path: Path, written: Callable[[str], bytes]) -> None:
    pair(tmp_path / "rgb" / "1.0.png", tmp_path / "depth" / "1.0.png")
    for kind, slash in (("rgb", "/"), ("depth", "\\")):
        (tmp_path / f"{kind}.txt").write_bytes(written(f"# time file\n1.0 {kind}{slash}1.0.png\n"))
    assert open_dataset(tmp_path, "all")[0].target.max() == np.float32(0.4)


@way
def test_the_calibration_of_kitti(tmp_path: Path, written: Callable[[str], bytes]) -> None:
    drive = tmp_path / "2011_09_26" / "2011_09_26_drive_0001_sync"
    pair(drive / "image_02" / "data" / "0.png", drive / "proj_depth" / "groundtruth" / "image_02" / "0.png")
    rows = {"P_rect_02": "50 0 32 2 0 50 10 0 0 0 1 0", "P_rect_03": "50 0 32 -23 0 50 10 0 0 0 1 0"}
    text = "".join(f"{key}: {row}\n" for key, row in rows.items())
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_bytes(written("calib_time: 09-Jan-2012\n" + text))
    sample = open_dataset(tmp_path, "all")[0]
    assert sample.intrinsics is not None and sample.intrinsics[0, 0] == 50
    (tmp_path / "loop").symlink_to(".")
    assert len(open_dataset(tmp_path, "all")) == 1


@way
def test_the_manifest_of_a_label_set(tmp_path: Path, written: Callable[[str], bytes]) -> None:
    with pytest.raises(BadData, match=r"labels.json lacks|lacks"):
        open_labels(tmp_path)
    from leadline.data.label_set import FORMAT, MANIFEST

    said = {"format": FORMAT, "kind": "metric", "depth_scale": 1000, "shards": [], "n": 0}
    said |= {"teacher": {"name": "a"}, "data": {"name": "b"}}
    (tmp_path / MANIFEST).write_bytes(written(json.dumps(said, indent=1)))
    assert open_labels(tmp_path).kind == "metric"


@pytest.mark.parametrize("name", ["dataset.toml", "camera-intrinsics.txt"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00\xd8", "a = 1\n".encode("utf-16-le"), b"\x89PNG\0"])
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    pair(tmp_path / "images" / "0.png", tmp_path / "depth" / "0.png")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=name):
        open_dataset(tmp_path, "all")
