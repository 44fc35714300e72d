"""What native code may need, and the name of the hardware: both follow the instructions, not the family alone."""

from __future__ import annotations

import sys

import pytest

from leadline.core import machine

AVX512 = "model name : Any CPU\nflags : fpu bmi2 avx2 avx512f avx512vl md_clear\n"


def on(monkeypatch: pytest.MonkeyPatch, cpuinfo: str, architecture: str = "x86_64") -> tuple[str, ...]:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
    monkeypatch.setattr(machine, "read", {"/proc/cpuinfo": cpuinfo}.get)
    return machine.native()


def test_native_code_needs_the_instructions_that_a_compiler_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(monkeypatch, AVX512) == ("linux x86_64", "avx2", "avx512f", "avx512vl", "bmi2")
    arm = on(monkeypatch, "Features : fp asimd atomics asimddp", "aarch64")
    assert arm == ("linux aarch64", "atomics", "dotprod", "neon")


def test_where_instructions_are_not_told_the_name_stands_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(monkeypatch, "model name : Odd CPU", "AMD64") == ("linux x86_64", "Odd CPU")


def test_another_instruction_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, AVX512)
    first = machine.identity()
    on(monkeypatch, AVX512.replace("md_clear", "ibrs"))  # a mend in the kernel is not
    assert machine.identity() == first
    on(monkeypatch, AVX512.replace("avx512vl", ""))
    assert machine.identity() != first
