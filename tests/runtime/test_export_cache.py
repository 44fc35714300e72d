"""The cache: where it cannot be, the error says what to set; unlike processors do not share its files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fake_backend import StandIn, stand_in
from support.tiny_runtime_nets import small_net

from leadline.cli.main import main
from leadline.core import machine
from leadline.core.errors import ExportFailed, LeadlineError
from leadline.core.storage import cache, kept
from leadline.nn.checkpoint import save
from leadline.runtime.export import export


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(small_net(), tmp_path_factory.mktemp("net") / "small.safetensors")


@pytest.mark.parametrize("place", ["a file/.cache", "a file"])
def test_a_cache_that_cannot_be_written_names_the_variable_to_set(
    backend: StandIn, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.delenv("LEADLINE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    with pytest.raises(LeadlineError, match=r"cache .* cannot be used: .*; set LEADLINE_CACHE to a folder"):
        export(checkpoint, "standin")


def test_so_does_a_cache_above_which_nothing_can_be_made(
    backend: StandIn, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(cache().parent))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(LeadlineError, match=r"Permission denied.*set LEADLINE_CACHE"):
        export(checkpoint, "standin")
    with pytest.raises(PermissionError):
        export(checkpoint, "standin", tmp_path / "net.standin")  # the user's own place


def test_a_full_disk_while_the_tuner_writes_names_it_too(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match=r"No space left.*LEADLINE_CACHE"), kept(None, cache() / "tuning"):
        raise ExportFailed("tvm cannot convert this net") from OSError(28, "No space left on device")
    with pytest.raises(ExportFailed, match="no kernel"), kept(cache() / "exported"):
        raise ExportFailed("no kernel") from RuntimeError()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("LEADLINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(LeadlineError, match=r"no place for its cache: .*set LEADLINE_CACHE"):
        cache()


def test_a_processor_with_other_instructions_has_files_of_its_own(
    backend: StandIn, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export(checkpoint, "standin")
    monkeypatch.setattr(machine, "native", lambda: ("linux x86_64", "avx2"))
    assert export(checkpoint, "standin") != first


def test_of_two_that_make_the_same_file_the_first_one_s_stays(
    backend: StandIn, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_, first = backend.compile, []

    def slowly(*given: Any) -> Path:
        made = compile_(*given)
        monkeypatch.setattr(backend, "compile", compile_)
        first.append((path := export(checkpoint, "standin")).stat().st_ino)  # as another process, meanwhile
        assert path != made
        return made

    monkeypatch.setattr(backend, "compile", slowly)
    assert [export(checkpoint, "standin").stat().st_ino] == first
    assert len(backend.compiled) == 2


def test_predict_by_a_runtime_where_the_home_cannot_be_written_names_the_variable(
    backend: StandIn,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "home").write_text("")
    for name in ("LEADLINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Image.new("RGB", (96, 64)).save(tmp_path / "a.png")
    given = ["predict", str(tmp_path / "a.png"), "-m", str(checkpoint), "--runtime", "standin"]
    assert main([*given, "-o", str(tmp_path / "out")]) == 1
    assert "set LEADLINE_CACHE to a folder that can be written" in capsys.readouterr().err


def test_a_table_of_latencies_that_cannot_be_kept_names_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    from leadline.compress.cost.latency import table

    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "a file"))
    with pytest.raises(LeadlineError, match="set LEADLINE_CACHE"):
        table(nn.Sequential(nn.Conv2d(3, 1, 1)).eval(), (32, 32), "eager", threads=1, n=1)
