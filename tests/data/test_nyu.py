from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadData
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset

h5py = pytest.importorskip("h5py")
SIZE = (24, 32)
IMAGE = np.arange(24 * 32 * 3, dtype=np.int64).reshape(*SIZE, 3).astype(np.uint8)
DEPTH = np.linspace(0.5, 9, 24 * 32, dtype=np.float32).reshape(SIZE)


def write_h5(path: Path, image: np.ndarray = IMAGE, depth: np.ndarray = DEPTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["rgb"], file["depth"] = image.transpose(2, 0, 1), depth


def write_mat(root: Path, n: int = 5, splits: bool = True) -> None:
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["images"] = np.stack([(IMAGE // (i + 1)).transpose(2, 1, 0) for i in range(n)])
        file["depths"] = np.stack([DEPTH.T + i for i in range(n)])
    if splits:
        from scipy.io import savemat

        savemat(root / "splits.mat", {"trainNdxs": np.array([[1], [2], [5]]), "testNdxs": np.array([[3], [4]])})


def write_pictures(root: Path, image: str, depth: str, stored: np.ndarray) -> None:
    for file, values in ((image, IMAGE), (depth, stored)):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / file)


def places(data: Dataset) -> tuple[str | int, ...]:
    """Where the items lie; each key has the name that its sample has."""
    assert all(key.name == data.read(key).name for key in data.keys)
    return tuple(key.place for key in data.keys)


def test_fastdepths_files_give_train_test_and_the_held_out_frames(tmp_path: Path) -> None:
    for name in ("00001", "00002", "00003", "00201"):
        write_h5(tmp_path / "train" / "kitchen_0001" / f"{name}.h5")
    write_h5(tmp_path / "val" / "official" / "00001.h5")
    assert places(open_dataset(tmp_path)) == ("train/kitchen_0001/00002.h5", "train/kitchen_0001/00003.h5")
    assert [key[-8:] for key in places(open_dataset(tmp_path, "holdout"))] == ["00001.h5", "00201.h5"]
    test = open_dataset(tmp_path, "test")
    assert places(test) == ("val/official/00001.h5",) and len(open_dataset(tmp_path, "all")) == 5
    sample = pickle.loads(pickle.dumps(test))[0]
    assert (sample.image == IMAGE).all() and (sample.target == DEPTH).all() and sample.valid.all()
    assert sample.intrinsics[0, 0] == pytest.approx(518.8579 * 32 / 640) and sample.name == "val/official/00001"


def test_h5_files_that_are_damaged_or_lack_an_array_are_named(tmp_path: Path) -> None:
    good = tmp_path / "train" / "a" / "2.h5"
    write_h5(good)
    data = open_dataset(tmp_path)
    content = good.read_bytes()
    good.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadData, match=r"2\.h5 is cut short or not HDF5"):
        data[0]
    good.unlink()
    with pytest.raises(BadData, match=r"2\.h5 does not exist"):
        data[0]
    with h5py.File(good, "w") as file:
        file["rgb"] = IMAGE
    with pytest.raises(BadData, match=r"2\.h5 lacks depth; it holds rgb"):
        data[0]
    write_h5(good, depth=DEPTH[:5])
    with pytest.raises(BadData, match="32 wide, 24 high and its depth 32 wide, 5 high"):
        data[0]
    with h5py.File(good, "w") as file:
        file["rgb"], file["depth"] = IMAGE, DEPTH
    with pytest.raises(BadData, match=r"\[3,H,W\] is needed"):
        data[0]


def test_the_labelled_file_uses_the_official_indices_from_one(tmp_path: Path) -> None:
    write_mat(tmp_path)
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, "test")
    assert (places(train), places(test)) == ((0, 1, 4), (2, 3)) and len(open_dataset(tmp_path, "all")) == 5
    sample = pickle.loads(pickle.dumps(test))[1]
    assert (sample.image == IMAGE // 4).all() and (sample.target == DEPTH + 3).all() and sample.name == "00004"
    assert places(open_dataset(tmp_path / "nyu_depth_v2_labeled.mat", "test")) == (2, 3)


def test_without_the_official_indices_only_all_or_a_stated_fraction_opens(tmp_path: Path) -> None:
    write_mat(tmp_path, splits=False)
    with pytest.raises(BadData, match=r"splits\.mat is missing"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, "all")) == 5 and places(open_dataset(tmp_path, "test", test_fraction=0.2)) == (4,)


def test_a_broken_splits_file_is_named(tmp_path: Path) -> None:
    from scipy.io import savemat

    write_mat(tmp_path)
    savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[0]]), "testNdxs": np.array([[3]])})
    with pytest.raises(BadData, match="trainNdxs should count images from 1 to 5"):
        open_dataset(tmp_path)
    (tmp_path / "splits.mat").write_bytes(b"no mat file")
    with pytest.raises(BadData, match=r"splits\.mat is damaged"):
        open_dataset(tmp_path)


