"""`leadline label` beside other people's files, and on half-finished runs that are not what they should be."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from leadline import drafts
from leadline.data.dataset import Dataset
from leadline.data.frame import Frame
from leadline.data.labels import open_labels
from leadline.data.layouts import open_dataset
from leadline.errors import BadData
from leadline.labelling import label, plan
from leadline.labelling import run as labelling
from leadline.options_distill import Labelling
from leadline.teachers import Answer, Teacher, open_teacher, together
from leadline.types import Sample
from tests.rooms import bytes_of, render, write_folder
from tests.test_labelling import labelled

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own(photos: Path, tmp_path: Path) -> Path:
    """A folder of photographs that may be changed."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.mark.parametrize("where", ["", "images", "notes"])
def test_a_folder_with_other_files_is_left_as_it_is(own: Path, teacher: Path, where: str) -> None:
    (own / "notes").mkdir()
    for name in (".plan.json.swp", ".manifest.json.bak", "manifest.json", ".lock", "labels-00000.tar"):
        (own / "notes" / name).write_text('{"mine": 1}')
    before = bytes_of(own)
    with pytest.raises(BadData, match=r"holds other files; a new or empty folder is needed"):
        labelled(own, teacher, own / where)
    assert bytes_of(own) == before


def test_labels_inside_the_photographs_folder_are_no_photographs(own: Path, teacher: Path, tmp_path: Path) -> None:
    before = bytes_of(own)
    labelled(own, teacher, own / "labels")
    n = len(open_dataset(own, "train"))
    labelled(own, teacher, own / "again")
    assert len(open_dataset(own, "train")) == n == 11
    assert {name: found for name, found in bytes_of(own).items() if not name.startswith(("labels", "again"))} == before
    labelled(own, teacher, tmp_path / "outside")
    shards = [
        {k: v for k, v in bytes_of(path).items() if k.endswith("tar")} for path in (own / "labels", own / "again")
    ]
    outside = {k: v for k, v in bytes_of(tmp_path / "outside").items() if k.endswith("tar")}
    assert shards == [outside, outside]


