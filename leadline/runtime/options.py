"""How a net is compiled, and what a file of another program does not say of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leadline.core.allowed import ABOVE_0, FINITE, SIZE, at_least, check, each, one_of
from leadline.core.spec import Kind

if TYPE_CHECKING:
    import numpy as np


Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""The arithmetic of an exported file; what a runtime has no kernels for stays in float32."""


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """How a backend makes its artefact. A value that a backend cannot honour is a ValueError, never ignored.

    `frame`: the camera's (height, width); the artefact then holds resize, normalisation and the way back.
    `calibration` (int8): network inputs float32 [1,3,h,w] in 0..1 from which ranges are learned.
    `keep` (int8): the convolutions that stay in floating point, by their name in the net.
    `tuning`, `trials` (tvm): the folder with the tuner's database, and how many schedules are tried for each task.
    `source`, `provenance`: the checkpoint's sha256 and origin, for the artefact's manifest; `export` fills them in.
    """

    precision: Precision = "fp32"
    frame: tuple[int, int] | None = None
    calibration: Sequence[np.ndarray] = ()
    keep: tuple[str, ...] = ()
    tuning: Path | None = None
    trials: int = 0
    source: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self, precision=one_of("fp32", "fp16", "bf16", "int8"), frame=SIZE, trials=at_least(0))


@dataclass(frozen=True, kw_only=True)
class ExternalModel:
    """What a file that leadline has not made, or a folder of depth maps, does not say of itself."""

    kind: Kind | None = None
    """What its numbers are: metric, relative_depth (farther is larger) or relative_disparity (nearer is larger)."""
    unit_m: float = 1.0
    """Metres in one of its units, where it is metric."""
    size: tuple[int, int] | None = None
    """Height and width of its input, where it takes any."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Its input is (x - mean) / std of RGB in 0..1."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    output: str | None = None
    """Which of its outputs is depth."""
    depth_scale: float | None = None
    """Of a folder of depth maps: stored units per metre."""
    licences: tuple[str, ...] = ()
    """The terms under which it came; stated in what is made with it."""

    def __post_init__(self) -> None:
        check(self, unit_m=ABOVE_0, depth_scale=ABOVE_0, size=SIZE, mean=each(FINITE, 3), std=each(ABOVE_0, 3))


NOTHING_SAID = ExternalModel()
