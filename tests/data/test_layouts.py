from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder

from leadline.core.errors import BadData, BadImage
from leadline.data.depth_io import write_depth
from leadline.data.layouts.detect import LAYOUTS, described, open_dataset


def names(path: Path, split: str, **said: Any) -> list[str]:
    return [key.name for key in open_dataset(path, split, **said).keys]


def test_the_plain_layout_pairs_by_name_and_splits_in_order(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:5])
    assert names(tmp_path, "train") == ["000", "001", "002", "003"] and names(tmp_path, "test") == ["004"]
    assert names(tmp_path, "train", test_fraction=0.6) == ["000", "001"]
    sample = open_dataset(tmp_path, "all")[3]
    assert (sample.image == rooms[3][0]).all() and np.abs(sample.target - rooms[3][1]).max() < 0.001
    assert sample.valid.all() and sample.intrinsics is None and sample.name == "003"


def test_depth_may_be_in_any_format_and_folders_may_be_called_otherwise(tmp_path: Path, rooms: list[Room]) -> None:
    (tmp_path / "rgb" / "a").mkdir(parents=True)
    (tmp_path / "depths" / "a").mkdir(parents=True)
    for i, suffix in enumerate((".png", ".npy", ".npz", ".exr")):
        Image.fromarray(rooms[i][0]).save(tmp_path / "rgb" / "a" / f"{i}.jpg")
        write_depth(tmp_path / "depths" / "a" / f"{i}{suffix}", rooms[i][1])
    (tmp_path / "camera-intrinsics.txt").write_text("100 0 63.5\n0 100 47.5\n0 0 1\n")
    data = open_dataset(tmp_path, "all")
    assert all(np.abs(data[i].target - rooms[i][1]).max() < 0.001 for i in range(4))
    assert data[0].intrinsics.tolist() == [[100, 0, 63.5], [0, 100, 47.5], [0, 0, 1]]


@pytest.mark.parametrize("inside", [False, True])
def test_parts_may_be_folders_outside_or_inside(tmp_path: Path, rooms: list[Room], inside: bool) -> None:
    for part, some in (("train", rooms[:3]), ("val", rooms[3:5])):
        write_folder(tmp_path / part, some)
        if inside:
            for kind in ("images", "depth"):
                (tmp_path / kind).mkdir(exist_ok=True)
                (tmp_path / part / kind).rename(tmp_path / kind / part)
            (tmp_path / part).rmdir()
    assert names(tmp_path, "train") == ["train/000", "train/001", "train/002"]
    assert names(tmp_path, "test") == ["val/000", "val/001"] and len(names(tmp_path, "all")) == 5


def test_parts_may_be_lists(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:4])
    (tmp_path / "test.txt").write_text("001\nimages/003.png\n")
    assert names(tmp_path, "test") == ["001", "003"] and names(tmp_path, "train") == ["000", "002"]
    (tmp_path / "train.txt").write_text("000.png\n")
    assert names(tmp_path, "train") == ["000"]
    (tmp_path / "train.txt").write_text("009\n")
    with pytest.raises(BadData, match=r"train\.txt lists '009'"):
        open_dataset(tmp_path)


def test_names_that_do_not_match_are_shown(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:2])
    for path in (tmp_path / "depth").iterdir():
        path.rename(path.with_name(f"d{path.name}"))
    with pytest.raises(BadData, match=r"none of 2 images.*2 depth maps.*000\.png and d000\.png"):
        open_dataset(tmp_path)


def test_two_depth_maps_for_one_image_are_refused(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:1])
    write_depth(tmp_path / "depth" / "000.npy", rooms[0][1])
    with pytest.raises(BadData, match="for one image; keep one"):
        open_dataset(tmp_path)


def test_images_alone_are_unlabelled_and_depth_folders_are_no_images(tmp_path: Path, rooms: list[Room]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "pseudo_depth").mkdir()
    for name in ("a/10.png", "a/9.png", "x.png", "x.jpg", "pseudo_depth/a.png"):
        Image.fromarray(rooms[0][0]).save(tmp_path / name)
    data = open_dataset(tmp_path)
    assert [key.name for key in data.keys] == ["a/9", "a/10", "x.jpg", "x.png"]
    assert not data[0].valid.any() and data[0].target.shape == (96, 128) and data[0].target.dtype == np.float32
    with pytest.raises(BadData, match="no frames for the split 'test'"):
        open_dataset(tmp_path, "test")


