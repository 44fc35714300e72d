from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadData
from leadline.data.layouts.detect import described, open_dataset

NAME = "2011_09_26_drive_0002_sync_{}_%010d_image_02"


def write(root: Path, kinds: tuple[str, ...] = ("groundtruth_depth", "velodyne_raw"), n: int = 4) -> Path:
    for kind in ("image", "intrinsics", *kinds):
        (root / kind).mkdir(parents=True)
    for i in range(n):
        image = NAME.format("image") % i
        Image.fromarray(np.full((16, 64, 3), i, np.uint8)).save(root / "image" / f"{image}.png")
        (root / "intrinsics" / f"{image}.txt").write_text(f"{70 + i} 0 32 0 {70 + i} 8 0 0 1")
        for k, kind in enumerate(kinds):
            stored = np.full((16, 64), 256 * (i + 5 + 20 * k), np.uint16)
            Image.fromarray(stored).save(root / kind / f"{NAME.format(kind) % i}.png")
    return root


def test_the_selection_pairs_by_its_pattern_with_its_own_scale_and_cameras(tmp_path: Path) -> None:
    write(tmp_path / "val_selection_cropped")
    data = open_dataset(tmp_path / "val_selection_cropped", "all")
    assert described(tmp_path)[1].layout == "kitti_selection" and "groundtruth_depth" in data.name
    assert [data[i].target.max() for i in range(4)] == [5, 6, 7, 8]
    assert [data[i].intrinsics[0, 0] for i in range(4)] == [70, 71, 72, 73]


def test_the_validation_selection_is_the_val_part(tmp_path: Path) -> None:
    write(tmp_path / "val_selection_cropped")
    write(tmp_path / "test_depth_completion_anonymous", ("velodyne_raw",))
    assert len(open_dataset(tmp_path, "val")) == len(open_dataset(tmp_path, "test")) == 4
    assert len(open_dataset(tmp_path, "all", items="images")) == 8
    alone = open_dataset(tmp_path / "test_depth_completion_anonymous", "test")
    assert "velodyne_raw" in alone.name and alone[0].target.max() == 5


def test_measurements_are_no_photographs_for_a_teacher(tmp_path: Path) -> None:
    write(tmp_path, n=2)
    assert [key.image.split("/")[0] for key in open_dataset(tmp_path, "all", items="images").keys] == ["image"] * 2


def test_broken_intrinsics_and_names_that_do_not_match_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "intrinsics" / f"{NAME.format('image') % 0}.txt").write_text("1 2 3")
    with pytest.raises(BadData, match="is not a 3x3 matrix"):
        open_dataset(tmp_path, "all")
    for path in (tmp_path / "intrinsics").iterdir():
        path.unlink()
    assert open_dataset(tmp_path, "all")[0].intrinsics is None
    for path in (tmp_path / "groundtruth_depth").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(BadData, match="no image has a depth map in groundtruth_depth"):
        open_dataset(tmp_path, "all")
