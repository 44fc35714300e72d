"""`leadline label` as processes: several at once, and killed while they work (test_killed.py kills a single one)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.tiny_scenes import bytes_of, write_photos

from leadline.data.layouts.detect import open_dataset
from leadline.distill.labelling.label import label
from leadline.distill.options import Labelling, TeacherOptions
from leadline.distill.teachers import build_teacher


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def names_in(folder: Path) -> set[str]:
    """Every file below `folder`, which may change meanwhile."""
    return {name for _, _, files in os.walk(folder) for name in files}


def command(photos: Path, teacher: Path, out: Path, *more: str) -> list[str]:
    words = ["label", str(photos), "--teacher", str(teacher), "--shard", "4", "--out", str(out), *more]
    return [sys.executable, "-m", "leadline", *words]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_of_ray_make_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    # the workers are on this machine, whatever cluster the environment names
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "127.0.0.1:1"}
    for name, more in (("one", ()), ("two", ("--workers", "2"))):
        words = command(photos, Path("litedepth"), tmp_path / name, *more)
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert "cut short" in done.stderr
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_while_workers_of_ray_work_it_ends_with_the_same_bytes(
    photos: Path, tmp_path: Path, workers: str
) -> None:
    """The workers live on for a moment, and the next run does not wait for their end."""
    pytest.importorskip("ray")
    environment, rng = {**os.environ, "OMP_NUM_THREADS": "1"}, random.Random(5)
    subprocess.run(command(photos, Path("litedepth"), tmp_path / "whole"), check=True, env=environment)
    out = tmp_path / "killed"
    words = command(photos, Path("litedepth"), out, "--workers", workers)
    for _ in range(2):
        shutil.rmtree(out, ignore_errors=True)
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        while len(names_in(out)) < 4 and run.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        run.send_signal(signal.SIGKILL)
        run.wait()
        subprocess.run(words, check=True, capture_output=True, env=environment)
        assert bytes_of(out) == bytes_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_two_that_begin_at_once_one_is_refused_and_the_other_does_it_all(photos: Path, tmp_path: Path) -> None:
    words = command(photos, Path("litedepth"), tmp_path / "labels")
    runs = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    heard = [run.communicate()[1] for run in runs]
    assert 0 in [run.returncode for run in runs]
    for run, said in zip(runs, heard, strict=True):  # the second may have begun when the first was over
        assert run.returncode == 0 or "another run writes to" in said
    subprocess.run(command(photos, Path("litedepth"), tmp_path / "whole"), check=True, capture_output=True)
    assert bytes_of(tmp_path / "labels") == bytes_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_fails_in_a_worker_is_said_in_a_line(photos: Path, tmp_path: Path) -> None:
    """As a full disk would: the worker cannot write."""
    pytest.importorskip("ray")
    out = tmp_path / "labels"
    where, run = os.path.relpath(photos.resolve(), out.resolve()), Labelling(out=out, shard=4)
    begun = label(
        lambda: build_teacher(TeacherOptions(teacher=("litedepth",))), lambda: open_dataset(photos, "train"), where, run
    )
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    shutil.rmtree(out / "pieces", ignore_errors=True)
    (out / "pieces").write_text("in the way")
    done = subprocess.run(command(photos, Path("litedepth"), out, "--workers", "1"), capture_output=True, text=True)
    *_, line = done.stderr.strip().splitlines()  # what is done may be told before
    assert done.returncode == 1 and ("File exists" in line or "is there already" in line) and "pieces" in line


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_that_need_more_gpus_than_there_are_do_not_wait_for_them(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = command(photos, Path("litedepth"), tmp_path / "labels", "--workers", "99", "--device", "cuda")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "99 workers on cuda need a GPU each, and Ray has" in done.stderr
