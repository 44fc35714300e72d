from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.stereo_drive import write_drive

from leadline.core.errors import BadData
from leadline.data.layouts.detect import open_dataset

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0005_sync"
CALIBRATION = (
    "calib_time: 09-Jan-2012 13:57:47\n"
    "S_rect_02: 1.280000e+02 4.000000e+01\n"
    "P_rect_02: 7.0e+01 0 6.0e+01 4.5e+00 0 7.0e+01 1.9e+01 2e-01 0 0 1 3e-03\n"
    "P_rect_03: 7.0e+01 0 6.0e+01 -3.3e+01 0 7.0e+01 1.9e+01 2e+00 0 0 1 3e-03\n"
)


def picture(path: Path, value: int, size: tuple[int, int] = (20, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def sparse(path: Path, metres: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((20, 64), np.uint16)
    values[::4, ::4] = round(metres * 256)
    Image.fromarray(values).save(path)


def write_raw(root: Path, n: int = 10, kind: str = "velodyne_raw") -> Path:
    home = root / DATE / DRIVE
    for i in range(n):
        picture(home / "image_02" / "data" / f"{i:010d}.png", i)
        picture(home / "image_03" / "data" / f"{i:010d}.png", 100 + i)
        if i % 2 == 0:
            sparse(home / "proj_depth" / kind / "image_02" / f"{i:010d}.png", 5 + i)
    (root / DATE / "calib_cam_to_cam.txt").write_text(CALIBRATION)
    return home


def test_sparse_depth_is_read_with_the_calibration_of_its_date(tmp_path: Path) -> None:
    write_raw(tmp_path)
    data = open_dataset(tmp_path)
    assert [int(key.name[-2:]) for key in data.keys] == [0, 2, 4, 6] and "velodyne_raw" in data.name
    sample = data[1]
    assert sample.valid.sum() == 80 and sample.target.max() == 7 and sample.right is None and sample.baseline_m is None
    assert sample.intrinsics[0, 0] == 35 and sample.intrinsics[1, 1] == 35  # the images have half the calibrated size


def test_pairs_have_a_right_image_and_a_baseline_even_without_depth(tmp_path: Path) -> None:
    write_raw(tmp_path)
    data = open_dataset(tmp_path, "test", items="pairs")
    assert len(data) == 2
    left, right = data[0], data[1]
    assert left.right.max() == 108 and left.image.max() == 8 and left.baseline_m == pytest.approx(37.5 / 70)
    assert left.valid.any() and not right.valid.any() and not right.target.any()


def test_a_pair_and_its_depth_are_in_the_same_part(tmp_path: Path) -> None:
    write_raw(tmp_path, 31)
    pairs = {key.name for key in open_dataset(tmp_path, "train", items="pairs").keys}
    assert {key.name for key in open_dataset(tmp_path, "train").keys} <= pairs
    assert not {key.name for key in open_dataset(tmp_path, "test").keys} & pairs


@pytest.mark.parametrize("below", [".", DATE, f"{DATE}/{DRIVE}"])
def test_a_date_or_a_drive_may_be_opened_itself(tmp_path: Path, below: str) -> None:
    write_raw(tmp_path)
    data = open_dataset(tmp_path / below, "all")
    assert len(data) == 5 and data[0].intrinsics is not None


def test_cleaned_depth_is_preferred_and_lies_in_the_benchmarks_folders(tmp_path: Path) -> None:
    write_raw(tmp_path)
    other = "2011_09_26_drive_0009_sync"
    for i in range(3):
        picture(tmp_path / DATE / other / "image_02" / "data" / f"{i:010d}.png", i)
    for part, drive in (("train", DRIVE), ("val", other)):
        for i in (1, 2):
            truth = tmp_path / "data_depth_annotated" / part / drive / "proj_depth" / "groundtruth" / "image_02"
            sparse(truth / f"{i:010d}.png", 20)
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, "test")
    assert "groundtruth" in train.name and {key.name.split("/")[1] for key in train.keys} == {DRIVE}
    assert [key.name.split("/")[1] for key in test.keys] == [other, other] and test[0].target.max() == 20


def test_without_calibration_there_are_no_intrinsics_and_a_broken_one_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path)
    (tmp_path / DATE / "calib_cam_to_cam.txt").write_text("P_rect_02: 1 2 3\n")
    with pytest.raises(BadData, match=r"calib_cam_to_cam\.txt lacks P_rect"):
        open_dataset(tmp_path)
    nothing = " ".join(["0"] * 12)
    (tmp_path / DATE / "calib_cam_to_cam.txt").write_text(f"P_rect_02: {nothing}\nP_rect_03: {nothing}\n")
    with pytest.raises(BadData, match=r"calib_cam_to_cam\.txt lacks P_rect.*focal lengths are 0 and 0"):
        open_dataset(tmp_path)
    (tmp_path / DATE / "calib_cam_to_cam.txt").unlink()
    sample = open_dataset(tmp_path, items="pairs")[0]
    assert sample.intrinsics is None and sample.baseline_m is None and sample.right is not None


def test_left_and_right_of_different_sizes_are_refused(tmp_path: Path) -> None:
    home = write_raw(tmp_path)
    picture(home / "image_03" / "data" / f"{0:010d}.png", 1, (10, 64))
    with pytest.raises(BadData, match="64 wide, 20 high and right 64 wide, 10 high"):
        open_dataset(tmp_path, items="pairs")[0]


def test_the_eigen_lists_skip_rows_without_depth(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    lines = []
    for i in range(3):
        truth = f"{DRIVE}/proj_depth/groundtruth/image_02/{i:010d}.png"
        sparse(tmp_path / "data_depth_annotated" / "train" / truth, 10 + i)
        lines.append(f"{DATE}/{DRIVE}/image_02/data/{i:010d}.png {truth if i != 1 else 'None'} 721.5377")
    (tmp_path / "kitti_eigen_test_files_with_gt.txt").write_text("\n".join(lines))
    (tmp_path / "kitti_eigen_train_files_with_gt.txt").write_text(lines[0])
    data = open_dataset(tmp_path, "test")
    assert [data[i].target.max() for i in range(len(data))] == [10, 12]
    assert len(open_dataset(tmp_path)) == 1 and data[0].intrinsics[0, 0] == 35
    (tmp_path / "kitti_eigen_test_files_with_gt.txt").write_text("a.png b.png 1 2")
    with pytest.raises(BadData, match="should be: image depth focal"):
        open_dataset(tmp_path)


def test_the_real_drive_has_its_published_baseline(shared_data: Path) -> None:
    data = open_dataset(shared_data / "drive", "all", items="pairs")
    sample = data[0]
    assert len(data) == 154 and sample.baseline_m == pytest.approx(0.5327, abs=1e-3)
    assert sample.right.shape == sample.image.shape == (187, 621, 3)
    assert sample.intrinsics[0, 0] == pytest.approx(360.7688)


@pytest.mark.parametrize("calibrated", [True, False])
def test_drives_without_depth_say_what_is_missing(calibrated: bool, tmp_path: Path) -> None:
    write_drive(tmp_path)
    drive = next(tmp_path.glob("*/*_sync"))
    shutil.rmtree(drive / "proj_depth")
    if not calibrated:
        (drive.parent / "calib_cam_to_cam.txt").unlink()
    with pytest.raises(BadData, match=r"has 3 images and no depth map for any of them: looked for proj_depth") as error:
        open_dataset(tmp_path)
    assert ("calib_cam_to_cam.txt, which is missing" in str(error.value)) != calibrated
    assert len(open_dataset(tmp_path, "all", items="images")) == 3
