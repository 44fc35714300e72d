"""`leadline label` on half-finished runs that are not what they should be, and beside runs that live on."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leadline import drafts
from leadline.data.labels import open_labels
from leadline.data.layouts import open_dataset
from leadline.errors import BadData
from leadline.labelling import label
from leadline.labelling import run as labelling
from leadline.labelling.plan import planned
from leadline.options_distill import Labelling
from leadline.teachers import Answer, Teacher, open_teacher
from leadline.types import Sample
from tests.rooms import bytes_of
from tests.test_labelling import labelled

pytestmark = pytest.mark.usefixtures("one_thread")


def begun(photos: Path, teacher: Path, out: Path) -> list[Path]:
    """A run that was stopped after its first archive; the answers of the second that were there."""
    run, opened = Labelling(out, shard=3), lambda: open_dataset(photos, "train")
    steps = label(lambda: open_teacher(teacher), opened, "../photos", run)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    pieces = [out / "pieces" / f"{i:08d}" for i in (3, 4)]
    for i, path in enumerate(pieces, 3):
        path.write_bytes(labelling.piece(open_teacher(teacher), opened(), i, run))
    return pieces


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
    photos: Path, teacher: Path, tmp_path: Path, damage: Any
) -> None:
    labelled(photos, teacher, tmp_path / "whole")
    piece, _ = begun(photos, teacher, tmp_path / "labels")
    piece.write_bytes(damage(piece.read_bytes()))
    labelled(photos, teacher, tmp_path / "labels")
    assert bytes_of(tmp_path / "labels") == bytes_of(tmp_path / "whole")


def test_the_answer_of_another_image_is_asked_for_again(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, tmp_path / "whole")
    first, second = begun(photos, teacher, tmp_path / "labels")
    shutil.copy(second, first)
    labelled(photos, teacher, tmp_path / "labels")
    assert bytes_of(tmp_path / "labels") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("damage", [cut, emptied, zeroed, no_words, lambda content: b"\x1f\x8b\x08" + content])
@pytest.mark.parametrize("again", [False, True])
def test_a_damaged_archive_of_a_stopped_run_is_named_and_made_anew_once_it_is_gone(
    photos: Path, teacher: Path, tmp_path: Path, damage: Any, again: bool
) -> None:
    labelled(photos, teacher, tmp_path / "whole")
    begun(photos, teacher, out := tmp_path / "labels")
    archive = out / "labels-00000.tar"
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(
        BadData, match=r"labels-00000\.tar is damaged .*: remove it, and the same command makes it anew"
    ):
        labelled(photos, teacher, out, again=again)
    archive.unlink()
    labelled(photos, teacher, out)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_an_archive_of_other_images_is_named(photos: Path, teacher: Path, tmp_path: Path) -> None:
    begun(photos, teacher, out := tmp_path / "labels")
    shutil.copy(out / "labels-00000.tar", out / "labels-00001.tar")
    with pytest.raises(BadData, match=r"labels-00001\.tar is damaged \(it has 3 images that are not those from 3 to 5"):
        labelled(photos, teacher, out)


@pytest.mark.parametrize("text", [b"[" * 200_000, b"\xff", b"3", b"null", b'{"a": '])
def test_a_plan_that_is_no_object_is_named(photos: Path, teacher: Path, tmp_path: Path, text: bytes) -> None:
    begun(photos, teacher, out := tmp_path / "labels")
    (out / "plan.json").write_bytes(text)
    with pytest.raises(BadData, match=r"plan\.json is damaged, .* label anew"):
        labelled(photos, teacher, out)


def test_a_plan_with_a_byte_order_mark_is_a_plan(photos: Path, teacher: Path, tmp_path: Path) -> None:
    begun(photos, teacher, out := tmp_path / "labels")
    path = out / "plan.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    labelled(photos, teacher, out)
    assert len(open_labels(out)) == 10


def test_a_run_that_was_killed_at_its_very_end_is_tidied_up(photos: Path, teacher: Path, tmp_path: Path) -> None:
    labelled(photos, teacher, out := tmp_path / "labels")
    before = bytes_of(out)
    (out / "plan.json").write_text(json.dumps({**open_labels(out).said, "n": None}))
    (out / "pieces").mkdir()
    (out / "pieces" / "00000010").write_bytes(b"left")
    labelled(photos, teacher, out)
    assert bytes_of(out) == before and not (out / "pieces").exists()


def test_what_another_run_writes_at_this_moment_is_left_to_it(photos: Path, teacher: Path, tmp_path: Path) -> None:
    begun(photos, teacher, out := tmp_path / "labels")
    alive = out / "pieces" / f".00000003.{drafts._machine()}.{os.getppid()}.00000000"
    dead = out / "pieces" / f".00000004.{drafts._machine()}.{2**22 + 1}.00000000"
    for path in (alive, dead):
        path.write_bytes(b"half")
    work = labelling.Work(open_teacher(teacher), open_dataset(photos, "train"), Labelling(out, shard=3))
    work(1)
    assert alive.exists() and not dead.exists()


def test_a_process_that_finds_other_images_or_another_teacher_than_was_planned_makes_nothing(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    """Each process opens both anew: somebody may be copying photographs into the folder at this moment."""
    data, run = open_dataset(photos, "train"), Labelling(tmp_path / "labels", shard=3)
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

    def slow(seen: Sample) -> Answer:
        if not (out / "labels-00001.tar").exists():
            shutil.copy(whole / "labels-00001.tar", out)
        return real(seen)

    work = labelling.Work(
        Teacher(real.name, real.kind, slow), open_dataset(photos, "train"), Labelling(out, shard=3)
    )  # fmt: skip
    out.mkdir()
    _, new = work(1)
    assert new == 1 and (out / "labels-00001.tar").read_bytes() == (whole / "labels-00001.tar").read_bytes()
