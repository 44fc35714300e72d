"""`leadline label` on half-finished runs that are not what they should be, and beside runs that live on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_scenes import bytes_of
from test_labelling import labelled

from leadline.core import storage as drafts
from leadline.core.errors import BadData
from leadline.data.batch import Batch
from leadline.data.label_set import open_labels
from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling import label as labelling
from leadline.distill.labelling.label import label
from leadline.distill.labelling.plan import planned
from leadline.distill.options import Labelling
from leadline.distill.teachers import Answer, Teacher, open_teacher


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_all() -> Iterator[None]:
    """The bytes of labels depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(photos: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an undisturbed run."""
    labelled(photos, teacher, out := tmp_path_factory.mktemp("whole") / "labels")
    return bytes_of(out)


@pytest.fixture(scope="module")
def half(photos: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its first archive, with the first two answers of the second."""
    out, who = tmp_path_factory.mktemp("half") / "labels", open_teacher(teacher)
    run, opened = Labelling(out=out, shard=3), lambda: open_dataset(photos, "train")
    steps = label(lambda: who, opened, "../photos", run)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    for i in (3, 4):
        (out / "pieces" / f"{i:08d}").write_bytes(labelling.piece(who, opened(), i, run))
    return out


@pytest.fixture
def out(half: Path, tmp_path: Path) -> Path:
    """Such a run, to be changed."""
    return Path(shutil.copytree(half, tmp_path / "labels"))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def one_bit_turned(content: bytes) -> bytes:
    return content[:700] + bytes([content[700] ^ 1]) + content[701:]


def no_words(content: bytes) -> bytes:
    return content.replace(b'"name"', b'"nane"')


@pytest.mark.parametrize("damage", [cut, emptied, zeroed, one_bit_turned, no_words])
def test_a_damaged_answer_of_a_stopped_run_is_asked_for_again(
    photos: Path, teacher: Path, out: Path, whole: dict[str, str], damage: Any
) -> None:
    piece = out / "pieces" / "00000003"
    piece.write_bytes(damage(piece.read_bytes()))
    labelled(photos, teacher, out)
    assert bytes_of(out) == whole


def test_the_answer_of_another_image_is_asked_for_again(
    photos: Path, teacher: Path, out: Path, whole: dict[str, str]
) -> None:
    shutil.copy(out / "pieces" / "00000004", out / "pieces" / "00000003")
    labelled(photos, teacher, out)
    assert bytes_of(out) == whole


@pytest.mark.parametrize("damage", [cut, emptied, zeroed, no_words, lambda content: b"\x1f\x8b\x08" + content])
@pytest.mark.parametrize("again", [False, True])
def test_a_damaged_archive_of_a_stopped_run_is_named_and_made_anew_once_it_is_gone(
    photos: Path, teacher: Path, out: Path, whole: dict[str, str], damage: Any, again: bool
) -> None:
    archive = out / "labels-00000.tar"
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(
        BadData, match=r"labels-00000\.tar is damaged .*: remove it, and the same command makes it anew"
    ):
        labelled(photos, teacher, out, retry_skipped=again)
    archive.unlink()
    labelled(photos, teacher, out)
    assert bytes_of(out) == whole


def test_an_archive_of_other_images_is_named(photos: Path, teacher: Path, out: Path) -> None:
    shutil.copy(out / "labels-00000.tar", out / "labels-00001.tar")
    with pytest.raises(BadData, match=r"labels-00001\.tar is damaged \(it has 3 images that are not those from 3 to 5"):
        labelled(photos, teacher, out)


@pytest.mark.parametrize("text", [b"[" * 200_000, b"\xff", b"3", b"null", b'{"a": '])
def test_a_plan_that_is_no_object_is_named(photos: Path, teacher: Path, out: Path, text: bytes) -> None:
    (out / "plan.json").write_bytes(text)
    with pytest.raises(BadData, match=r"plan\.json is damaged, .* label anew"):
        labelled(photos, teacher, out)


def test_a_plan_with_a_byte_order_mark_is_a_plan(photos: Path, teacher: Path, out: Path) -> None:
    path = out / "plan.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    labelled(photos, teacher, out)
    assert len(open_labels(out)) == 10


def test_a_run_that_was_killed_at_its_very_end_is_tidied_up(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, out := tmp_path / "labels")
    before = bytes_of(out)
    (out / "plan.json").write_text(json.dumps({**open_labels(out).manifest, "n": None}))
    (out / "pieces").mkdir()
    (out / "pieces" / "00000010").write_bytes(b"left")
    labelled(photos, teacher, out)
    assert bytes_of(out) == before and not (out / "pieces").exists()


def test_what_another_run_writes_at_this_moment_is_left_to_it(photos: Path, teacher: Path, out: Path) -> None:
    alive = out / "pieces" / f".00000003.{drafts._machine()}.{os.getppid()}.00000000"
    dead = out / "pieces" / f".00000004.{drafts._machine()}.{2**22 + 1}.00000000"
    for path in (alive, dead):
        path.write_bytes(b"half")
    work = labelling.Work(open_teacher(teacher), open_dataset(photos, "train"), Labelling(out=out, shard=3))
    work(1)
    assert alive.exists() and not dead.exists()


def test_a_process_that_finds_other_images_or_another_teacher_than_was_planned_makes_nothing(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    """Each process opens both anew: somebody may be copying photographs into the folder at this moment."""
    data, run = open_dataset(photos, "train"), Labelling(out=tmp_path / "labels", shard=3)
    said = planned(open_teacher(teacher), data, "../photos", run, {})
    more = replace(data, keys=(*data.keys, data.keys[0]._replace(name="new")))
    changed = Teacher("other", "metric", lambda seen: seen.image[:, :1])
    for who, what in ((lambda: open_teacher(teacher), more), (lambda: changed, data)):
        ask = labelling._elsewhere(who, lambda what=what: what, run, said, {})  # type: ignore[misc]
        with pytest.raises(BadData, match=r"data or teacher have changed since this run began: .* run it again"):
            ask(0)
    assert not run.out.exists()
    ask = labelling._elsewhere(lambda: open_teacher(teacher), lambda: data, run, said, {})
    assert ask(0) == ((), 3)


def test_a_worker_that_was_overtaken_leaves_no_answers(photos: Path, teacher: Path, tmp_path: Path) -> None:
    """One of a killed run lives on, and a new run has finished the archive meanwhile."""
    labelled(photos, teacher, whole := tmp_path / "whole")
    out, real = tmp_path / "labels", open_teacher(teacher)

    def slow(seen: Batch) -> Answer:
        if not (out / "labels-00001.tar").exists():
            shutil.copy(whole / "labels-00001.tar", out)
        return real(seen)

    work = labelling.Work(
        Teacher(real.name, real.kind, slow), open_dataset(photos, "train"), Labelling(out=out, shard=3)
    )  # fmt: skip
    out.mkdir()
    _, new = work(1)
    assert new == 1 and (out / "labels-00001.tar").read_bytes() == (whole / "labels-00001.tar").read_bytes()


class Killed(BaseException):
    """As sudden as a signal: nothing between it and the test cleans up on purpose."""


@pytest.mark.parametrize("after", [0, 2, 4, 5])
def test_a_repair_that_is_stopped_after_any_write_goes_on_to_the_same_bytes(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    mended, out = Path(shutil.copytree(photos, tmp_path / "mended")), tmp_path / "labels"
    labelled(mended, teacher, out)
    images = sorted((mended / "images").iterdir())
    shutil.copy(images[5], images[6])
    labelled(mended, teacher, tmp_path / "whole")
    real, written = labelling.write_atomically, []

    def write(path: Path, content: bytes) -> Path:
        if len(written) == after:
            raise Killed
        written.append(path)
        return real(path, content)

    monkeypatch.setattr(labelling, "write_atomically", write)
    with contextlib.suppress(Killed):
        labelled(mended, teacher, out, retry_skipped=True)
    assert len(written) == after
    monkeypatch.undo()
    labelled(mended, teacher, out, retry_skipped=True)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
