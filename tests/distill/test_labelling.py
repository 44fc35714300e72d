"""`leadline label`: killed, full, bad or alone, it ends with the same bytes and says what it left out."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_scenes import bytes_of, render, write_folder
from support.tiny_training import tiny

from leadline.cli.main import main
from leadline.core import storage as drafts
from leadline.core.errors import BadData
from leadline.data.label_set import open_labels
from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling import label as labelling
from leadline.distill.labelling.label import Progress, label
from leadline.distill.options import Labelling, TeacherOptions
from leadline.distill.teachers import build_teacher, open_teacher, with_test_time_augmentation
from leadline.nn.checkpoint import save

pytestmark = pytest.mark.usefixtures("one_thread")


def labelled(photos: Path, teacher: Path, out: Path, **changes: object) -> list[Progress]:
    run = Labelling(out=out, **{"shard": 3, **changes})  # type: ignore[arg-type]
    return list(
        label(
            lambda: build_teacher(TeacherOptions(teacher=(str(teacher),))),
            lambda: open_dataset(photos, "train"),
            "../photos",
            run,
        )
    )


def test_a_bad_image_is_left_out_and_named(photos: Path, teacher: Path, tmp_path: Path) -> None:
    steps = labelled(photos, teacher, tmp_path / "labels")
    [(name, why)] = [bad for step in steps for bad in step.skipped]
    assert name.endswith("6") and "cut short" in why
    made = open_labels(tmp_path / "labels")
    assert len(made) == 10 and [bad["i"] for bad in made.manifest["skipped"]] == [6]
    assert [step.done for step in steps] == [3, 6, 9, 11]


def test_a_label_set_is_an_archive_that_any_program_reads(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, tmp_path / "labels")
    names: list[str] = []
    for path in sorted((tmp_path / "labels").glob("*.tar")):
        with tarfile.open(path) as archive:
            names += archive.getnames()
            assert all(member.mtime == 0 and member.uid == 0 for member in archive)
    assert names[:4] == ["00000000.depth.png", "00000000.confidence.png", "00000000.json", "00000001.depth.png"]
    said = json.loads((tmp_path / "labels" / "manifest.json").read_text())
    for shard in said["shards"]:
        assert sha256((tmp_path / "labels" / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
    assert said["teacher"]["name"] == "tiny" and said["licences"] == ["tests"] and said["kind"] == "metric"


def test_a_finished_set_is_left_as_it_is(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, tmp_path / "labels")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").iterdir()}
    assert labelled(photos, teacher, tmp_path / "labels") == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").iterdir()} == before


class Killed(BaseException):
    """As sudden as a signal: nothing between it and the test cleans up on purpose."""


def drafted(path: Path) -> Path:
    """A draft of a process that has ended: no machine counts so far."""
    return path.with_name(f".{path.name}.{drafts._machine()}.{2**22 + 1}.00000000")


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 9, 13, 14])
def test_stopped_after_any_write_it_goes_on_to_the_same_bytes(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    labelled(photos, teacher, tmp_path / "whole")
    written: list[Path] = []
    real = labelling.write_atomically

    def write(path: Path, content: bytes) -> Path:
        if len(written) == after:
            path.parent.mkdir(parents=True, exist_ok=True)
            drafted(path).write_bytes(content[:10])  # what a killed writer leaves
            raise Killed
        written.append(path)
        return real(path, content)

    monkeypatch.setattr(labelling, "write_atomically", write)
    with pytest.raises(Killed):
        labelled(photos, teacher, tmp_path / "stopped")
    monkeypatch.undo()
    answers: list[int] = []
    original = labelling.piece
    monkeypatch.setattr(labelling, "piece", lambda t, d, i, run: answers.append(i) or original(t, d, i, run))
    labelled(photos, teacher, tmp_path / "stopped")
    done = {int(path.name) for path in written if path.parent.name == "pieces"}
    assert not done & set(answers), "a finished image was asked about again"
    assert bytes_of(tmp_path / "stopped") == bytes_of(tmp_path / "whole")


def test_another_teacher_other_images_and_another_way_are_refused(photos: Path, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    labelled(photos, teacher, out)
    other = tiny()
    torch.nn.init.zeros_(next(other.parameters()))
    with pytest.raises(BadData, match=r"made otherwise: .*teacher.sha256 \w{8} \(there: \w{8}\);"):
        labelled(photos, save(other, tmp_path / "other.safetensors", provenance={"licences": ["tests"]}), out)
    fewer = write_folder(tmp_path / "fewer", [render(seed, size=(48, 64)) for seed in range(4)])
    with pytest.raises(BadData, match=r"made otherwise: data"):
        labelled(fewer, teacher, out)
    twice, data = lambda: with_test_time_augmentation(open_teacher(teacher)), lambda: open_dataset(photos, "train")
    otherwise = r"made otherwise: teacher.test_time_augmentation \{'flip': True.*\} \(there: None\)"
    with pytest.raises(BadData, match=otherwise):
        list(label(twice, data, "../photos", Labelling(out=out, shard=3)))
    with pytest.raises(BadData, match=r"made otherwise: height 24 \(there: 240\)"):
        labelled(photos, teacher, out, height=24)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BadData, match=r"holds other files; a new or empty folder is needed"):
        labelled(photos, teacher, tmp_path / "mine")


def test_two_runs_do_not_write_to_one_folder(photos: Path, teacher: Path, tmp_path: Path) -> None:
    run = Labelling(out=tmp_path / "labels", shard=3)
    first = label(
        lambda: build_teacher(TeacherOptions(teacher=(str(teacher),))),
        lambda: open_dataset(photos, "train"),
        "../photos",
        run,
    )
    next(first)
    with pytest.raises(BadData, match=r"another run writes to .*labels"):
        labelled(photos, teacher, run.out)
    assert len(list(first)) == 3 and len(open_labels(run.out)) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["labels"]


def test_a_folder_without_images_is_refused(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData):
        labelled(tmp_path / "empty", teacher, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_a_full_disk_ends_the_run_and_nothing_is_lost(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, room = labelling.write_atomically, [7]

    def write(path: Path, content: bytes) -> Path:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        room[0] -= 1
        return real(path, content)

    args = ["label", str(photos), "--teacher", str(teacher), "--shard", "3", "--out", str(tmp_path / "full")]
    monkeypatch.setattr(labelling, "write_atomically", write)
    assert main(args) == 1
    assert "No space left on device" in capsys.readouterr().err
    with pytest.raises(BadData, match=r"is not finished"):
        open_labels(tmp_path / "full")
    room[0] = 99
    assert main(args) == 0
    assert main([*args[:-1], str(tmp_path / "roomy")]) == 0
    assert bytes_of(tmp_path / "full") == bytes_of(tmp_path / "roomy")


@pytest.mark.parametrize("gone", ["its folder", "the files that a process may open"])
def test_a_lost_disk_is_no_matter_of_bad_images(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """An image that goes bad is left out; where none can be read any more nothing is, and the next run goes on."""
    share, out = tmp_path / "share", tmp_path / "labels"
    shutil.copytree(photos, share)
    run, opened = Labelling(out=out, shard=2), lambda: open_dataset(share, "train")
    begun = label(lambda: build_teacher(TeacherOptions(teacher=(str(teacher),))), opened, "../share", run)
    next(begun)
    if gone == "its folder":
        share.rename(tmp_path / "away")
    else:
        real = Path.open

        def opening(path: Path, *args: Any, **kwargs: Any) -> Any:
            if share in path.parents:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(OSError, match=r"; nor can \S+1 be read any more: "):
        list(begun)
    monkeypatch.undo()
    if gone == "its folder":
        (tmp_path / "away").rename(share)
    list(label(lambda: build_teacher(TeacherOptions(teacher=(str(teacher),))), opened, "../share", run))
    assert [line["i"] for line in open_labels(out).manifest["skipped"]] == [6]


def test_a_shard_that_is_handed_out_twice_is_made_once(photos: Path, teacher: Path, tmp_path: Path) -> None:
    work = labelling.Work(open_teacher(teacher), open_dataset(photos, "train"), Labelling(out=tmp_path, shard=4))
    (skipped, new), before = work(1), bytes_of(tmp_path)
    assert new == 4 and [name[-1] for name, _ in skipped] == ["6"]
    assert work(1) == (skipped, 0) and bytes_of(tmp_path) == before


def test_a_repaired_image_is_labelled_without_the_others(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = tmp_path / "mended"
    shutil.copytree(photos, mended)
    labelled(mended, teacher, tmp_path / "labels")
    broken, good = sorted(mended.rglob("*6.*"))[0], sorted(mended.rglob("*5.*"))[0]
    shutil.copy(good, broken)
    assert labelled(mended, teacher, tmp_path / "labels") == [], "a finished set is not touched unasked"
    answers: list[int] = []
    original = labelling.piece
    monkeypatch.setattr(labelling, "piece", lambda t, d, i, run: answers.append(i) or original(t, d, i, run))
    labelled(mended, teacher, tmp_path / "labels", retry_skipped=True)
    assert answers == [6]
    labelled(mended, teacher, tmp_path / "whole")
    assert bytes_of(tmp_path / "labels") == bytes_of(tmp_path / "whole")


def test_what_a_stopped_run_has_left_out_is_tried_again_too(photos: Path, teacher: Path, tmp_path: Path) -> None:
    run = Labelling(out=tmp_path / "labels", shard=11)
    work = labelling.Work(open_teacher(teacher), open_dataset(photos, "train"), run)
    pieces = run.out / "pieces"
    pieces.mkdir(parents=True)
    for i in (5, 6):
        (pieces / f"{i:08d}").write_bytes(labelling.piece(work.teacher, work.data, i, run))
    before = (pieces / f"{5:08d}").stat().st_mtime_ns
    labelling._reopen(run.out, {}, 1)
    assert [path.name for path in pieces.iterdir()] == [f"{5:08d}"]
    assert (pieces / f"{5:08d}").stat().st_mtime_ns == before


def test_an_address_where_no_cluster_listens_is_said_at_once(photos: Path, teacher: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectionError, match=rf"no Ray cluster answers at {address} .*or leave --ray out"):
        labelled(photos, teacher, tmp_path / "labels", workers=1, ray=address)


def test_the_command_says_what_it_did(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels"
    args = [
        "label",
        str(photos),
        "--teacher",
        str(teacher),
        "--flip",
        "--out",
        str(out),
        "--licences",
        "mine",
        "--json",
    ]
    assert main(args) == 0
    said, heard = capsys.readouterr()
    facts = json.loads(said)
    assert (facts["n"], facts["kind"], len(facts["skipped"])) == (10, "metric", 1)
    assert facts["teacher"]["test_time_augmentation"] == {"flip": True, "zooms": [1.0]} and "left out" in heard
    assert open_labels(out).manifest["licences"] == ["mine", "tests"]
    assert main(["label", str(photos), "--teacher", str(teacher), "--ray", "here:1", "--out", str(out)]) in (1, 2)
    assert "say how many workers" in capsys.readouterr().err
