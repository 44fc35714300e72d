"""Colour maps: the usual ones from small tables here, any other by matplotlib, where that is installed."""

from __future__ import annotations

import base64
import difflib
import zlib
from functools import cache

import numpy as np

from leadline.core.errors import MissingPackage
from leadline.core.packages import is_installed

# The differences from colour to colour, compressed; `tests/core/test_colormaps.py` compares them with matplotlib.
# magma, inferno, plasma and viridis are by Smith, van der Walt and Firing (CC0), turbo by Mikhailov (Apache-2.0).
_TABLES = {
    "magma": (
        "c-nnZ0TRO?2ov1@zwB-SL$G!b1Lv7mfnj3+W>_$1*l-"
        "6$vculB^q1sG_f&LnT*IwwB;bXl<Uh79*?xVvf`0)m>K0|9YP!<*pnj$WHo~<BT6(W=N!o!IuJjWh_vy5m1SCzK_+2Be79*q0Xg#o_&`SykB"
        "*7c7NQn@fO{<x$$z{pxF?9O+h+oRdEx7"
    ),
    "inferno": (
        "c-"
        "nnYff9uv2!rhX{~u?`HW6PJ%pqLTG0e>d{DJHs!U>Qs;e$R4<q|F;;(*eOB!nkOv@Yrca*^RRewRH^w6*urP6u^geWN|pynv!x9d(YM%G6!t"
        "7O)v|#%cbNLw)LdoUU&gNobki>0F5>sw(}<pOS}zaOtF1yLP_vOejQK(?U6N(<p5Kb`Gcg5T42nM;>jU"
    ),
    "plasma": (
        "c-nnZ(Gq|l2qSyxrSI;mJ2C|}$P4BM#ifDg-mSHcVVl!tfQC>Ip2!euQVL*FB1t3_0_pB#FoG&XUyx78p<ZRRMYVp1H;99feg3sA)Bo4RL9{"
        "ZMiYEd{uGmd51vLB9=;&~m0@2nNV?h=Pr?S>RSw0n~IbOAM`Rx3X4DD6-1AJtl3j"
    ),
    "viridis": (
        "c-n<hi4lY#3{0@KE8+St<xsL4Sjp&Rzu+jyOg`opECkc)X`Q6qnhK3HNo_OG;RhV>kb4UegZDb1pdhW1hA(9608i7%o<`5u+O6#W6MI|R-"
        "q~_nLKyo3Fq1@l=e3($blyl0DjP1z=#&|HsQxfvb9OjPgHv1mpkyG8q{bp%?-(;)vb7T{kBAB"
    ),
    "turbo": (
        "c-mc(TNcA02t@Ijes?AP@BVjXw88+=3?t_>G4=v}a*850CxSK6LRzee*jiZo7kj@Ye33Fo;n=DiRhFt$dA8r>V-"
        "L0oCpnyiX(5zK(GH#vLN{CDmc<&f#=DrZ=UgIHL<=FD0k<%$5N}*C=SN=+KN-"
        "K5;Pj3j=&giMgjeyWd1J#vcHpu>P3;ux`?^HEU%mD1)>_@hn6xE23yeU4^$vvAn(@#O$MMj%V;}DV(n1?la`8^0)2uV<>Fx4jre6Y5<4`x9z"
        "aYQZ=?AISX^{"
    ),
}
NAMES = tuple(sorted(name + end for name in (*_TABLES, "gray") for end in ("", "_r")))
"""The maps that need no package; those in _r run the other way."""


@cache
def colours(name: str) -> np.ndarray:
    """The 256 colours of the map `name`, uint8 [256,3], not to be written to.

    One of NAMES or any of matplotlib's: a name that is neither is a ValueError with the nearest, one that may be
    matplotlib's where that is not installed a MissingPackage.
    """
    table = _own(name) if name in NAMES else _of_matplotlib(name)
    table.flags.writeable = False
    return table


def _own(name: str) -> np.ndarray:
    plain = name.removesuffix("_r")
    if plain == "gray":
        table = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    else:
        steps = np.frombuffer(zlib.decompress(base64.b85decode(_TABLES[plain])), np.uint8)
        table = np.cumsum(steps.reshape(3, 256), axis=1, dtype=np.uint8).T  # modulo 256, as the differences are
    return np.array(table[::-1] if name.endswith("_r") else table)


def _of_matplotlib(name: str) -> np.ndarray:
    if not is_installed("matplotlib"):
        raise MissingPackage("matplotlib", "plot", f"the colour map {name!r}", f"without it: {', '.join(NAMES)}")
    import matplotlib

    if name not in matplotlib.colormaps:
        near = difflib.get_close_matches(name, list(matplotlib.colormaps), n=3) or ["magma_r", "turbo", "viridis"]
        raise ValueError(f"the colour map {name!r} is unknown to matplotlib; nearest: {', '.join(near)}")
    return np.asarray((matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round(), np.uint8)