def test_what_is_no_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="is empty; a folder of images or data is needed"):
        open_dataset(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadData, match=r"no known layout.*rgb\.txt and depth\.txt \(tum\).*any images"):
        open_dataset(tmp_path)
    with pytest.raises(BadData, match="does not exist"):
        open_dataset(tmp_path / "gone")
    (tmp_path / "file.txt").touch()
    with pytest.raises(BadData, match="is a file"):
        open_dataset(tmp_path / "file.txt")


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_layout_that_is_not_there_says_what_it_needs(tmp_path: Path, layout: str) -> None:
    with pytest.raises(BadData, match=str(tmp_path)):
        open_dataset(tmp_path, layout=layout)


def test_unknown_layouts_splits_and_flags_are_named(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:2])
    with pytest.raises(ValueError, match="layout is 'tumm'; nearest: tum"):
        open_dataset(tmp_path, layout="tumm")
    with pytest.raises(ValueError, match="split is 'half'; allowed: train, val, test, all"):
        open_dataset(tmp_path, "half")
    with pytest.raises(ValueError, match="depth_sale"):
        open_dataset(tmp_path, depth_sale=3)
    (tmp_path / "dataset.toml").write_text('layout = "tumm"')
    with pytest.raises(BadData, match=r"dataset\.toml: layout is 'tumm'"):
        open_dataset(tmp_path)


def test_the_toml_decides_and_flags_override_it(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:3], scale=5000)
    (tmp_path / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 5000\nsplit = "test"\n')
    data = open_dataset(tmp_path, "test")
    assert len(data) == 3 and np.abs(data[0].target - rooms[0][1]).max() < 0.001
    assert np.abs(open_dataset(tmp_path, "test", depth_scale=2500.0)[0].target - 2 * rooms[0][1]).max() < 0.002
    with pytest.raises(BadData, match="no frames for the split 'train'"):
        open_dataset(tmp_path)


def test_one_bad_file_does_not_spoil_the_others(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:4])
    (tmp_path / "images" / "001.png").write_bytes(b"")
    (tmp_path / "depth" / "002.png").write_bytes(b"\x89PNG\r\n")
    data = open_dataset(tmp_path, "all")
    with pytest.raises(BadImage, match=r"001\.png"):
        data[1]
    with pytest.raises(BadData, match=r"002\.png"):
        data[2]
    assert data[0].valid.all() and data[3].valid.all()


def test_datasets_pickle_for_worker_processes(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:2])
    data = open_dataset(tmp_path, "all")
    back = pickle.loads(pickle.dumps(data))
    assert back.keys == data.keys and (back[1].target == data[1].target).all()


def test_importing_the_data_layer_loads_no_heavy_package() -> None:
    code = "import leadline.data, sys; print(sorted({'torch', 'h5py', 'scipy', 'cv2'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


REAL = {
    "nyu": ("densedepth", 795, 327),
    "nyu_raw": ("densedepth", 528, 0),
    "kitchen": ("scenes7", 54, 13),
    "tum_fr1_rpy": ("tum", 23, 6),
    "robot": ("tum", 16, 4),
    "office": ("folder", 65, 16),
    "drive": ("kitti", 31, 8),
    "drive_unlabelled": ("unlabelled", 170, 0),
    "photos": ("unlabelled", 501, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_sets_open_read_and_split(shared_data: Path, name: str) -> None:
    layout, n_train, n_test = REAL[name]
    assert described(shared_data / name)[1].layout == layout
    for split, n in (("train", n_train), ("test", n_test), ("all", n_train + n_test)):
        if n:
            data = open_dataset(shared_data / name, split)
            sample = data[n // 2]
            assert len(data) == n and len({key.name for key in data.keys}) == n
            assert sample.image.dtype == np.uint8 and sample.target.shape == sample.image.shape[:2]
            assert (sample.target[~sample.valid] == 0).all() and (sample.target[sample.valid] > 0).all()
            assert sample.valid.any() == (layout != "unlabelled")
