"""`leadline label` beside other people's files, and on half-finished runs that are not what they should be."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.tiny_scenes import bytes_of
from test_labelling import labelled

from leadline.cli.main import main
from leadline.core import storage as drafts
from leadline.core.errors import BadData
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.frame import Frame
from leadline.distill.labelling import plan
from leadline.distill.labelling.label import label
from leadline.distill.options import Labelling
from leadline.distill.teachers import Teacher, open_teacher

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


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_a_scale_that_16_bits_cannot_use_is_refused_before_anything_is_labelled(
    photos: Path, teacher: Path, tmp_path: Path, scale: float
) -> None:
    with pytest.raises(ValueError, match=r"label_scale is .*; 1e-06 to 1e\+09 units per metre fit"):
        labelled(photos, teacher, tmp_path / "labels", label_scale=scale)
    assert not (tmp_path / "labels").exists()


def test_a_link_to_itself_is_no_folder_to_write_to(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    words = ["label", str(photos), "--teacher", str(teacher), "--out"]
    assert main([*words, str(tmp_path / "loop" / "labels")]) == 1
    assert "is no folder that can be written" in capsys.readouterr().err


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
    list(label(lambda: said, lambda: open_dataset(photos, "train"), "../photos", Labelling(out=out)))


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
        list(label(lambda: open_teacher(teacher), lambda: twice, "x", Labelling(out=tmp_path / "labels")))
    assert not (tmp_path / "labels").exists()
