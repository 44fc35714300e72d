"""LiteDepth distilled from `fastdepth`: the weights that ship.

    leadline data synth runs/rooms --n 1200 --seed 1 --textures DATA/photos --split train
    leadline data synth runs/pairs --n 1600 --kind street --size 156 512 --stereo --seed 11 --textures DATA/photos
    python -m recipes.litedepth_distilled --data DATA --synthetic runs --out runs/distilled
    python -m recipes.litedepth_distilled --data DATA --synthetic runs --out runs/longer \
        --start runs/distilled/litedepth.safetensors --steps 2500 --lr 1.5e-3

No ImageNet weights of LiteDepth's encoder are at hand, so it learns from a net whose encoder had some:

1. of each data set, random views are drawn once and kept in OUT/views (8 GB, and as much in leadline's cache), as each
   net will see photographs: for LiteDepth point by point out of the whole frame, for `fastdepth` averaged; with the
   depth of the data, the depth that `fastdepth` sees, and the features of its encoder at three scales, as their
   principal components. Nearly half of the views are whole frames, 6 in 10 of these blended or patched together
   (`precompute_views.mixed`): pictures whose depth the teacher has not learned by heart;
2. LiteDepth learns all of that from the views (FIRST, then with `--start` LATER: a net that sees zoomed views answers
   too near when it is asked about whole frames), mirrored and recoloured: features through 1x1 convolutions that are
   thrown away afterwards (hints: Romero et al. 2015, arXiv 1412.6550), with a weight that falls to 0;
3. its scale is made that of `fastdepth` on the images of the validation split (`scale_`).

Of photographs only the teacher knows the depth, of streets only the data (the teacher has never seen any). Views that
are there are kept: OUT/views may serve several runs by links, once they are drawn, if all of them draw the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

from leadline.core.report import Report
from leadline.core.spec import to_json
from leadline.core.storage import sha256
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import Batches, drawn
from leadline.evaluation.evaluate import evaluate
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, read_provenance, save
from leadline.predict.predictor import Predictor, predictor_of
from leadline.training.fit import fit
from leadline.training.losses import LOSSES
from leadline.training.losses.depth import MIN_DEPTH_M
from leadline.training.options import FitOptions
from recipes import precompute_views as drawing
from recipes.litedepth import LICENCES
from recipes.precompute_views import DEPTH, GRIDS, OUTDOORS, PHOTOS, STEP, listening

FIRST = {
    "nyu": 13, "nyu_raw": 6, "photos": 3, "rooms": 3, "kitchen": 2, "tum_fr1_rpy": 1, "office": 1, "streets": 2,
    "drive": 1, "mixed": 32,
}  # fmt: skip
"""How many views of which set are in a batch of 64."""

LATER = {"mixed": 60, "streets": 3, "drive": 1}
"""The same when it goes on from weights: nearly all frames are whole, as the net will see them."""

PROTOCOL = "nyu-eigen@1"
PHOTOS_LICENCE = "ImageNet sample photographs: research use only"


@dataclass(frozen=True)
class TeacherBatch(Batch):
    """A batch with what the teacher says: its depth [B,1,64,80] in metres, where it counts bool [B,1,64,80], its
    components at each place of GRIDS [B,k,h,w], and the weight of these in this step.
    """

    trusted: Any = None
    hints: Any = None
    hint_weight: float = 0.0


class Imitation(nn.Module):
    """A loss for `fit` on TeacherBatch batches: `log_l1` + 0.3 `log_gradient` of both depths, and the mean
    squared errors of the teacher's components, each in units that give a component its share in the feature's variance.
    """

    def __init__(self, channels: tuple[int, ...], basis: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict({str(i): nn.Conv2d(channels[i], k, 1) for i, (_, _, k) in GRIDS.items()})
        for i in GRIDS:
            scale = torch.from_numpy(basis[f"std{i}"] / basis[f"std{i}"].mean())
            self.register_buffer(f"scale{i}", scale.view(1, -1, 1, 1))

    def forward(self, net: Any, batch: TeacherBatch) -> tuple[Tensor, dict[str, float]]:
        assert batch.pseudo_depth is not None
        with listening(net.net) as heard:
            raw = net(batch.image, raw=True)[0]
        depth = net.enlarged(raw, DEPTH)
        values = {}
        for name, weight in (("log_l1", 1.0), ("log_gradient", 0.3)):
            values[name] = weight * LOSSES[name](depth, batch.target, batch.valid)
            values[f"distilled {name}"] = weight * LOSSES[name](
                depth, batch.pseudo_depth.to(depth), batch.trusted.to(depth.device)
            )
        if batch.hint_weight:
            for i, want in batch.hints.items():
                scale = getattr(self, f"scale{i}")
                made = self.adapters[str(i)](heard[0][i].float())
                values[f"hint {i}"] = batch.hint_weight * F.mse_loss(made * scale, want.to(made) * scale)
        return torch.stack(list(values.values())).sum(), {name: float(v.detach()) for name, v in values.items()}


def batches(folder: Path, shares: Mapping[str, int], steps: int, hint: float, seed: int) -> Batches:
    """The batches of a run from a given step on, `shares` of each set: each view comes once before any comes again."""
    kinds = ("image", "depth", "pseudo_depth", *(f"hints{i}" for i in GRIDS))
    views = {name: {kind: np.load(folder / f"{name}.{kind}.npy", mmap_mode="r") for kind in kinds} for name in shares}
    trusted = torch.tensor([name not in OUTDOORS for name, share in shares.items() for _ in range(share)])

    def at(step: int) -> TeacherBatch:
        rng = np.random.default_rng([seed, step])
        found: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        for which, (name, share) in enumerate(shares.items()):
            n = len(views[name]["image"])
            rows = np.sort([drawn(seed, which, draw, n) for draw in range(step * share, (step + 1) * share)])
            for kind in kinds:
                found[kind].append(views[name][kind][rows])
        whole = {kind: torch.from_numpy(np.concatenate(parts)) for kind, parts in found.items()}
        mirrored = torch.from_numpy(rng.random(len(trusted)) < 0.5)
        turned = {kind: _mirror(x, mirrored) for kind, x in whole.items()}
        depth, pseudo = turned["depth"].float()[:, None], turned["pseudo_depth"].float()[:, None]
        return TeacherBatch(
            image=recolour(turned["image"], rng).permute(0, 3, 1, 2),
            target=depth,
            valid=depth > 0,
            name=tuple(map(str, range(len(trusted)))),
            pseudo_depth=pseudo,
            trusted=trusted.view(-1, 1, 1, 1).expand_as(pseudo),
            hints={i: turned[f"hints{i}"].permute(0, 3, 1, 2).float() * STEP for i in GRIDS},
            hint_weight=hint * max(0.0, 1 - step / (0.7 * steps)),
        )

    def stream(start: int) -> Iterator[TeacherBatch]:
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
    start: Path | None = None, seed: int = 0, resume: bool = False,
) -> tuple[Net, Report]:  # fmt: skip
    """Draw the views, train, measure.

    Args:
        data: the folder that holds nyu and the other sets
        out: where views, checkpoints and curves go
        synthetic: the folder that holds rooms and pairs, whose left views are the streets
        steps: batches of 64
        lr: the highest learning rate
        hint: weight of the features at the start
        start: weights of a run before to go on from, with the views of LATER; none: fresh ones, with those of FIRST
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    if hint < 0:
        raise SystemExit(f"hint is {hint}; a weight of at least 0 is needed")
    if not resume and (out / "state.safetensors").exists():
        raise SystemExit(f"{out} holds a run already: give --resume to go on with it, or another --out")
    options = FitOptions(
        steps=steps, optimizer="adamw", lr=lr, weight_decay=0.05, warmup=200, clip=1.0, ema=0.999, freeze_bn_after=0.9,
        validate_every=2000, save_every=500, log_every=100, seed=seed,
    )  # fmt: skip
    net = _fresh(seed) if start is None else load(start)
    if net.spec.name != "litedepth":
        raise SystemExit(f"{start} holds {net.spec.name}; weights of litedepth are needed")
    shares = FIRST if start is None else LATER
    sets = {name: _opened(name, data, synthetic) for name in {**shares, **drawing.MIXED} if name != "mixed"}
    sets["nyu"], chosen = hold_out(sets["nyu"])
    folder = out / "views"
    how, teacher = drawing.claim(folder, sets), drawing.Teacher()
    for name in shares:
        drawing.write_views(name, sets, teacher, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss = Imitation(net.encoder.channels, dict(np.load(folder / "basis.npz")))
    before = None if start is None else {"sha256": sha256(start), **read_provenance(start)}
    facts: dict[str, Any] = {"drawn": how, "shares": shares, "teacher": "fastdepth", "hint": hint, "start": before}

    def validate(trained: Net, step: int) -> Mapping[str, float]:
        return evaluate(predictor_of(trained), chosen, PROTOCOL, name=trained.spec.name).metrics

    net, report = fit(
        net, batches(folder, shares, steps, hint, seed), loss, options,
        out=out, resume=resume, validate=validate, facts=facts,
    )  # fmt: skip
    if report.context["steps_now"] or not (out / f"{net.spec.name}.safetensors").exists():
        # the adapters, which are the loss's parameters, are thrown away
        context = {name: value for name, value in report.context.items() if name != "loss_parameters"}
        scale = scale_(net, predictor_of(load("fastdepth")), chosen)
        measured = dict(validate(net, steps))
        facts |= {"images": [[part.name, len(part)] for part in sets.values()], "fit": to_json(options)}
        facts |= {"licences": [*LICENCES, PHOTOS_LICENCE], "context": context, "scale": scale}
        facts |= {"metrics": {f"{PROTOCOL} (validation split)": measured}}
        save(net, out / f"{net.spec.name}.safetensors", provenance=facts)
    return net, report


def scale_(net: Net, teacher: Predictor, images: Dataset) -> float:
    """Let the head answer as far away as the teacher does on images that no one learned from, in the mean of logarithms
    over pixels and images; returns the factor. The depth of the data is not looked at.

    A small net is less sure of pictures that it does not know, and answers nearer to what is usual.
    """
    student = predictor_of(net)
    pairs = ((teacher(s.image).values, student(s.image).values) for s in (images[i] for i in range(len(images))))
    logs = [np.mean(np.log(far.clip(min=MIN_DEPTH_M)) - np.log(near.clip(min=MIN_DEPTH_M))) for far, near in pairs]
    factor = float(np.exp(np.mean(logs)))
    with torch.no_grad():
        for weights in net.head.conv.parameters():  # a ReLU follows, or nothing
            weights.mul_(factor)
    return factor


def _fresh(seed: int) -> Net:
    net = build(zoo.litedepth(), seed=seed)
    net.head.start_at(2.7)  # the mean depth of NYU's training images
    return net


def _opened(name: str, data: Path, synthetic: Path) -> Dataset:
    place = {"rooms": synthetic / "rooms", "streets": synthetic / "pairs"}.get(name, data / name)
    return open_dataset(place, "all" if name in PHOTOS else "train")


def _mirror(x: Tensor, chosen: Tensor) -> Tensor:
    """[B,H,W,...], the chosen items with left and right exchanged."""
    return torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), x.flip(2), x)


if __name__ == "__main__":
    tyro.cli(main)
