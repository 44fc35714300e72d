"""Two processes with half the batch each take the steps of one that has it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from leadline.training.distributed import (
    SyncBatchNorm2d,
    all_reduce_gradients_,
    convert_sync_batchnorm_,
    revert_sync_batchnorm_,
)

SCRIPT = Path(__file__).resolve().parents[1] / "support" / "two_processes.py"


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("momentum", "affine"), [(0.1, True), (None, True), (0.1, False)])
def test_a_norm_over_the_whole_batch_is_torch_s_where_there_is_one_process(
    momentum: float | None, affine: bool
) -> None:
    torch.manual_seed(0)
    x, outer = (torch.randn(4, 3, 5, 6, dtype=torch.float64) * 2 + 5 for _ in range(2))
    own, theirs = (nn.Sequential(nn.BatchNorm2d(3, momentum=momentum, affine=affine)).double() for _ in range(2))
    convert_sync_batchnorm_(own)
    assert isinstance(own[0], SyncBatchNorm2d)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for _ in range(2):
        for layer, entered in zip((own, theirs), inputs, strict=True):
            (layer(entered) * outer).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for a, b in zip(own.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(own.state_dict(), theirs.state_dict())
    torch.testing.assert_close(own.eval()(x), theirs.eval()(x))


def test_a_norm_of_a_class_of_its_own_is_refused_before_anything_changes() -> None:
    class NormAct(nn.BatchNorm2d):
        pass

    net = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(NormAct(3)))
    with pytest.raises(ValueError, match=r"layer 1\.0 is a NormAct.*BatchNorm2d only: train this net in one process"):
        convert_sync_batchnorm_(net)
    assert type(net[0]) is nn.BatchNorm2d


def test_converted_and_reverted_a_net_has_its_own_norms_and_tensors_also_where_a_norm_stands_twice() -> None:
    norm = nn.BatchNorm2d(3)
    net = nn.Sequential(norm, nn.Sequential(norm, nn.BatchNorm2d(2, affine=False)).eval())
    before, modes = dict(net.named_parameters()), [module.training for module in net.modules()]
    convert_sync_batchnorm_(net)
    assert [type(module) for module in net.modules()].count(SyncBatchNorm2d) == 2 and net[0] is net[1][0]
    revert_sync_batchnorm_(net)
    assert [type(module) for module in net.modules()].count(nn.BatchNorm2d) == 2 and net[0] is net[1][0]
    assert all(before[name] is parameter for name, parameter in net.named_parameters())
    assert [module.training for module in net.modules()] == modes


@pytest.mark.usefixtures("alone")
def test_a_missing_gradient_stays_missing_and_a_silent_part_gives_no_value() -> None:
    one, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    one.grad = torch.tensor([1.0, 2.0])
    assert all_reduce_gradients_([one, other], 3.0, torch.device("cpu")) == 3
    assert one.grad.tolist() == [1, 2] and other.grad is None
    assert all_reduce_gradients_([one, other], None, torch.device("cpu")) is None


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one process and what two have seen."""
    folder = tmp_path_factory.mktemp("together")
    here = [str(SCRIPT.parents[1]), str(SCRIPT.parents[2])]
    around = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*here, *sys.path])}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", "0", "--multi_gpu", "--num_processes", "2"]
    for start, name in (([sys.executable], "one"), (launch, "two")):
        done = subprocess.run([*start, str(SCRIPT), str(folder / name)], env=around, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((folder / name).read_text()) for name in ("one", "two"))
    assert (one["world"], two["world"]) == (1, 2)
    return one, two


@pytest.mark.slow
def test_batch_norms_are_those_of_the_whole_batch(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, two = both
    for name, values in one["norms"].items():
        assert two["norms"][name] == pytest.approx(values, rel=1e-12, abs=1e-12), name


@pytest.mark.slow
def test_the_losses_of_two_processes_are_those_of_one(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """All pixels are valid. Training enlarges rounding; a batch in another order differs as much after six steps."""
    one, two = both
    assert two["litedepth"]["losses"] == pytest.approx(one["litedepth"]["losses"], rel=2e-4)
    assert two["litedepth"]["total"] == pytest.approx(one["litedepth"]["total"], rel=1e-6)
    assert two["tiny"]["losses"][0] == pytest.approx(one["tiny"]["losses"][0], rel=1e-4)


@pytest.mark.slow
def test_a_process_without_a_valid_pixel_does_not_disturb_the_others(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """In one step the second process has nothing, in another neither has: that one is skipped."""
    one, two = ({**found["nothing"]} for found in both)
    assert one["skipped_steps"] == two["skipped_steps"] == 1
    assert two["losses"] == pytest.approx(one["losses"], rel=2e-4)
    assert two["loss_parameters"]["sigma"] == pytest.approx(one["loss_parameters"]["sigma"], rel=1e-4)
