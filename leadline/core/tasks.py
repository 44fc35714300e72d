"""Tasks: what a net answers, and all that hangs on it. Nothing else asks which task it is.

A task is found by the `kind` of a net's head. What needs torch or data (losses, transforms, measuring) is named here,
and looked up by that name where it lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from leadline.core.spec import Kind


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    metric            the figure that decides between two nets, more is better
    protocol, loss, transform
                      what a training takes where it names none
    pruned_loss       what the training of a pruned net takes where it names none
    losses            the losses that can be trained with; empty: all that compare depth maps
    items             what each item of its data holds: `depth`, one number of a class, `labels`, or `joint`, both maps
    start             what a fresh head starts from: the `mean` of the targets, or `nothing`
    """

    name: str
    kinds: tuple[Kind, ...]
    metric: str
    protocol: str
    loss: str
    transform: str
    pruned_loss: tuple[str, ...] = ("cross_entropy",)
    losses: tuple[str, ...] = ()
    items: Literal["depth", "class", "labels", "joint"] = "depth"
    start: str = "nothing"


DEPTH = Task(
    name="depth",
    kinds=("metric", "relative_depth", "relative_disparity"),
    metric="delta1",
    protocol="indoor-metric@1",
    loss="l1",
    transform="view",
    pruned_loss=("log_l1", "log_gradient:0.3"),
    start="mean",
)
CLASSIFY = Task(
    name="classify",
    kinds=("classes",),
    metric="top1",
    protocol="top1@1",
    loss="cross_entropy",
    transform="crop_flip",
    losses=("cross_entropy",),
    items="class",
)
SEGMENT = Task(
    name="segment",
    kinds=("labels",),
    metric="miou",
    protocol="miou@1",
    loss="cross_entropy",
    transform="labels",
    losses=("cross_entropy",),
    items="labels",
)
JOINT = Task(
    name="joint",
    kinds=("joint",),
    metric="delta1",
    protocol="joint@1",
    loss="joint",
    transform="joint",
    pruned_loss=("joint",),
    losses=("joint",),
    items="joint",
    start="mean",
)
TASKS: tuple[Task, ...] = (DEPTH, CLASSIFY, SEGMENT, JOINT)

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The classes of CIFAR-10, in the order of their numbers."""
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
"""The classes of CamVid in SegNet's coding, in the order of their numbers; 11 is void."""
NYU40 = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture", "other prop",
)  # fmt: skip
"""The 40 classes of NYU Depth v2 (Gupta et al., CVPR 2013), in the order of their numbers, from 0."""


def check_fits(kind: Kind, data_name: str, classes: tuple[str, ...], both: bool = False) -> None:
    """A ValueError if a net of that kind and a data set with these classes (empty: depth maps) are of unlike tasks.
    `both`: the data set has depth beside the classes.
    """
    task = task_of(kind)
    if (task is not DEPTH) != bool(classes) or (task is JOINT) != both:
        holds = f"{len(classes)} classes" if classes else "depth"
        holds = f"depth and {holds}" if both else holds
        raise ValueError(
            f"the data set {data_name!r} holds {holds}, and the net gives {kind}; give data or a net that fits"
        )


def reading_for(kind: Kind) -> dict[str, Any]:
    """How `open_dataset` is asked for the data of a net of that kind, where a folder holds more than depth."""
    items = task_of(kind).items
    return {"items": items} if items in ("labels", "joint") else {}


def protocol_for(kind: Kind, protocol: str) -> str:
    """`protocol`, or the task's own where that is the default of depth, which nobody may have named."""
    return task_of(kind).protocol if protocol == DEPTH.protocol else protocol


def refuse_others(kind: Kind, work: str) -> None:
    """A ValueError if a net of that kind is none of depth, which `work` is for."""
    if task_of(kind) is not DEPTH:
        raise ValueError(f"{work} is for nets of depth so far, and this one gives {kind}")


def task_of(kind: Kind) -> Task:
    """The task of a net whose head is of that kind."""
    return next(task for task in TASKS if kind in task.kinds)
