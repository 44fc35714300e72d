"""Slow float64 twins of metrics and losses: plain loops over pixels, written from the formulas, sharing no code."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

DRAW = 3
"""The seed with which losses that draw at random are compared."""


def pairs(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> list[tuple[float, float]]:
    """(prediction, target) of each valid pixel, in order."""
    return [(float(pred[i]), float(target[i])) for i in np.ndindex(valid.shape) if valid[i]]


def metric(name: str, pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    """The pixel metric `name` of one image."""
    values = pairs(pred, target, valid)
    n = len(values)
    logs = [math.log(p) - math.log(t) for p, t in values]
    inverse = [1000 * (1 / p - 1 / t) for p, t in values]
    errors = [p - t for p, t in values]
    ratios = [max(p / t, t / p) for p, t in values]
    if name.startswith("delta"):
        return sum(1 for r in ratios if r < 1.25 ** int(name[-1])) / n
    if name in ("si_rmse", "silog"):
        spread = sum(d * d for d in logs) / n - (sum(logs) / n) ** 2
        return math.sqrt(max(spread, 0.0)) * (100 if name == "silog" else 1)
    return {
        "abs_rel": sum(abs(e) / t for e, (_, t) in zip(errors, values, strict=True)) / n,
        "sq_rel": sum(e * e / t for e, (_, t) in zip(errors, values, strict=True)) / n,
        "mae": sum(abs(e) for e in errors) / n,
        "rmse": math.sqrt(sum(e * e for e in errors) / n),
        "rmse_log": math.sqrt(sum(d * d for d in logs) / n),
        "log10": sum(abs(math.log10(p) - math.log10(t)) for p, t in values) / n,
        "irmse": math.sqrt(sum(d * d for d in inverse) / n),
        "imae": sum(abs(d) for d in inverse) / n,
    }[name]


def boundary_f1(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    """Depth Pro's scale-invariant boundary F1, one neighbour, direction and threshold at a time."""
    height, width = valid.shape
    thresholds = [1.05 + 0.2 * i / 9 for i in range(10)]
    total = 0.0
    for threshold in thresholds:
        precision = recall = 0.0
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            found = true = both = 0
            for y in range(height):
                for x in range(width):
                    v, u = y + dy, x + dx
                    if not (0 <= v < height and 0 <= u < width and valid[y, x] and valid[v, u]):
                        continue
                    in_pred = pred[v, u] / pred[y, x] > threshold
                    in_target = target[v, u] / target[y, x] > threshold
                    found, true, both = found + in_pred, true + in_target, both + (in_pred and in_target)
            precision += both / max(found, 1) / 4
            recall += both / max(true, 1) / 4
        if precision + recall > 0:
            total += threshold * 2 * precision * recall / (precision + recall)
    return total / sum(thresholds)


