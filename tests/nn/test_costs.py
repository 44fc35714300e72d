"""What is written down of the nets' costs is what a count of the nets gives."""

from __future__ import annotations

import json

import pytest

from leadline.compress.cost.count import macs, parameters
from leadline.nn import zoo
from leadline.nn.build import outline
from leadline.nn.checkpoint import load, shipped
from leadline.nn.costs import recorded_costs


@pytest.mark.slow
def test_the_recorded_costs_are_those_of_the_nets() -> None:
    nets = {name: outline(zoo.spec(name)) for name in zoo.names(None)} | {name: load(name) for name in shipped()}
    counted = {
        name: {"parameters": parameters(net), "macs": macs(net, net.spec.preprocess.size)}
        for name, net in sorted(nets.items())
    }
    recorded = {name: cost._asdict() for name, cost in recorded_costs().items()}
    assert recorded == counted, f"leadline/nn/costs.json should hold {json.dumps(counted, indent=1)}"
