"""Textures for synthetic scenes: square tiles in an image pyramid, drawn by formulas or cut from photographs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leadline.core.errors import BadData
from leadline.core.formats import formats
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.data.dataset import evenly
from leadline.data.layouts.unlabelled import photographs
from leadline.data.pictures import opened_picture

TILE = 128
LEVELS = 7  # 128, 64, ... 2 texels
FAMILIES = ("plaster", "carpet", "wood", "planks", "tiles", "bricks", "checks", "dots", "marble")
PATTERNS = 8 * len(FAMILIES)
MOST_PHOTOS = 400
_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** 2.2


@dataclass(frozen=True, eq=False)
class Textures:
    """`n_patterns` grey patterns, then `n_photos` coloured tiles, each as a pyramid of TILE, TILE/2, ... texels."""

    texels: np.ndarray  # uint8 [levels * tiles * texels, 3]
    n_patterns: int
    n_photos: int

    def mean(self) -> np.ndarray:
        """Mean linear colour of each tile, float32 [tiles,3]."""
        side = TILE >> (LEVELS - 1)
        tiles = self.n_patterns + self.n_photos
        return np.asarray(_LINEAR[self.texels[-tiles * side * side :]].reshape(tiles, -1, 3).mean(axis=1))

    def look_up(self, tile: np.ndarray, uv: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Linear colours float32 [N,3] at `uv` (1 = one tile, repeating); `footprint` is a pixel's width in tiles.

        The pyramid level is chosen by the footprint and read bilinearly, so far patterns turn smooth.
        """
        tiles = self.n_patterns + self.n_photos
        level = np.log2(np.maximum(footprint * TILE, 1)).round().astype(np.int32).clip(0, LEVELS - 1)
        side = TILE >> level
        starts = np.cumsum([0] + [tiles * (TILE >> k) ** 2 for k in range(LEVELS - 1)]).astype(np.int32)
        start = starts[level] + tile.astype(np.int32) * side * side
        texel = uv.astype(np.float32) * side[:, None].astype(np.float32) - np.float32(0.5)
        x, y = texel[:, 0], texel[:, 1]
        x0, y0 = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
        fx, fy = (x - x0.astype(np.float32))[:, None], (y - y0.astype(np.float32))[:, None]
        wrap = side - 1  # sides are powers of two
        xa, xb, ya, yb = x0 & wrap, (x0 + 1) & wrap, start + (y0 & wrap) * side, start + ((y0 + 1) & wrap) * side
        colour = (_LINEAR[self.texels[ya + xa]] * (1 - fx) + _LINEAR[self.texels[ya + xb]] * fx) * (1 - fy)
        return np.asarray(colour + (_LINEAR[self.texels[yb + xa]] * (1 - fx) + _LINEAR[self.texels[yb + xb]] * fx) * fy)


@lru_cache(maxsize=2)
def textures(folder: Path | None = None) -> Textures:
    """Patterns by formulas, and photographs from `folder` (at most 400, evenly chosen) or drawn where it is None.

    The same folder gives the same tiles. Raises BadData where the folder holds no readable photograph.
    """
    rng = np.random.default_rng(20190520)
    patterns = [np.repeat(_pattern(rng, i)[..., None], 3, axis=2) for i in range(PATTERNS)]
    photos = [_drawing(rng) for _ in range(48)] if folder is None else _photographs(folder)
    tiles = np.stack(patterns + photos)
    levels = []
    for _ in range(LEVELS):
        levels.append(tiles.reshape(-1, 3))
        n, side = len(tiles), tiles.shape[1] // 2
        tiles = tiles.reshape(n, side, 2, side, 2, 3).astype(np.float32).mean(axis=(2, 4)).round().astype(np.uint8)
    return Textures(np.concatenate(levels), PATTERNS, len(photos))


def _photographs(folder: Path) -> list[np.ndarray]:
    files = sorted(folder / name for name in photographs(folder))
    tiles = []
    for path in (files[i] for i in evenly(MOST_PHOTOS, len(files))):
        try:
            with opened_picture(path, formats()) as image:
                image.draft("RGB", (2 * TILE, 2 * TILE))
                side = min(image.size)
                left, top = (image.width - side) / 2, (image.height - side) / 2
                square = image.convert("RGB").resize(
                    (TILE, TILE), Image.Resampling.BOX, box=(left, top, left + side, top + side)
                )
        except Exception:  # damaged pictures make pillow raise nearly anything
            continue  # one bad photograph does not matter for texture
        tiles.append(np.asarray(square))
    if not tiles:
        raise BadData(
            f"{folder} holds no readable photograph ({', '.join(IMAGE_SUFFIXES)}); name a folder of photographs"
        )
    return tiles


