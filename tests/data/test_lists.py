"""Lists that a folder carries: parts, and which depth map belongs to which image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.data.layouts.detect import described, open_dataset


def flat(root: Path, images: str = "images", depth: str = "depth") -> Path:
    """Three frames; the depth of frame i is i + 1 metres everywhere."""
    for kind in (images, depth):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for i in range(3):
        Image.fromarray(np.full((8, 8, 3), 60 * i, np.uint8)).save(root / images / f"{i:03d}.png")
        Image.fromarray(np.full((8, 8), 1000 * (i + 1), np.uint16)).save(root / depth / f"{i:03d}.png")
    return root


LINES = [
    "images/000.png depth/002.png",
    "images/000.png depth/002.png 518.8579",
    "images/000.png,depth/002.png",
    "images/000.png, depth/002.png, 518.8579",
    "images/000.png;depth/002.png",
    "images/000.png\tdepth/002.png",
    "/images/000.png /depth/002.png",
    "./images/000.png ./depth/002.png",
    "images\\000.png depth\\002.png",
    "000 002",
    "000.png 002.png",
    "image,depth,focal\nimages/000.png,depth/002.png,500",
    "depth,image\ndepth/002.png,images/000.png",
    "frame_id,rgb_path,depth_path\n7,images/000.png,depth/002.png",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", ["train.txt", "Training.csv", "train_files.txt"])
def test_the_second_column_is_the_depth_map(tmp_path: Path, line: str, name: str) -> None:
    flat(tmp_path)
    (tmp_path / name).write_text(line + "\n")
    data = open_dataset(tmp_path)
    assert len(data) == 1 and data[0].image.max() == 0 and data[0].target.max() == 3


def test_absolute_paths_are_found_where_they_are_and_where_the_data_were_moved_to(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / "train.txt").write_text(
        f"{tmp_path}/images/000.png\n/home/you/set/images/001.png\nC:\\set\\images\\002.png"
    )
    assert [key.name for key in open_dataset(tmp_path).keys] == ["000", "001", "002"]


def test_folders_of_any_name_are_a_data_set_if_a_list_pairs_their_files(tmp_path: Path) -> None:
    flat(tmp_path, "first", "second")
    (tmp_path / "train.txt").write_text("first/000.png second/001.png\n")
    (tmp_path / "valid.txt").write_text("first/001.png second/002.png\n")
    assert described(tmp_path)[1].layout == "folder"
    data = open_dataset(tmp_path, "all")
    assert [data[i].target.max() for i in range(2)] == [2, 3]


def test_a_list_of_class_maps_is_no_list_of_depth(tmp_path: Path) -> None:
    flat(tmp_path, "train", "trainannot")
    (tmp_path / "train.txt").write_text("train/000.png trainannot/000.png\n")
    assert described(tmp_path)[1].layout == "camvid" and open_dataset(tmp_path).classes
    photographs = open_dataset(tmp_path, items="images")
    assert len(photographs) == 3 and not photographs.classes and not photographs[0].valid.any()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("images/009.png depth/000.png", "no such image"),
        ("images/000.png depth/009.png", r"no depth map depth/009\.png"),
        ("images/000.png depth/000.png dense/000.png", r"names dense/000\.png beside the depth map depth/000\.png"),
        ("images/000.png depth/000.png 500 3 4", "should be: image depth focal"),
        ("images/000.png depth/000.png\nimages/000.png depth/001.png", "two depth maps"),
        ("images/000.png ../other/000.png", "no depth map"),
    ],
)
def test_a_pair_that_is_not_there_and_a_column_that_nobody_knows_are_named(
    tmp_path: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flat(tmp_path)
    (tmp_path / "train.txt").write_text(line)
    with pytest.raises(BadData, match=said):
        open_dataset(tmp_path)
    assert main(["data", "ls", str(tmp_path)]) == 1 and str(tmp_path) in capsys.readouterr().err


def test_lines_whose_image_is_gone_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat(tmp_path)
    (tmp_path / "train.txt").write_text("000\n001\n009\n")
    data = open_dataset(tmp_path)
    assert [key.name for key in data.keys] == ["000", "001"]
    assert data.note.startswith("1 of 3 lines of lists are left out: ") and "'009'" in data.note
    assert main(["data", "ls", str(tmp_path)]) == 0 and "1 of 3 lines" in capsys.readouterr().out
    (tmp_path / "train.txt").write_text("000\n007\n008\n009\n")
    with pytest.raises(BadData, match=r"'007'.*; so it is with 3 of its 4 lines: the list is of another folder"):
        open_dataset(tmp_path)


def test_a_file_elsewhere_on_the_disk_is_no_image_of_the_folder(tmp_path: Path) -> None:
    root = flat(tmp_path / "set")
    away = flat(tmp_path / "away") / "images" / "009.png"
    (root / "images" / "000.png").rename(away)
    (root / "train.txt").write_text(f"001\n002\n{away}\n")
    data = open_dataset(root)
    assert [key.name for key in data.keys] == ["001", "002"]
    assert "1 of 3 lines of lists are left out" in data.note and "009.png" in data.note


def test_a_line_without_depth_is_left_out(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / "train.txt").write_text("images/000.png depth/000.png 5\nimages/001.png None 5\n")
    assert [key.name for key in open_dataset(tmp_path).keys] == ["000"]
    assert [key.name for key in open_dataset(tmp_path, "test").keys] == ["002"]


def test_a_mask_may_be_a_column(tmp_path: Path) -> None:
    flat(tmp_path)
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "m.png")
    (tmp_path / "train.csv").write_text("image,depth,mask\nimages/000.png,depth/000.png,m.png\n")
    assert open_dataset(tmp_path)[0].valid.sum() == 8


def test_lists_may_be_of_names_with_blanks(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:2])
    for kind in ("images", "depth"):
        (tmp_path / kind / "001.png").rename(tmp_path / kind / "living room 1.png")
    (tmp_path / "train.txt").write_text("living room 1.png\n")
    assert [key.name for key in open_dataset(tmp_path).keys] == ["living room 1"]


@pytest.mark.parametrize("name", ["train.txt", "scannetv2_train.txt", "splits/my_train_list.txt"])
def test_a_line_may_name_a_whole_scene(tmp_path: Path, name: str) -> None:
    for scene in ("scene0000_00", "scene0001_00", "scene0002_00"):
        flat(tmp_path / "scans" / scene, "color", "depth")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("scans/scene0001_00\n")
    (tmp_path / name.replace("train", "val")).write_text("scans/scene0000_00/\nscans/scene0002_00\n")
    assert {key.name.split("/")[1] for key in open_dataset(tmp_path).keys} == {"scene0001_00"}
    assert len(open_dataset(tmp_path, "val")) == 6


def test_two_lists_of_one_part_may_overlap_and_must_agree(tmp_path: Path) -> None:
    flat(tmp_path)
    for name, lines in (
        ("a", "images/000.png depth/000.png 5"),
        ("b", "images/000.png depth/000.png 5\nimages/001.png depth/001.png 5"),
    ):
        (tmp_path / f"{name}_train_files_with_gt.txt").write_text(lines)
    assert len(open_dataset(tmp_path)) == 2
    (tmp_path / "c_train_files_with_gt.txt").write_text("images/000.png depth/002.png 5")
    with pytest.raises(
        BadData, match=r"gives images/000\.png the depth map depth/002\.png, and another list depth/000\.png"
    ):
        open_dataset(tmp_path)


def test_what_is_no_list_is_left_alone(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:5])
    for name in ("README.txt", "train_log.txt", "test_notes.txt", "results.csv", "requirements.txt"):
        (tmp_path / name).write_text("epoch,loss\n1,0.5\n2,0.4\n")
    (tmp_path / "camera-intrinsics.txt").write_text("100 0 63.5\n0 100 47.5\n0 0 1\n")
    assert len(open_dataset(tmp_path)) == 4 and len(open_dataset(tmp_path, "test")) == 1


_PIECES = (
    *(
        "images/000.png",
        "depth/001.png",
        "000",
        "train",
        "val",
        ",",
        ";",
        "\t",
        " ",
        "\n",
        "\0",
        "None",
        "518.8",
        "../x",
    ),
    *("a" * 5000, '"', "'", "image", "depth", "split", "\r\n", "\\", "é", "#", "/", "./", "images/", "nan", "."),
)


@pytest.mark.parametrize("name", ["train.txt", "val.csv", "meta.csv", "x_train.txt", "data.tsv", "test.lst"])
def test_lists_of_any_content_give_frames_or_our_own_error(tmp_path: Path, name: str) -> None:
    flat(tmp_path)
    random = np.random.default_rng(7)
    for _ in range(40):
        pieces = random.choice(len(_PIECES), random.integers(0, 30))
        (tmp_path / name).write_bytes("".join(_PIECES[i] for i in pieces).encode())
        for split in ("train", "val", "all"):
            try:
                assert len(open_dataset(tmp_path, split)[0].image) == 8
            except BadData as error:
                assert str(tmp_path) in str(error)


@pytest.mark.parametrize("name", ["kitti_eigen_train_files_with_gt.txt", "nyudepthv2_train_files_with_gt.txt"])
def test_a_third_column_that_is_a_depth_map_is_not_dropped(tmp_path: Path, name: str) -> None:
    flat(tmp_path)
    (tmp_path / name).write_text("images/000.png depth/000.png depth/001.png\n")
    with pytest.raises(BadData, match=r"'depth/001\.png' where a focal length should be"):
        open_dataset(tmp_path)
    (tmp_path / name).write_text("images/000.png,depth/002.png,518.8\n")
    assert open_dataset(tmp_path, depth_scale=1000.0)[0].target.max() == 3


@pytest.mark.parametrize("name", ["test.csv", "net_val.csv", "splits/test.csv"])
def test_a_table_of_results_is_no_list(tmp_path: Path, name: str) -> None:
    root = flat(tmp_path)
    before = open_dataset(root, "all").parts
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("name,protocol,problem,n_pixels,delta1\n000,indoor-metric@1,,64,0.5\n")
    assert open_dataset(root, "all").parts == before
