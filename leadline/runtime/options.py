"""How a net is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leadline.core.allowed import (
    SIZE,
    at_least,
    check,
    one_of,
)

if TYPE_CHECKING:
    import numpy as np


Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""The arithmetic of an exported file; what a runtime has no kernels for stays in float32."""


@dataclass(frozen=True)
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
