"""A net of 14 thin layers and eight small pictures from which it learns: what the tests of the loop train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from leadline.cli.main import main
from leadline.core.spec import Decoder, Encoder, Head, Spec
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset
from leadline.data.loader import Part, loader
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import save
from leadline.training.losses import l1, supervised
from leadline.training.options import FitOptions

TINY = Spec("tiny", Encoder("mobilenet_v1", (8,) * 14), Decoder("nnconv5", (8,) * 5), Head(batch_statistics=False))
Batches = Callable[[int], Iterator[Batch]]


def ramp(key: int) -> Item:
    """Depth grows with brightness: there is something to learn."""
    rng = np.random.default_rng(key)
    grey = np.clip(np.linspace(0, 1, 32)[None] * rng.uniform(0.3, 1) + rng.uniform(0, 0.3, (32, 1)), 0, 1)
    image = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=-1)
    target = (1 + 3 * grey).astype(np.float32)
    return Item(image, target, np.ones((32, 32), bool), f"ramp{key}")


def batches(seed: int = 0, workers: int = 0) -> Batches:
    return loader([Part(Dataset("ramps", tuple(range(8)), ramp), 4, lambda s, _: s)], seed=seed, workers=workers)


def tiny() -> Net:
    net = build(TINY, seed=0)
    net.head.start_at(2.5)
    return net


def trained_by_command(spec: Spec, data: Path, out: Path, batch: int) -> str:
    """The checkpoint that `leadline train` writes into `out` after two steps of a new net of `spec` on `data`."""
    source = save(build(spec, seed=0), out.parent / "start.safetensors")
    words = ["train", "--data", str(data), "--model", str(source), "--batch", str(batch), "--steps", "2"]
    assert main([*words, "--workers", "0", "--out", str(out), "--quiet"]) == 0
    return str(out / f"{spec.name}.safetensors")


def options(**changes: object) -> FitOptions:
    return FitOptions(**{"steps": 6, "precision": "no", "log_every": 100, **changes})  # type: ignore[arg-type]


def weights(net: Net) -> dict[str, torch.Tensor]:
    return {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}


def same(a: Net, b: Net) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


loss = partial(supervised, l1)
