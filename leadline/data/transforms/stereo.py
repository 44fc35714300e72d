"""Stereo pairs to learn from: which folders hold them, what makes them metric, how both views are changed alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadData
from leadline.core.formats import formats
from leadline.core.types import Item
from leadline.data.dataset import Dataset, subset
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.frame import Frame
from leadline.data.options import Stereo
from leadline.data.pictures import opened_picture
from leadline.data.transforms.augment import by_table, resize


def open_pairs(root: str | Path, split: str = "train", **overrides: Any) -> Dataset:
    """The stereo pairs of the folder at `root`, with depth or without, as `open_dataset` reads them.

    BadData if it holds none, if a view has no partner, or if the views of a pair differ in size; it names the files.
    """
    data = open_dataset(root, split, items="pairs", **overrides)
    frames = [key for key in data.keys if isinstance(key, Frame) and key.right]
    if len(frames) < len(data):
        raise BadData(
            f"{root} holds no stereo pairs that can be read: the views of a KITTI drive are needed, "
            "DATE/DRIVE/image_02/data (left) and image_03/data (right)"
        )
    for frame in frames:
        left, right = (Path(root) / file for file in (frame.image, str(frame.right)))
        sizes = _size(left), _size(right)
        if None not in sizes and sizes[0] != sizes[1]:
            raise BadData(f"{left} has {sizes[0]} pixels and {right} {sizes[1]}; the views of a pair need one size")
    return data


def focal_times_baseline(sets: Sequence[Dataset]) -> float:
    """Focal length as a fraction of the image's width, times the baseline in metres: depth = that / disparity, if
    that is a fraction of the width too. One frame of each camera is read.

    BadData if a camera's calibration is missing, or if the cameras differ by more than 1 %: one net cannot serve both.
    """
    found: dict[str, float] = {}
    for data in sets:
        firsts = {getattr(key, "camera", ""): i for i, key in reversed(list(enumerate(data.keys)))}
        for camera, i in firsts.items():
            sample = data[i]
            if sample.intrinsics is None or sample.baseline_m is None:
                raise BadData(
                    f"{data.name}: {sample.name} has no calibration, so its disparities mean no metres; "
                    "calib_cam_to_cam.txt with P_rect_02 and P_rect_03 is needed in the folder above its drive"
                )
            here = float(sample.intrinsics[0, 0] / sample.image.shape[1] * sample.baseline_m)
            if not here > 0:
                raise BadData(
                    f"{data.name}: {sample.name}: focal length times baseline is {here}; left and right swapped?"
                )
            found[" ".join(filter(None, (data.name, camera)))] = here
    low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    if found[high] > 1.01 * found[low]:
        raise BadData(
            f"the cameras differ: focal length / width x baseline is {found[low]:.4f} m in {low} and "
            f"{found[high]:.4f} m in {high}; a net learns one, so train on one camera at a time"
        )
    return float(np.mean(list(found.values())))


def with_valid_depth(data: Dataset) -> Dataset:
    """The items of `data` that have a depth to compare with."""
    return subset(data, [i for i in range(len(data)) if data[i].valid.any()])


def augment_pair(
    sample: Item,
    rng: np.random.Generator,
    size: tuple[int, int],
    how: Stereo = Stereo(),
) -> Item:
    """monodepth's training list, in its order (dataloader of the authors): both views alike, at `size`.

    1. the lowest `how.cut_bottom` of the rows is cut away (Cityscapes);
    2. both views are resized, averaging;
    3. with probability `how.flip` the views are mirrored and change places, which is a pair again. Nobody measured the
       right view, so nothing is valid then;
    4. with probability `how.colours`: gamma, then brightness, then a factor for each colour, cut off at white.

    An item without a right view is a ValueError.
    """
    if sample.right is None:
        raise ValueError(f"{sample.name} has no right view; data of stereo pairs is needed")
    if how.cut_bottom:
        rows = slice(0, int(sample.image.shape[0] * (1 - how.cut_bottom)))
        image, right, target, valid = (a[rows] for a in (sample.image, sample.right, sample.target, sample.valid))
        sample = replace(sample, image=image, right=right, target=target, valid=valid)
    sample = resize(sample, size)
    sample = mirror_pair(sample) if rng.random() < how.flip else sample
    if rng.random() >= how.colours or sample.right is None:
        return sample
    gamma, brightness = rng.uniform(*how.gamma), rng.uniform(*how.brightness)
    factors = brightness * rng.uniform(*how.tint, 3)
    curve = (np.linspace(0, 1, 256)[:, None] ** gamma * factors).clip(0, 1)
    table = (curve * 255).round().astype(np.uint8)
    return replace(sample, image=by_table(sample.image, table), right=by_table(sample.right, table))


def mirror_pair(sample: Item) -> Item:
    """The pair in a mirror: the old right view, mirrored, is the left one. It has no depth, so nothing is valid."""
    assert sample.right is not None
    left, right = (np.ascontiguousarray(view[:, ::-1]) for view in (sample.right, sample.image))
    camera = sample.intrinsics
    if camera is not None:
        camera = camera.copy()
        camera[0, 2] = sample.image.shape[1] - 1 - camera[0, 2]
    nothing = np.zeros_like(sample.target), np.zeros_like(sample.valid)
    return replace(sample, image=left, right=right, target=nothing[0], valid=nothing[1], intrinsics=camera)


def _size(path: Path) -> str | None:
    """Height x width by the file's header; None for a file that cannot be read, which reading it will name."""
    try:
        with opened_picture(path, formats()) as image:
            return f"{image.height}x{image.width}"
    except Exception:  # damaged pictures make pillow raise nearly anything
        return None
