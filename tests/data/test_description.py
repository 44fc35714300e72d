from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leadline.core.errors import BadData
from leadline.data.layouts.description import Description, read_description


def test_without_a_file_everything_is_as_the_layout_says(tmp_path: Path) -> None:
    assert read_description(tmp_path) == Description()


def test_a_file_that_says_where_labels_are_does_not_ask_for_them(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('layout = "tum"\nlabels = "labels40"\n')
    assert read_description(tmp_path) == Description(layout="tum", labels="labels40", items="depth")


def test_flags_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(
        'layout = "tum"\ndepth_scale = 1000\nmax_depth = 8.0  # noisy\nsplit = "train"\n'
    )
    said = read_description(tmp_path, depth_scale=5000.0, layout=None)
    assert said == Description(layout="tum", depth_scale=5000.0, max_depth=8.0, split="train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth_sale = 3", "depth_sale.*allowed.*depth_scale"),
        ('depth_scale = "mm"', "depth_scale is 'mm'"),
        ("depth_scale = 0", "above 0"),
        ("depth_scale = nan", "above 0"),
        ("depth_offset = inf", "finite"),
        ("test_fraction = 1.5", "0 to 1"),
        ("min_depth = 3\nmax_depth = 2", "must be smaller"),
        ("intrinsics = [500, 500, 320]", "4 are needed"),
        ("intrinsics = [500, 500, inf, 240]", "fx and fy above 0"),
        ("intrinsics = [500, inf, 320, 240]", "fx and fy above 0"),
        ("min_depth = nan", "must be smaller"),
        ("max_depth = -1", "must be smaller"),
        ("intrinsics = [0, 500, 320, 240]", "above 0"),
        ("max_depth = 3\ndepth_max = 2", "depth_max is 2 and max_depth 3"),
        ("depth_rotated = 16", "0 to 15 bits"),
        ('invalid = [0, "x"]', "invalid.1. is 'x'"),
        ("ray_distance = 1", "ray_distance is 1"),
        ('split = "half"', "'train', 'val', 'test'"),
        ("layout = ", "dataset.toml"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(BadData, match=rf"dataset\.toml: (?s:.*){message}|{message}"):
        read_description(tmp_path)


@pytest.mark.parametrize(
    ("text", "invalid"),
    [
        ("0", (0,)),
        ("-1", (-1,)),
        ("1e10", (1e10,)),
        ("[0, 65535]", (0, 65535)),
        ("[0, 1e10, inf]", (0, 1e10, float("inf"))),
    ],
)
def test_one_or_several_numbers_may_mean_no_depth(tmp_path: Path, text: str, invalid: tuple[float, ...]) -> None:
    (tmp_path / "dataset.toml").write_text(f"invalid = {text}\n")
    assert read_description(tmp_path).invalid == invalid


def test_the_ends_of_the_range_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text("depth_max = 80\ndepth_min = 0.5\n")
    assert read_description(tmp_path) == Description(max_depth=80.0, min_depth=0.5)
    for override in ({"max_depth": 10.0}, {"depth_max": 10.0}):
        assert read_description(tmp_path, **override).max_depth == 10


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadData, match=r"dataset\.toml"):
        read_description(tmp_path)


@pytest.mark.parametrize("wrong", [{"depth_sale": 3}, {"depth_scale": -1.0}, {"invalid": "none"}])
def test_a_wrong_flag_is_a_value_error(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        read_description(tmp_path, **wrong)


def test_every_real_description_is_read(shared_data: Path) -> None:
    files = sorted(shared_data.glob("*/dataset.toml"))
    assert len(files) > 3
    assert all(read_description(file.parent).layout for file in files)
