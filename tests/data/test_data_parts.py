"""Which frame is in which part, in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import Room, write_folder
from test_kitti import DRIVE, sparse, write_raw
from test_scenes7 import write_sequence as write_scene
from test_tum import write_sequence as write_tum

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.data.dataset import Dataset
from leadline.data.layouts.description import Description
from leadline.data.layouts.detect import LAYOUTS, open_dataset
from leadline.data.layouts.frame import Frame
from leadline.data.layouts.parts import by_folders, by_scenes, choose, part_by_folder, part_in, part_of, stand_in

PARTS = (("train", 4), ("val", 2), ("test", 1))
SPELLINGS = [
    ("train", "val", "test"),
    ("Training", "Validation", "Testing"),
    ("TRAIN", "VALID", "TEST"),
    ("train2017", "dev", "test-2017"),
    ("training", "eval", "testing"),
]


def write_parts(root: Path, rooms: list[Room], inside: bool, spelling: tuple[str, ...] = SPELLINGS[0]) -> None:
    done = 0
    for word, (_, n) in zip(spelling, PARTS, strict=True):
        made = root / word
        write_folder(made, rooms[done : done + n])
        done += n
        if inside:
            for kind in ("images", "depth"):
                (root / kind).mkdir(exist_ok=True)
                (made / kind).rename(root / kind / word)
            made.rmdir()


def sizes(root: Path) -> tuple[int, ...]:
    return tuple(len(open_dataset(root, split)) for split in ("train", "val", "test", "all"))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("inside", [False, True])
def test_three_parts_can_be_asked_for_one_by_one_however_they_are_spelled(
    tmp_path: Path, rooms: list[Room], inside: bool, spelling: tuple[str, ...]
) -> None:
    write_parts(tmp_path, rooms, inside, spelling)
    assert sizes(tmp_path) == (4, 2, 1, 7)
    for split, word in zip(("train", "val", "test"), spelling, strict=True):
        data = open_dataset(tmp_path, split)
        assert {key.name.split("/")[0] for key in data.keys} == {word} and not data.note
        assert data.parts == PARTS and data.rule == "by the names of its folders"
    assert len(open_dataset(tmp_path, "validation")) == 2  # the words are one, in a question too


@pytest.mark.parametrize("kind", ["txt", "csv", "split.csv", "split.txt", "splits/"])
def test_parts_of_lists_and_of_columns_are_three_too(tmp_path: Path, rooms: list[Room], kind: str) -> None:
    write_folder(tmp_path, rooms[:7])
    words = ["Training"] * 4 + ["valid"] * 2 + ["TEST"]
    if kind.startswith("split."):
        mark, header = (",", "filename,width,split\n") if kind.endswith("csv") else (" ", "")
        middle = "128," if kind.endswith("csv") else ""
        lines = [f"images/{i:03d}.png{mark}{middle}{word}\n" for i, word in enumerate(words)]
        (tmp_path / kind).write_text(header + "".join(lines))
    else:
        home = tmp_path / kind if kind.endswith("/") else tmp_path
        home.mkdir(exist_ok=True)
        for word in dict.fromkeys(words):
            names = [f"{i:03d}" for i, own in enumerate(words) if own == word]
            (home / f"{word}.{'csv' if kind == 'csv' else 'txt'}").write_text("\n".join(names))
    assert sizes(tmp_path) == (4, 2, 1, 7)
    assert [key.name for key in open_dataset(tmp_path, "val").keys] == ["004", "005"]
    assert open_dataset(tmp_path).rule.startswith("by ")


def test_an_unknown_folder_is_a_part_of_its_own_and_leaves_the_others_alone(tmp_path: Path, rooms: list[Room]) -> None:
    write_parts(tmp_path, rooms, True, ("train", "val", "extra"))
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, "test")
    assert {key.name.split("/")[0] for key in train.keys} == {"train"} and len(train) == 4
    assert {key.name.split("/")[0] for key in test.keys} == {"val"}
    assert len(open_dataset(tmp_path, "extra")) == 1 and len(open_dataset(tmp_path, "all")) == 7


def test_val_stands_in_for_a_test_part_that_is_not_there_and_that_is_said(
    tmp_path: Path, rooms: list[Room], capsys: pytest.CaptureFixture[str]
) -> None:
    for part, some in (("train", rooms[:3]), ("valid", rooms[3:5])):
        write_folder(tmp_path / part, some)
    data = open_dataset(tmp_path, "test")
    assert len(data) == 2 and "its val part" in data.name and "val stands in" in data.note
    assert not open_dataset(tmp_path, "val").note
    assert main(["data", "ls", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 train, 2 val, 2 test, 5 all" in said and "val stands in" in said
    assert main(["val", "--data", str(tmp_path), "--model", "fastdepth_small", "--protocol", "indoor-metric@1"]) == 0
    assert "val stands in" in capsys.readouterr().err


def test_what_is_only_test_never_stands_in_for_val(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:5])
    with pytest.raises(BadData, match=r"no frames for the split 'val' \(it has: train 4, test 1\)"):
        open_dataset(tmp_path, "val")


def test_data_ls_prints_each_part_and_the_rule(
    tmp_path: Path, rooms: list[Room], capsys: pytest.CaptureFixture[str]
) -> None:
    write_parts(tmp_path / "a", rooms, False)
    write_folder(tmp_path / "b", rooms[:5])
    assert main(["data", "ls", str(tmp_path / "a")]) == 0
    assert "4 train, 2 val, 1 test, 7 all" in capsys.readouterr().out
    assert main(["data", "ls", str(tmp_path / "b")]) == 0
    assert "nothing says a split, so the last 20% of the frames in order are the test part" in capsys.readouterr().out


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_description_may_name_each_of_the_three(tmp_path: Path, rooms: list[Room], split: str) -> None:
    write_folder(tmp_path, rooms[:3])
    (tmp_path / "dataset.toml").write_text(f'split = "{split}"\n')
    assert len(open_dataset(tmp_path, split)) == 3


def test_scenes_are_split_whole(tmp_path: Path, rooms: list[Room]) -> None:
    for number, some in enumerate((rooms[:4], rooms[4:8], rooms[8:9])):
        write_folder(tmp_path / f"scene{number:04d}_00", some)
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, "test")
    assert {key.name.split("/")[0] for key in train.keys} == {"scene0000_00", "scene0001_00"}
    assert [key.name for key in test.keys] == ["scene0002_00/000"]
    assert "the last 1 of 3 folders" in train.rule


def test_scenes_are_cut_where_the_test_part_comes_nearest_to_its_share() -> None:
    frames = [Frame(f"{scene}/{i}", "x", "y") for scene in "abcde" for i in range(10)]
    for share, scenes in ((0.2, "e"), (0.45, "de"), (0.01, "e"), (0.99, "bcde")):
        parts, _ = by_scenes(frames, Description(test_fraction=share))
        assert {frame.name[0] for frame in parts["test"]} == set(scenes)
    assert not by_scenes(frames, Description(test_fraction=0.0))[0]["test"]


def test_scenes_of_very_unlike_sizes_are_cut_in_order() -> None:
    for first, second, whole in ((1, 50, False), (50, 1, False), (4, 6, True), (10, 10, True)):
        frames = [Frame(f"{scene}/{i}", "x", "y") for scene, n in (("a", first), ("b", second)) for i in range(n)]
        parts, rule = by_scenes(frames, Description())
        shared = {frame.name[0] for frame in parts["train"]} & {frame.name[0] for frame in parts["test"]}
        assert (not shared) == whole == ("folders" in rule), (first, second)


@pytest.mark.parametrize("layout", ["tum", "scenes7", "kitti"])
def test_sequences_and_drives_are_split_whole_too(tmp_path: Path, layout: str) -> None:
    for name in ("2011_09_26_drive_0001_sync", "2011_09_26_drive_0002_sync", "2011_09_26_drive_0003_sync"):
        if layout == "tum":
            write_tum(tmp_path / name, [1.0, 2.0], [1.0, 2.0])
        elif layout == "scenes7":
            write_scene(tmp_path / f"seq-{name[-6]}", range(2))
        else:
            home = write_raw(tmp_path, 4)
            home.rename(home.parent / name)
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, "test")
    assert len(train) == 4 and len(test) == 2 and "the last 1 of 3 folders" in train.rule
    assert len({key.image.rsplit("/", 1)[0] for key in test.keys}) == 1


def test_words_of_parts_and_what_only_looks_like_them() -> None:
    assert [part_of(word) for word in ("Valid", "dev", "train2017", "test_1")] == ["val", "val", "train", "test"]
    assert [part_of(word) for word in ("train_station", "latest", "value", "testbed", "")] == [None] * 5
    assert part_in("nyudepthv2_train_files_with_gt") == "train" and part_in("train_val") is None
    assert part_by_folder("scene/val/train.png") == "val" and part_by_folder("test") is None


def test_without_a_train_folder_the_rest_is_train() -> None:
    frames = [Frame(name, "x", "y") for name in ("a/1", "a/2", "test/3")]
    parts = by_folders(frames)
    assert parts is not None and [len(parts[part]) for part in ("train", "val", "test")] == [2, 0, 1]
    assert by_folders(frames[:2]) is None


def test_stand_in_is_for_test_alone() -> None:
    assert stand_in({"train": [1], "val": [2]}, "test") and not stand_in({"train": [1], "val": [2]}, "val")
    assert not stand_in({"val": [2], "test": [1]}, "test") and not stand_in({"train": [1]}, "test")
    assert choose({"train": [1], "val": [2], "test": []}, "test", Description(), Path()) == (2,)


def kitti(root: Path) -> None:
    """A drive whose depth lies in the benchmark's folders of parts, one frame each."""
    for number, part in enumerate(("train", "val")):
        drive = f"{DRIVE[:17]}{number:04d}_sync"
        home = write_raw(root, 1)
        home.rename(home.parent / drive)
        (home.parent / drive / "proj_depth" / "velodyne_raw" / "image_02" / f"{0:010d}.png").unlink()
        sparse(
            root / "data_depth_annotated" / part / drive / "proj_depth" / "groundtruth" / "image_02" / f"{0:010d}.png",
            9,
        )