def loss(name: str, pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    """The loss `name` of a batch [B,1,H,W]."""
    values = pairs(pred, target, valid)
    errors = [abs(p - t) for p, t in values]
    if name == "l1":
        return _mean(errors)
    if name == "l2":
        return _mean([e * e for e in errors])
    if name == "berhu":
        c = 0.2 * max(errors, default=0.0)
        return _mean([e if e <= c else (e * e + c * c) / (2 * c) for e in errors])
    if name in ("silog_bts", "silog_dav2"):
        d = [math.log(max(p, 1e-3)) - math.log(max(t, 1e-3)) for p, t in values]
        factor, weight = (10, 0.85) if name == "silog_bts" else (1, 0.5)
        return factor * math.sqrt(max(_mean([x * x for x in d]) - weight * _mean(d) ** 2, 0))
    if name == "sig":
        r = [math.log(p + 1e-3) - math.log(t + 1e-3) for p, t in values]
        spread = sum((x - _mean(r)) ** 2 for x in r) / max(len(r) - 1, 1)
        return math.sqrt(spread + 0.15 * _mean(r) ** 2)
    if name == "robust":
        return _mean([math.sqrt((e / 2) ** 2 + 1) - 1 for e in errors])
    if name == "virtual_normal":
        return _virtual_normal(pred, target, valid)
    if name == "gradient":
        return _steps(pred - target, valid, 1)
    if name == "multiscale_gradient":
        return sum(_steps(pred - target, valid, 2**s) for s in range(4))
    if name in ("log_l1", "log_gradient"):
        logs = np.log(np.maximum(np.where(valid, pred, 1), 1e-3)), np.log(np.maximum(np.where(valid, target, 1), 1e-3))
        return loss("l1", *logs, valid) if name == "log_l1" else loss("multiscale_gradient", *logs, valid) / 4
    if name == "hu_depth":
        return _mean([math.log(e + 0.5) for e in errors])
    if name == "hu_gradient":
        error = np.where(valid, pred - target, 0)
        slopes = [_sobel(error, *where) for where in _surrounded(valid)]
        return sum(_mean([math.log(abs(s[axis]) + 0.5) for s in slopes]) for axis in (0, 1))
    if name == "hu_normal":
        angles = []
        for where in _surrounded(valid):
            (px, py), (tx, ty) = _sobel(pred, *where), _sobel(target, *where)
            lengths = math.sqrt(px * px + py * py + 1) * math.sqrt(tx * tx + ty * ty + 1)
            angles.append(abs(1 - (px * tx + py * ty + 1) / lengths))
        return _mean(angles)
    if name == "hu":
        return sum(loss(part, pred, target, valid) for part in ("hu_depth", "hu_gradient", "hu_normal"))
    if name == "ssim":
        return _ssim(pred, target, valid)
    raise KeyError(name)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _steps(error: np.ndarray, valid: np.ndarray, stride: int) -> float:
    error, valid = error[..., ::stride, ::stride], valid[..., ::stride, ::stride]
    across, down = [], []
    for b, c, y, x in np.ndindex(valid.shape):
        if x + 1 < valid.shape[3] and valid[b, c, y, x] and valid[b, c, y, x + 1]:
            across.append(abs(float(error[b, c, y, x + 1] - error[b, c, y, x])))
        if y + 1 < valid.shape[2] and valid[b, c, y, x] and valid[b, c, y + 1, x]:
            down.append(abs(float(error[b, c, y + 1, x] - error[b, c, y, x])))
    return _mean(across) + _mean(down)


def _surrounded(valid: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Image, row and column of the pixels whose 3x3 neighbours are valid or outside the frame."""
    for b, c, y, x in np.ndindex(valid.shape):
        if valid[b, c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].all():
            yield b, y, x


def _sobel(maps: np.ndarray, b: int, y: int, x: int) -> tuple[float, float]:
    kernel = ((1, 0, -1), (2, 0, -2), (1, 0, -1))
    across = down = 0.0
    for i in range(3):
        for j in range(3):
            v, u = y + i - 1, x + j - 1
            if 0 <= v < maps.shape[2] and 0 <= u < maps.shape[3]:
                across += kernel[i][j] * float(maps[b, 0, v, u])
                down += kernel[j][i] * float(maps[b, 0, v, u])
    return across, down


def _virtual_normal(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    """One triplet after the other, drawn as the loss draws them after `torch.manual_seed(DRAW)`."""
    import torch

    height, width = valid.shape[2:]
    torch.manual_seed(DRAW)
    drawn = torch.randint(height * width, (3, int(0.15 * height * width))).tolist()
    fx, fy = 518.8579011745019 * width / 640, 519.4696111212749 * height / 480

    def point(maps: np.ndarray, b: int, pixel: int) -> np.ndarray:
        y, x = divmod(pixel, width)
        return float(maps[b, 0, y, x]) * np.array([(x - width // 2) / fx, (y - height // 2) / fy, 1.0])

    def normal(p: list[np.ndarray]) -> np.ndarray:
        across = np.cross(p[1] - p[0], p[2] - p[0])
        length = float(np.sqrt((across**2).sum()))
        return across / length if length > 0 else across

    found = []
    for b in range(len(valid)):
        for pixels in zip(*drawn, strict=True):
            if not all(valid[b, 0].reshape(-1)[i] for i in pixels):
                continue
            p, t = ([point(maps, b, i) for i in pixels] for maps in (pred, target))
            edges = [t[1] - t[0], t[2] - t[0], t[2] - t[1]]
            lengths = [float(np.sqrt((e**2).sum())) for e in edges]
            in_line = any(
                abs(float(edges[i] @ edges[j])) > 0.867 * lengths[i] * lengths[j] for i, j in ((0, 1), (0, 2), (1, 2))
            )
            near = all(any(abs(e[axis]) < 0.005 for e in edges) for axis in range(3))
            if min(q[2] for q in t) > 0.1 and not in_line and not near:
                found.append(float(np.abs(normal(p) - normal(t)).sum()))
    return _mean(sorted(found)[int(0.25 * len(found)) :])


def _ssim(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    peak = max((t for _, t in pairs(pred, target, valid)), default=1.0)
    found = []
    for b in range(valid.shape[0]):
        for y in range(valid.shape[2] - 2):
            for x in range(valid.shape[3] - 2):
                window = (b, 0, slice(y, y + 3), slice(x, x + 3))
                if not valid[window].all():
                    continue
                p, t = pred[window].ravel() / peak, target[window].ravel() / peak
                mp, mt = float(p.mean()), float(t.mean())
                cross = float(((p - mp) * (t - mt)).mean())
                top = (2 * mp * mt + 1e-4) * (2 * cross + 9e-4)
                bottom = (mp * mp + mt * mt + 1e-4) * (float(p.var()) + float(t.var()) + 9e-4)
                found.append(min(max((1 - top / bottom) / 2, 0.0), 1.0))
    return _mean(found)


def stereo(
    left: np.ndarray,
    right: np.ndarray,
    maps: list[np.ndarray],
    *,
    ssim: float = 0.85,
    smoothness: float = 0.1,
    consistency: float = 1.0,
    vertical: bool = True,
) -> float:
    """monodepth's loss of views [B,3,H,W] and maps [B,2,h,w], h a whole part of H, one pixel after the other."""
    total = 0.0
    for scale, disparities in enumerate(maps):
        ratio = left.shape[2] // disparities.shape[2]
        height, width = disparities.shape[2:]
        views = [x.reshape(len(x), 3, height, ratio, width, ratio).mean(axis=(3, 5)) for x in (left, right)]
        for own, sign in ((0, -1), (1, 1)):
            seen, source = views[own], views[1 - own]
            d, other = disparities[:, own], disparities[:, 1 - own]
            made, crossed = np.zeros_like(seen), np.zeros_like(d)
            for b, y, x in np.ndindex(d.shape):
                place = min(max(x + sign * d[b, y, x] * width, 0.0), width - 1.0)
                low = min(int(place), width - 2)
                share = place - low
                made[b, :, y, x] = (1 - share) * source[b, :, y, low] + share * source[b, :, y, low + 1]
                crossed[b, y, x] = (1 - share) * other[b, y, low] + share * other[b, y, low + 1]
            total += (1 - ssim) * float(np.abs(made - seen).mean()) + ssim * _image_ssim(made, seen)
            total += consistency * float(np.abs(crossed - d).mean())
            for axis in (2, 1) if vertical else (2,):
                calm = np.exp(-np.abs(np.diff(seen, axis=axis + 1)).mean(axis=1))
                total += smoothness / 2**scale * float((np.abs(np.diff(d, axis=axis)) * calm).mean())
    return total


def _image_ssim(a: np.ndarray, b: np.ndarray) -> float:
    found = []
    for i, c, y, x in np.ndindex(*a.shape[:2], a.shape[2] - 2, a.shape[3] - 2):
        p, t = (view[i, c, y : y + 3, x : x + 3].ravel() for view in (a, b))
        mp, mt = float(p.mean()), float(t.mean())
        top = (2 * mp * mt + 1e-4) * (2 * float(((p - mp) * (t - mt)).mean()) + 9e-4)
        bottom = (mp * mp + mt * mt + 1e-4) * (float(p.var()) + float(t.var()) + 9e-4)
        found.append(min(max((1 - top / bottom) / 2, 0.0), 1.0))
    return _mean(found)
