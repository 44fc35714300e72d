"""The colour maps of the tables are matplotlib's, and matplotlib is asked for no others than the rest."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.core import colormaps
from leadline.core.errors import MissingPackage


@pytest.mark.parametrize("name", colormaps.NAMES)
def test_a_table_is_the_map_of_that_name(name: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    expected = np.rint(matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255)
    assert np.array_equal(colormaps.colours(name), expected)


def test_the_usual_maps_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colormaps, "is_installed", lambda package: False)
    colormaps.colours.cache_clear()
    assert {"magma_r", "inferno", "viridis", "plasma", "turbo", "gray"} <= set(colormaps.NAMES)
    assert all(colormaps.colours(name).shape == (256, 3) for name in colormaps.NAMES)
    with pytest.raises(MissingPackage, match=r"'cividis' needs the package 'matplotlib'.*\[plot\].*magma_r"):
        colormaps.colours("cividis")


def test_others_are_those_of_matplotlib() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    expected = np.rint(matplotlib.colormaps["cividis"](np.linspace(0, 1, 256))[:, :3] * 255)
    assert np.array_equal(colormaps.colours("cividis"), expected)
    with pytest.raises(ValueError, match="nearest: viridis"):
        colormaps.colours("virdis")


def test_a_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        colormaps.colours("magma")[0] = 1
