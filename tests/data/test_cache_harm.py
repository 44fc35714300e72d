"""What others do to the cache: processes that die, disks that become full, files that change without a sign."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_cache import equal, frames, read

from leadline.core.types import Item
from leadline.data.cache import _END, cached
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset


def index_of_another_kind(path: Path) -> None:
    rewritten(path, lambda index: [{"frames": len(index)}])


def index_of_nothing(path: Path) -> None:
    rewritten(path, lambda index: [])


def frames_outside(path: Path) -> None:
    rewritten(path, lambda index: [{**line, "at": -64} for line in index])


def frames_of_other_sizes(path: Path) -> None:
    rewritten(path, lambda index: [{**line, "size": [1, 1]} for line in index])


def nested(path: Path) -> None:
    rewritten(path, lambda index: index, b"[" * 100_000)


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], Any], text: bytes | None = None) -> None:
    """The file with another index, whose length and CRC-32 are right."""
    content = path.read_bytes()
    length, _, mark = _END.unpack(content[-_END.size :])
    start = len(content) - _END.size - length
    index = json.loads(content[start : -_END.size])
    text = text or json.dumps(change(index)).encode()
    path.write_bytes(content[:start] + text + _END.pack(len(text), zlib.crc32(text), mark))


@pytest.mark.parametrize(
    "damage", [index_of_another_kind, index_of_nothing, frames_outside, frames_of_other_sizes, nested]
)
def test_an_index_that_makes_no_sense_is_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cached([frames()], tmp_path, gb=1)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    damage(file)
    assert equal(cached([frames()], tmp_path, gb=1)[0], frames())
    assert file.read_bytes() == whole


def test_a_disk_that_becomes_full_costs_the_cache_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said: list[str] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        [data] = cached([frames(40)], tmp_path, gb=1, say=said.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "40 frames of frames cannot be kept ([Errno 27] File too large) and are decoded each time" in said[-1]
    assert not list(tmp_path.iterdir()) and equal(data, frames(40))


def unreadable(key: int) -> Item:
    if key == 3:
        raise OSError("the share is gone")
    return read(key)


def test_data_that_cannot_be_read_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the share is gone"):
        cached([Dataset("frames", tuple(range(6)), unreadable)], tmp_path, gb=1)
    assert not list(tmp_path.iterdir())


def test_a_draft_that_somebody_took_away_costs_the_cache_and_not_the_run(tmp_path: Path) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        for draft in tmp_path.glob(".*"):
            draft.unlink()

    [data] = cached([frames()], tmp_path, gb=1, say=say)
    assert equal(data, frames()) and "cannot be kept" in said[-1]


def dies(key: int) -> Item:
    if key == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(key)


def test_a_killed_run_leaves_a_draft_that_the_next_one_sweeps(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = [sys.argv[2], 'tests']; import test_cache_harm as here\n"
        "here.cached([here.Dataset('frames', tuple(range(80)), here.dies)], Path(sys.argv[1]), gb=1)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)], cwd=Path(__file__).parents[2]
    )
    [draft] = tmp_path.iterdir()
    assert ended.returncode == -signal.SIGKILL and draft.stat().st_size > 0
    assert equal(cached([frames()], tmp_path, gb=1)[0], frames())
    assert not draft.exists() and len(list(tmp_path.iterdir())) == 1


def test_other_files_in_the_folder_never_give_way(tmp_path: Path) -> None:
    mine = tmp_path / "holiday.frames"
    mine.write_bytes(bytes(2_000_000))
    os.utime(mine, (1, 1))
    (tmp_path / f"{'0' * 20}.frames").mkdir()
    cached([frames(40)], tmp_path, gb=0.001)
    assert mine.exists()


def test_a_file_changed_at_once_with_its_size_and_date_kept_is_another(
    tmp_path: Path, room_folder: Callable[..., Path]
) -> None:
    """As `exiftool -P` or a tool with a fixed date does it."""
    root, cache = room_folder(), tmp_path / "cache"
    cached([open_dataset(root, "train")], cache, gb=1)
    depth = next((root / "depth").iterdir())
    said, content = depth.stat(), depth.read_bytes()
    time.sleep(0.02)  # the clock of a file system has steps
    depth.write_bytes(content)
    os.utime(depth, ns=(said.st_atime_ns, said.st_mtime_ns))
    cached([open_dataset(root, "train")], cache, gb=1)
    assert len(list(cache.iterdir())) == 2


def test_what_dataset_toml_says_is_part_of_what_is_kept(tmp_path: Path, room_folder: Callable[..., Path]) -> None:
    root, cache = room_folder(), tmp_path / "cache"
    lines = ("depth_scale = 1000.0", "depth_scale = 2000.0", "max_depth = 3.0", "intrinsics = [50.0, 50.0, 1.0, 1.0]")
    for n, line in enumerate(lines, 1):
        (root / "dataset.toml").write_text(line + "\n")
        data = open_dataset(root, "train")
        assert equal(cached([data], cache, gb=1)[0], data)
        assert len(list(cache.iterdir())) == n
