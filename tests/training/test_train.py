"""The loop learns, repeats itself, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.tiny_training import Batches, batches, loss, options, ramp, same, tiny, weights

from leadline.core.errors import TrainingFailed
from leadline.core.spec import Head
from leadline.data.batch import Batch
from leadline.nn import checkpoint, zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import read_provenance
from leadline.training.fit import Steps, fit

pytestmark = pytest.mark.usefixtures("one_thread")


def ends_in_relu(head: Head) -> bool:
    return head.layer == "norm" or (head.layer == "conv" and head.relu)


@pytest.mark.slow
def test_eight_images_are_learned_by_heart() -> None:
    _, first = fit(tiny(), batches(), loss, options(steps=1))
    _, last = fit(tiny(), batches(), loss, options(steps=120, optimizer="adamw", lr=1e-2))
    assert last.metrics["loss"] < 0.5 * first.metrics["loss"]


@pytest.mark.parametrize("name", [name for name in zoo.names() if ends_in_relu(zoo.spec(name).head)])
def test_a_published_net_does_not_die_in_its_first_steps(name: str) -> None:
    """The last ReLU passes no gradient where it is 0; started at the mean depth it is not."""
    net = build(zoo.spec(name), seed=0)
    net.head.start_at(2.5)
    trained, report = fit(net, batches(), loss, options(steps=6, lr=0.01))
    image = torch.from_numpy(ramp(0).image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        assert (trained(image) > 0.1).float().mean() > 0.5
    assert report.metrics["loss"] < 2


def test_the_given_net_is_left_alone() -> None:
    net = tiny()
    trained, _ = fit(net, batches(), loss, options())
    assert same(net, tiny()) and not same(net, trained)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_seed_gives_the_same_weights_whatever_prepares_the_batches(workers: int) -> None:
    assert same(fit(tiny(), batches(), loss, options())[0], fit(tiny(), batches(workers=workers), loss, options())[0])


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "ema": 0.9, "clip": 1.0, "precision": "bf16"}])
def test_a_run_that_was_stopped_continues_to_bitwise_equal_weights(changes: dict[str, object], tmp_path: Path) -> None:
    def stop_at(step: int) -> Batches:
        def until(start: int) -> Iterator[Batch]:
            for i, batch in enumerate(batches()(start), start):
                if i == step:
                    raise KeyboardInterrupt
                yield batch

        return until

    whole, _ = fit(tiny(), batches(), loss, options(**changes))
    for stop in (3, 5):  # saved after 2 and after 4 steps
        with pytest.raises(KeyboardInterrupt):
            fit(tiny(), stop_at(stop), loss, options(save_every=2, **changes), out=tmp_path, resume=True)
    resumed, _ = fit(tiny(), batches(), loss, options(save_every=2, **changes), out=tmp_path, resume=True)
    assert same(whole, resumed)
    assert same(whole, checkpoint.load(tmp_path / "last.safetensors"))


@pytest.mark.slow
def test_a_run_killed_at_any_moment_continues_to_bitwise_equal_weights(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from test_train import *\n"
        "out = Path(sys.argv[1])\n"
        "fit(tiny(), batches(), loss, options(steps=150, save_every=1, log_every=400), out=out, resume=True)\n"
        "(out / 'done').touch()"
    )
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    def run(out: Path, kill_after_s: float | None) -> None:
        process = subprocess.Popen([sys.executable, "-c", program, str(out)], env=around)
        if kill_after_s is None:
            assert process.wait() == 0
            return
        while not (out / "state.safetensors").exists():
            time.sleep(0.05)
        time.sleep(kill_after_s)
        process.send_signal(signal.SIGKILL)
        process.wait()

    run(tmp_path / "whole", None)
    for pause in (0.0, 0.3, 0.7):
        run(tmp_path / "killed", pause)
    run(tmp_path / "killed", None)
    names = [p.name for p in (tmp_path / "killed").iterdir() if p.name.startswith(".")]
    whole, killed = (checkpoint.load(tmp_path / name / "last.safetensors") for name in ("whole", "killed"))
    assert same(whole, killed)
    assert len(names) <= 3  # at most one unfinished draft for each kill


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    done, _ = fit(tiny(), batches(), loss, options(), out=tmp_path)
    again, report = fit(tiny(), batches(), loss, options(), out=tmp_path, resume=True)
    assert same(done, again) and report.metrics == {}


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where() -> None:
    def broken(net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return net(batch.image).mean() * torch.nan, {}

    with pytest.raises(TrainingFailed, match="at step 0; lower the learning rate"):
        fit(tiny(), batches(), broken, options())


def test_a_gradient_that_is_not_finite_stops_the_run_and_keeps_what_was_saved(tmp_path: Path) -> None:
    calls = iter(range(100))

    def broken(net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        value = net(batch.image).mean()
        return (value if next(calls) < 3 else value + (0 * value).sqrt()), {}  # 0, with a slope without end

    plan = options(steps=4, save_every=2)
    with pytest.raises(TrainingFailed, match=r"after 4 steps .* not finite; lower the learning rate or set clip"):
        fit(tiny(), batches(), broken, plan, out=tmp_path)
    assert read_provenance(tmp_path / "last.safetensors")["steps"] == 2
    calls = iter(range(100))
    with pytest.raises(TrainingFailed, match="not finite"):
        fit(tiny(), batches(), broken, plan)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = options(steps=6, save_every=3)
    expected, _ = fit(tiny(), batches(), loss, half)
    written = iter(range(100))

    def full(file: int) -> None:
        if next(written) >= 3:  # run.json, the net and the state of step 3 are there
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(os, "fsync", full)
        fit(tiny(), batches(), loss, half, out=tmp_path)
    kept = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert kept == ["last.safetensors", "run.json", "state.safetensors"]
    found, report = fit(tiny(), batches(), loss, half, out=tmp_path, resume=True)
    assert report.context["steps_now"] == 3 and same(expected, found)


@pytest.mark.parametrize("steps", [10, 30, 100])
def test_batch_norms_stand_still_from_the_very_step_that_the_part_names(steps: int) -> None:
    run = Steps(tiny(), loss, options(steps=steps, freeze_bn_after=0.7, lr=1e-9))
    batch, moving = next(batches()(0)), []
    for step in range(round(0.7 * steps) - 1, round(0.7 * steps) + 1):
        run.net.train()
        run.step(batch, step)
        moving.append(any(m.training for m in run.net.modules() if isinstance(m, torch.nn.BatchNorm2d)))
    assert moving == [True, False]


def test_a_batch_norm_that_sees_one_value_names_the_flags() -> None:
    def single(net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return loss(net, replace(batch, **{k: getattr(batch, k)[:1, :, :8, :8] for k in ("image", "target", "valid")}))

    net = build(zoo.fastdepth_pruned(), seed=0)
    with pytest.raises(ValueError, match=r"give --batch 2 or more, or larger images \(--view\.size\)"):
        fit(net, batches(), single, options())


def test_run_json_holds_what_repeats_the_run(tmp_path: Path) -> None:
    fit(tiny(), batches(), loss, options(seed=3), out=tmp_path, facts={"data": "ramps"})
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["options"]["seed"] == 3 and said["data"] == "ramps" and said["spec"]["name"] == "tiny"
    assert {"command", "versions", "device", "threads", "commit"} <= set(said)
    assert list((tmp_path / "tensorboard").iterdir())


def test_validation_sees_the_averaged_net_in_eval_mode() -> None:
    seen = []

    def validate(net: Net, step: int) -> dict[str, float]:
        assert not net.training
        seen.append((step, net))
        return {"figure": float(step)}

    trained, report = fit(tiny(), batches(), loss, options(validate_every=2, ema=0.5), validate=validate)
    assert [step for step, _ in seen] == [2, 4, 6]
    assert report.metrics["figure"] == 6
    assert same(seen[-1][1], trained)


def test_the_share_of_time_spent_waiting_for_batches_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow(start: int) -> Iterator[Batch]:
        for batch in batches()(start):
            now[0] += 3
            yield batch

    def quick(net: Net, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        now[0] += 1
        return loss(net, batch)

    with monkeypatch.context() as patched:
        patched.setattr("leadline.training.rate.time", SimpleNamespace(perf_counter=lambda: now[0]))
        assert fit(tiny(), slow, quick, options())[1].context["waiting"] == 0.75
    assert 0 <= fit(tiny(), batches(), loss, options())[1].context["waiting"] <= 1


def test_torch_s_depthwise_convolution_trains_to_the_same_weights_and_leaves_no_trace() -> None:
    own, theirs = (fit(tiny(), batches(), loss, options(steps=1, depthwise=kind))[0] for kind in ("own", "torch"))
    assert [type(m) for m in own.modules()] == [type(m) for m in theirs.modules()]
    for a, b in zip(weights(own).values(), weights(theirs).values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_what_is_left_of_a_batch_is_finished_on_the_device() -> None:
    def raw(start: int) -> Iterator[Batch]:
        return (Batch(255 * b.image, b.target, b.valid, b.name) for b in batches()(start))

    def finish(batch: Batch, device: torch.device) -> Batch:
        assert device == torch.device("cpu")
        return Batch(batch.image / 255, batch.target, batch.valid, batch.name)

    trained, _ = fit(tiny(), raw, loss, options(), finish=finish)
    plain, _ = fit(tiny(), batches(), loss, options())
    for a, b in zip(weights(trained).values(), weights(plain).values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"install g\+\+"):
        fit(tiny(), batches(), loss, options(compile=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_compiled_net_computes_the_same_loss_and_comes_back_as_it_was() -> None:
    (plain, one), (compiled, other) = (fit(tiny(), batches(), loss, options(steps=1, compile=c)) for c in (False, True))
    assert other.metrics["loss"] == pytest.approx(one.metrics["loss"], rel=1e-4)
    assert [type(m) for m in compiled.modules()] == [type(m) for m in plain.modules()]
    assert not same(compiled, tiny())
