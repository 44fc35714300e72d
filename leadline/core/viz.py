"""Pictures of depth: colours with a fixed range and a legend in metres, so that two pictures can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leadline.core.colormaps import colours
from leadline.core.types import Depth

RANGE_M = (0.0, 10.0)
"""Metric depth is coloured over this range unless told otherwise: one colour is one distance in every picture."""

INVALID = (128, 128, 128)
"""Pixels without depth are this grey, which no default colour map contains."""

BACKGROUND, INK = (24, 24, 24), (235, 235, 235)
"""Of legends and captions."""
_SMALLEST_WITH_LEGEND = 64  # pixels high; below, text would cover the bar


def value_range(depth: Depth, vmin: float | None = None, vmax: float | None = None) -> tuple[float, float]:
    """(low, high) to colour between, in the depth's unit: what is given, otherwise RANGE_M for metric depth.

    The relative kinds have no fixed range: the 2nd and 98th percentile of the picture's valid values take its place.
    """
    low, high = RANGE_M
    if depth.kind != "metric" and (vmin is None or vmax is None):
        values = depth.values[depth.valid]
        low, high = (float(v) for v in np.percentile(values, (2, 98))) if values.size else (0.0, 1.0)
        high = max(high, low + 1e-6 * max(1.0, abs(low)))  # a flat picture still has a range
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    if not np.isfinite([low, high]).all() or low >= high:
        raise ValueError(
            f"the colours go from vmin {low:g} to vmax {high:g}; two finite numbers, vmin < vmax, are needed"
        )
    return low, high


def own_range(depth: Depth) -> tuple[float, float]:
    """(low, high) that show most of one picture: the 2nd to 98th percentile of its valid values, widened to round
    numbers, so that the legend's are round, too. Of relative kinds, see `value_range`.
    """
    values = depth.values[depth.valid]
    if depth.kind != "metric" or not values.size:
        return value_range(depth)
    first, last = (float(v) for v in np.percentile(values, (2, 98)))
    step = next(step for step in _round_steps(max(last - first, 1e-3) / 5))
    low, high = math.floor(first / step), math.ceil(last / step)
    return low * step, max(high, low + 1) * step


def _round_steps(least: float) -> Iterator[float]:
    """1, 2 and 5 times powers of ten, from `least` on."""
    power = 10.0 ** math.floor(math.log10(least))
    return (power * 10**i * factor for i in range(4) for factor in (1, 2, 5) if power * 10**i * factor >= least * 0.999)


def colorize(
    depth: Depth, *, vmin: float | None = None, vmax: float | None = None, colormap: str | None = None
) -> np.ndarray:
    """The depth as colours, uint8 RGB [H,W,3]. Values beyond the range get the end colours, invalid pixels grey.

    For the range see `value_range`. For `colormap` see `colormaps.colours`; by default near is
    bright and far is dark.
    """
    low, high = value_range(depth, vmin, vmax)
    return _colours(depth.values, depth.valid, (low, high), colormap or _default_colormap(depth))


def picture(
    depth: Depth, *, vmin: float | None = None, vmax: float | None = None, colormap: str | None = None
) -> np.ndarray:
    """`colorize`, and to its right a legend in metres (or near and far), uint8 RGB [H,W+w,3].

    A picture less than 64 pixels high gets no legend.
    """
    return _beside([colorize(depth, vmin=vmin, vmax=vmax, colormap=colormap)], depth, vmin, vmax, colormap)


def side_by_side(
    image: np.ndarray,
    depth: Depth,
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    colormap: str | None = None,
) -> np.ndarray:
    """Photograph uint8 [H,W,3] | coloured depth | legend, in one uint8 RGB picture."""
    _check_size(image, depth)
    parts = [image, colorize(depth, vmin=vmin, vmax=vmax, colormap=colormap)]
    return _beside(parts, depth, vmin, vmax, colormap)


def panel(
    image: np.ndarray,
    truth: Depth,
    prediction: Depth,
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    error_max: float | None = None,
    colormap: str | None = None,
    captions: tuple[str, str] = ("truth", "prediction"),
) -> np.ndarray:
    """A validation picture, uint8 RGB: image | truth | prediction | absolute error, each with its caption; `captions`
    are those of the two in the middle.

    Truth and prediction share the truth's colours. The error goes from black (0) to bright (`error_max`; 1 m for metric
    depth, a quarter of the range otherwise). All have the image's size; depths of different kinds are a ValueError.
    """
    if truth.kind != prediction.kind:
        raise ValueError(f"the truth is {truth.kind} and the prediction {prediction.kind}; align them first")
    for depth in (truth, prediction):
        _check_size(image, depth)
    low, high = value_range(truth, vmin, vmax)
    error_high = error_max or (1.0 if truth.kind == "metric" else (high - low) / 4)
    both = np.asarray(truth.valid) & np.asarray(prediction.valid)
    error = np.abs(np.where(both, prediction.values, 0) - np.where(both, truth.values, 0))
    unit = " m" if truth.kind == "metric" else ""
    span = f"{low:.3g} to {high:.3g}{unit}"
    parts = {
        "image": image,
        f"{captions[0]}, {span}": colorize(truth, vmin=low, vmax=high, colormap=colormap),
        f"{captions[1]}, {span}": colorize(prediction, vmin=low, vmax=high, colormap=colormap),
        f"error, 0 to {error_high:.3g}{unit}": _colours(error, both, (0.0, error_high), "inferno"),
    }
    return np.concatenate([captioned(part, caption) for caption, part in parts.items()], axis=1)


def legend(height: int, low: float, high: float, *, kind: str = "metric", colormap: str = "magma_r") -> np.ndarray:
    """A bar of the colours from `low` (bottom) to `high` (top), uint8 RGB [height,w,3], labelled in metres.

    The relative kinds have no unit, so theirs says which end is near and which is far.
    """
    text_size = max(9, min(28, height // 18))
    font = ImageFont.load_default(size=text_size)
    labels = _labels(low, high, kind, n=max(2, min(6, height // 40 + 1)))
    bar, gap = max(8, height // 30), max(4, height // 60)
    widest = max(font.getlength(text) for text in labels)
    margin = round(text_size * 0.8)
    strip = Image.new("RGB", (3 * gap + bar + int(widest) + 1, height), BACKGROUND)
    length = max(2, height - 2 * margin)
    ramp = np.linspace(high, low, length)[:, None].repeat(bar, axis=1)
    strip.paste(Image.fromarray(_colours(ramp, np.ones_like(ramp, bool), (low, high), colormap)), (gap, margin))
    draw = ImageDraw.Draw(strip)
    for i, text in enumerate(labels):
        y = margin + (length - 1) * (1 - i / (len(labels) - 1))
        draw.text((2 * gap + bar, y), text, fill=INK, font=font, anchor="lm")
    return np.array(strip)


def _labels(low: float, high: float, kind: str, n: int) -> list[str]:
    """From the bottom of the legend to its top."""
    if kind == "metric":
        steps = (
            round((high - low) / step) for step in _round_steps((high - low) / (n - 1)) if _divides(step, high - low)
        )
        return [f"{value:.3g} m" for value in np.linspace(low, high, next((k + 1 for k in steps if k), n))]
    return ["far", "near"] if kind == "relative_disparity" else ["near", "far"]


def _divides(step: float, span: float) -> bool:
    return abs(span / step - round(span / step)) < 1e-6


def _default_colormap(depth: Depth) -> str:
    return "magma" if depth.kind == "relative_disparity" else "magma_r"


def _colours(values: np.ndarray, valid: np.ndarray | None, span: tuple[float, float], colormap: str) -> np.ndarray:
    low, high = span
    usable = np.isfinite(values) if valid is None else valid & np.isfinite(values)
    part = np.clip((np.where(usable, values, low).astype(np.float64) - low) / (high - low), 0, 1)
    coloured = colours(colormap)[np.rint(part * 255).astype(np.uint8)]
    coloured[~usable] = INVALID
    return coloured


def _beside(
    parts: Sequence[np.ndarray], depth: Depth, vmin: float | None, vmax: float | None, colormap: str | None
) -> np.ndarray:
    height = depth.values.shape[0]
    if height >= _SMALLEST_WITH_LEGEND:
        low, high = value_range(depth, vmin, vmax)
        scale = legend(height, low, high, kind=depth.kind, colormap=colormap or _default_colormap(depth))
        parts = [*parts, scale]
    return np.concatenate(parts, axis=1)


def captioned(part: np.ndarray, caption: str) -> np.ndarray:
    """The picture under a line of text, which shrinks until it fits."""
    height, width = part.shape[:2]
    size = max(12, height // 16)
    band = Image.new("RGB", (width, size + 6), BACKGROUND)
    font = ImageFont.load_default(size=size)
    while font.getlength(caption) > width - 8 and size > 6:
        size -= 1
        font = ImageFont.load_default(size=size)
    ImageDraw.Draw(band).text((4, band.height / 2), caption, fill=INK, font=font, anchor="lm")
    return np.concatenate([np.array(band), part])


def _check_size(image: np.ndarray, depth: Depth) -> None:
    if image.dtype != np.uint8 or image.shape != (*depth.values.shape, 3):
        raise ValueError(
            f"the image is {image.dtype} {image.shape}; uint8 {(*depth.values.shape, 3)}, as the depth, is needed"
        )