def eigen(root: Path, name: str = "eigen") -> None:
    for part in ("train", "valid"):
        for file in (f"{part}/a.png", f"{part}/d.png"):
            (root / part).mkdir(exist_ok=True, parents=True)
            Image.fromarray(np.full((8, 8), 300, np.uint16) if "d." in file else np.zeros((8, 8, 3), np.uint8)).save(
                root / file
            )
        (root / f"{name}_{part}_files_with_gt.txt").write_text(f"{part}/a.png {part}/d.png 721.5\n")


def nyu(root: Path) -> None:
    eigen(root, "nyudepthv2")


def densedepth(root: Path) -> None:
    nyu(root)
    for path in root.glob("*.txt"):
        words = path.read_text().split()
        (root / f"nyu2_{path.name.split('_')[1]}.csv").write_text(f"{words[0]},{words[1]}\n")
        path.unlink()


def h5(root: Path) -> None:
    for part in ("train", "Valid"):
        (root / part / "a").mkdir(parents=True)
        (root / part / "a" / "00002.h5").touch()


def tum(root: Path) -> None:
    write_tum(root / "train", [1.0], [1.0])
    write_tum(root / "validation", [1.0], [1.0])


def scenes7(root: Path) -> None:
    write_scene(root / "train" / "seq-01", range(1))
    write_scene(root / "eval" / "seq-02", range(1))


def unlabelled(root: Path) -> None:
    for part in ("training", "dev"):
        (root / part).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / part / "a.png")


@pytest.mark.parametrize("write", [kitti, eigen, nyu, densedepth, h5, tum, scenes7, unlabelled])
def test_every_layout_knows_the_val_part_and_what_it_stands_in_for(write: object, tmp_path: Path) -> None:
    write(tmp_path)  # type: ignore[operator]
    parts: dict[str, Dataset] = {split: open_dataset(tmp_path, split) for split in ("train", "val", "test", "all")}
    assert [len(part) for part in parts.values()] == [1, 1, 1, 2]
    assert parts["test"].keys == parts["val"].keys != parts["train"].keys
    assert parts["test"].note and parts["train"].rule.startswith("by the names of its")


def test_in_a_photo_collection_a_class_called_train_is_no_part(tmp_path: Path) -> None:
    for name in ("train", "boat", "bus"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "a.png")
    assert len(open_dataset(tmp_path)) == 3


def test_every_layout_says_what_made_its_parts(tmp_path: Path) -> None:
    assert "kitti_selection" in LAYOUTS
    write_scene(tmp_path / "seq-01", range(5))
    assert "in order" in open_dataset(tmp_path).rule
