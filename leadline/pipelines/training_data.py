"""What a training run reads: folders and their shares of a batch, what is kept for validation, how items are
changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.spec import Spec
from leadline.core.types import Item
from leadline.core.user_code import user_function
from leadline.core.writing import is_same, may_be_written
from leadline.data.dataset import Dataset, called, hold_out, hold_out_few
from leadline.data.transforms.augment import (
    Transform,
    augment,
    augment_joint,
    augment_labels,
    fastdepth_train,
    hu_train,
)
from leadline.data.transforms.classify import crop_flip
from leadline.data.transforms.r2crop import r2crop
from leadline.data.transforms.stereo import with_valid_depth
from leadline.training.loss_names import OTHER_LOSSES
from leadline.training.options import Training

Say = Callable[[str], None]


def shares(data: tuple[str, ...], batch: int) -> tuple[list[Path], list[int]]:
    """Folders, and how many images of each go into a batch. A folder whose name ends like a share is itself."""
    if not data:
        raise ValueError("data is empty; at least one folder is needed")
    pairs = [_share(os.path.expanduser(entry)) for entry in data]
    given = [share for _, share in pairs]
    free = [i for i, share in enumerate(given) if share is None]
    left = batch - sum(share or 0 for share in given)
    shares = [share or 0 for share in given]
    for place, i in enumerate(free):
        shares[i] = left // len(free) + (place < left % len(free))
    if min(shares) < 1 or sum(shares) != batch:
        raise ValueError(
            f"a batch of {batch} images cannot be shared as {' '.join(data)}; give FOLDER:N, or another --batch"
        )
    return [Path(folder) for folder, _ in pairs], shares


def _share(entry: str) -> tuple[str, int | None]:
    """(folder, N) of FOLDER:N, or (folder, None)."""
    folder, _, share = entry.rpartition(":")
    if not folder or not (share.isascii() and share.isdigit()) or os.path.exists(entry):
        return entry, None
    return folder, int(share)


def refuse_data(out: Path, folders: list[Path], unlabelled: list[Path]) -> None:
    """ValueError if the folder of a run is one of `folders` that it learns from, or in one of `unlabelled` photographs:
    its pictures would become data.
    """
    may_be_written(out, apart=unlabelled)
    for folder in folders:
        if is_same(out, folder):
            raise ValueError(f"{out} is the folder of a run, and {folder} is data to learn from: give another --out")


def split_validation(run: Training, data: Dataset, say: Say) -> tuple[Dataset, Dataset | None]:
    """(to learn from, to validate on), the second None if there is none."""
    if not run.val_every:
        return data, None
    if run.val_every == 1:
        raise ValueError("val_every is 1, which keeps everything; 0 keeps nothing, 10 every tenth block of 20 images")
    rest, validation = hold_out(data, run.val_every)
    if len(validation) < min(FEW, len(data) // 3):
        return _split_few(run, data, say)
    if not len(validation):
        say(f"{data.name} has {len(data)} images, too few to keep one: there is no validation")
        return data, None
    if from_pairs(run) and not len(validation := with_valid_depth(validation)):
        say(f"{data.name} has no depth in the validation split: there is no validation")
        return rest, None
    return rest, validation


FEW = 8
"""A validation split has so many images at least, or a third of the images."""


def _split_few(run: Training, data: Dataset, say: Say) -> tuple[Dataset, Dataset | None]:
    """`split_validation` where blocks of 20 images would leave too few for validation."""
    rest, validation, whole = hold_out_few(data, FEW)
    if from_pairs(run) and not len(validation := with_valid_depth(validation)):
        say(f"{data.name} has no depth in the last images: there is no validation")
        return data, None
    which = "whole scenes" if whole else "the last, which may show what the others show"
    say(
        f"{data.name} has {len(data)} images, too few to keep every {run.val_every}th block of 20: "
        f"{len(validation)} are kept for validation, {which}; --val-every 0 keeps none"
    )
    return rest, validation


def without(validation: Dataset | None, learned: Dataset, data: Dataset, folder: Path, first: Path) -> Dataset:
    """`data` without what is kept for validation, if its folder is the first one too, and without images that follow it
    and are not among those `learned` from there: neighbours show the same.
    """
    if validation is None or folder.resolve() != first.resolve():
        return data
    kept, own = (set(map(called, one.keys)) for one in (validation, learned))
    rest, near = [], False
    for key in data.keys:
        near = called(key) in kept or (near and called(key) not in own)
        if not near:
            rest.append(key)
    return replace(data, keys=tuple(rest))


def own_code(run: Training) -> dict[str, Any]:
    """The SHA-256 of the user's own files of losses and data: a run goes on with the same ones only."""
    places = [entry.partition(".py:")[::2] for entry in (*run.loss, *run.data, run.reading.layout or "")]
    found = [user_function(f"{file}.py:{re.split('[:@]', name)[0]}") for file, name in places if name]
    return {"code": {own.file.name: own.sha256() for own in found if own is not None}} if any(found) else {}


def marked(sample: Item, rng: np.random.Generator, *, transform: Callable[[Item, np.random.Generator], Any]) -> Any:
    """The transformed item, in which `pseudo_depth` is above 0 where the picture is, and not what surrounds it."""
    return transform(replace(sample, pseudo_depth=np.ones(sample.image.shape[:2], np.float32)), rng)


def from_pairs(run: Training) -> bool:
    """Whether the run learns from stereo pairs."""
    return run.loss == ("stereo",)


def compares_maps(run: Training) -> bool:
    """Whether the run's loss is made of criteria between depth maps; the others stand alone."""
    return len(run.loss) != 1 or run.loss[0] not in OTHER_LOSSES


def transform_of(run: Training) -> Transform:
    """What the run does to each item before it is part of a batch."""
    table: dict[str, Transform] = {
        "view": partial(augment, view=run.view),
        "fastdepth": fastdepth_train,
        "litedepth": partial(r2crop, how=run.r2crop),
        "hu": hu_train,
        "crop_flip": crop_flip,
        "labels": partial(augment_labels, view=run.view),
        "joint": partial(augment_joint, view=run.view),
    }
    return table[run.transform]


def seen(run: Training) -> tuple[int, int]:
    """The size of the (largest) images that the transform gives the net, which is then asked at that size, too."""
    table = {
        "view": run.view.pixels,
        "fastdepth": (224, 224),
        "litedepth": run.r2crop.image,
        "hu": (228, 304),
        "crop_flip": run.view.pixels,
        "labels": run.view.pixels,
        "joint": run.view.pixels,
    }
    return table[run.transform]


def rows(run: Training, spec: Spec) -> int | None:
    """How many rows of a frame the transform needs; None: all of them.

    A net that later takes single pixels out of frames of 480x640, without averaging, has to learn from such pictures:
    LiteDepth, trained on averaged ones, was 0.01 to 0.04 of delta1 worse on the others.
    """
    least = 480 if spec.preprocess.resize == "corners" else 240
    viewed = max(least, run.view.pixels[0])
    table = {
        "view": viewed,
        "fastdepth": None,
        "litedepth": run.r2crop.frame[0],
        "hu": 240,
        "crop_flip": None,
        "labels": viewed,
        "joint": viewed,
    }
    return table[run.transform]
