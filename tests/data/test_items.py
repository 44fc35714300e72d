"""`items = "images"`: a data set's images without depth, in the part where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_scenes import render, write_folder
from test_kitti import write_raw
from test_scenes7 import write_sequence as write_scene
from test_tum import write_sequence as write_tum

from leadline.data.layouts.detect import open_dataset


def plain(root: Path) -> None:
    write_folder(root, [render(seed, size=(12, 16)) for seed in range(10)])
    for i in range(10):
        if i % 2:
            (root / "depth" / f"{i:03d}.png").unlink()


def listed(root: Path) -> None:
    plain(root)
    (root / "train.txt").write_text("000\n002\n")
    (root / "test.txt").write_text("004\n006\n008\n")


def in_parts(root: Path) -> None:
    for part, seeds in (("train", range(6)), ("test", range(6, 10))):
        write_folder(root / part, [render(seed, size=(12, 16)) for seed in seeds])
        (root / part / "depth" / "000.png").unlink()


def scene(root: Path) -> None:
    write_scene(root / "seq-01", range(10))
    for i in range(1, 10, 2):
        (root / "seq-01" / f"frame-{i:06d}.depth.png").unlink()


def kinect(root: Path) -> None:
    write_tum(root, [float(i) for i in range(10)], [float(i) for i in range(0, 10, 2)])


def benchmark(root: Path) -> None:
    """Depth of one drive in the benchmark's `train`, of another in its `val`."""
    for drive, part in (("drive_0001_sync", "train"), ("drive_0002_sync", "val")):
        write_raw(root / drive)
        (own,) = (root / drive).glob("*/*_sync")
        home = root / own.parent.name / f"{own.parent.name}_{drive}"
        home.parent.mkdir(exist_ok=True)
        own.rename(home)
        depth = root / "data_depth_annotated" / part / home.name / "proj_depth" / "groundtruth"
        depth.parent.mkdir(parents=True)
        (home / "proj_depth" / "velodyne_raw").rename(depth)


@pytest.mark.parametrize("write", [plain, listed, in_parts, scene, kinect, write_raw, benchmark])
def test_every_image_is_there_once_and_those_with_depth_stay_in_their_part(write: object, tmp_path: Path) -> None:
    write(tmp_path)  # type: ignore[operator]
    n = len({*tmp_path.rglob("*.png")} - {*tmp_path.rglob("*depth*/**/*.png")} - {*tmp_path.rglob("*.depth.png")})
    n -= len({*tmp_path.rglob("image_03/data/*.png")})
    measured = {part: open_dataset(tmp_path, part).keys for part in ("train", "test")}
    every = {part: open_dataset(tmp_path, part, items="images").keys for part in ("train", "test")}
    assert len({key.image for part in every.values() for key in part}) == sum(map(len, every.values())) == n
    for part, keys in measured.items():
        assert {key for key in every[part] if key.depth} == set(keys)
    assert sum(map(len, measured.values())) < n
    sample = next(open_dataset(tmp_path, "all", items="images").read(key) for key in every["train"] if not key.depth)
    assert not sample.valid.any()


@pytest.mark.parametrize("write", [listed, scene, benchmark])
def test_an_image_without_depth_is_where_its_neighbour_is(write: object, tmp_path: Path) -> None:
    write(tmp_path)  # type: ignore[operator]
    part = {key.image: name for name in ("train", "test") for key in open_dataset(tmp_path, name, items="images").keys}
    order = sorted(part)
    depth = {key.image for key in open_dataset(tmp_path, "all").keys}
    before = order[0]
    for image in order:
        before = image if image in depth else before
        assert part[image] == part[before]


def test_the_head_of_a_drive_belongs_to_its_drive_and_a_drive_without_depth_to_train(tmp_path: Path) -> None:
    """KITTI's drives have no ground truth for their first frames."""
    benchmark(tmp_path)
    write_raw(tmp_path / "new", n=2)
    for depth in [
        *tmp_path.rglob("groundtruth/image_02/0000000000.png"),
        *tmp_path.rglob("new/**/velodyne_raw/**/*.png"),
    ]:
        depth.unlink()
    part = {key.name: name for name in ("train", "test") for key in open_dataset(tmp_path, name, items="images").keys}
    assert {name for name, own in part.items() if own == "test"} == {name for name in part if "drive_0002" in name}


def test_a_scene_that_the_published_list_keeps_for_tests_stays_there_without_depth(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_scene(tmp_path / f"seq-{number:02d}", range(3))
    for depth in (tmp_path / "seq-02" / "frame-000000.depth.png", *(tmp_path / "seq-03").glob("*.depth.png")):
        depth.unlink()
    (tmp_path / "TestSplit.txt").write_text("sequence2\nsequence3\n")
    test = open_dataset(tmp_path, "test", items="images").keys
    assert {key.camera for key in test} == {"seq-02", "seq-03"} and len(test) == 6
    assert len(open_dataset(tmp_path, "train", items="images")) == 3


def test_images_beside_the_parts_are_to_learn_from(tmp_path: Path) -> None:
    for part in ("train", "test", "extra"):
        write_folder(tmp_path / "made" / part, [render(seed, size=(12, 16)) for seed in range(3)])
        for kind in ("images", "depth"):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "made" / part / kind).rename(tmp_path / "data" / kind / part)
    for depth in (tmp_path / "data" / "depth" / "extra").iterdir():
        depth.unlink()
    keys = {name: open_dataset(tmp_path / "data", name, items="images").keys for name in ("train", "test")}
    assert {key.name.split("/")[0] for key in keys["train"]} == {"train", "extra"}
    assert {key.name.split("/")[0] for key in keys["test"]} == {"test"}
