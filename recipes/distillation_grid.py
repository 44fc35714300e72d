"""The paper's grid (Hu et al. 2021, arXiv 2105.06143): what a teacher and images without depth are worth to a student.

    python -m recipes.teacher fastdepth --data DATA --rooms runs/rooms --out runs/teachers/fastdepth
    python -m recipes.teacher mobilenet --data DATA --rooms runs/rooms --out runs/teachers/mobilenet  # twice: see there
    python -m recipes.litedepth_start --data DATA --rooms runs/rooms --out runs/start
    python -m recipes.distillation_grid labels --data DATA --rooms runs/rooms --teachers runs/teachers --out runs/labels
    python -m recipes.distillation_grid first --student litedepth --data DATA --rooms runs/rooms --out runs/grid
    python -m recipes.distillation_grid both --student litedepth --data DATA --rooms runs/rooms --out runs/grid
    python -m recipes.distillation_grid both --student litedepth --data DATA --rooms runs/rooms --out runs/longer \\
        --after runs/grid/litedepth_both_0
    python -m recipes.evaluate_students runs/grid/*/litedepth.safetensors --data DATA --out runs/evaluated.jsonl
    python -m recipes.seed_table runs/evaluated.jsonl --folder runs/grid

Labelled X: NYU's 795 frames, 75 of them kept for validation. Unlabelled U: raw NYU frames, photographs, streets,
synthetic rooms, all without their depth, and `recipes.blend_images`. Kitchen, robot, office and tum are left out of
everything, so that they show what a net makes of places that neither it nor its teacher has ever seen.

Every row and seed of a student starts from the same net, which has learned from X alone (`first`), and sees as many
images. What a teacher is worth shows in a student that has learned what labelled images can teach it; so
fastdepth_small and boosting_student begin with what nets that were trained on X and rooms have, which have had no
teacher either. The paper's students begin with ImageNet's weights; `recipes.teacher mobilenet --steps 0 --out
runs/imagenet/mobilenet` (and fastdepth) writes nets to begin with that know no more, for `first --teachers
runs/imagenet --out runs/imagenet`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import tyro

from leadline.cli.distill import label
from leadline.cli.train import run_training as train
from leadline.compress.pruning.importance import magnitude
from leadline.compress.pruning.surgery import keep_topk, prune
from leadline.compress.pruning.trace import trace
from leadline.data.options import View
from leadline.distill.options import Distillation, Labelling, TeacherOptions
from leadline.nn import zoo
from leadline.nn.build import Net, build
from leadline.nn.checkpoint import load, origin
from leadline.training.options import FitOptions, Training
from recipes import blend_images
from recipes.teacher import LICENCES

ROWS = ("alone", "labelled", "unlabelled", "both", "mixed")
"""The student alone on X; with its teacher on X; on U only; on X and U; alone on X and on U with U's depth."""

STRUCTURE = {"structure": 10, "structure_light": 1}
"""`both`, and LiteDepth's structure-aware loss with teacher_mobilenet: its weight, the published one first, with
which it is at the start four times as large as all other losses together.
"""
SHIPPED = ("shipped", "everywhere")
"""What ships: no cells of the grid, for they go on from the package's weights, and know the depth of `nyu_raw` too;
everywhere, as LiteDepth's always did, also of the places.
"""
PHOTOS_LICENCE = "ImageNet sample photographs: research use only"
RAW = "NYU Depth v2 raw frames: research use only"
KITTI = "KITTI: CC BY-NC-SA"
PLACES = {
    "kitchen": "7-Scenes: non-commercial use only",
    "robot": "aims-slam: MIT",
    "office": "Replica: research use only",
    "tum": "TUM RGB-D: CC BY",
}
FURTHER = ("first", "closer", *STRUCTURE, *(f"but_{place}" for place in PLACES), *SHIPPED)
"""What all rows of a student start from: the student alone on X. Then `both` with more of X, whose own depth has
half of its loss; structure; `both` with three of four places in U, too; and what ships.
"""
SETS = {
    "nyu": LICENCES[1],
    "nyu_raw": RAW,
    "photos": PHOTOS_LICENCE,
    "streets": KITTI,
    "rooms": LICENCES[2],
    "mixtures": "Mixtures of NYU Depth v2 frames: research use only",
}
TERMS = {**SETS, **PLACES}


def streets(data: Path, out: Path) -> Path:
    """One folder, by links, of the left views of `drive` and of `drive_unlabelled`."""
    folder = out / "links" / "streets"
    left = next(path for path in data.joinpath("drive").rglob("image_02") if path.is_dir())
    for name, source in (("drive", left), ("drive_unlabelled", data / "drive_unlabelled" / "images")):
        link = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(source.resolve())
    return folder


def labels(data: Path, rooms: Path, teachers: Path, out: Path, using: tuple[str, ...]) -> None:
    """What the teachers say of X and U, as label sets in `out`."""
    files = tuple("fastdepth" if n == "shipped" else str(_file(teachers, n)) for n in using)
    ensemble = TeacherOptions(teacher=files, flip=True)
    places = sets(data, rooms, out)
    blend_images.main(data=data, out=places["mixtures"])
    for name, licence in TERMS.items():
        label(places[name], teachers=ensemble, run=Labelling(out=out / name, licences=(licence,)))


