"""Rooms for the tests of the data layer, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.tiny_scenes import Room, render, write_folder


@pytest.fixture(scope="session")
def rooms() -> list[Room]:
    """Twenty different rooms."""
    return [render(seed) for seed in range(20)]


@pytest.fixture
def room_folder(tmp_path: Path, rooms: list[Room]) -> Callable[..., Path]:
    """Writes rooms (changed by `change(i, image, depth)`) in the plain layout, with any `scale`."""

    def write(change: Callable[[int, np.ndarray, np.ndarray], Room] | None = None, scale: float = 1000.0) -> Path:
        changed = [room if change is None else change(i, *room) for i, room in enumerate(rooms)]
        return write_folder(tmp_path / "set", changed, scale=scale)

    return write