def _noise(rng: np.random.Generator, slope: float, stretch: float = 1) -> np.ndarray:
    """Repeating noise [TILE,TILE] in 0..1 whose spectrum falls with frequency to the power `slope`."""
    fy, fx = np.fft.fftfreq(TILE)[:, None] * stretch, np.fft.rfftfreq(TILE)[None]
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    spectrum = (rng.normal(size=radius.shape) + 1j * rng.normal(size=radius.shape)) / radius**slope
    values = np.fft.irfft2(spectrum, (TILE, TILE))
    return np.asarray(((values - values.mean()) / (5 * values.std()) + 0.5).clip(0, 1))


def _pattern(rng: np.random.Generator, number: int) -> np.ndarray:
    """Grey pattern `number`, uint8 [TILE,TILE]; the FAMILIES in turn."""
    y, x = np.mgrid[:TILE, :TILE] / TILE
    n = int(rng.integers(1, 9))
    match number % len(FAMILIES):
        case 0:  # plaster, stone, clouds
            value = _noise(rng, rng.uniform(1.0, 2.2))
        case 1:  # carpet, asphalt
            value = 0.5 * _noise(rng, rng.uniform(0.0, 0.6)) + 0.5 * _noise(rng, 1.5)
        case 2:  # wood
            bend = _noise(rng, 2.0, rng.uniform(4, 10))
            value = 0.6 * (0.5 + 0.5 * np.sin(2 * np.pi * (x * n + 3 * bend))) + 0.4 * _noise(rng, 0.7, 12)
        case 3:  # planks
            plank = np.floor(x * n).astype(int) % n
            shade = rng.uniform(0.3, 0.9, n)[plank] * (0.75 + 0.5 * (_noise(rng, 0.8, 10) - 0.5))
            value = np.where((x * n) % 1 < 0.02 * n, 0.1, shade)
        case 4:  # tiles with joints
            cell = rng.uniform(0.55, 1, (n, n))[np.floor(y * n).astype(int), np.floor(x * n).astype(int)]
            joint = np.minimum((x * n) % 1, (y * n) % 1) < rng.uniform(0.03, 0.1)
            value = np.where(joint, rng.uniform(0, 0.5), cell) * (0.85 + 0.3 * (_noise(rng, 1.0) - 0.5))
        case 5:  # bricks
            rows = 2 * n
            row = np.floor(y * rows).astype(int)
            along = (x * n + 0.5 * (row % 2)) % n
            cell = rng.uniform(0.4, 0.9, (rows, n))[row, np.floor(along).astype(int)]
            value = np.where(((y * rows) % 1 < 0.12) | (along % 1 < 0.06), 1, cell * (0.7 + 0.6 * _noise(rng, 0.5)))
        case 6:  # checks and stripes
            across = (x * n) % 1 < rng.uniform(0.2, 0.6)
            value = 0.5 * across + 0.5 * ((y * n) % 1 < rng.uniform(0.2, 0.6)) * rng.integers(0, 2)
            value = value * 0.9 + 0.1 * _noise(rng, 0)
        case 7:  # dots and leaves
            field = np.sin(2 * np.pi * n * x) * np.sin(2 * np.pi * n * y) + rng.uniform(0, 2) * (_noise(rng, 1.5) - 0.5)
            value = 1 / (1 + np.exp(-8 * (field - rng.uniform(-0.2, 0.5))))
        case _:  # marble, foliage
            field = np.abs(np.sin(2 * np.pi * (x * n + 2 * _noise(rng, 1.8))))
            value = field ** rng.uniform(0.3, 1) * (0.6 + 0.4 * _noise(rng, 0.3))
    value = value - value.min()
    return np.asarray((value / max(float(value.max()), 1e-9) * 255).round().astype(np.uint8))


def _drawing(rng: np.random.Generator) -> np.ndarray:
    """A made-up picture, uint8 [TILE,TILE,3]: a gradient with ellipses, boxes and lines, roughened by noise."""
    ends = rng.uniform(20, 235, (2, 1)) + rng.uniform(-60, 60, (2, 3))
    ramp = _noise(rng, 2.2)[..., None]
    image = Image.fromarray((ends[0] + (ends[1] - ends[0]) * ramp).clip(0, 255).round().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 24))):
        x, y = rng.uniform(-0.2, 1, 2) * TILE
        w, h = rng.uniform(0.02, 0.5, 2) * TILE
        colour = tuple(int(v) for v in (rng.uniform(0, 255) + rng.uniform(-80, 80, 3)).clip(0, 255))
        draw = (pen.ellipse, pen.rectangle)[int(rng.integers(2))]
        draw((x, y, x + w, y + h), fill=colour)
    rough = np.asarray(image, np.float64) * (0.7 + 0.6 * _noise(rng, 0.9)[..., None])
    return np.asarray(rough.clip(0, 255).round().astype(np.uint8))
