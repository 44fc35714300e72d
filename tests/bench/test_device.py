"""The fingerprint says what a number comes from, on any system, and names the hardware alone by its id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leadline.bench import device
from leadline.core import machine


def as_linux(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: set[int]) -> None:
    """A Linux machine that holds only `files` under /proc and /sys."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    monkeypatch.setattr(machine, "read", lambda path: files.get(str(path)))


def test_the_fingerprint_is_json_and_complete_here() -> None:
    found = device.fingerprint()
    assert json.loads(json.dumps(found)) == found
    assert {"cpu", "machine", "cores", "usable_cores", "id", "os", "python", "packages"} <= set(found)
    assert found["packages"]["numpy"] and found["usable_cores"] >= 1


def test_the_id_is_that_of_the_hardware_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    info = "model name : Any CPU\nflags : fpu avx2 avx512f amx_int8\n"
    as_linux(monkeypatch, {"/proc/cpuinfo": info}, {0, 1})
    first = device.fingerprint()
    monkeypatch.setattr(device, "versions", lambda: {"torch": "9.9"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert device.fingerprint()["id"] == first["id"]
    as_linux(monkeypatch, {"/proc/cpuinfo": info.replace("avx2", "sse2")}, {0, 1})
    assert device.fingerprint()["id"] != first["id"]


def test_instructions_have_one_name_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    as_linux(monkeypatch, {"/proc/cpuinfo": "model name: Any\nflags: fpu avx2 avx512_vnni amx_bf16"}, {0})
    assert device.fingerprint()["isa"] == ["avx2", "avx512_vnni", "amx_bf16"]
    board = {"/proc/cpuinfo": "Features : fp asimd asimddp i8mm", "/proc/device-tree/model": "Any Board\0"}
    as_linux(monkeypatch, board, {0})
    found = device.fingerprint()
    assert (found["cpu"], found["isa"]) == ("Any Board", ["neon", "dotprod", "i8mm"])
    monkeypatch.setattr(sys, "platform", "darwin")
    said = "hw.optional.neon: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_SME: 0"
    monkeypatch.setattr(machine, "output_of", lambda command: said if "hw.optional" in command else "Apple M9")
    found = device.fingerprint()
    assert (found["cpu"], found["isa"]) == ("Apple M9", ["dotprod", "neon"])


def test_what_a_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(machine, "read", lambda path: None)
    monkeypatch.setattr(device.Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    found = device.fingerprint()
    assert {"governor", "temperature_c", "memory_mib", "isa"}.isdisjoint(found)
    assert found["usable_cores"] == os.cpu_count() and device.pick_cores(1) == []


def test_the_hottest_sensor_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("a", "41000"), ("b", "57500"), ("c", "broken")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(device.Path, "glob", lambda self, pattern: tmp_path.iterdir())
    assert device.fingerprint()["temperature_c"] == 57.5


def test_two_threads_of_one_core_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    files = {f"/sys/devices/system/cpu/cpu{c}/topology/thread_siblings_list": text for c, text in pairs.items()}
    as_linux(monkeypatch, files, {0, 1, 2, 3})
    assert [device.pick_cores(n) for n in (1, 2, 3, 4)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    as_linux(monkeypatch, files, {0, 2, 3})
    assert device.pick_cores(2) == [0, 3]


@pytest.mark.parametrize("n", [0, 5])
def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    as_linux(monkeypatch, {}, {0, 1, 2, 3})
    with pytest.raises(ValueError, match=rf"threads is {n}; this process may use 4 cores"):
        device.pick_cores(n)


def test_no_runtime_is_imported_for_its_version() -> None:
    code = (
        "import sys; from leadline.bench.device import fingerprint; fingerprint();"
        "print(*{m.split('.')[0] for m in sys.modules} & {'torch', 'onnxruntime', 'openvino', 'tvm'})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
