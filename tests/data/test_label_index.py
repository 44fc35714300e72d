"""Label sets from anywhere: damaged, made by hand, or made to do harm. All is told as a BadData, or read."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.png_bomb import bomb
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.core.errors import BadData, LeadlineError
from leadline.core.spec import Kind
from leadline.data.label_set import open_labels, read_label, with_labels
from leadline.data.layouts.detect import open_dataset
from leadline.data.validate.label_set import check_labels
from leadline.distill.labelling.label import label
from leadline.distill.labelling.shards import _member, entries, index
from leadline.distill.options import Labelling
from leadline.distill.teachers import Teacher

Change = Callable[[dict[str, Any]], None]


def labelled(top: Path, kind: Kind = "metric") -> Path:
    """A label set of three photographs, in two archives."""
    folder = write_folder(top / "rooms", [render(seed, size=(24, 32)) for seed in range(3)])
    run = Labelling(out=top / "labels", split="all", shard=2)
    said = Teacher("bright", kind, lambda seen: 1 + 3 * seen.image.mean(1, keepdim=True))
    assert list(label(lambda: said, lambda: open_dataset(folder, "all"), "../rooms", run))
    return run.out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "labels"))


def rewritten(root: Path, change: Change, archive: str = "labels-00000.tar") -> None:
    """The set with an archive's first image changed: `change` gets its line, and in it the PNG files, `depth` and
    `confidence`.
    """
    content = (root / archive).read_bytes()
    files = {one.name: content[one.start : one.start + one.size] for one in entries(io.BytesIO(content), len(content))}
    lines = [json.loads(line) for line in files.pop("index.jsonl").splitlines()]
    i = lines[0]["i"]
    for what in ("depth", "confidence"):
        lines[0][what] = files[f"{i:08d}.{what}.png"]
    change(lines[0])
    for what in ("depth", "confidence"):
        files[f"{i:08d}.{what}.png"] = lines[0].pop(what)
    made, at = b"", {}
    for name, file in files.items():
        at[name] = [len(made) + 512, len(file)]
        made += _member(name, file)
    for line in lines:
        if line.get("at") is not None and not line.pop("wild", False):
            line["at"] = {what: at[f"{line['i']:08d}.{what}.png"] for what in line["at"]}
    rows = "".join(json.dumps(line) + "\n" for line in lines).encode()
    where = [len(made) + 512, len(rows)]
    made += _member("index.jsonl", rows) + bytes(1024)
    (root / archive).write_bytes(made)
    said = json.loads((root / "manifest.json").read_text())
    [shard] = [shard for shard in said["shards"] if shard["file"] == archive]
    shard |= {"bytes": len(made), "sha256": sha256(made).hexdigest(), "index": where}
    (root / "manifest.json").write_text(json.dumps(said))


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(file, format="PNG")
    return file.getvalue()


def test_what_is_rewritten_unchanged_is_still_read(root: Path) -> None:
    before = read_label(open_labels(root), "000")
    rewritten(root, lambda line: None)
    after = read_label(open_labels(root), "000")
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


GREY = np.full((24, 32), 7, np.uint8)
PICTURES: dict[str, tuple[dict[str, bytes], str]] = {
    "a bomb of 200 megapixels": ({"depth": bomb(20_000, 10_000)}, "decompression bomb"),
    "one of a gigapixel": ({"confidence": bomb(50_000, 40_000, 8)}, "decompression bomb"),
    "one of 110 megapixels": ({"depth": bomb(11_000, 10_000)}, "11000 x 10000 pixels, at most 100000000 are read"),
    "depth of 8 bits": ({"depth": png(GREY)}, "a 'L' picture stands where 'I;16'"),
    "depth in colour": ({"depth": png(np.zeros((24, 32, 3), np.uint8))}, "a 'RGB' picture"),
    "depth of a palette": ({"depth": png(GREY, "P")}, "a 'P' picture"),
    "confidence of 16 bits": ({"confidence": png(GREY.astype(np.uint16))}, "a 'I;16' picture"),
    "confidence of another size": ({"confidence": png(GREY[:12])}, r"its depth is \(24, 32\), its confidence \(12, 32"),
    "no picture": ({"depth": b"nothing"}, "cannot identify image file"),
    "a JPEG": ({"depth": b"\xff\xd8\xff\xe0" + bytes(80)}, "cannot identify image file"),
    "a picture that is cut short": ({"depth": png(GREY.astype(np.uint16))[:-30]}, "truncated"),
}


@pytest.mark.parametrize("what", PICTURES)
def test_a_picture_that_is_no_label_is_named(root: Path, what: str) -> None:
    files, said = PICTURES[what]
    rewritten(root, lambda line: line.update(files))
    labels = open_labels(root)
    with pytest.raises(BadData, match=rf"labels-00000\.tar: the label of 000 cannot be read: .*{said}"):
        read_label(labels, "000")
    assert read_label(labels, "002")[0].any(), "the others are read"


def test_the_check_of_a_set_names_each_label_that_cannot_be_read(root: Path) -> None:
    for archive in ("labels-00000.tar", "labels-00001.tar"):
        rewritten(root, lambda line: line.update(depth=bomb(20_000, 10_000)), archive)
    facts, findings = check_labels(root, 9)
    assert facts["n_read"] == 1 and [(one.severity, one.where) for one in findings] == [
        ("error", "000"),
        ("error", "002"),
    ]
    assert main(["data", "check", str(root)]) == 1


def test_a_label_of_another_shape_than_its_picture_is_named(root: Path) -> None:
    wide = {"depth": png(np.ones((8, 32), np.uint16)), "confidence": png(np.ones((8, 32), np.uint8))}
    rewritten(root, lambda line: line.update(wide))
    folder = write_folder(root.parent / "rooms", [render(seed, size=(24, 32)) for seed in range(3)])
    data = with_labels(open_dataset(folder, "all"), open_labels(root))
    with pytest.raises(BadData, match=r"the label of '000' is 32 x 8, the picture 32 x 24: not one shape"):
        data[0]
    assert data[1].pseudo_depth.all()


LINES: dict[str, Change] = {
    "a place before the archive": lambda line: line.update(wild=1, at={"depth": [-5, 9], "confidence": [1, 9]}),
    "a place behind it": lambda line: line.update(wild=1, at={"depth": [10**9, 9], "confidence": [1, 9]}),
    "a negative size": lambda line: line.update(wild=1, at={"depth": [1, -1], "confidence": [1, 9]}),
    "a place of words": lambda line: line.update(wild=1, at={"depth": ["a", "b"], "confidence": [1, 9]}),
    "a place of broken numbers": lambda line: line.update(wild=1, at={"depth": [1.5, 9], "confidence": [1, 9]}),
    "one number": lambda line: line.update(wild=1, at={"depth": [1], "confidence": [1, 9]}),
    "no confidence": lambda line: line.update(wild=1, at={"depth": [1, 9]}),
    "no place": lambda line: line.update(at=None),
    "no name": lambda line: line.pop("name") and None,
    "a number for a name": lambda line: line.update(name=7),
    "no hash": lambda line: line.pop("image") and None,
    "another hash": lambda line: line.update(image="abc"),
    "a look of words": lambda line: line.update(look="zz"),
    "a source of words": lambda line: line.update(source=["zz"]),
    "a low above its high": lambda line: line.update(low=2.0, high=1.0),
    "a low alone": lambda line: line.update(low=2.0),
    "a low that is no number": lambda line: line.update(low=float("nan"), high=1.0),
    "an endless high": lambda line: line.update(low=1.0, high=float("inf")),
    "a high of 400 digits": lambda line: line.update(low=1, high=10**400),
    "a name that is there twice": lambda line: line.update(name="001"),
    "the name of another archive's": lambda line: line.update(name="002"),
    "left out without a reason": lambda line: line.update(skipped=True, at=None),
    "a number of nothing": lambda line: line.update(no_prediction="many"),
}


@pytest.mark.parametrize("what", LINES)
def test_a_line_that_makes_no_sense_is_named(root: Path, what: str) -> None:
    rewritten(root, LINES[what])
    with pytest.raises(BadData, match=r"labels"):
        open_labels(root)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 0)])
def test_the_smallest_relative_depth_is_above_zero(tmp_path: Path, low: float, high: float) -> None:
    root = labelled(tmp_path, "relative_depth")
    rewritten(root, lambda line: line.update(low=low, high=high))
    with pytest.raises(BadData, match=r"the smallest depth of '000' is .*; it must be above 0"):
        open_labels(root)


def test_relative_depth_without_its_extent_is_named(tmp_path: Path) -> None:
    root = labelled(tmp_path, "relative_depth")
    rewritten(root, lambda line: [line.pop(key) for key in ("low", "high")] and None)
    with pytest.raises(BadData, match=r"its smallest and largest depth are not said"):
        read_label(open_labels(root), "000")


def test_a_name_is_a_word_and_never_a_place(root: Path) -> None:
    rewritten(root, lambda line: line.update(name="../../etc/passwd"))
    assert read_label(open_labels(root), "../../etc/passwd")[0].shape == (24, 32)


def test_random_damage_is_a_bad_data_or_does_no_harm(root: Path, whole: Path) -> None:
    rng = random.Random(0)
    for turn in range(60):
        file = root / rng.choice(["manifest.json", "labels-00000.tar", "labels-00001.tar"])
        content = bytearray((whole / file.name).read_bytes())
        for _ in range(rng.choice((1, 3, 30))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        file.write_bytes(content[: rng.randrange(len(content))] if turn % 5 == 0 else content)
        with contextlib.suppress(LeadlineError):
            check_labels(root, 3)
            for name in (labels := open_labels(root)).places:
                read_label(labels, name)
        with contextlib.suppress(LeadlineError):
            index(root / "labels-00000.tar")
        shutil.copy(whole / file.name, file)
