"""A KITTI drive of stereo pairs, as small as it can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leadline.core.spec import Decoder, Encoder, Head, Preprocess, Spec

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0005_sync"


WIDTH = 64


def pair_of(disparity: int, size: tuple[int, int] = (16, WIDTH)) -> tuple[Tensor, Tensor]:
    """A flat picture, `disparity` pixels further left in the right view."""
    draw = torch.Generator().manual_seed(0)
    wide = torch.rand(1, 3, size[0], size[1] + 40, generator=draw)
    wide = torch.nn.functional.avg_pool2d(wide, 5, 1, 2)
    wide = (wide - wide.min()) / (wide.max() - wide.min())
    return wide[..., 20 : 20 + size[1]], wide[..., 20 + disparity : 20 + disparity + size[1]]


def narrow() -> Spec:
    """monodepth with eight channels in every layer."""
    decoder = Decoder("monodepth", (8,) * 14, "cat", depthwise=False, kernel=3)
    head = Head("relative_disparity", "relative_disparity", layer="disparity", kernel=3)
    return Spec("narrow", Encoder("vgg", (8,) * 14), decoder, head, Preprocess((16, WIDTH)))


def write_drive(
    root: Path, *, date: str = DATE, n: int = 3, baseline: float = 0.5, size: tuple[int, int] = (16, 64)
) -> Path:
    """A KITTI drive whose pairs show flat pictures 6 pixels apart; the first has depth."""
    home = root / date / f"{date}_drive_0005_sync"
    left, right = ((view[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8) for view in pair_of(6, size))
    for i in range(n):
        for camera, view in (("image_02", left), ("image_03", right)):
            path = home / camera / "data" / f"{i:010d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(view).save(path)
    depth = home / "proj_depth" / "velodyne_raw" / "image_02"
    depth.mkdir(parents=True)
    for i in range(n):
        Image.fromarray(np.full(size, 1000, np.uint16)).save(depth / f"{i:010d}.png")
    fx = 40.0
    lines = [f"P_rect_0{c}: {fx} 0 32 {-fx * baseline * (c - 2)} 0 {fx} 8 0 0 0 1 0" for c in (2, 3)]
    (root / date / "calib_cam_to_cam.txt").write_text("\n".join(lines))
    return home
