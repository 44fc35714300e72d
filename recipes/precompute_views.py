"""What LiteDepth learns from: random views of data sets, drawn once, with the data's depth and a teacher's answers.

A folder of views holds for each set of them arrays NAME.KIND.npy, basis.npz (the axes of the components) and drawn.json
(what was drawn from what). `recipes/litedepth_distilled.py` says what for.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.nn import functional as F

from leadline.cli.command import warn
from leadline.core.spec import to_json
from leadline.core.storage import cache, sha256, write_atomically
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.cache import cached, shrunk
from leadline.data.dataset import Dataset
from leadline.data.loader import Part, collate, loader
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from leadline.nn.build import Net
from leadline.nn.checkpoint import find, load
from leadline.nn.fold import fold
from leadline.training.fit import bf16_on_cpu

PHOTOS, OUTDOORS = ("photos",), ("streets", "drive")

SETS = {
    "nyu": 15000, "nyu_raw": 8000, "photos": 4000, "rooms": 5000, "kitchen": 1000, "tum_fr1_rpy": 500, "office": 1000,
    "streets": 1500, "drive": 500, "mixed": 32000,
}  # fmt: skip
"""How many views are drawn of each data set, and of "mixed" from several."""

MIXED = {"nyu": 20, "nyu_raw": 8, "photos": 4, "rooms": 4, "kitchen": 2, "tum_fr1_rpy": 1, "office": 1}
"""What "mixed" is drawn from: how many of 40 views are of which data set."""

VIEW = View(size=(192, 240), zoom=(1.0, 1.6), stretch=1.2, rotate=5, jitter=0.25, colour_shift=0.08)

WHOLE = replace(VIEW, zoom=(1.0, 1.05), stretch=1.05, rotate=4, jitter=0.3, colour_shift=0.1)
"""The views of "mixed": all but whole frames. Zoomed views are nearer, and a net that learns from them answers too near
when it is asked about a whole frame, by 2 % on images that it knows and 5 % on others (LOG.md).
"""

WAY = 2
"""To be raised when `_twice` or `mixed` draw otherwise: views of another way are not taken for these."""

GRIDS = {2: (16, 20, 64), 3: (8, 10, 128), 4: (4, 5, 256)}
"""For the maps that are compared (their place in both encoders, strides 8, 16, 32): height, width, components kept."""

STEP = 1 / 24
"""A unit of the stored components (int8), in standard deviations."""

IMAGE, DEPTH = (128, 160), (64, 80)


@contextmanager
def listening(net: Net) -> Iterator[list[list[Tensor]]]:
    """The maps that the encoder of `net` gives, one list for each time that it is called inside."""
    heard: list[list[Tensor]] = []
    hook = net.encoder.register_forward_hook(lambda module, given, maps: heard.append(maps))
    try:
        yield heard
    finally:
        hook.remove()


class Teacher:
    """`fastdepth`: the views of a batch in, its depth and its encoder's maps at the places of GRIDS out."""

    def __init__(self) -> None:
        self.net = fold(load("fastdepth")).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        x = F.interpolate(image, size=self.net.spec.preprocess.size, mode="bilinear")
        with listening(self.net) as heard, torch.autocast("cpu", torch.bfloat16, enabled=bf16_on_cpu()):
            depth = self.net(x.contiguous(memory_format=torch.channels_last))
        return _small(depth.float(), DEPTH), {i: _small(heard[0][i].float(), (h, w)) for i, (h, w, _) in GRIDS.items()}


def write_views(name: str, sets: Mapping[str, Dataset], teacher: Teacher, folder: Path) -> None:
    """The views of SETS[name] and the teacher's answers, as arrays `folder`/`name`.*.npy; kept if they are there.

    The axes of the components are those of the first set that is drawn, `folder`/basis.npz.
    """
    if (folder / f"{name}.done").exists():
        return
    n, several = SETS[name], name == "mixed"
    warn(f"drawing {n} views for {name}")
    shares = MIXED if several else {name: min(40, n)}
    whole = cached([sets[one] for one in shares], cache() / "frames", gb=15, height=None, say=warn)
    transform = partial(_twice, view=WHOLE if several else VIEW)
    parts = [Part(data, share, transform) for data, share in zip(whole, shares.values(), strict=True)]
    seed = list(SETS).index(name)
    basis = _basis(folder, teacher, loader(parts, seed=seed + 1000, workers=0, gather=_gather)(0))
    views = loader(parts, seed=seed, workers=0, gather=_gather)(0)
    array = partial(_array, folder, name, n)
    image, depth = array("image", (*IMAGE, 3), np.uint8), array("depth", DEPTH, np.float16)
    pseudo = array("pseudo_depth", DEPTH, np.float16)
    hints = {i: array(f"hints{i}", shape, np.int8) for i, shape in GRIDS.items()}
    size = sum(shares.values())
    for start in range(0, n, size):
        batch, seen = next(views)
        if several:
            batch, seen = mixed(batch, seen, np.random.default_rng([seed, start]))
        rows = slice(start, min(n, start + size))
        count = rows.stop - start
        says, maps = teacher(batch.image)
        image[rows] = seen[:count]
        known = torch.where(batch.valid, batch.target, 0)
        depth[rows] = F.interpolate(known, size=DEPTH, mode="nearest-exact")[:count, 0]
        pseudo[rows] = says[:count, 0]
        for i, x in maps.items():
            found = (x.permute(0, 2, 3, 1) - basis[f"mean{i}"]) @ basis[f"axes{i}"] / basis[f"std{i}"]
            hints[i][rows] = (found / STEP).round().clamp(-127, 127).to(torch.int8)[:count]
    (folder / f"{name}.done").touch()


