"""Which images and depth maps belong together, by the names of folders and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder

from leadline.core.errors import BadData
from leadline.data.layouts.detect import described, open_dataset
from leadline.data.layouts.homes import homes
from leadline.data.layouts.pairs import pair
from leadline.data.layouts.words import kind_of_folder


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


def units(depth: np.ndarray, scale: float = 1000) -> np.ndarray:
    return np.rint(depth * scale).astype(np.uint16)


def read_well(root: Path, rooms: list[Room], **said: float) -> None:
    """Every frame's depth is that of its own picture."""
    data = open_dataset(root, "all", **said)
    assert len(data) == len(rooms)
    for sample in (data[i] for i in range(len(data))):
        assert any((sample.image == image).all() and np.abs(sample.target - d).max() < 0.01 for image, d in rooms)


FOLDERS = [
    ("images", "depth"), ("RGB", "Depth"), ("rgb", "gt_depth"), ("left", "depth"), ("color", "depths"),
    ("Images", "DepthMaps"), ("imgs", "depth_gt"), ("colour", "groundtruth_depth"), ("image_left", "depth_left"),
    ("lowres_wide", "lowres_depth"), ("rgb_png", "depth_png"), ("image_02", "depth_raw"), ("photos", "sensor_depth"),
]  # fmt: skip


@pytest.mark.parametrize(("images", "depth"), FOLDERS)
@pytest.mark.parametrize("ahead", ["", "scene0000_00/", "a/b/c/"])
def test_folders_are_known_by_their_words(
    tmp_path: Path, rooms: list[Room], images: str, depth: str, ahead: str
) -> None:
    for i, (image, metres) in enumerate(rooms[:2]):
        save(tmp_path / ahead / images / f"{i:03d}.png", image)
        save(tmp_path / ahead / depth / f"{i:03d}.png", units(metres))
    assert described(tmp_path)[1].layout == "folder"
    read_well(tmp_path, rooms[:2])


def test_a_scenes_name_is_ahead_of_its_frames(tmp_path: Path, rooms: list[Room]) -> None:
    for scene in ("scene0001_00", "scene0000_00"):
        write_folder(tmp_path / scene, rooms[:1])
    (tmp_path / "scene0001_00" / "camera-intrinsics.txt").write_text("100 0 63.5\n0 100 47.5\n0 0 1\n")
    data = open_dataset(tmp_path, "all")
    assert [key.name for key in data.keys] == ["scene0000_00/000", "scene0001_00/000"]
    assert data[0].intrinsics is None and data[1].intrinsics[0, 0] == 100


@pytest.mark.parametrize(
    ("image", "depth"),
    [
        ("rgb/rgb_00045.png", "depth/sync_depth_00045.png"),
        ("rgb/Camera_0/rgb_00001.png", "depth/Camera_0/depth_00001.png"),
        ("images/a_rgb.png", "depth/a_depth.npy"),
        ("color/color1.png", "depth/depth1.png"),
        ("color/frame-000001.color.png", "depth/frame-000001.depth.png"),
        ("images/val/1.png", "depth/Validation/1.png"),
        ("a.png", "a_depth.npy"),
        ("s/0001_rgb.png", "s/0001_depth.png"),
        ("s/rgb.png", "s/depth.png"),
        ("s/a.png", "s/a.depth.png"),
        ("s/left_7.png", "s/gt_depth_7.png"),
    ],
)
def test_names_may_differ_by_the_words_that_tell_what_a_file_is(
    tmp_path: Path, rooms: list[Room], image: str, depth: str
) -> None:
    picture, metres = rooms[0]
    save(tmp_path / image, picture)
    save(tmp_path / depth, metres if depth.endswith(".npy") else units(metres))
    read_well(tmp_path, rooms[:1])


def test_a_scan_has_its_own_cameras_and_colour_of_its_own_size(tmp_path: Path, rooms: list[Room]) -> None:
    image, metres = rooms[0]
    large = np.asarray(Image.fromarray(image).resize((1296, 968)))
    save(tmp_path / "scene0000_00" / "color" / "0.png", large)
    save(tmp_path / "scene0000_00" / "depth" / "0.png", np.kron(units(metres), np.ones((5, 5), np.uint16)))
    (tmp_path / "scene0000_00" / "intrinsic").mkdir()
    matrix = np.diag([1170.0, 1171.0, 1.0, 1.0])
    matrix[:2, 2] = 647, 483
    np.savetxt(tmp_path / "scene0000_00" / "intrinsic" / "intrinsic_color.txt", matrix)
    sample = open_dataset(tmp_path, "all")[0]
    assert (
        sample.valid.all() and np.abs(np.sort(np.unique(sample.target)) - np.unique(units(metres)) / 1000).max() < 1e-6
    )
    assert sample.intrinsics.tolist() == [[1170, 0, 647], [0, 1171, 483], [0, 0, 1]]


