"""What pruning writes: in which numbers, and what it says of its budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from support.tiny_training import same, tiny

from leadline.compress.options import Masks, Pruning
from leadline.nn.checkpoint import load, save, save_like
from leadline.pipelines import prune_methods
from leadline.training.options import Training


def test_what_half_precision_cannot_hold_is_stored_in_float32(tmp_path: Path) -> None:
    half, net = save(tiny(), tmp_path / "half.safetensors", dtype=torch.float16), tiny()
    with torch.no_grad():
        net.head.conv.weight.fill_(1e6)
    assert save_like(half, net, tmp_path / "out.safetensors") == "float32"
    assert same(load(tmp_path / "out.safetensors"), net)


def test_a_net_that_is_cut_far_below_its_budget_is_told() -> None:
    plan = Pruning(
        method="rank",
        budget="macs=0.8x",
        out=Path("net.safetensors"),
        training=Training(data=("rooms",), out=Path("run")),
    )
    near, far = (prune_methods.distance({"cost": cost}, 100.0, plan) for cost in (91.0, 50.0))
    assert near == ["the budget is 100, reached is 91, 91% of it"]
    assert far[0] == "the budget is 100, reached is 50, 50% of it"
    assert "more was cut than asked" in far[1] and "--multiple 1 may come closer" in far[1]
    free = replace(plan, method="masks", masks=Masks(controlled=False))
    assert prune_methods.distance({"cost": 50.0}, 100.0, free) == []  # which go where they will
