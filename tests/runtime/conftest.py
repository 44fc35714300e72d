"""Files of runtimes, made once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from support.tiny_runtime_nets import UNTOUCHED, Made, compiled, images

from leadline.nn import checkpoint


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The files of one net, each made when it is first asked for; int8 is calibrated on eight pictures."""

    def make(name: str, precision: str = "fp32", frame: tuple[int, int] | None = None) -> Path:
        folder = tmp_path_factory.mktemp(name)
        if name == "eager":
            return checkpoint.save(UNTOUCHED, folder / "net.safetensors")
        calibration = images(8, seed=5) if precision == "int8" else ()
        return compiled(name, UNTOUCHED, folder, precision=precision, frame=frame, calibration=calibration)

    return cache(make)
