from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.core.errors import BadData
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files, located, natural, read_lines
from leadline.data.layouts.frame import Camera, Source
from leadline.data.layouts.parts import by_order, choose

IMAGE = np.zeros((6, 8, 3), np.uint8)


def source(**said: float) -> Source:
    return Source(Path("somewhere"), Description(**said))  # type: ignore[arg-type]


def test_target_is_zero_where_it_is_not_valid() -> None:
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 100
    sample = source(min_depth=1.0, max_depth=4.0).sample("a", IMAGE, values)
    assert (sample.valid == ((values >= 1000) & (values <= 4000))).all()
    assert (sample.target[~sample.valid] == 0).all() and sample.target.dtype == np.float32


def test_without_depth_nothing_is_valid() -> None:
    sample = source().sample("a", IMAGE, None)
    assert not sample.valid.any() and not sample.target.any() and sample.target.shape == (6, 8)


@given(st.sampled_from([1, 2, 3, 4, 5]), st.booleans())
def test_depth_of_the_same_shape_is_brought_to_the_images_size_without_new_values(factor: int, larger: bool) -> None:
    small = np.arange(1, 49, dtype=np.float32).reshape(6, 8)
    big = small.repeat(factor, 0).repeat(factor, 1)
    image, values = (small, big) if larger else (big, small)
    sample = source().sample("a", np.zeros((*image.shape, 3), np.uint8), values)
    assert (sample.target == image).all()


@pytest.mark.parametrize("shape", [(5, 8), (8, 6), (12, 8), (3, 8)])
def test_depth_of_another_shape_is_refused_with_both_sizes(shape: tuple[int, int]) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    with pytest.raises(BadData, match=rf"80 wide, 60 high.*{shape[1] * 10} wide, {shape[0] * 10} high"):
        source().sample("a", image, np.ones((shape[0] * 10, shape[1] * 10), np.float32))


def test_half_sizes_that_were_rounded_down_fit() -> None:
    image = np.zeros((375, 1242, 3), np.uint8)
    assert source().sample("a", image, np.ones((187, 621), np.float32)).valid.all()


@pytest.mark.parametrize(
    ("image", "depth"),
    [((968, 1296), (480, 640)), ((720, 1280), (480, 848)), ((1440, 1920), (192, 256)), ((485, 640), (240, 320))],
)
def test_views_that_were_resampled_to_sizes_of_their_own_are_stretched(
    image: tuple[int, int], depth: tuple[int, int]
) -> None:
    values = np.linspace(1, 2, depth[0] * depth[1], dtype=np.float32).reshape(depth)
    sample = source().sample("a", np.zeros((*image, 3), np.uint8), values)
    assert sample.valid.all() and sample.target.shape == image
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert sample.target[corner] == values[corner]


@pytest.mark.parametrize(
    ("depth", "said"),
    [
        ((480, 500), "crop or pad"),
        ((470, 640), "crop or pad"),
        ((640, 480), "turned by 90"),
        ((256, 192), "turned by 90"),
    ],
)
def test_depth_that_was_cropped_or_turned_is_refused_with_fitting_advice(depth: tuple[int, int], said: str) -> None:
    with pytest.raises(BadData, match=said):
        source().sample("a", np.zeros((480, 640, 3), np.uint8), np.ones(depth, np.float32))


def test_one_pixel_works() -> None:
    assert source().sample("a", np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.float32)).target == 1


def test_published_intrinsics_follow_the_images_size() -> None:
    camera = Camera(500, 500, 319.5, 239.5, size=(480, 640))
    assert np.allclose(camera.matrix((240, 320)), [[250, 0, 159.5], [0, 250, 119.5], [0, 0, 1]])
    assert np.allclose(camera.matrix((480, 640)), [[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
    assert np.allclose(Camera(500, 500, 320, 240).matrix((10, 10))[:2, 2], [320, 240])


def test_stated_intrinsics_overrule_the_layouts() -> None:
    said = Source(Path("x"), Description(intrinsics=(9, 8, 7, 6)), {"": Camera(1, 1, 1, 1)})
    matrix = said.sample("a", IMAGE, None).intrinsics
    assert np.allclose(matrix, [[9, 0, 7], [0, 8, 6], [0, 0, 1]])


@given(st.integers(2, 300), st.floats(0.01, 0.99))
def test_the_split_by_order_keeps_order_and_has_both_parts(n: int, share: float) -> None:
    parts = by_order(range(n), Description(test_fraction=share))
    assert [*parts["train"], *parts["test"]] == list(range(n))
    assert parts["train"] and parts["test"] and abs(len(parts["test"]) - n * share) <= 1


def test_a_description_can_say_that_all_is_one_part(tmp_path: Path) -> None:
    parts = {"train": [1, 2], "test": [3]}
    assert choose(parts, "test", Description(split="test"), tmp_path) == (1, 2, 3)
    with pytest.raises(BadData, match="no frames for the split 'train'"):
        choose(parts, "train", Description(split="test"), tmp_path)
    with pytest.raises(ValueError, match="allowed: train, val, test, all"):
        choose(parts, "half", Description(), tmp_path)


def test_names_sort_as_people_count() -> None:
    assert sorted(["10.jpg", "9.jpg", "a2/1", "a10/1", "1.jpg"], key=natural) == [
        "1.jpg",
        "9.jpg",
        "10.jpg",
        "a2/1",
        "a10/1",
    ]


def test_hidden_files_are_left_out_and_links_do_not_loop(tmp_path: Path) -> None:
    (tmp_path / "a" / ".cache").mkdir(parents=True)
    for name in ("a/1.png", "a/.1.png", "a/.cache/2.png", "a/3.PNG", "a/4.txt"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_files(tmp_path, (".png",)) == ["a/1.png", "a/3.PNG"]


def test_listed_names_are_found_below_the_prefixes(tmp_path: Path) -> None:
    (tmp_path / "sync" / "k").mkdir(parents=True)
    (tmp_path / "sync" / "k" / "1.jpg").touch()
    assert located(tmp_path, ["/k/1.jpg", "k/2.jpg"], ["", "sync"]) == ["sync/k/1.jpg", "k/2.jpg"]


def test_lists_skip_comments_and_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\n# two\n three \n")
    assert read_lines(tmp_path / "a.txt") == ["one", "three"]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadData, match=r"b\.txt"):
        read_lines(tmp_path / "b.txt")
