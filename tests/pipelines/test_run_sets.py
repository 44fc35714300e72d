"""Which folders a run reads, and their shares of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.pipelines.training_data import shares


def test_folders_share_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shares(("nyu:3", "kitti", "rooms"), 8) == ([Path("nyu"), Path("kitti"), Path("rooms")], [3, 3, 2])


def test_a_folder_that_is_called_like_a_share_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nyu", "nyu:4"):
        (tmp_path / name).mkdir()
    assert shares(("nyu:4",), 8) == ([Path("nyu:4")], [8])
    assert shares(("nyu:4:2", "nyu:6"), 8) == ([Path("nyu:4"), Path("nyu")], [2, 6])


@pytest.mark.parametrize("entry", ["C:\\sets\\nyu", "C:nyu", ":4", "nyu:", "nyu:²", "nyu:-4", "2024-01-01T10:00:00"])
def test_a_colon_alone_makes_no_share(entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024-01-01T10:00:00").mkdir()
    assert shares((entry,), 8) == ([Path(entry)], [8])


def test_a_tilde_is_the_user_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shares(("~/nyu:3", "~no-such-user/x"), 8) == ([tmp_path / "nyu", Path("~no-such-user/x")], [3, 5])


@pytest.mark.parametrize(
    ("data", "batch"), [((), 8), (("a:0",), 8), (("a:9",), 8), (("a:4", "b:5"), 8), (("a:8", "b"), 8)]
)
def test_shares_that_do_not_make_the_batch_are_refused(data: tuple[str, ...], batch: int) -> None:
    with pytest.raises(ValueError, match=r"data is empty|cannot be shared"):
        shares(data, batch)
