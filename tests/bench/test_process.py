"""A worker answers, fails in a sentence, stands still between questions, and never outlives whoever started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leadline.bench import worker as jobs
from leadline.bench.worker_process import RowFailed, Worker, working

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux about processes")


@pytest.fixture
def worker() -> Iterator[Worker]:
    with working() as running:
        yield running


def state(pid: int) -> str | None:
    """Linux's letter for what the process does (T: stopped), None if there is none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return None


def eventually(statement: object) -> bool:
    """Whether the statement becomes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not statement():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_worker_answers_one_question_after_the_other(worker: Worker) -> None:
    first, second = worker.ask("memory"), worker.ask("memory")
    assert 5 < first["peak_mib"] <= second["peak_mib"] < 200  # not its parent's, which may have loaded anything


def test_what_fails_is_one_line(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(RowFailed, match=r"there is no file .*net\.tflite$"):
        worker.ask("load", file=str(tmp_path / "net.tflite"), threads=1, size=None)
    with pytest.raises(RowFailed, match="IndexError"):  # nothing is loaded
        worker.ask("calls", n=1, warmup=0)
    assert worker.ask("memory")  # and it goes on


def test_a_crash_is_told_by_its_signal(worker: Worker) -> None:
    worker.ask("memory")
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(RowFailed, match=r"its process died \(SIGSEGV\)"):
        worker.ask("memory")


def test_who_does_not_answer_is_ended(worker: Worker) -> None:
    with pytest.raises(RowFailed, match="no answer to 'memory' within 0 s"):  # Python itself takes longer to start
        worker.ask("memory", timeout_s=0.0)
    assert state(worker.pid) is None or sys.platform != "linux"


@linux
def test_a_worker_stands_still_unless_asked(worker: Worker) -> None:
    worker.ask("memory")
    assert eventually(lambda: state(worker.pid) == "T")


@linux
def test_a_worker_stays_on_its_cores() -> None:
    core = min(os.sched_getaffinity(0))
    with working([core], 1) as running:
        running.ask("memory")
        assert os.sched_getaffinity(running.pid) == {core}


@linux
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_no_worker_outlives_its_parent(how: signal.Signals) -> None:
    code = (
        "from leadline.bench.worker_process import working\n"
        "import signal, time\n"
        # tests that were started in the background hand on that they ignore Ctrl-C
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with working() as w:\n"
        "    w.ask('memory'); print(w.pid, flush=True); time.sleep(600)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    parent = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert state(pid) is not None
    parent.send_signal(how)
    parent.wait(timeout=60)
    parent.stdout.close()
    assert eventually(lambda: state(pid) in (None, "Z"))


def test_a_whole_way_has_three_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from leadline.core.spec import Head, Preprocess

    def net(images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 3, 16, 24) and images.dtype == np.float32
        return images[:, :1]

    monkeypatch.setattr(jobs, "_loaded", [jobs.Loaded(net, Preprocess(size=(16, 24)), None, Head())])
    parts = jobs.whole(n=4, warmup=1, frame=(30, 40))
    assert {len(ms) for ms in parts.values()} == {4}
    sums = np.sum([parts[part] for part in ("preprocess", "inference", "postprocess")], axis=0)
    assert parts["end_to_end"] == pytest.approx(sums)


def test_a_file_for_whole_frames_gets_the_frame_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from leadline.core.spec import Head, Preprocess

    def framed(images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 30, 40, 3) and images.dtype == np.uint8
        return images[..., 0][:, None].astype(np.float32)

    monkeypatch.setattr(jobs, "_loaded", [jobs.Loaded(framed, Preprocess(size=(16, 24)), (30, 40), Head())])
    assert len(jobs.calls(n=3, warmup=0)["ms"]) == 3
    assert len(jobs.whole(n=3, warmup=0, frame=(99, 99))["end_to_end"]) == 3
    frames = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "in.npy", frames)
    jobs.outputs(str(tmp_path / "in.npy"), str(tmp_path / "out.npy"), restored=True)
    assert (np.load(tmp_path / "out.npy") == frames[..., 0]).all()
