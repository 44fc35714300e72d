"""The loop learns, repeats itself, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline import checkpoint
from leadline.data.dataset import Dataset
from leadline.data.loader import Part, loader
from leadline.errors import TrainingFailed
from leadline.losses import l1, supervised
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.options import FitOptions
from leadline.spec import Decoder, Encoder, Head, Spec
from leadline.train import fit, learning_rate
from leadline.types import Sample

TINY = Spec("tiny", Encoder("mobilenet_v1", (8,) * 14), Decoder("nnconv5", (8,) * 5), Head(batch_statistics=False))
Batches = Callable[[int], Iterator[Sample]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ramp(key: int) -> Sample:
    """Depth grows with brightness: there is something to learn."""
    rng = np.random.default_rng(key)
    grey = np.clip(np.linspace(0, 1, 32)[None] * rng.uniform(0.3, 1) + rng.uniform(0, 0.3, (32, 1)), 0, 1)
    image = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=-1)
    target = (1 + 3 * grey).astype(np.float32)
    return Sample(image, target, np.ones((32, 32), bool), f"ramp{key}")


def batches(seed: int = 0, workers: int = 0) -> Batches:
    return loader([Part(Dataset("ramps", tuple(range(8)), ramp), 4, lambda s, _: s)], seed=seed, workers=workers)


def tiny() -> Net:
    net = build(TINY, seed=0)
    net.head.start_at(2.5)
    return net


def options(**changes: object) -> FitOptions:
    return FitOptions(**{"steps": 6, "precision": "no", "log_every": 100, **changes})  # type: ignore[arg-type]


def weights(net: Net) -> dict[str, torch.Tensor]:
    return {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}


def same(a: Net, b: Net) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


loss = partial(supervised, l1)


def test_eight_images_are_learned_by_heart() -> None:
    _, first = fit(tiny(), batches(), loss, options(steps=1))
    _, last = fit(tiny(), batches(), loss, options(steps=120, optimizer="adamw", lr=1e-2))
    assert last.metrics["loss"] < 0.5 * first.metrics["loss"]


@pytest.mark.parametrize("name", zoo.names())
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
        def until(start: int) -> Iterator[Sample]:
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
        "fit(tiny(), batches(), loss, options(steps=400, save_every=1, log_every=400), out=out, resume=True)\n"
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


def test_a_state_of_another_net_is_refused(tmp_path: Path) -> None:
    fit(tiny(), batches(), loss, options(), out=tmp_path)
    with pytest.raises(TrainingFailed, match="another net or another optimizer"):
        fit(build(zoo.fastdepth_pruned(), seed=0), batches(), loss, options(), out=tmp_path, resume=True)
    with pytest.raises(TrainingFailed, match=r"options, .*sgd.*; give the same or start anew"):
        fit(tiny(), batches(), loss, options(optimizer="adamw"), out=tmp_path, resume=True)
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(TrainingFailed, match="not the state of a run"):
        fit(tiny(), batches(), loss, options(), out=tmp_path, resume=True)


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    done, _ = fit(tiny(), batches(), loss, options(), out=tmp_path)
    again, report = fit(tiny(), batches(), loss, options(), out=tmp_path, resume=True)
    assert same(done, again) and report.metrics == {}


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where() -> None:
    def broken(net: Net, batch: Sample) -> tuple[torch.Tensor, dict[str, float]]:
        return net(batch.image).mean() * torch.nan, {}

    with pytest.raises(TrainingFailed, match="at step 0; lower the learning rate"):
        fit(tiny(), batches(), broken, options())


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


def test_the_published_schedule_falls_to_a_tenth_every_quarter() -> None:
    plan = options(steps=20, schedule="step", lr=0.01)
    assert [round(learning_rate(plan, s), 6) for s in (0, 4, 5, 10, 19)] == [0.01, 0.01, 0.001, 0.0001, 0.00001]


def test_warm_up_rises_and_cosine_falls() -> None:
    plan = options(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(plan, s) for s in range(100)]
    assert rates[0] < rates[5] < rates[10] > rates[50] > rates[99] > 0
