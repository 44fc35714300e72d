"""Where tvm's tuner keeps what it has tried."""

from __future__ import annotations

from pathlib import Path

from leadline.core.storage import cache, kept, sha256


def tuning_folder(given: Path | None, trials: int = 0) -> Path | None:
    """Where tvm's tuner keeps what it tries: `given`, or the cache; None if nothing was ever tried or is to be."""
    folder = cache() / "tuning"
    with kept(folder):
        return given or (folder if trials or folder.is_dir() else None)


def contents_of(folder: Path | None) -> dict[str, str]:
    """The sha256 of each file in a tuner's database, which grows: what it knew then decides what was compiled."""
    if folder is None or not folder.is_dir():
        return {}
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
