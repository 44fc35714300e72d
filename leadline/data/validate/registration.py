"""Whether colour and depth show the same view: edges of depth lie on edges of the image, unturned and unshifted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from leadline.core.types import Item
from leadline.data.validate.finding import Finding, Severity

_GRID = 128
_REACH = _GRID // 6  # shifts up to a sixth of the picture are tried
_MARGIN = 0.05  # in correlation; sets of 20 frames and more scatter by 0.01 to 0.02
_CLEAR = 0.1  # where depth is aligned well, 0.15 to 0.35 is usual
_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored left to right": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "transposed": lambda a: a.T,
    "turned by 90 degrees": lambda a: np.rot90(a),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
}
_SQUARE_ONLY = ("transposed", "turned by 90 degrees", "turned by 270 degrees")


@dataclass(frozen=True)
class Edges:
    """Edge strength of an image and of its depth on a grid of 128 x 128, less its local mean."""

    image: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    square: bool


def edges(sample: Item) -> Edges | None:
    """The Edges of an Item; None where depth is too sparse to have any."""
    if sample.valid.mean() < 0.3:
        return None
    height, width = sample.target.shape
    grey = Image.fromarray(sample.image).convert("L").resize((_GRID, _GRID), Image.Resampling.BOX)
    rows, columns = (((np.arange(_GRID) + 0.5) * n / _GRID).astype(np.intp) for n in (height, width))
    depth, valid = sample.target[np.ix_(rows, columns)].astype(np.float64), sample.valid[np.ix_(rows, columns)]
    inverse = np.where(valid, np.median(depth[valid]) / np.where(valid, depth, 1), 0) if valid.any() else depth
    inner = np.zeros_like(valid)
    inner[1:-1, 1:-1] = valid[1:-1, 1:-1] & valid[2:, 1:-1] & valid[:-2, 1:-1] & valid[1:-1, 2:] & valid[1:-1, :-2]
    image_edge = np.minimum(_slope(np.log1p(np.asarray(grey, np.float64))), 1.0)
    depth_edge = np.minimum(_slope(inverse), 0.5) * inner
    # Without the local mean, textured floors and smooth skies would decide, not edges.
    depth_edge = (depth_edge - _blur(depth_edge) / np.maximum(_blur(inner.astype(np.float64)), 1e-6)) * inner
    return Edges(image_edge - _blur(image_edge), depth_edge, inner, height == width)


def alignment(frames: Sequence[Edges], where: str) -> Iterator[Finding]:
    """Depth that fits its image better when turned or shifted, or that does not fit at all. Needs four frames."""
    frames = [frame for frame in frames if frame.depth.any() and frame.valid.sum() > 200]
    if len(frames) < 4:
        return
    surfaces = np.array([_correlations(frame) for frame in frames])
    as_it_is = surfaces[:, _REACH, _REACH]
    turns = {name: turn for name, turn in _TURNS.items() if name not in _SQUARE_ONLY or all(f.square for f in frames)}
    turned = {
        name: np.array([_correlation(f.image, turn(f.depth), turn(f.valid)) for f in frames])
        for name, turn in turns.items()
    }
    best = max(turned, key=lambda name: float(turned[name].mean()))
    mean = surfaces.mean(0)
    row, column = np.unravel_index(int(mean.argmax()), mean.shape)
    right, down = (int(column) - _REACH) / _GRID, (int(row) - _REACH) / _GRID
    inside = 0 < row < 2 * _REACH and 0 < column < 2 * _REACH
    if turned[best].mean() > _CLEAR and _better(turned[best], as_it_is):
        what = (
            f"depth is {best}: its edges then fit the image ({turned[best].mean():.2f} against {as_it_is.mean():.2f})"
        )
        yield Finding(
            "error", what, where, "turn the depth maps (or the images, if they were rotated by a viewer) back"
        )
    elif inside and mean.max() > _CLEAR and _better(surfaces[:, row, column], as_it_is):
        what = (
            f"the image lies {abs(right):.1%} of its width to the {'right' if right > 0 else 'left'} of its depth and"
            f" {abs(down):.1%} of its height {'below' if down > 0 else 'above'}"
            f" (edges then fit by {mean.max():.2f}, now by {as_it_is.mean():.2f})"
        )
        severity: Severity = "error" if max(abs(right), abs(down)) > 0.03 else "warning"
        yield Finding(severity, what, where, "register depth to colour with the calibration, or crop both to one view")
    elif not _better(as_it_is, _strangers(frames), margin=0.02):
        what = (
            f"edges of depth are not at edges of the image (correlation {as_it_is.mean():.2f}; 0.05 to 0.35 is usual)"
        )
        advice = "look at a few frames: depth not registered to colour, wrong pairs, or hardly any edges"
        yield Finding("warning", what, where, advice)


def _better(one: np.ndarray, other: np.ndarray, margin: float = _MARGIN) -> bool:
    """Whether the correlations are clearly higher: in the mean, and against their scatter over the frames."""
    gain = one - other
    return bool(gain.mean() > margin and gain.mean() > 2.5 * gain.std() / np.sqrt(len(gain)))


def _strangers(frames: Sequence[Edges]) -> np.ndarray:
    """Correlations of images with the depth of other frames: what chance gives."""
    others = [*frames[len(frames) // 2 :], *frames[: len(frames) // 2]]
    return np.array([_correlation(a.image, b.depth, b.valid) for a, b in zip(frames, others, strict=True)])


def _correlation(image: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> float:
    a, b = image[valid] - image[valid].mean(), depth[valid] - depth[valid].mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _correlations(frame: Edges) -> np.ndarray:
    """[2r+1, 2r+1]: the correlation over valid pixels at every shift of the image against depth; r, r is no shift."""
    size = (2 * _GRID, 2 * _GRID)
    image, squared, ones = (np.fft.rfft2(a, size) for a in (frame.image, frame.image**2, np.ones_like(frame.image)))
    valid, depth, depth2 = (np.conj(np.fft.rfft2(a, size)) for a in (frame.valid * 1.0, frame.depth, frame.depth**2))

    def near(product: np.ndarray) -> np.ndarray:
        return np.roll(np.fft.irfft2(product, size), (_REACH, _REACH), (0, 1))[: 2 * _REACH + 1, : 2 * _REACH + 1]

    n = np.maximum(near(ones * valid), 1)
    a, aa, b, bb, ab = (
        near(p) / n for p in (image * valid, squared * valid, ones * depth, ones * depth2, image * depth)
    )
    return np.asarray((ab - a * b) / np.sqrt(np.maximum(aa - a * a, 1e-12) * np.maximum(bb - b * b, 1e-12)))


def _slope(values: np.ndarray) -> np.ndarray:
    down, right = np.zeros_like(values), np.zeros_like(values)
    down[1:-1], right[:, 1:-1] = values[2:] - values[:-2], values[:, 2:] - values[:, :-2]
    return np.asarray(np.hypot(down, right))


def _blur(values: np.ndarray, reach: int = _GRID // 16) -> np.ndarray:
    """The mean over a square of 2 * reach + 1."""
    size = 2 * reach + 1
    sums = np.pad(np.pad(values, reach, mode="edge").cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2
