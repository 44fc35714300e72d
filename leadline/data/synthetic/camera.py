"""The faults of a real camera: exposure, white balance, tone curve, vignette, blur and noise, drawn once per scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

Develop = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(linear colours float32 [H,W,3], generator of the noise) -> uint8 [H,W,3]."""


def camera(rng: np.random.Generator, colour: np.ndarray) -> Develop:
    """A camera that meters `colour` (the left view) and then develops any view of that scene alike."""
    light = colour.mean(axis=2)
    bright = float(np.exp(np.log(light + 1e-3).mean()) + light.mean()) / 2
    gain = 0.2 * 2 ** rng.normal(0, 0.45) / max(bright, 1e-3)
    balance = gain * (1 + rng.normal(0, 0.05, 3))
    return partial(
        _develop,
        balance=balance.astype(np.float32),
        shoulder=float(rng.uniform(0.1, 0.6)),
        gamma=float(1 / rng.uniform(1.9, 2.5)),
        grey=float(rng.uniform(0, 0.35)),
        vignette=float(rng.uniform(0, 0.3)),
        blur=float(rng.uniform(0.02, 0.24)),
        noise=float(rng.uniform(0.003, 0.02)),
    )


def _develop(
    colour: np.ndarray,
    rng: np.random.Generator,
    *,
    balance: np.ndarray,
    shoulder: float,
    gamma: float,
    grey: float,
    vignette: float,
    blur: float,
    noise: float,
) -> np.ndarray:
    height, width = colour.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    value = colour * balance * (1 - vignette * (x * x + y * y) / 2)[..., None]
    value *= (1 + shoulder) / (1 + shoulder * value)  # highlights roll off instead of clipping hard
    value = value.clip(0, 1) ** np.float32(gamma)
    value += np.float32(grey) * (value.mean(axis=2, keepdims=True) - value)  # cheap sensors have pale colours
    for axis in (0, 1):
        ends = np.take(value, [0], axis), np.take(value, [-1], axis)
        wide = np.concatenate([ends[0], value, ends[1]], axis=axis)
        n = value.shape[axis]
        sides = np.take(wide, np.arange(n), axis) + np.take(wide, np.arange(2, n + 2), axis)
        value = (1 - 2 * np.float32(blur)) * value + np.float32(blur) * sides
    grain = rng.standard_normal(value.shape, dtype=np.float32)
    grain = np.float32(0.6) * grain + np.float32(0.6) * np.roll(grain, 1, axis=1)  # neighbours share noise
    value += grain * np.float32(noise)
    return np.asarray((value * 255 + np.float32(0.5)).clip(0, 255).astype(np.uint8))