def test_parts_may_be_in_the_names_of_the_two_folders(tmp_path: Path, rooms: list[Room]) -> None:
    for i, part in enumerate(("train", "val", "test")):
        save(tmp_path / f"{part}_images" / "0.png", rooms[i][0])
        save(tmp_path / f"{part}_depth" / "0.png", units(rooms[i][1]))
    read_well(tmp_path, rooms[:3])
    assert [key.name for key in open_dataset(tmp_path, "val").keys] == ["val/0"]


def test_a_frame_may_have_a_folder_of_its_own(tmp_path: Path, rooms: list[Room]) -> None:
    for i, (image, metres) in enumerate(rooms[:5]):
        save(tmp_path / "kv1" / f"NYU{i:04d}" / "image" / f"NYU{i:04d}.png", image)
        save(tmp_path / "kv1" / f"NYU{i:04d}" / "depth" / f"r-{i}-1.png", units(metres))
        save(tmp_path / "kv1" / f"NYU{i:04d}" / "depth_bfx" / f"r-{i}-1.png", units(metres) * 0)
    read_well(tmp_path, rooms[:5])


def test_what_predict_saves_beside_photographs_is_their_depth(tmp_path: Path, rooms: list[Room]) -> None:
    for i, (image, metres) in enumerate(rooms[:3]):
        save(tmp_path / f"{i:03d}.png", image)
        save(tmp_path / f"{i:03d}_depth.png", units(metres))
        save(tmp_path / f"{i:03d}_depth.npy", metres)
        save(tmp_path / f"{i:03d}_vis.png", image)
    read_well(tmp_path, rooms[:3])
    assert open_dataset(tmp_path, "all").keys[0].depth == "000_depth.npy"  # floats, not rounded


def test_a_coloured_picture_of_depth_is_neither_depth_nor_photograph(tmp_path: Path, rooms: list[Room]) -> None:
    for i, (image, _) in enumerate(rooms[:2]):
        save(tmp_path / f"{i}.png", image)
        save(tmp_path / f"{i}_depth.png", image)
    assert [key.name for key in open_dataset(tmp_path).keys] == ["0", "1"]
    assert described(tmp_path)[1].layout == "unlabelled"


@pytest.mark.parametrize("folder", ["gt", "GT", "ground_truth", "lidar", "D"])
def test_folders_of_doubtful_names_hold_depth_if_their_files_are_measurements(
    tmp_path: Path, rooms: list[Room], folder: str
) -> None:
    for i, (image, metres) in enumerate(rooms[:2]):
        save(tmp_path / "a" / "rgb" / f"{i}.png", image)
        save(tmp_path / "a" / folder / f"{i}.png", units(metres))
        save(tmp_path / "b" / "rgb" / f"{i}.png", image)
        save(tmp_path / "b" / folder / f"{i}.png", image[..., 0])  # class maps
    read_well(tmp_path / "a", rooms[:2])
    assert described(tmp_path / "b")[1].layout == "unlabelled"


def test_masks_may_lie_in_the_folder_of_depth(tmp_path: Path, rooms: list[Room]) -> None:
    image, metres = rooms[0]
    for name in ("valid_1", "2"):  # the first is only called so
        save(tmp_path / "images" / f"{name}.png", image)
        save(tmp_path / "depth" / f"{name}.png", units(metres))
    save(tmp_path / "depth" / "2_mask.png", np.zeros((96, 128), np.uint8))
    data = open_dataset(tmp_path, "all")
    assert {key.name: sample.valid.any() for key, sample in zip(data.keys, (data[0], data[1]), strict=True)} == {
        "valid_1": True,
        "2": False,
    }


def test_what_could_belong_to_two_is_refused(tmp_path: Path) -> None:
    assert pair(["a.png", "rgb_b.png"], ["a.npy", "depth_b.npy"], "x") == {"a.png": "a.npy", "rgb_b.png": "depth_b.npy"}
    for images, others in ((["rgb_1.png", "img_1.png"], ["depth_1.png"]), (["1.png"], ["depth_1.png", "gt_1.png"])):
        with pytest.raises(BadData, match="could all belong together"):
            pair(images, others, "x")
    assert pair(["rgb_1.png", "img_1.png"], [], "x") == {}


def test_right_views_predictions_and_pictures_for_the_eye_are_not_taken() -> None:
    for name in ("right", "pseudo_depth", "depth_vis", "depth_color", "semantic", "pose", "normals", "image_right"):
        assert kind_of_folder(name) is None, name
    assert kind_of_folder("depth_mask") == kind_of_folder("Confidence") == "mask"


def test_files_of_operating_systems_are_nobodys(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:3])
    for name in ("__MACOSX", "$RECYCLE.BIN", "lost+found", "#recycle", "@eaDir", ".Trash-1000", ".ipynb_checkpoints"):
        write_folder(tmp_path / name, rooms[3:4])
    for kind in ("images", "depth"):
        for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".001.png"):
            (tmp_path / kind / name).write_bytes(b"Mac OS X")
    for name in ("._train.txt", "._nyu_files_with_gt.txt", "._nyu_labeled.mat", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert len(homes(tmp_path)) == 1
    read_well(tmp_path, rooms[:3])