def sets(data: Path, rooms: Path, out: Path) -> dict[str, Path]:
    """The folder of each set."""
    own = {name: data / name for name in ("nyu", "nyu_raw", "photos", "drive", "kitchen", "robot", "office")}
    made = {"rooms": rooms, "streets": streets(data, out), "mixtures": out / "links" / "mixtures"}
    return {**own, "tum": data / "tum_fr1_rpy", **made}


BOTH = ({"nyu": 3}, {"mixtures": 5, "nyu_raw": 1, "rooms": 1, "photos": 1, "streets": 1})

SHARES = {
    "first": ({"nyu": 12}, {}),
    "alone": ({"nyu": 12}, {}),
    "labelled": ({"nyu": 12}, {}),
    "unlabelled": ({}, {"mixtures": 6, "nyu_raw": 2, "rooms": 2, "photos": 1, "streets": 1}),
    "both": BOTH,
    "closer": ({"nyu": 7}, {"mixtures": 2, "nyu_raw": 1, "rooms": 1, "photos": 1}),
    "mixed": ({"nyu": 5, "nyu_raw": 4, "rooms": 2, "drive": 1}, {}),
    **dict.fromkeys(STRUCTURE, BOTH),
    "shipped": ({"nyu": 3, "nyu_raw": 3}, {"mixtures": 4, "rooms": 1, "photos": 1}),
    "everywhere": ({"nyu": 3, "nyu_raw": 2, "kitchen": 1, "office": 1, "tum": 1}, {"mixtures": 3, "photos": 1}),
} | {
    f"but_{left}": ({"nyu": 3}, {"mixtures": 4, "nyu_raw": 1, "rooms": 1, **{n: 1 for n in PLACES if n != left}})
    for left in PLACES
}
"""Of 12 images how many are of which labelled and which unlabelled set."""

SIZE = (128, 160)
"""Of every student but what ships: LiteDepth's. Two to four times as many images are seen in the time that the
students' own sizes take, and what a teacher is worth shows only in a student that has learned its labelled images.
"""

FIT = FitOptions(optimizer="adamw", weight_decay=0.01, clip=1.0, ema=0.998, freeze_bn_after=0.9, warmup=50)


def fresh(name: str, seed: int) -> Net:
    """A net of the zoo that answers about as far as NYU is."""
    net = build(zoo.spec(name), seed=seed)
    net.head.start_at(2.7)  # metres, the mean of NYU
    return net


def boosting_student(teachers: Path, start: Path, seed: int) -> tuple[Net, Path]:
    """The paper's student, its encoder from teacher_mobilenet, which is as deep and wide; and that one's file."""
    net, source = fresh("boosting_student", seed), _file(teachers, "mobilenet")
    net.encoder.load_state_dict(load(source).encoder.state_dict())
    return net, source


def fastdepth_small(teachers: Path, start: Path, seed: int) -> tuple[Net, Path]:
    """The shape that pruning has left of fastdepth, with the strongest channels of teacher_fastdepth; its file."""
    source = _file(teachers, "fastdepth")
    net = load(source)
    small, channels = load("fastdepth_small"), trace(net, torch.zeros(1, 3, *net.spec.preprocess.size))
    shapes = {name: tensor.shape for name, tensor in small.state_dict().items()}
    widths = {name: shapes[place[0]][place[1]] for name, group in channels.free.items() for place in [*group.make][:1]}
    net = prune(net, channels, keep_topk(magnitude(net, channels), widths))
    net.spec = replace(net.spec, name="fastdepth_small")
    return net, source


def litedepth(teachers: Path, start: Path, seed: int) -> tuple[Net, Path]:
    """LiteDepth, its encoder by `recipes.litedepth_start`; that one's file."""
    net, source = fresh("litedepth", seed), start / "litedepth.safetensors"
    net.encoder.load_state_dict(load(source).encoder.state_dict())
    return net, source


STUDENTS = {
    "boosting_student": (boosting_student, 2800, 2800, 12, 1.5e-3),
    "fastdepth_small": (fastdepth_small, 2000, 6000, 12, 2e-3),
    "litedepth": (litedepth, 5000, 5000, 24, 2e-3),
    "fastdepth": (None, 0, 2000, 12, 1.5e-3),
}
"""What a student is at the very start (None: it ships, and no more is asked of it); steps of its first training and of
each row; images in a batch; rate.
"""


def _file(teachers: Path, name: str) -> Path:
    return teachers / name / f"teacher_{name}.safetensors"


LAYERS = (
    "decoder.logits.0=decoder.blocks.3.0,decoder.mixers.2.0=decoder.blocks.2.0,decoder.mixers.1.0=decoder.blocks.1.0"
)
"""LiteDepth's layers and those of the same scale in `recipes.teacher`'s nets, all pre-activation."""