def test_bts_lists_find_their_files_below_the_usual_folders(tmp_path: Path) -> None:
    stored = np.rint(DEPTH * 1000).astype(np.uint16)
    write_pictures(tmp_path / "sync", "kitchen_0028b/rgb_00045.jpg", "kitchen_0028b/sync_depth_00045.png", stored)
    write_pictures(tmp_path / "official_splits" / "test", "bath/rgb_00001.jpg", "bath/sync_depth_00001.png", stored)
    row = "/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579\n"
    (tmp_path / "nyudepthv2_train_files_with_gt.txt").write_text(row)
    (tmp_path / "nyudepthv2_test_files_with_gt.txt").write_text(
        "bath/rgb_00001.jpg bath/sync_depth_00001.png 518.8579\n"
    )
    for split, name in (("train", "sync/kitchen_0028b/rgb_00045"), ("test", "official_splits/test/bath/rgb_00001")):
        data = open_dataset(tmp_path, split)
        assert [key.name for key in data.keys] == [name]
        assert np.abs(data[0].target - DEPTH).max() < 0.001 and data[0].valid.all()


@pytest.mark.parametrize(("csv_in", "opened"), [("", ""), ("data", ""), ("data", "data")])
def test_densedepths_lists_work_where_its_download_puts_them(tmp_path: Path, csv_in: str, opened: str) -> None:
    write_pictures(tmp_path, "data/nyu2_train/a_out/1.jpg", "data/nyu2_train/a_out/1.png", np.full(SIZE, 51, np.uint8))
    write_pictures(
        tmp_path, "data/nyu2_test/0_colors.png", "data/nyu2_test/0_depth.png", np.full(SIZE, 3000, np.uint16)
    )
    (tmp_path / csv_in / "nyu2_train.csv").write_text("data/nyu2_train/a_out/1.jpg,data/nyu2_train/a_out/1.png\r\n")
    (tmp_path / csv_in / "nyu2_test.csv").write_text("data/nyu2_test/0_colors.png,data/nyu2_test/0_depth.png\n")
    train, test = open_dataset(tmp_path / opened), open_dataset(tmp_path / opened, "test")
    assert np.allclose(train[0].target, 2) and np.allclose(
        test[0].target, 3
    )  # 8 bits: 10 m / 255; 16 bits: millimetres
    assert (test[0].image == IMAGE).all() and open_dataset(tmp_path / opened, layout="nyu").keys == train.keys


def test_a_broken_csv_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "nyu2_train.csv").write_text("a.jpg;b.png\n")
    with pytest.raises(BadData, match=r"nyu2_train\.csv: the line 'a\.jpg;b\.png' should be: image,depth"):
        open_dataset(tmp_path)


def test_the_real_csv_has_the_stated_range(shared_data: Path) -> None:
    sample = open_dataset(shared_data / "nyu", "test")[0]
    assert sample.image.shape == (480, 640, 3) and sample.valid.all()
    assert 0.5 < sample.target.min() < sample.target.max() < 10.01
    assert sample.intrinsics[0, 0] == pytest.approx(518.8579)


def test_files_that_claim_more_than_is_read_or_hold_no_arrays_are_refused(tmp_path: Path) -> None:
    places = {"rgb": (3, 40_000, 40_000), "depth": (40_000, 40_000)}
    for large in places:
        path = tmp_path / large / "train" / "a" / "2.h5"
        write_h5(path)
        with h5py.File(path, "a") as file:
            del file[large]
            file.create_dataset(large, places[large], "u1", chunks=(1, 100, 100)[-len(places[large]) :])
        with pytest.raises(BadData, match=r"2\.h5 claims 40000 x 40000 pixels"):
            open_dataset(tmp_path / large)[0]
    path = tmp_path / "groups" / "train" / "a" / "2.h5"
    write_h5(path)
    with h5py.File(path, "a") as file:
        del file["depth"]
        file.create_group("depth")
    with pytest.raises(BadData, match="has a group where an array is needed"):
        open_dataset(tmp_path / "groups")[0]
    write_mat(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["images"]
        file.create_group("images")
    with pytest.raises(BadData, match="images is no array of pictures"):
        open_dataset(tmp_path, layout="nyu_mat")


def test_a_key_reads_another_depth_of_the_labelled_set(tmp_path: Path) -> None:
    write_mat(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        file["rawDepths"] = np.stack([DEPTH.T * 2 + i for i in range(5)])
    assert (open_dataset(tmp_path, "all", depth_key="rawDepths")[0].target == DEPTH * 2).all()
