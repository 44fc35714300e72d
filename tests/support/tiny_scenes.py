"""Small true scenes for the tests of the data layer: furnished boxes, seen by a camera, with exact depth."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

Room = tuple[np.ndarray, np.ndarray]


def render(seed: int, step: float = 0.0, size: tuple[int, int] = (96, 128)) -> Room:
    """(uint8 [H,W,3], float32 [H,W] metres): room number `seed` from a camera that has moved `step` metres."""
    rng = np.random.default_rng(seed)
    height, width = size
    v, u = np.mgrid[:height, :width]
    focal, tilt = width * 0.8, 0.25
    ray = np.stack([(u - width / 2 + 0.5) / focal, (v - height / 2 + 0.5) / focal, np.ones(size)], -1)
    y, z = ray[..., 1] * np.cos(tilt) + np.sin(tilt), np.cos(tilt) - ray[..., 1] * np.sin(tilt)
    ray = np.stack([ray[..., 0], y, z], -1)
    eye = np.array([step, 0.0, 0.0])
    low, high = np.array([-3.0, -1.5, -1.0]), np.array([3.0, 1.4, rng.uniform(4, 7)])  # y points down
    with np.errstate(divide="ignore"):
        near = np.maximum((low - eye) / ray, (high - eye) / ray).min(-1)  # the far side of the box we are in
        thing = np.zeros(size, int)
        for number in range(1, 9):
            corner = np.array([rng.uniform(-2.5, 2), rng.uniform(-0.3, 0.9), rng.uniform(1.2, 4)])
            far_corner = np.array([corner[0] + rng.uniform(0.3, 1.2), 1.4, corner[2] + rng.uniform(0.3, 1)])
            a, b = (corner - eye) / ray, (far_corner - eye) / ray
            enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
            hit = (enter < leave) & (enter > 0.1) & (enter < near)
            near, thing = np.where(hit, enter, near), np.where(hit, number, thing)
    point = eye + near[..., None] * ray
    cell = np.floor(point * 1.3 + 100).astype(int)
    shade = (cell @ np.array([7, 13, 29]) + thing * 31 + seed) * 2654435761 % 97 / 97
    colours = rng.uniform(0.15, 1, (9, 3))
    image = (255 * colours[thing] * (0.8 + 0.2 * shade[..., None])).astype(np.uint8)
    return image, near.astype(np.float32)


def write_png(path: Path, depth: np.ndarray, scale: float = 1000.0) -> None:
    """16 bits that do not say their scale; what they cannot hold is 0."""
    units = np.rint(np.where(depth > 0, depth, 0).astype(np.float64) * scale)
    Image.fromarray(np.where(units <= 65535, units, 0).astype(np.uint16)).save(path)


def write_folder(root: Path, rooms: list[Room], *, scale: float = 1000.0) -> Path:
    """The plain layout: images/NNN.png, depth/NNN.png; 16 bits that do not say their scale."""
    for part in ("images", "depth"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i, (image, depth) in enumerate(rooms):
        Image.fromarray(image).save(root / "images" / f"{i:03d}.png")
        write_png(root / "depth" / f"{i:03d}.png", depth, scale)
    return root


def write_photos(root: Path) -> Path:
    """Eleven photographs, the seventh of which is damaged."""
    write_folder(root, [render(seed, size=(48, 64)) for seed in range(11)])
    shutil.rmtree(root / "depth")
    bad = sorted((root / "images").iterdir())[6]
    bad.write_bytes(bad.read_bytes()[:200])
    return root


def bytes_of(folder: Path) -> dict[str, str]:
    """Every file below `folder` and its hash."""
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}
