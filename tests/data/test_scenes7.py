from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadData
from leadline.data.layouts.detect import open_dataset

EYE = np.eye(4)


def write_sequence(folder: Path, frames: range, suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    for i in frames:
        Image.fromarray(np.full((48, 64, 3), i, np.uint8)).save(folder / f"frame-{i:06d}.color{suffix}")
        Image.fromarray(np.array([[0, 65535], [1500, 1000 + i]], np.uint16).repeat(24, 0).repeat(32, 1)).save(
            folder / f"frame-{i:06d}.depth.png"
        )
        np.savetxt(folder / f"frame-{i:06d}.pose.txt", EYE)


def test_one_scene_splits_in_order_and_knows_both_marks_for_no_depth(tmp_path: Path) -> None:
    write_sequence(tmp_path / "seq-01", range(10), ".jpg")
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, "test")
    assert [key.name for key in test.keys] == ["seq-01/frame-000008", "seq-01/frame-000009"] and len(train) == 8
    sample = train[3]
    assert np.unique(sample.target).tolist() == [0, np.float32(1.003), 1.5] and sample.valid.mean() == 0.5
    assert sample.intrinsics[0, 0] == 58.5 and sample.intrinsics[1, 2] == pytest.approx(23.55)


def test_the_published_lists_split_by_sequence(tmp_path: Path) -> None:
    for scene in ("chess", "fire"):
        for number in (1, 2, 3):
            write_sequence(tmp_path / scene / f"seq-{number:02d}", range(2))
        (tmp_path / scene / "TrainSplit.txt").write_text("sequence1\nsequence3\n")
        (tmp_path / scene / "TestSplit.txt").write_text("sequence2\n")
    (tmp_path / "camera-intrinsics.txt").write_text("500 0 30\n0 500 20\n0 0 1\n")
    test = open_dataset(tmp_path, "test")
    assert {key.name.rsplit("/", 1)[0] for key in test.keys} == {"chess/seq-02", "fire/seq-02"}
    assert len(open_dataset(tmp_path)) == 8 and test[0].intrinsics[0, 2] == 30
    assert len(open_dataset(tmp_path / "chess", "test")) == 2


def test_a_single_sequence_folder_is_a_data_set(tmp_path: Path) -> None:
    write_sequence(tmp_path / "seq-07", range(5))
    assert len(open_dataset(tmp_path / "seq-07", "all")) == 5


def test_frames_without_depth_are_left_out(tmp_path: Path) -> None:
    write_sequence(tmp_path / "seq-01", range(3))
    (tmp_path / "seq-01" / "frame-000001.depth.png").unlink()
    assert [key.name[-1] for key in open_dataset(tmp_path, "all").keys] == ["0", "2"]


@pytest.mark.parametrize("text", ["1 2 3", "a b c\nd e f\ng h i", "0 0 0\n0 0 0\n0 0 1", ""])
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_intrinsics_that_are_none_are_named(tmp_path: Path, text: str) -> None:
    write_sequence(tmp_path / "seq-01", range(2))
    (tmp_path / "camera-intrinsics.txt").write_text(text)
    with pytest.raises(BadData, match=r"camera-intrinsics\.txt"):
        open_dataset(tmp_path)
