"""Manifests of label sets from anywhere: what makes no sense is told as a BadData, and nothing outside is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_label_index import labelled, rewritten

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.data import label_index
from leadline.data.label_set import open_labels
from leadline.data.validate.label_set import check_labels

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "labels"))


def shard(said: dict[str, Any], **changes: Any) -> None:
    said["shards"][0].update(changes)


MANIFESTS: dict[str, Change] = {
    "an archive above the folder": lambda said: shard(said, file="../labels-00000.tar"),
    "an archive anywhere": lambda said: shard(said, file="/etc/passwd"),
    "an archive below": lambda said: shard(said, file="x/labels-00000.tar"),
    "an archive by a backslash": lambda said: shard(said, file="..\\labels-00000.tar"),
    "an archive with a byte 0": lambda said: shard(said, file="labels-00000.tar\0"),
    "an archive without a name": lambda said: shard(said, file=""),
    "a number for an archive": lambda said: shard(said, file=3),
    "an archive that is there twice": lambda said: said["shards"].append(said["shards"][0]),
    "an index behind the archive": lambda said: shard(said, index=[10**12, 5]),
    "an index of a negative size": lambda said: shard(said, index=[0, -1]),
    "a huge index": lambda said: shard(said, index=[0, 2**60]),
    "an index elsewhere": lambda said: shard(said, index=[0, 512]),
    "a bare index": lambda said: shard(said, index=7),
    "a size of words": lambda said: shard(said, bytes="many"),
    "another number of labels": lambda said: shard(said, n=1),
    "no hash": lambda said: said["shards"][0].pop("sha256") and None,
    "no archives": lambda said: said.pop("shards") and None,
    "an archive that is no object": lambda said: said.update(shards=["labels-00000.tar"]),
    "another format": lambda said: said.update(format="leadline-labels-9"),
    "a list for a format": lambda said: said.update(format=[]),
    "another kind": lambda said: said.update(kind="depth"),
    "a list for a kind": lambda said: said.update(kind=["metric"]),
    "a scale that is no number": lambda said: said.update(depth_scale=float("nan")),
    "an endless scale": lambda said: said.update(depth_scale=float("inf")),
    "a scale of nothing": lambda said: said.update(depth_scale=0),
    "a tiny scale": lambda said: said.update(depth_scale=1e-300),
    "a huge scale": lambda said: said.update(depth_scale=1e200),
    "a scale of 400 digits": lambda said: said.update(depth_scale=10**400),
    "a negative scale": lambda said: said.update(depth_scale=-1000),
    "a word for a scale": lambda said: said.update(depth_scale="1000"),
    "a truth for a scale": lambda said: said.update(depth_scale=True),
    "no scale": lambda said: said.pop("depth_scale") and None,
    "a word for a teacher": lambda said: said.update(teacher="me"),
    "a teacher without a name": lambda said: said.update(teacher={}),
    "no data": lambda said: said.pop("data") and None,
    "a way of reading that is none": lambda said: said["data"].update(reading=[1]),
    "something left out that is no object": lambda said: said.update(skipped=[3]),
    "something left out without a name": lambda said: said.update(skipped=[{"why": "x"}]),
    "a licence that is no word": lambda said: said.update(licences=[{}]),
    "another number": lambda said: said.update(n=99),
    "a negative number": lambda said: said.update(n=-1),
    "no prediction in words": lambda said: said.update(no_prediction="none"),
    "abstained in words": lambda said: said.update(abstained={"a": "b"}),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_makes_no_sense_is_named(root: Path, what: str) -> None:
    said = json.loads((root / "manifest.json").read_text())
    MANIFESTS[what](said)
    (root / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(BadData, match=r"labels"):
        open_labels(root)


TEXTS = {
    "nothing": b"", "a list": b"[1, 2]", "a word": b'"manifest"', "nothing at all": b"null", "half": b'{"format": ',
    "no text": b"\xff\xfe\x00\xd8", "deep": b"[" * 200_000, "deep objects": b'{"a":' * 200_000,
    "a long number": b'{"n": ' + b"9" * 10_000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
def test_a_manifest_that_is_no_object_is_named(root: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "manifest.json").write_bytes(TEXTS[what])
    with pytest.raises(BadData, match=r"manifest\.json is not the description of a label set"):
        open_labels(root)
    assert main(["data", "check", str(root)]) == 1
    assert "fault of leadline" not in capsys.readouterr().err


def test_a_manifest_that_would_fill_the_memory_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "manifest.json"
    path.write_bytes(b"[" + b"{}," * 5_000_000 + b"{}]")
    with pytest.raises(BadData, match=r"it holds more than 4000000 values"):
        open_labels(root)
    monkeypatch.setattr(label_index, "LARGEST", 1000)
    with pytest.raises(BadData, match=r"it has \d+ bytes, at most 1000 are read"):
        open_labels(root)


def test_a_byte_order_mark_is_no_part_of_a_manifest(root: Path) -> None:
    path = root / "manifest.json"
    content = path.read_bytes().replace(b"\n", b"\r\n")
    for written in (b"\xef\xbb\xbf" + content, content.decode().encode("utf-16")):
        path.write_bytes(written)
        assert len(open_labels(root)) == 3


def test_what_older_sets_do_not_say_is_not_needed(root: Path) -> None:
    """The first ones knew a picture by its pixels alone, and did not count images without a prediction."""
    rewritten(root, lambda line: [line.pop(key) for key in ("source", "look")] and None)
    path = root / "manifest.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({key: said[key] for key in said if key not in ("no_prediction", "beyond", "abstained")}))
    assert check_labels(root, 9)[0]["n"] == 3
