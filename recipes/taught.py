"""LiteDepth taught by `fastdepth`: the weights that ship.

    leadline data synth runs/rooms --n 1200 --seed 1 --textures DATA/photos --split train
    leadline data synth runs/pairs --n 1600 --kind street --size 156 512 --stereo --seed 11 --textures DATA/photos
    python -m recipes.taught --data DATA --synthetic runs --out runs/taught

No ImageNet weights of LiteDepth's encoder are at hand, so it learns from a net whose encoder had some:

1. of each data set, random views are drawn once and kept in OUT/views (5 GB), as each net will see photographs: for
   LiteDepth point by point out of the whole frame, for `fastdepth` averaged; with the depth of the data, the depth that
   `fastdepth` sees, and the features of its encoder at three scales, as their principal components;
2. LiteDepth learns all of that from the views, mirrored and recoloured: features through 1x1 convolutions that are
   thrown away afterwards (hints: Romero et al. 2015, arXiv 1412.6550), with a weight that falls to 0.

Of photographs only the teacher knows the depth, of streets only the data (the teacher has never seen any). Views that
are there are kept: OUT/views may serve several runs by links, if all of them draw the same.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.checkpoint import load, save, write_atomically
from leadline.command import complain
from leadline.data.cache import cached
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts import open_dataset
from leadline.data.loader import Batches, Part, collate, loader
from leadline.data.transforms import augment, resize
from leadline.evaluate import evaluate
from leadline.export import cache
from leadline.losses import LOSSES
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.fold import fold
from leadline.options import FitOptions, View
from leadline.predict import Predictor
from leadline.report import Report
from leadline.runtime import eager
from leadline.spec import to_json
from leadline.train import fit
from leadline.types import Sample
from recipes.litedepth import LICENCES

PHOTOS, OUTDOORS = ("photos",), ("streets", "drive")

SETS: dict[str, tuple[int, int]] = {
    "nyu": (15000, 26), "nyu_raw": (8000, 12), "photos": (4000, 8), "rooms": (5000, 7), "kitchen": (1000, 3),
    "tum_fr1_rpy": (500, 2), "office": (1000, 2), "streets": (1500, 3), "drive": (500, 1),
}  # fmt: skip
"""Data sets: how many views are drawn of each, and how many of them are in a batch of 64."""

VIEW = View(size=(192, 240), zoom=(1.0, 1.6), stretch=1.2, rotate=5, jitter=0.25, colour_shift=0.08)

GRIDS = {2: (16, 20, 64), 3: (8, 10, 128), 4: (4, 5, 256)}
"""For the maps that are compared (their place in both encoders, strides 8, 16, 32): height, width, components kept."""

PHOTOS_LICENCE = "ImageNet sample photographs: research use only"

STEP = 1 / 24
"""A unit of the stored components (int8), in standard deviations."""

IMAGE, DEPTH = (128, 160), (64, 80)


@dataclass(frozen=True)
class Taught(Sample):
    """A batch with what the teacher says: its depth [B,1,64,80] in metres, where it counts bool [B,1,64,80], its
    components at each place of GRIDS [B,k,h,w], and the weight of these in this step.
    """

    taught: Any = None
    trusted: Any = None
    hints: Any = None
    hint_weight: float = 0.0


class Imitation(nn.Module):
    """A loss for `fit` on Taught batches: `log_l1` + 0.3 `log_gradient` of both depths, and the mean squared errors of
    the teacher's components, each in units that give a component its share in the feature's variance.
    """

    def __init__(self, channels: tuple[int, ...], basis: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict({str(i): nn.Conv2d(channels[i], k, 1) for i, (_, _, k) in GRIDS.items()})
        for i in GRIDS:
            scale = torch.from_numpy(basis[f"std{i}"] / basis[f"std{i}"].mean())
            self.register_buffer(f"scale{i}", scale.view(1, -1, 1, 1))

    def forward(self, net: Any, batch: Taught) -> tuple[Tensor, dict[str, float]]:
        kept: list[Any] = []
        hook = net.net.encoder.register_forward_hook(lambda module, given, made: kept.append(made))
        try:
            raw = net(batch.image, raw=True)[0]
        finally:
            hook.remove()
        depth = net.enlarged(raw, DEPTH)
        values = {}
        for name, weight in (("log_l1", 1.0), ("log_gradient", 0.3)):
            values[name] = weight * LOSSES[name](depth, batch.target, batch.valid)
            values[f"taught {name}"] = weight * LOSSES[name](
                depth, batch.taught.to(depth), batch.trusted.to(depth.device)
            )
        if batch.hint_weight:
            for i, want in batch.hints.items():
                scale = getattr(self, f"scale{i}")
                made = self.adapters[str(i)](kept[0][i].float())
                values[f"hint {i}"] = batch.hint_weight * F.mse_loss(made * scale, want.to(made) * scale)
        return torch.stack(list(values.values())).sum(), {name: float(v.detach()) for name, v in values.items()}


class Teacher:
    """`fastdepth`: the views of a batch in, its depth and its encoder's maps at the places of GRIDS out."""

    def __init__(self) -> None:
        self.net = fold(load("fastdepth")).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.bf16 = torch.cpu._is_avx512_bf16_supported()

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        x = F.interpolate(image, size=(224, 224), mode="bilinear")
        x = ((x - self.net.mean) / self.net.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            maps = self.net.encoder(x)
            depth = self.net.head(self.net.decoder(maps, (224, 224)))
        depth = F.interpolate(depth.float(), size=DEPTH, mode="bilinear", antialias=True)
        return depth, {i: _small(maps[i].float(), (h, w)) for i, (h, w, _) in GRIDS.items()}


def write_views(data: Dataset, n: int, teacher: Teacher, folder: Path, name: str, seed: int) -> None:
    """`n` random views of `data` and the teacher's answers, as arrays `folder`/`name`.*.npy; kept if they are there.

    The axes of the components are those of the first data set that is drawn, `folder`/basis.npz.
    """
    if (folder / f"{name}.done").exists():
        return
    complain(f"drawing {n} views of {data.name}")
    whole = cached([data], cache() / "frames", gb=15, height=None, say=complain)[0]
    size = min(40, n)
    part = Part(whole, size, _twice)
    basis = _basis(folder, teacher, loader([part], seed=seed + 1000, workers=0, gather=_gather)(0))
    views = loader([part], seed=seed, workers=0, gather=_gather)(0)
    array = partial(_array, folder, name, n)
    image, depth = array("image", (*IMAGE, 3), np.uint8), array("depth", DEPTH, np.float16)
    taught = array("taught", DEPTH, np.float16)
    hints = {i: array(f"hints{i}", shape, np.int8) for i, shape in GRIDS.items()}
    for start in range(0, n, size):
        (batch, seen), rows = next(views), slice(start, min(n, start + size))
        count = rows.stop - start
        says, maps = teacher(batch.image)
        image[rows] = seen[:count]
        known = torch.where(batch.valid, batch.target, 0)
        depth[rows] = F.interpolate(known, size=DEPTH, mode="nearest-exact")[:count, 0]
        taught[rows] = says[:count, 0]
        for i, x in maps.items():
            parts = (x.permute(0, 2, 3, 1) - basis[f"mean{i}"]) @ basis[f"axes{i}"] / basis[f"std{i}"]
            hints[i][rows] = (parts / STEP).round().clamp(-127, 127).to(torch.int8)[:count]
    (folder / f"{name}.done").touch()


def batches(folder: Path, steps: int, hint: float, seed: int) -> Batches:
    """The batches of a run from a given step on: each view comes once before any comes again."""
    kinds = ("image", "depth", "taught", *(f"hints{i}" for i in GRIDS))
    views = {name: {kind: np.load(folder / f"{name}.{kind}.npy", mmap_mode="r") for kind in kinds} for name in SETS}
    trusted = torch.tensor([name not in OUTDOORS for name, (_, share) in SETS.items() for _ in range(share)])

    @lru_cache(maxsize=4 * len(SETS))
    def order(which: int, epoch: int, n: int) -> np.ndarray:
        return np.random.default_rng([seed, which, epoch]).permutation(n)

    def at(step: int) -> Taught:
        rng = np.random.default_rng([seed, step])
        found: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        for which, (name, (n, share)) in enumerate(SETS.items()):
            draws = [divmod(draw, n) for draw in range(step * share, (step + 1) * share)]
            rows = np.sort([order(which, epoch, n)[place] for epoch, place in draws])
            for kind in kinds:
                found[kind].append(views[name][kind][rows])
        whole = {kind: torch.from_numpy(np.concatenate(parts)) for kind, parts in found.items()}
        mirrored = torch.from_numpy(rng.random(len(trusted)) < 0.5)
        turned = {kind: _mirror(x, mirrored) for kind, x in whole.items()}
        depth, taught = turned["depth"].float()[:, None], turned["taught"].float()[:, None]
        return Taught(
            image=recolour(turned["image"], rng).permute(0, 3, 1, 2),
            target=depth,
            valid=depth > 0,
            name=tuple(map(str, range(len(trusted)))),
            taught=taught,
            trusted=trusted.view(-1, 1, 1, 1).expand_as(taught),
            hints={i: turned[f"hints{i}"].permute(0, 3, 1, 2).float() * STEP for i in GRIDS},
            hint_weight=hint * max(0.0, 1 - step / (0.7 * steps)),
        )

    def stream(start: int) -> Iterator[Taught]:
        step = start
        while True:
            yield at(step)
            step += 1

    return stream


def recolour(images: Tensor, rng: np.random.Generator) -> Tensor:
    """uint8 [B,H,W,3] to float32 in 0..1: brightness and contrast by U(0.7, 1.3), saturation by U(0.6, 1.4), white
    balance by U(0.9, 1.1) for each channel. Together that is one affine map of the colours of each image.
    """
    n = len(images)
    x = images.float().div_(255).flatten(1, 2)
    grey = torch.tensor([0.299, 0.587, 0.114])
    light, contrast, colour = (torch.from_numpy(rng.uniform(1 - s, 1 + s, (n, 1, 1))).float() for s in (0.3, 0.3, 0.4))
    gains = torch.from_numpy(rng.uniform(0.9, 1.1, (n, 1, 3))).float()
    middle = light * (x.mean(dim=1, keepdim=True) @ grey)[..., None]
    # y = x @ matrix + offset, columns are output channels
    matrix = light * contrast * (colour * torch.eye(3) + (1 - colour) * grey[:, None]) * gains
    return torch.baddbmm((1 - contrast) * middle * gains, x, matrix).clamp_(0, 1).view(images.shape)


def main(
    *, data: Path, out: Path, synthetic: Path = Path("runs"), steps: int = 12000, lr: float = 4e-3, hint: float = 0.2,
    seed: int = 0, resume: bool = False,
) -> tuple[Net, Report]:  # fmt: skip
    """Draw the views, train, measure.

    Args:
        data: the folder that holds nyu and the other sets
        out: where views, checkpoints and curves go
        synthetic: the folder that holds rooms and pairs, whose left views are the streets
        steps: batches of 64
        lr: the highest learning rate
        hint: weight of the features at the start
        seed: of weights, views and batches
        resume: go on with a run that was stopped
    """
    if hint < 0:
        raise SystemExit(f"hint is {hint}; a weight of at least 0 is needed")
    if not resume and (out / "state.safetensors").exists():
        raise SystemExit(f"{out} holds a run already: give --resume to go on with it, or another --out")
    options = FitOptions(
        steps=steps, optimizer="adamw", lr=lr, weight_decay=0.02, warmup=200, clip=1.0, ema=0.999, still_after=0.9,
        validate_every=2000, save_every=500, log_every=100, seed=seed,
    )  # fmt: skip
    sets = {name: _opened(name, data, synthetic) for name in SETS}
    sets["nyu"], chosen = hold_out(sets["nyu"])
    folder = out / "views"
    drawn = _drawn(folder, {name: len(part) for name, part in sets.items()}, seed)
    teacher = Teacher()
    for i, (name, (n, _)) in enumerate(SETS.items()):
        write_views(sets[name], n, teacher, folder, name, seed + 100 + i)
    net = build(zoo.litedepth(), seed=seed)
    net.head.start_at(2.7)  # the mean depth of NYU's training images
    loss = Imitation(net.encoder.channels, dict(np.load(folder / "basis.npz")))
    facts: dict[str, Any] = {"sets": SETS, "view": to_json(VIEW), "teacher": "fastdepth", "hint": hint}

    def validate(trained: Net, step: int) -> Mapping[str, float]:
        spec = trained.spec
        predict = Predictor(spec.name, eager.runner(trained), spec.preprocess, spec.head)
        return evaluate(predict, chosen, "nyu-eigen@1", name=spec.name).metrics

    net, report = fit(
        net, batches(folder, steps, hint, seed), loss, options, out=out, resume=resume, validate=validate, facts=facts
    )
    if report.context["steps_now"] or not (out / f"{net.spec.name}.safetensors").exists():
        measured = {name: value for name, value in report.metrics.items() if name != "loss"}
        facts |= {"drawn": drawn, "images": [[part.name, len(part)] for part in sets.values()], "fit": to_json(options)}
        facts |= {"licences": [*LICENCES, PHOTOS_LICENCE], "context": dict(report.context)}
        facts |= {"metrics": {"nyu-eigen@1 (choosing part)": measured}}
        save(net, out / f"{net.spec.name}.safetensors", provenance=facts)
    return net, report


def _opened(name: str, data: Path, synthetic: Path) -> Dataset:
    place = {"rooms": synthetic / "rooms", "streets": synthetic / "pairs"}.get(name, data / name)
    return open_dataset(place, "all" if name in PHOTOS else "train")


def _drawn(folder: Path, frames: Mapping[str, int], seed: int) -> dict[str, Any]:
    """What the views are drawn from and how, also in `folder`; a folder of other views ends the program."""
    how = {"seed": seed, "sets": SETS, "frames": dict(frames), "view": to_json(VIEW), "grids": GRIDS, "step": STEP}
    wanted: dict[str, Any] = json.loads(json.dumps(how))
    path = folder / "drawn.json"
    folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text()) if path.exists() else wanted
    if other := [name for name in wanted if found.get(name) != wanted[name]]:
        raise SystemExit(f"the views in {folder} were drawn with another {', '.join(other)}: give another --out")
    write_atomically(path, json.dumps(wanted).encode())
    return wanted


def _twice(sample: Sample, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
    """One random view, for the teacher and for the student."""
    height, width = sample.image.shape[:2]
    rows = min(height, 240)
    seed = int(rng.integers(2**63))
    averaged = resize(sample, (rows, round(width * rows / height)))
    seen = augment(sample, np.random.default_rng(seed), replace(VIEW, size=IMAGE))
    return augment(averaged, np.random.default_rng(seed), VIEW), seen.image


def _gather(items: Sequence[tuple[Sample, np.ndarray]]) -> tuple[Sample, np.ndarray]:
    return collate([averaged for averaged, _ in items]), np.stack([seen for _, seen in items])


def _basis(folder: Path, teacher: Teacher, views: Iterator[tuple[Sample, np.ndarray]]) -> dict[str, Tensor]:
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


def _mirror(x: Tensor, chosen: Tensor) -> Tensor:
    """[B,H,W,...], the chosen items with left and right exchanged."""
    return torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), x.flip(2), x)


if __name__ == "__main__":
    tyro.cli(main)
