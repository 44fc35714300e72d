"""`pruning.run` from a checkpoint to a smaller one: by each sort of method, what is refused, and how a run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_pruning_nets import fastdepth, macs_cost_once, macs_once, trace_once
from support.tiny_scenes import render, write_folder
from support.tiny_training import same

from leadline.compress.cost.count import parameters
from leadline.compress.options import Masks, NetAdapt, Pruning
from leadline.compress.pruning import netadapt
from leadline.core.errors import BadCheckpoint, BudgetInfeasible, TrainingFailed
from leadline.core.spec import Preprocess
from leadline.core.storage import sha256
from leadline.core.text import figure
from leadline.data.options import View
from leadline.nn.build import build
from leadline.nn.checkpoint import load, read_provenance, save, stored_as
from leadline.pipelines import prune as pruning
from leadline.pipelines import prune_methods
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (32, 64)
STEP = FitOptions(steps=1, optimizer="adamw", lr=1e-4, schedule="constant", precision="no")


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netadapt, "trace", trace_once)
    monkeypatch.setattr(prune_methods, "traced", lambda net: trace_once(net, torch.zeros(1, 3, *SIZE)))
    monkeypatch.setattr(prune_methods, "macs_cost", macs_cost_once)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames of four rooms, all to learn from: the last eight of them can be the validation split."""
    drawn = [render(i // 6, step=0.1 * (i % 6), size=(36, 72)) for i in range(24)]
    folder = write_folder(tmp_path_factory.mktemp("rooms"), drawn)
    (folder / "dataset.toml").write_text('layout = "folder"\nsplit = "train"\n')
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a thin net, and its origin."""
    net = build(replace(fastdepth(), preprocess=Preprocess(SIZE), provenance=("drawn",)), seed=0)
    net.head.start_at(3.0)
    origin = {"licences": ["CC BY 4.0"], "sha256": "of something before", "images": [["elsewhere", 3]]}
    return save(net, tmp_path_factory.mktemp("source") / "thin.safetensors", provenance=origin)


@pytest.fixture
def plan(rooms: Path, source: Path, tmp_path: Path) -> Pruning:
    """Eight frames are the validation split, a step is the whole training."""
    training = Training(
        data=(str(rooms),), out=tmp_path, model=str(source), batch=2, view=View(), fit=replace(STEP, steps=2),
        val_every=2, workers=0, cache_gb=0, licences=("CC BY 4.0", "made for a test"),
    )  # fmt: skip
    search = NetAdapt(first_step=0.15, short=STEP, threads=1)
    learned = Masks(fit=replace(STEP, steps=3))
    return Pruning(
        method="l2",
        budget="macs=0.8x",
        out=tmp_path / "out.safetensors",
        training=training,
        n_batches=1,
        netadapt=search,
        masks=learned,
        between=STEP,
    )


METHODS: dict[str, dict[str, Any]] = {
    "l2": {},
    "taylor": {"rounds": 2},
    "masks": {},
    "layers": {"criterion": "taylor_gate", "rounds": 2},
    "netadapt": {"budget": "macs=0.9x", "layers": ("encoder.blocks.1.", "decoder")},
}


@pytest.mark.parametrize(
    "method", ["l2", "layers", *(pytest.param(m, marks=pytest.mark.slow) for m in ("masks", "taylor", "netadapt"))]
)
def test_a_run_leaves_a_smaller_net_that_says_what_was_done(plan: Pruning, source: Path, method: Any) -> None:
    options = replace(plan, method=method, name="thinner", **METHODS[method])
    lines: list[str] = []
    made = pruning.run(options, say=lines.append)
    part = float(options.budget[5:-1])
    before = load(source)
    assert same(made.before, before) and macs_once(made.after, SIZE) <= part * macs_once(before, SIZE)
    assert parameters(made.after) < parameters(before)
    again = load(options.out)
    assert same(made.after, again) and again.spec == made.after.spec
    history = ("drawn", f"pruned by {method} to {options.budget}", "trained for 2 steps")
    assert again.spec.name == "thinner" and again.spec.provenance == history
    assert torch.isfinite(again(torch.rand(1, 3, *SIZE))).all()
    sizes = {group.size for group in trace_once(again, torch.zeros(1, 3, *SIZE)).free.values()}
    assert sizes <= {8, 16}
    said = read_provenance(options.out)
    assert said["licences"] == ["CC BY 4.0", "made for a test"]
    assert said["from"] == {**read_provenance(source), "sha256": sha256(source), "name": str(source)}
    told = said["pruning"]
    asked = part * macs_once(before, SIZE)
    reached = f"the budget is {figure(asked)}, reached is {figure(told['cost'])}, {told['cost'] / asked:.0%} of it"
    assert reached in lines and told["cost"] == macs_once(again, SIZE)
    assert any("far under the budget" in line for line in lines) == (told["cost"] < 0.9 * asked)
    assert (told["method"], told["budget"], told["fit"]["steps"]) == (method, options.budget, 2)
    assert said["context"]["steps"] == 2 and "delta1" in said["metrics"]["indoor-metric@1 (validation split)"]
    if method == "taylor":
        rounds = [line[:12] for line in lines if line.startswith("round")]
        assert told["rounds"] == 2 and rounds == ["round 1 of 2", "round 2 of 2"]
    elif method == "layers":
        assert told["criterion"] == "taylor_gate" and tuple(told["removed"]) == again.spec.skipped
        assert [row["removed"] for row in told["layers"]] != [] and again.spec.skipped
    elif method == "masks":
        assert told["masks"]["target"] == pytest.approx(0.8, rel=1e-3)
        assert 0 < told["kept_by_masks"] <= 1 and all(n <= 16 for n in told["on"].values())
    elif method == "netadapt":
        assert told["netadapt"]["first_step"] == 0.15  # what was asked stays beside what was found
        assert told["netadapt"]["iterations"] >= 1 and told["netadapt"]["cost"] == macs_once(again, SIZE)
        search = json.loads((options.out.with_suffix("") / "netadapt/history.json").read_text())
        assert all(p["group"].startswith(options.layers) for row in search["iterations"] for p in row["candidates"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_pruned_file_keeps_the_numbers_that_the_net_came_in(plan: Pruning, tmp_path: Path, dtype: Any) -> None:
    source = save(load(plan.training.model), tmp_path / "source.safetensors", dtype=dtype)
    training = replace(plan.training, model=str(source))
    made = pruning.run(replace(plan, training=training, finetune=False))
    assert made.stored == str(dtype)[6:] and stored_as(plan.out) == dtype
    assert same(made.after, load(plan.out))


def test_what_is_damaged_of_a_run_is_named(plan: Pruning) -> None:
    pruning.run(replace(plan, finetune=False))
    at = plan.out.with_suffix("") / "pruned.safetensors"
    whole = at.read_bytes()
    at.write_bytes(whole[:500])
    with pytest.raises(BadCheckpoint, match=r"remove .*pruned\.safetensors, and --resume makes it again"):
        pruning.run(replace(plan, finetune=False), resume=True)
    at.unlink()
    pruning.run(replace(plan, finetune=False), resume=True)
    (at.parent / "plan.json").write_text("{")
    with pytest.raises(TrainingFailed, match=r"plan\.json is damaged .*: remove .*, or give another --out"):
        pruning.run(replace(plan, finetune=False), resume=True)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_options_and_no_others(plan: Pruning, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(plan, training=replace(plan.training, fit=replace(STEP, steps=3, save_every=1)))
    expected = pruning.run(replace(options, out=options.out.with_name("whole.safetensors"))).after

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning, "fit", killed)
        pruning.run(options)
    with pytest.raises(ValueError, match=r"out holds a run already: give --resume to go on with it, or another --out"):
        pruning.run(options)
    with pytest.raises(
        TrainingFailed, match=r"began with other options: budget macs=0\.8x there, macs=0\.7x here\. Gi"
    ):
        pruning.run(replace(options, budget="macs=0.7x"), resume=True)
    with pytest.raises(TrainingFailed, match=r"training\.fit\.lr 0\.0001 there, 0\.1 here"):
        pruning.run(
            replace(options, training=replace(options.training, fit=replace(options.training.fit, lr=0.1))), resume=True
        )
    found = pruning.run(replace(options, training=replace(options.training, workers=0, cache_gb=0.1)), resume=True)
    assert same(found.after, expected)
    assert same(pruning.run(options, resume=True).after, expected)  # it was over


def test_another_net_under_the_same_name_is_another_run(plan: Pruning, source: Path, tmp_path: Path) -> None:
    own = save(load(source), tmp_path / "own.safetensors")
    options = replace(plan, finetune=False, training=replace(plan.training, model=str(own)))
    pruning.run(options)
    save(build(load(source).spec, seed=9), own)
    with pytest.raises(TrainingFailed, match=r"source [0-9a-f]+\.\.\. there, [0-9a-f]+\.\.\. here"):
        pruning.run(options, resume=True)


@pytest.mark.slow
def test_fresh_weights_are_trained_in_the_shape_that_pruning_found(plan: Pruning) -> None:
    options = replace(plan, training=replace(plan.training, fit=replace(STEP, lr=1e-9)))
    old = pruning.run(options).after
    new = pruning.run(replace(options, reinit=True, out=options.out.with_name("fresh.safetensors"))).after
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (old, new)]
    assert shapes[0] == shapes[1]
    weight = "encoder.blocks.3.3.weight"
    assert not torch.allclose(old.get_parameter(weight), new.get_parameter(weight), atol=1e-2)
    assert 1.0 < float(new.head.norm.bias.detach()) < 6.0  # the data's mean depth
    assert read_provenance(options.out.with_name("fresh.safetensors"))["pruning"]["reinit"] is True


def refused(options: Pruning) -> bool:
    """Whether nothing was left behind that a corrected run would stumble over."""
    return not options.out.exists() and not options.out.with_suffix("").exists()


@pytest.mark.parametrize("method", ["l2", "masks", "netadapt"])
@pytest.mark.parametrize(
    ("budget", "kind", "said"),
    [
        ("macs=100G", ValueError, r"met already, there is nothing to prune; give a smaller one"),
        ("macs=0", ValueError, r"the budget macs is 0; a finite number above 0 is needed"),
        ("params=-5k", ValueError, r"the budget params is -5000; a finite number above 0 is needed"),
        (
            "macs=0.01x",
            BudgetInfeasible,
            r"cannot be reached by pruning these \d+ groups of layers: with 8 channels in each",
        ),
        ("speed=0.5x", ValueError, r"the budget 'speed' is unknown"),
    ],
)
def test_a_budget_that_cannot_be_is_told_before_any_work(
    plan: Pruning, method: Any, budget: str, kind: type[Exception], said: str
) -> None:
    options = replace(plan, method=method, budget=budget, rounds=3)
    with pytest.raises(kind, match=said):
        pruning.run(options)
    assert refused(options)


def test_what_cannot_be_meant_is_told(plan: Pruning, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"val_every is 0, give --val-every 10"):
        pruning.run(replace(plan, method="netadapt", training=replace(plan.training, val_every=0)))
    with pytest.raises(ValueError, match=r"out is .*net\.onnx; the pruned net is a checkpoint.*\.safetensors"):
        pruning.run(replace(plan, out=plan.out.with_name("net.onnx")))
    with pytest.raises(ValueError, match=r"no group that may shrink starts with encoder\.nothing; there are encoder"):
        pruning.run(replace(plan, layers=("encoder.nothing",)))
    pair = write_folder(tmp_path / "pair", [render(seed, size=(36, 72)) for seed in range(2)])
    (pair / "dataset.toml").write_text('layout = "folder"\nsplit = "train"\n')
    few = replace(plan, method="netadapt", budget="macs=0.9x", training=replace(plan.training, data=(str(pair),)))
    with pytest.raises(ValueError, match=r"pair has too few images to keep one; give more images"):
        pruning.run(few)
    with pytest.raises(ValueError, match=r"the channels of .* pass no batch norm; .* or other groups"):
        pruning.run(replace(plan, method="bn", training=replace(plan.training, model="litedepth")))
    with pytest.raises(ValueError, match=r"the protocol 'nyu-eigen' is unknown; nearest: nyu-eigen@1"):
        pruning.run(replace(plan, training=replace(plan.training, protocol="nyu-eigen")))
    assert refused(few)
    for changes, said in (
        ({"rounds": 0}, r"rounds is 0; at least 1, and a whole number, is needed"),
        ({"reinit": True, "finetune": False}, r"new weights without a training are of no use"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(plan, **changes)  # type: ignore[arg-type]


def test_a_latency_that_the_smallest_net_misses_is_told_before_any_work(
    plan: Pruning, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(budget: Any, net: Any, size: Any, say: Any, known: Any) -> netadapt.CostModel:
        return netadapt.CostModel(lambda _: macs_cost_once(net, SIZE), lambda other: 1e9)

    monkeypatch.setattr(pruning, "cost_model", slow)
    for method in ("l2", "masks", "netadapt"):
        options = replace(plan, method=method)  # type: ignore[arg-type]
        with pytest.raises(
            BudgetInfeasible, match=r"with 8 channels in each the net still measures 1 000 000 000, the smallest rea"
        ):
            pruning.run(options)
        assert refused(options)


def test_masks_of_a_fixed_strength_leave_what_they_leave(plan: Pruning) -> None:
    lines: list[str] = []
    options = replace(plan, method="masks", masks=replace(plan.masks, controlled=False), finetune=False)
    made = pruning.run(options, say=lines.append)
    assert "pruned by masks" in made.after.spec.provenance and "without the budget" in lines[-1]
    assert read_provenance(options.out)["pruning"]["masks"]["target"] is None


@pytest.mark.slow
def test_only_the_layers_that_are_asked_for_shrink(plan: Pruning, source: Path) -> None:
    made = pruning.run(replace(plan, layers=("encoder.blocks.1", "decoder"), budget="macs=0.9x", finetune=False))
    before, after = (
        {name: group.size for name, group in trace_once(net, torch.zeros(1, 3, *SIZE)).free.items()}
        for net in (load(source), made.after)
    )
    shrunk = {name for name, size in after.items() if size < before[name]}
    assert shrunk and all(name.startswith(("encoder.blocks.1", "decoder")) for name in shrunk)


def test_recovery_validates_on_the_validation_split(plan: Pruning, source: Path) -> None:
    made = prune_methods.recovery(plan.training, str(source))
    assert made.validate is not None and 0 <= made.validate(load(source)) <= 1
    assert made.validate(load(source)) == made.validate(load(source))
    assert next(made.batches(0)).image.shape == (2, 3, *SIZE)
    assert prune_methods.recovery(replace(plan.training, val_every=0), str(source)).validate is None
    assert len(prune_methods.recovery(plan.training, str(source), 2).validate.keywords["samples"]) == 2  # type: ignore
