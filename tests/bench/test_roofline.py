"""The limit that a machine sets: the slower of arithmetic and memory; and what is measured for it."""

from __future__ import annotations

import pytest
import torch

from leadline.bench.roofline import bound_ms, moved_bytes, peaks

PEAKS = {"fp32": 100.0, "bf16": 400.0, "int8": 800.0, "copy_gb_s": 10.0}


def test_the_limit_is_the_slower_of_arithmetic_and_memory() -> None:
    assert bound_ms(PEAKS, "fp32", macs=10**9, moved=10**6) == pytest.approx(20.0)  # 2 Gop at 100 Gop/s
    assert bound_ms(PEAKS, "int8", macs=10**9, moved=10**6) == pytest.approx(2.5)
    assert bound_ms(PEAKS, "int8", macs=10**6, moved=50 * 10**6) == pytest.approx(5.0)  # 50 MB at 10 GB/s


def test_half_precision_counts_as_the_better_of_its_neighbours() -> None:
    assert bound_ms(PEAKS, "fp16", 10**9, 0) == bound_ms(PEAKS, "bf16", 10**9, 0)
    slow = PEAKS | {"bf16": 20.0}
    assert bound_ms(slow, "fp16", 10**9, 0) == bound_ms(slow, "fp32", 10**9, 0)


def test_weights_move_in_their_precision_and_pictures_in_float32() -> None:
    pictures = 4 * (3 + 1) * 32 * 48
    assert moved_bytes(1000, "fp32", (32, 48)) == 4000 + pictures
    assert moved_bytes(1000, "int8", (32, 48)) == 1000 + pictures


@pytest.mark.slow
def test_peaks_are_those_of_this_machine_and_leave_torch_as_it_was() -> None:
    before = torch.get_num_threads()
    found = peaks(1, sizes=(128,), copied=2**22)
    assert set(found) == set(PEAKS) and min(found.values()) > 0.01
    assert torch.get_num_threads() == before