def run_of(
    student: str, row: str, data: Path, rooms: Path, given: Path, teachers: Path, start: Path, out: Path, seed: int,
    after: Path | None = None,
) -> tuple[Training, Net | None, Distillation | None]:  # fmt: skip
    """One cell of the grid: what `leadline distill`, or `train` without a teacher, is given; of `first` also the net
    that it starts from, which no file holds.
    """
    made, steps_first, steps, batch, lr = STUDENTS[student]
    first, weights = row == "first", f"{student}.safetensors"
    if made is None and row not in SHIPPED:
        raise SystemExit(f"{row} of {student}: it has only the rows {' and '.join(SHIPPED)}")
    net, terms = None, []
    model = str((after or out.with_name(f"{student}_first")) / weights)
    if row in SHIPPED and after is None:
        model = student
    if first and after is None:
        assert made is not None  # of what only ships no first training is asked
        net, source = made(teachers, start, seed)
        net.spec = replace(net.spec, preprocess=replace(net.spec.preprocess, size=SIZE))
        model, terms = student, origin(source)["licences"]
    zoom = 1.35 if first else 1.1  # a net that learns from zoomed views answers too near when asked about whole frames
    times = batch // 12
    truth, only = SHARES[row]
    places = sets(data, rooms, given)
    training = Training(
        data=tuple(f"{places[name]}:{n * times}" for name, n in truth.items()),
        out=out,
        model=model,
        pretrained=model == student and net is None,
        batch=batch,
        loss=("log_l1", "log_gradient:0.3"),
        view=View(zoom=(1.0, zoom), stretch=1.15, colour_shift=0.1),
        # what has learned for long loses more by a high rate than a row gives back
        fit=replace(FIT, steps=steps_first if first else steps, lr=lr / 5 if row in SHIPPED else lr, seed=seed),
        val_every=10 if truth else 0,
        cache_gb=24,
        protocol="nyu-eigen@1",
        licences=tuple(dict.fromkeys([*(TERMS.get(name, KITTI) for name in truth), *terms])),
    )
    if row in ("first", "alone", "mixed"):
        return training, net, None
    structure = row in STRUCTURE
    distillation = Distillation(
        teachers=TeacherOptions(teacher=(str(_file(teachers, "mobilenet")),) if structure else ()),
        features=(f"affinity*{STRUCTURE[row]}:{LAYERS}",) if structure else (),
        label_weight=0.5 if row == "closer" else Distillation.label_weight,
        unlabelled=tuple(f"{places[name]}:{n * times}" for name, n in only.items()),
        # of a place whose depth is learned from, the teachers know less than who has measured it
        labels=tuple(given / name for name in (*(n for n in truth if n not in PLACES), *only)),
    )
    return training, net, distillation


def main(
    row: tyro.conf.Positional[str], /, *, data: Path, rooms: Path, out: Path, student: str = "litedepth",
    teachers: Path = Path("runs/teachers"), labels_in: Path = Path("runs/labels"), start: Path = Path("runs/start"),
    using: tuple[str, ...] = ("fastdepth", "mobilenet"), after: Path | None = None, steps: int | None = None,
    zoom: float | None = None, truth: float | None = None, seed: int = 0, resume: bool = False,
) -> None:  # fmt: skip
    """One cell of the grid, or what the teachers say.

    Args:
        row: first, then alone, labelled, unlabelled, both, mixed, closer, structure, structure_light, but_PLACE;
            labels: ask the teachers
        data: the folder that holds nyu and the other sets
        rooms: the synthetic rooms
        out: where STUDENT_ROW_SEED goes, or STUDENT_first; of labels, the label sets
        student: boosting_student, fastdepth_small or litedepth
        teachers: what `recipes.teacher` has made
        start: what `recipes.litedepth_start` has made
        using: labels: which of the teachers are asked; shipped: the package's fastdepth, which knows nyu_raw's depth
        labels_in: what `labels` has made
        after: the folder of the cell that this one goes on from, at the same rate again
        steps: how many batches, if not as many as STUDENTS says
        zoom: how far views are enlarged at most, if not as the row says; 1: whole frames alone, whose scale they teach
        truth: how much of the loss on labelled images is their own depth, if not as the row says; 1: all
        seed: of weights and batches
        resume: go on with a run that was stopped
    """
    if row == "labels":
        return labels(data, rooms, teachers, out, using)
    if row not in SHARES or student not in STUDENTS:
        raise SystemExit(f"{row} of {student}: {', '.join((*SHARES, 'labels'))} of {', '.join(STUDENTS)} are known")
    place = out / (f"{student}_first" if row == "first" else f"{student}_{row}_{seed}")
    made, net, distillation = run_of(student, row, data, rooms, labels_in, teachers, start, place, seed, after)
    fit = made.fit if steps is None else replace(made.fit, steps=steps)
    view = made.view if zoom is None else replace(made.view, zoom=(1.0, zoom))
    if truth is not None:
        if distillation is None:
            raise SystemExit(
                f"{row} has no teacher, so all of its loss is the images' own depth: leave --label-weight out"
            )
        distillation = replace(distillation, label_weight=truth)
    train(replace(made, fit=fit, view=view, resume=resume), net, distillation)


if __name__ == "__main__":
    tyro.cli(main)
