"""A folder of depth maps as a teacher: which map is for which picture, and what its numbers are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.core.errors import BadData
from leadline.data.batch import Batch
from leadline.data.depth_io import write_depth
from leadline.distill.options import ExternalModel
from leadline.distill.teachers import open_teacher, with_test_time_augmentation


def batch(height: int = 48, width: int = 64, n: int = 2) -> Batch:
    return Batch(torch.rand(n, 3, height, width), None, None, tuple(f"rgb/{i:03d}" for i in range(n)))


def write_maps(folder: Path, kind: str) -> Path:
    (folder / kind).mkdir(exist_ok=True)
    for i in range(2):
        depth = np.linspace(1, 2, 24 * 32, dtype=np.float32).reshape(24, 32) + i
        depth[0] = 0
        write_depth(folder / kind / f"{i:03d}.png", depth, scale=256)
    return folder / kind


def test_a_folder_of_depth_maps_answers_by_name(tmp_path: Path) -> None:
    (tmp_path / "pseudo_depth").mkdir()
    root = write_maps(tmp_path, "pseudo_depth")
    teacher = open_teacher(root, ExternalModel(kind="metric", depth_scale=256))
    seen = batch(n=3)
    depth, confidence, _ = teacher(seen)
    assert float(depth[0, 0, 10:].mean()) == pytest.approx(float(depth[1, 0, 10:].mean()) - 1, abs=0.01)
    assert torch.isnan(depth[2]).all() and torch.isnan(depth[:, :, 0]).all() and (confidence[2] == 0).all()
    with pytest.raises(ValueError, match=r"knows whole pictures only"):
        with_test_time_augmentation(teacher)


def test_maps_in_folders_are_for_the_pictures_of_the_same_path(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    np.save(tmp_path / "1" / "a.npy", np.full((6, 8), 2.0))
    np.save(tmp_path / "b.npy", np.full((6, 8), 3.0))
    teacher = open_teacher(tmp_path, ExternalModel(kind="relative_depth"))
    seen = batch(n=4)
    depth = teacher(replace(seen, name=("1/a", "2/a", "2/b", "a"))).depth
    assert [float(d.nan_to_num().mean()) for d in depth] == [2, 0, 3, 0]
    with pytest.raises(ValueError, match=r"b.npy is \(6, 8\), the picture b \(48, 32\): not one shape"):
        teacher(replace(batch(48, 32, n=1), name=("b",)))
    before = teacher.facts["listing"]
    np.save(tmp_path / "b.npy", np.full((6, 8), 4.0))
    assert open_teacher(tmp_path, ExternalModel(kind="relative_depth")).facts["listing"] != before


def test_only_in_integers_a_disparity_of_0_is_no_value(tmp_path: Path) -> None:
    values = np.array([[-1, 0], [1, np.nan]])
    np.save(tmp_path / "000.npy", values)
    np.save(tmp_path / "001.npy", np.array([[0, 1], [2, 3]], np.uint16))
    teacher = open_teacher(tmp_path, ExternalModel(kind="relative_disparity"))
    depth = teacher(batch(2, 2)).depth[:, 0]
    assert np.array_equal(depth[0].numpy(), values, equal_nan=True)
    assert torch.isnan(depth[1]).tolist() == [[True, False], [False, False]]


def test_a_folder_that_says_too_little_or_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "empty").mkdir()
    root = write_maps(tmp_path, "a")
    for file in root.iterdir():  # as other programs write them
        Image.fromarray(np.asarray(Image.open(file))).save(file)
    with pytest.raises(ValueError, match=r"nothing says what their numbers are"):
        open_teacher(root)
    with pytest.raises(ValueError, match=r"units per metre"):
        open_teacher(root, ExternalModel(kind="metric"))
    np.save(root / "000.npy", np.ones((24, 32)))
    with pytest.raises(BadData, match=r"are for one picture, '000'"):
        open_teacher(root, ExternalModel(kind="relative_depth"))
    with pytest.raises(BadData, match=r"neither config.json"):
        open_teacher(tmp_path / "empty")


def test_a_map_that_has_gone_is_no_bad_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((48, 64), 2.0))
    teacher = open_teacher(tmp_path, ExternalModel(kind="relative_depth"))
    (tmp_path / "a.npy").unlink()
    with pytest.raises(OSError, match=r"a\.npy was there a while ago"):
        teacher(replace(batch(n=1), name=("a",)))


def test_files_that_say_what_they_are_need_no_flags(tmp_path: Path) -> None:
    teacher = open_teacher(write_maps(tmp_path, "a"))
    assert teacher.kind == "metric"
    assert float(teacher(batch(n=1)).depth.nan_to_num().max()) == pytest.approx(2, abs=0.01)
    with pytest.raises(BadData, match=r"says that it has 256 units per metre, and depth_scale is 1000"):
        open_teacher(tmp_path / "a", ExternalModel(kind="metric", depth_scale=1000))(batch(n=1))
    with pytest.raises(BadData, match=r"holds metric, and relative_disparity is asked for"):
        open_teacher(tmp_path / "a", ExternalModel(kind="relative_disparity"))(batch(n=1))


def test_results_of_a_relative_net_are_a_teacher_of_their_kind(tmp_path: Path) -> None:
    disparity = np.array([[0.0, -1.0], [2.0, np.nan]], np.float32)
    facts = {"valid": np.isfinite(disparity), "kind": np.array("relative_disparity"), "unit": np.array("")}
    np.savez(tmp_path / "000.npz", relative_disparity=disparity, **facts)
    teacher = open_teacher(tmp_path)
    assert teacher.kind == "relative_disparity"
    assert np.array_equal(teacher(batch(2, 2, n=1)).depth[0, 0].numpy(), disparity, equal_nan=True)


def test_a_metric_map_of_impossible_depth_is_no_answer(tmp_path: Path) -> None:
    np.save(tmp_path / "000.npy", np.full((48, 64), 1e10, np.float32))
    with pytest.raises(BadData, match=r"000\.npy: 3072 of 3072 pixels are farther than 1000 m, up to 1e\+10 m"):
        open_teacher(tmp_path, ExternalModel(kind="metric", depth_scale=1.0))(batch(n=1))
