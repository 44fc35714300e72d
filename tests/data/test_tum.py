from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leadline.core.errors import BadData
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.tum import associate


def write_sequence(folder: Path, images: list[float], depths: list[float], *, lists: bool = True) -> None:
    for kind, times in (("rgb", images), ("depth", depths)):
        (folder / kind).mkdir(parents=True)
        lines = ["# color images", "# timestamp filename"]
        for number, time in enumerate(times):
            file = f"{kind}/{time:.6f}.png"
            lines.append(f"{time:.6f} {file}")
            if kind == "rgb":
                Image.fromarray(np.full((48, 64, 3), number, np.uint8)).save(folder / file)
            else:
                Image.fromarray(np.full((48, 64), 5000 * (number + 1), np.uint16)).save(folder / file)
        if lists:
            (folder / f"{kind}.txt").write_text("\n".join(lines) + "\n")


def test_frames_pair_by_time_at_5000_units_per_metre(tmp_path: Path) -> None:
    write_sequence(tmp_path / "set", [1.00, 1.03, 1.06, 2.00], [1.061, 0.99, 1.05, 1.04])
    data = open_dataset(tmp_path / "set", "all")
    assert [key.name for key in data.keys] == ["rgb/1.000000", "rgb/1.030000", "rgb/1.060000"]
    assert [data[i].target.max() for i in range(3)] == [2, 4, 1]
    assert open_dataset(tmp_path / "set", "all", depth_scale=1000.0)[2].target.max() == 5
    assert data[0].intrinsics is None


@pytest.mark.parametrize(
    ("name", "fx"), [("rgbd_dataset_freiburg2_desk", 52.09), ("tum_fr3_office", 53.54), ("frigate1", None)]
)
def test_intrinsics_are_those_of_the_camera_in_the_name(tmp_path: Path, name: str, fx: float | None) -> None:
    write_sequence(tmp_path / name, [1.0], [1.0])
    intrinsics = open_dataset(tmp_path / name, "all")[0].intrinsics
    assert (intrinsics is None) if fx is None else intrinsics[0, 0] == pytest.approx(fx)


def test_a_folder_of_sequences_and_missing_lists_work(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a_freiburg1", [1.0, 2.0], [1.0, 2.0])
    write_sequence(tmp_path / "b", [1.0], [1.01], lists=False)
    data = open_dataset(tmp_path, "all", layout="tum")
    assert [key.name for key in data.keys] == ["a_freiburg1/rgb/1.000000", "a_freiburg1/rgb/2.000000", "b/rgb/1.000000"]
    assert data[0].intrinsics is not None and data[2].intrinsics is None


def test_times_too_far_apart_and_broken_lists_are_named(tmp_path: Path) -> None:
    write_sequence(tmp_path, [1.0], [1.03])
    with pytest.raises(BadData, match=r"at most 0\.02 s apart"):
        open_dataset(tmp_path)
    (tmp_path / "rgb.txt").write_text("1.0 rgb/a.png\nrgb/b.png\n")
    with pytest.raises(BadData, match=r"rgb\.txt: 'rgb/b\.png'"):
        open_dataset(tmp_path)


@given(st.lists(st.floats(0, 1), max_size=20), st.lists(st.floats(0, 1), max_size=20))
def test_pairs_are_one_to_one_close_and_leave_no_pair_over(first: list[float], second: list[float]) -> None:
    pairs = associate(first, second, 0.02)
    ours, theirs = {i for i, _ in pairs}, {j for _, j in pairs}
    assert len(ours) == len(theirs) == len(pairs)
    assert all(abs(first[i] - second[j]) <= 0.02 + 1e-12 for i, j in pairs)
    left = [abs(a - b) for i, a in enumerate(first) for j, b in enumerate(second) if i not in ours and j not in theirs]
    assert all(gap > 0.02 - 1e-12 for gap in left)