def mixed(batch: Batch, seen: np.ndarray, rng: np.random.Generator) -> tuple[Batch, np.ndarray]:
    """Of 10 views 4 as they are, 3 blended with another of the batch (weights U(0.15, 0.85)), 3 with a rectangle of
    another in them (sides U(0.3, 0.8) of the picture's), both pictures of a view alike: images that nobody has learned
    by heart. Of a mixed view only the teacher knows the depth; that of the data becomes invalid.

    Mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899), without their labels.
    """
    image, valid, small = batch.image.clone(), batch.valid.clone(), seen.copy()
    for i, other in enumerate(rng.permutation(len(seen))):
        kind = rng.random()
        if kind < 0.4 or other == i:
            continue
        if kind < 0.7:
            weight = float(rng.uniform(0.15, 0.85))
            image[i] = weight * batch.image[i] + (1 - weight) * batch.image[other]
            small[i] = np.rint(weight * seen[i] + (1 - weight) * seen[other])
        else:
            (tall, wide), (y, x) = rng.uniform(0.3, 0.8, 2), rng.random(2)
            top, left = y * (1 - tall), x * (1 - wide)
            rows, columns = cut(image.shape[2:], (top, left, tall, wide))
            image[i, :, rows, columns] = batch.image[other, :, rows, columns]
            rows, columns = cut(small.shape[1:3], (top, left, tall, wide))
            small[i, rows, columns] = seen[other, rows, columns]
        valid[i] = False
    return replace(batch, image=image, valid=valid), small


def cut(size: Sequence[int], part: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """The rows and columns of a `part` (top, left, height, width) in fractions of a picture."""
    (height, width), (top, left, tall, wide) = size, part
    return (
        slice(int(top * height), int((top + tall) * height)), slice(int(left * width), int((left + wide) * width))
    )  # fmt: skip


def claim(folder: Path, sets: Mapping[str, Dataset]) -> dict[str, Any]:
    """What the views are drawn from and how, kept in `folder`; a folder of other views ends the program."""
    how: dict[str, Any] = {"sets": SETS, "frames": {name: len(data) for name, data in sorted(sets.items())}}
    how |= {"view": to_json(VIEW), "mixed": MIXED, "whole": to_json(WHOLE), "way": WAY}
    how |= {"image": IMAGE, "depth": DEPTH, "grids": GRIDS, "step": STEP, "teacher": sha256(find("fastdepth"))}
    wanted: dict[str, Any] = json.loads(json.dumps(how))
    path = folder / "drawn.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if any(folder.glob("*.npy")):
            raise SystemExit(f"{folder} holds views, and no drawn.json that says what of: give another --out")
        write_atomically(path, json.dumps(wanted).encode())
    found = json.loads(path.read_text())
    if other := [name for name in wanted if found.get(name) != wanted[name]]:
        raise SystemExit(f"the views in {folder} were drawn with another {', '.join(other)}: give another --out")
    return wanted


def _twice(sample: Item, rng: np.random.Generator, view: View) -> tuple[Item, np.ndarray]:
    """One random view, for the teacher and for the student."""
    seed = int(rng.integers(2**63))
    seen = augment(sample, np.random.default_rng(seed), replace(view, size=IMAGE))
    return augment(shrunk(sample, 240), np.random.default_rng(seed), view), seen.image


def _gather(items: Sequence[tuple[Item, np.ndarray]]) -> tuple[Batch, np.ndarray]:
    return collate([averaged for averaged, _ in items]), np.stack([seen for _, seen in items])


def _basis(folder: Path, teacher: Teacher, views: Iterator[tuple[Batch, np.ndarray]]) -> dict[str, Tensor]:
    """Means, principal axes and standard deviations of the teacher's features, measured once, on the first data set."""
    path = folder / "basis.npz"
    if not path.exists():
        seen = [teacher(next(views)[0].image)[1] for _ in range(12)]
        found: dict[str, Tensor] = {}
        for i, (_, _, k) in GRIDS.items():
            x = torch.cat([maps[i].permute(0, 2, 3, 1).flatten(0, 2) for maps in seen])
            mean = x.mean(dim=0)
            variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
            found |= {f"mean{i}": mean, f"axes{i}": axes[:, -k:].flip(1), f"std{i}": variances[-k:].flip(0).sqrt()}
        file = io.BytesIO()
        np.savez(file, **{name: x.numpy() for name, x in found.items()})  # type: ignore[arg-type]
        write_atomically(path, file.getvalue())
    return {name: torch.from_numpy(x) for name, x in np.load(path).items()}


def _array(folder: Path, name: str, n: int, kind: str, shape: tuple[int, ...], dtype: Any) -> Any:
    return open_memmap(folder / f"{name}.{kind}.npy", "w+", dtype, (n, *shape))


def _small(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)
