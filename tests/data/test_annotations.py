"""A class in each pixel beside depth: how NYU's annotations are read, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_labelled_rooms import UNKNOWN, room, write

from leadline.cli.main import main
from leadline.core.errors import BadData, BadImage
from leadline.core.tasks import NYU40, check_fits, reading_for
from leadline.core.types import Item, depth_of
from leadline.data.cache import cached, shrunk
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import collate
from leadline.data.options import View
from leadline.data.transforms.augment import augment, augment_joint, augment_labels


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rooms"))


def test_nobody_gets_labels_who_does_not_ask_for_them(rooms: Path) -> None:
    plain = open_dataset(rooms)
    assert plain.classes == () and not plain.joint and plain[0].target.shape == (48, 64)
    (rooms / "dataset.toml").write_text('labels = "labels40"\n')  # says where they are, and nothing more
    again = open_dataset(rooms)
    (rooms / "dataset.toml").unlink()
    assert again.classes == () and np.array_equal(again[0].target, plain[0].target)


def test_labels_and_depth_are_those_of_the_files(rooms: Path) -> None:
    _, depth, labels = room(3)
    known = labels != UNKNOWN
    single = open_dataset(rooms, items="labels")
    assert (len(single), single.classes, single.joint) == (12, NYU40, False)
    item = single[3]
    assert item.target.dtype == np.int64 and np.array_equal(item.valid, known)
    assert np.array_equal(item.target[known], labels[known]) and not item.target[~known].any()
    both = pickle.loads(pickle.dumps(open_dataset(rooms, items="joint")))
    assert both.joint and both.classes == NYU40
    item = both[3]
    assert item.target.dtype == np.float32 and item.target.shape == item.valid.shape == (2, 48, 64)
    np.testing.assert_allclose(item.target[0], depth / 25.5, rtol=1e-6)
    assert item.valid[0].all() and np.array_equal(item.valid[1], known)
    assert np.array_equal(item.target[1], np.where(known, labels, 0))
    assert np.array_equal(depth_of(item)[0], open_dataset(rooms)[3].target)


def test_what_is_void_can_be_said(rooms: Path) -> None:
    item = open_dataset(rooms, items="labels", label_void=[255])[0]
    assert item.valid.all() and (item.target == UNKNOWN).any()


def test_the_folder_of_annotations_can_be_another_one(tmp_path: Path) -> None:
    write(tmp_path, annotations="classes")
    (tmp_path / "dataset.toml").write_text('labels = "classes"\n')
    assert len(open_dataset(tmp_path, items="joint")) == 12


def test_only_frames_with_an_annotation_are_taken(tmp_path: Path) -> None:
    write(tmp_path)
    for number in (0, 5):
        (tmp_path / f"labels40/{number:05d}.png").unlink()
    data = open_dataset(tmp_path, items="joint")
    assert len(data) == 10 and len(open_dataset(tmp_path)) == 12
    assert data[0].name == "data/nyu2_train/00001_colors"


def one(values: np.ndarray) -> Callable[[Path], object]:
    return lambda root: Image.fromarray(values).save(root / "labels40/00000.png")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (one(np.zeros((10, 20), np.uint8)), r"00000_colors is 64 wide, 48 high, and its annotation 20 wide, 10 high"),
        (
            one(np.full((48, 64), 40, np.uint8)),
            r"00000\.png holds the number 40; 0 to 39 are classes and 39 and 255 are",
        ),
        (one(np.zeros((48, 64, 3), np.uint8)), r"00000\.png has the mode RGB; one channel of 8 bits is needed"),
        (
            lambda root: (root / "labels40/00000.png").write_bytes(b"none"),
            r"00000\.png cannot be read as an annotation",
        ),
    ],
    ids=["size", "number", "colour", "damaged"],
)
@pytest.mark.parametrize("items", ["labels", "joint"])
def test_annotations_that_do_not_fit_are_named(
    tmp_path: Path, harm: Callable[[Path], object], message: str, items: str
) -> None:
    write(tmp_path, 1, 1)
    harm(tmp_path)
    with pytest.raises((BadData, BadImage), match=message):
        open_dataset(tmp_path, items=items)[0]


def test_a_folder_without_annotations_says_where_they_would_be(tmp_path: Path) -> None:
    write(tmp_path, annotations=None)
    with pytest.raises(BadData, match=r'has no folder labels40 with a class in each pixel; .* labels = "FOLDER"'):
        open_dataset(tmp_path, items="joint")
    (tmp_path / "labels40").mkdir()
    with pytest.raises(BadData, match=r"labels40 has no NNNNN\.png for any photograph that is listed"):
        open_dataset(tmp_path, items="joint")


def test_a_net_of_one_task_refuses_the_data_of_another(rooms: Path) -> None:
    sets = {items: open_dataset(rooms, items=items) for items in ("depth", "labels", "joint")}
    fits = {"metric": "depth", "labels": "labels", "joint": "joint"}
    for kind, own in fits.items():
        assert reading_for(kind).get("items", "depth") == own  # type: ignore[arg-type]
        for items, data in sets.items():
            if items == own:
                check_fits(kind, data.name, data.classes, data.joint)  # type: ignore[arg-type]
                continue
            with pytest.raises(ValueError, match=f"holds .*, and the net gives {kind}; give data or a net that fits"):
                check_fits(kind, data.name, data.classes, data.joint)  # type: ignore[arg-type]


def test_the_zoom_divides_the_depth_and_leaves_the_classes(rooms: Path) -> None:
    """Both planes of one item are seen as each alone is: the same draws, the same pixels."""
    both, labels, depth = (open_dataset(rooms, items=items)[1] for items in ("joint", "labels", "depth"))
    view = View(size=(40, 56), rotate=8, zoom=(0.7, 2.0), shift=1.0, flip=0.5, jitter=0.3, colour_shift=0.1)
    nearer = 0
    for seed in range(8):
        seen, of_labels, of_depth = (
            transform(item, np.random.default_rng(seed), view)
            for transform, item in ((augment_joint, both), (augment_labels, labels), (augment, depth))
        )
        assert seen.target.dtype == np.float32 and seen.target.shape == seen.valid.shape == (2, 40, 56)
        assert np.array_equal(seen.image, of_depth.image) and np.array_equal(seen.image, of_labels.image)
        assert np.array_equal(seen.target[0], of_depth.target) and np.array_equal(seen.valid[0], of_depth.valid)
        assert np.array_equal(seen.target[1], of_labels.target) and np.array_equal(seen.valid[1], of_labels.valid)
        nearer += bool(seen.target[0].max() < 0.9 * depth.target.max())
    assert nearer


def test_a_batch_has_a_plane_for_each(rooms: Path) -> None:
    data = open_dataset(rooms, items="joint")
    batch = collate([data[0], data[1]])
    assert batch.target.shape == batch.valid.shape == (2, 2, 48, 64)
    assert batch.target.dtype == torch.float32 and batch.valid.dtype == torch.bool
    small = shrunk(data[0], 24)
    assert small.target.shape == (2, 24, 32) and set(np.unique(small.target[1])) <= set(np.unique(data[0].target[1]))
    with pytest.raises(BadData, match="a batch of unlike sizes"):
        collate([data[0], small])


@pytest.mark.parametrize("items", ["labels", "joint"])
def test_the_cache_gives_back_what_it_was_given(rooms: Path, tmp_path: Path, items: str) -> None:
    data = open_dataset(rooms, items=items)
    said: list[str] = []
    for _ in range(2):
        (kept,) = cached([data], tmp_path, gb=1, height=24, say=said.append)
        assert kept.classes == NYU40 and kept.joint == data.joint
        for i in range(len(data)):
            expected, found = shrunk(data[i], 24), kept[i]
            for name in ("image", "target", "valid"):
                a, b = getattr(expected, name), getattr(found, name)
                assert a.dtype == b.dtype and np.array_equal(a, b)
    assert len(said) == 1  # the second time nothing was decoded
    assert isinstance(kept[0], Item) and len([*tmp_path.iterdir()]) == 1


def test_the_real_annotations_name_all_but_one_class(shared_data: Path) -> None:
    data = open_dataset(shared_data / "nyu", "test", items="joint")
    assert len(data) == len(open_dataset(shared_data / "nyu", "test")) == 327
    item = data[0]
    assert item.target.shape == (2, 480, 640) and item.valid[0].all() and 0.5 < item.valid[1].mean() < 1
    assert item.target[1][item.valid[1]].max() < 39


def test_the_command_line_shows_what_is_asked_for(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for items in ("depth", "labels", "joint"):
        out = tmp_path / items
        assert main(["data", "ls", str(rooms), "--items", items]) == 0
        said[items] = capsys.readouterr().out.splitlines()[-1]
        assert main(["data", "show", str(rooms), "--items", items, "--out", str(out), "--n", "1"]) == 0
        capsys.readouterr()
        (drawn,) = out.rglob("*.png")
        assert np.array_equal(np.asarray(Image.open(drawn))[:, :64], room(0)[0])
    assert "depth 1.57 to 4.71 m on 100% of the pixels" in said["depth"] and "classes" not in said["depth"]
    assert "40 classes on 89% of the pixels" in said["labels"] and " m on" not in said["labels"]
    assert "m on 100% of the pixels, 40 classes on 89% of the pixels" in said["joint"]