def test_the_lock_s_file_stays_so_that_no_two_runs_hold_it(photos: Path, teacher: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    labelled(photos, teacher, out := tmp_path / "labels")
    inode = (out / ".lock").stat().st_ino
    with FileLock(out / ".lock"), pytest.raises(BadData, match="another run writes to"):
        labelled(photos, teacher, out)
    labelled(photos, teacher, out)
    assert (out / ".lock").stat().st_ino == inode


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.open

    def opening(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith(".lock"):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(BadData, match=rf"labels is no folder that can be written: {os.strerror(code)}; give another"):
        labelled(photos, teacher, tmp_path / "labels")


@pytest.fixture
def small_files() -> Iterator[None]:
    """As on a full disk or with a quota: an answer can be written, an archive not as a whole."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def flat(photos: Path, out: Path) -> None:
    said = Teacher("flat", "metric", lambda seen: 1 + seen.image[:, :1])
    list(label(lambda: said, lambda: open_dataset(photos, "train"), "../photos", Labelling(out)))


def test_a_disk_that_is_full_in_the_middle_of_a_write_leaves_answers_and_no_drafts(
    photos: Path, tmp_path: Path, small_files: None
) -> None:
    with pytest.raises(OSError, match="File too large"):
        flat(photos, tmp_path / "labels")
    assert not [path for path in (tmp_path / "labels").rglob("*") if drafts.is_draft(path)]
    assert len(list((tmp_path / "labels" / "pieces").iterdir())) == 11
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    flat(photos, tmp_path / "labels")
    flat(photos, tmp_path / "roomy")
    assert bytes_of(tmp_path / "labels") == bytes_of(tmp_path / "roomy")


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


def test_a_label_set_goes_on_when_keys_say_more_than_they_did() -> None:
    class Longer(NamedTuple):
        name: str
        image: str
        depth: str | None = None
        right: str | None = None
        camera: str = ""
        mask: str | None = None

    Longer.__name__ = "Frame"

    def keys(*them: Any) -> str:
        return plan._keys(Dataset("d", them, str))

    said = "Frame(name='a', image='a.png', depth=None, right=None, camera='')"
    assert keys(Longer("a", "a.png")) == keys(said) == keys(Frame("a", "a.png"))
    assert keys(Longer("a", "a.png", mask="m.png")) != keys(said)


def test_two_images_of_one_name_are_refused_before_any_is_labelled(photos: Path, teacher: Path, tmp_path: Path) -> None:
    data = open_dataset(photos, "train")
    twice = Dataset(data.name, (*data.keys, data.keys[0]), data.read)
    with pytest.raises(BadData, match=r"has several images of one name, images/000: a label could be of either"):
        list(label(lambda: open_teacher(teacher), lambda: twice, "x", Labelling(tmp_path / "labels")))
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize("error", [RuntimeError("too small"), IndexError("0"), ZeroDivisionError("0"), MemoryError("")])
def test_an_image_that_a_teacher_breaks_at_does_not_stop_the_rest(tmp_path: Path, error: Exception) -> None:
    folder = write_folder(tmp_path / "rooms", [render(seed, size=(24, 32)) for seed in range(4)])

    def ask(seen: Sample) -> torch.Tensor:
        if seen.name == ("001",):
            raise error
        return 1 + seen.image[:, :1]

    run = Labelling(tmp_path / "labels", split="all")
    list(label(lambda: Teacher("t", "metric", ask), lambda: open_dataset(folder, "all"), "x", run))
    [skipped] = open_labels(run.out).said["skipped"]
    assert skipped["name"] == "001" and skipped["why"] == (str(error) or type(error).__name__)


def test_folders_pipes_links_and_empty_files_named_as_photographs_do_not_stop_the_rest(
    own: Path, teacher: Path, tmp_path: Path
) -> None:
    images = own / "images"
    (images / "folder.jpg").mkdir()
    os.mkfifo(images / "pipe.jpg")
    (images / "nowhere.jpg").symlink_to(tmp_path / "nothing")
    (images / "itself.jpg").symlink_to(images / "itself.jpg")
    (images / "device.jpg").symlink_to("/dev/zero")
    (images / "empty.jpg").touch()
    labelled(own, teacher, tmp_path / "labels")
    made = open_labels(tmp_path / "labels")
    assert len(made) == 10
    left = {line["name"].split("/")[-1] for line in made.said["skipped"]}
    assert left >= {"empty", "006"} and not any(name.endswith("folder") for name in left)


def test_an_image_that_goes_away_between_two_looks_is_left_out(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadline.labelling import shards

    real = shards.marks

    def gone(image: Any, file: Path | None) -> dict[str, str]:
        if file is not None and file.stem == "002":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return real(image, file)

    monkeypatch.setattr(shards, "marks", gone)
    labelled(photos, teacher, tmp_path / "labels")
    assert {line["name"][-1] for line in open_labels(tmp_path / "labels").said["skipped"]} == {"2", "6"}


@pytest.mark.parametrize("sure", [float("nan"), float("inf"), -3.0, 300.0])
def test_a_confidence_that_is_none_is_brought_to_0_to_1(sure: float) -> None:
    def ask(seen: Sample) -> Answer:
        return Answer(seen.image[:, :1], torch.full_like(seen.image[:, :1], sure))

    said = Teacher("t", "metric", ask)(Sample(torch.ones(1, 3, 4, 4), None, None, ("a",)))
    assert (said.confidence == (1.0 if sure > 1 else 0.0)).all()


def test_a_confidence_of_another_shape_is_an_error() -> None:
    odd = Teacher("t", "metric", lambda seen: Answer(seen.image[:, :1], torch.ones(1, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"the teacher t gave .* and a confidence \(1, 1, 2, 2\)"):
        odd(Sample(torch.ones(1, 3, 4, 4), None, None, ("a",)))


@pytest.mark.parametrize("weight", [0.0, float("inf"), float("nan"), -1.0])
def test_weights_of_teachers_are_finite(weight: float) -> None:
    one = Teacher("t", "metric", lambda seen: seen.image[:, :1])
    with pytest.raises(ValueError, match=r"one above 0 for each, finite, is needed"):
        together([one, one], [1.0, weight])
