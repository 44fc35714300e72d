"""Damaged and hostile files: a few of those that `make fuzz` tries, and what the fuzz test itself must find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz import faulty, images
from fuzz.case import generator
from fuzz.run import counted, run


@pytest.mark.parametrize(("family", "seed", "number"), [("images", 0, 60), ("checkpoints", 0, 20), ("folders", 2, 20)])
@pytest.mark.slow
def test_what_is_damaged_or_hostile_is_refused_in_leadlines_own_words(
    family: str, seed: int, number: int, tmp_path: Path
) -> None:
    tally = run(family, counted([seed], number), tmp_path)
    assert tally.tried == number and not tally.faults, "\n".join(tally.faults)
    assert len(tally.outcomes) > 1 and tally.outcomes["read"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("family", "number"), [("exported", 40), ("runs", 10)])
def test_so_is_what_takes_longer(family: str, number: int, tmp_path: Path) -> None:
    tally = run(family, counted([0], number), tmp_path)
    assert tally.tried == number and not tally.faults, "\n".join(tally.faults)


def test_the_fuzz_test_finds_every_kind_of_fault_and_keeps_its_input(tmp_path: Path) -> None:
    *others, hang = range(len(faulty.WAYS))
    tally = run("faulty", [(0, i) for i in others], tmp_path, most_mib=300)
    assert tally.outcomes == {
        "BadData": 1, "fault (KeyError)": 1, "fault (ValueError)": 1, "fault (MemoryError)": 1, "fault (BadData)": 1,
        "fault (memory)": 1, "fault (RuntimeWarning)": 1, "fault (crash)": 1, "read": 1,
    }  # fmt: skip
    assert run("faulty", [(0, hang)], tmp_path, timeout_s=2.0).outcomes == {"fault (hang)": 1}
    kept = {path.parent.name for path in tmp_path.glob("*/input.txt")}
    fine = {faulty.WAYS.index(way) for way in ("refused", "fine")}
    assert kept == {f"faulty-0-{i}" for i in range(len(faulty.WAYS)) if i not in fine}
    assert "KeyError: 'depth'" in (tmp_path / "faulty-0-1.txt").read_text()
    assert tally.peak_mib > 300 and tally.faults[0].startswith("faulty:0:1: key: KeyError")


def test_a_seed_names_an_input(tmp_path: Path) -> None:
    made: list[bytes] = []
    for number in (3, 4, 3):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        images.make(generator("images", 5, number), folder, tmp_path)
        made.append(next(folder.iterdir()).read_bytes())
    assert made[0] == made[2] != made[1]
    assert not np.array_equal(generator("images", 0, 1).random(4), generator("folders", 0, 1).random(4))
