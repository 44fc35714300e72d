"""Paint for synthetic scenes: what surfaces look like, drawn at random by what they are made of."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leadline.data.synthetic.textures import FAMILIES, Textures

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Materials:
    """M rows. The albedo is `base + gain * texture`, linear RGB; `scale` is tiles per unit of texture coordinate."""

    tile: np.ndarray  # [M] int
    scale: np.ndarray  # [M]
    offset: np.ndarray  # [M,2]
    base: np.ndarray  # [M,3]
    gain: np.ndarray  # [M,3]
    gloss: np.ndarray  # [M] share of light mirrored towards the eye
    glow: np.ndarray  # [M] light given off, in units of the albedo


class Paints:
    """The paints of one scene: `pattern`, `photo`, `of` and `shining` mix one and return its row in `table()`."""

    def __init__(self, rng: np.random.Generator, textures: Textures) -> None:
        self.rng, self.textures = rng, textures
        self._rows: list[tuple[int, float, np.ndarray, np.ndarray, np.ndarray, float, float]] = []

    def table(self) -> Materials:
        """All paints mixed so far."""
        return Materials(*(np.array(column) for column in zip(*self._rows, strict=True)))

    def colour(self, saturation: Range = (0, 1), value: Range = (0.1, 0.95), hue: Range = (0, 1)) -> np.ndarray:
        """A random linear RGB colour."""
        h, s, v = (float(self.rng.uniform(*limits)) for limits in (hue, saturation, value))
        return np.array(colorsys.hsv_to_rgb(h % 1, s, v)) ** 2.2

    def tile(self, families: str) -> int:
        """The number of a pattern of one of `families` (words)."""
        family = FAMILIES.index(str(self.rng.choice(families.split())))
        return family + len(FAMILIES) * int(self.rng.integers(self.textures.n_patterns // len(FAMILIES)))

    def pattern(
        self,
        families: str,
        one: np.ndarray,
        two: np.ndarray | None = None,
        *,
        size: Range = (0.4, 1.5),
        contrast: Range = (0.1, 0.5),
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> int:
        """A grey pattern of one of `families` (words) between two colours; `size` is a tile's width in metres."""
        if two is None:
            two = one * (1 - self.rng.uniform(*contrast))
        return self._add(self.tile(families), 1 / float(self.rng.uniform(*size)), two, one - two, gloss, glow)

    def photo(self, *, size: Range = (1, 1), strength: Range = (1, 1), glow: float = 0.0, gloss: float = 0.0) -> int:
        """A photograph; below `strength` 1 it fades into a plain colour. On a `panel`, size 1 shows it once, whole."""
        tile = self.textures.n_patterns + int(self.rng.integers(self.textures.n_photos))
        share, tint = float(self.rng.uniform(*strength)), self.rng.uniform(0.7, 1, 3)
        whole = size == (1, 1)
        base = np.zeros(3) if share == 1 else self.colour((0, 0.4), (0.3, 0.95)) * (1 - share)
        return self._add(tile, 1 / float(self.rng.uniform(*size)), base, tint * share, gloss, glow, whole)

    def of(self, what: str) -> int:
        """A paint that suits `what`, a key of RECIPES."""
        return RECIPES[what](self)

    def shining(self, strength: float) -> int:
        """Nearly white and giving off light: lamps and panes."""
        return self.pattern("plaster", self.colour((0, 0.15), (0.9, 1)), contrast=(0, 0.1), size=(1, 3), glow=strength)

    def _add(
        self,
        tile: int,
        scale: float,
        base: np.ndarray,
        gain: np.ndarray,
        gloss: float,
        glow: float,
        whole: bool = False,
    ) -> int:
        offset = np.zeros(2) if whole else self.rng.uniform(0, 1, 2)
        self._rows.append((tile, scale, offset, base, gain, gloss, glow))
        return len(self._rows) - 1


def _wall(p: Paints) -> int:
    """Mostly light and plain; now and then wallpaper, brick, panelling, tiles or a faded photograph."""
    light = p.colour((0, 0.25), (0.6, 0.97), (0.02, 0.2) if p.rng.random() < 0.6 else (0, 1))
    match int(p.rng.choice(6, p=(0.58, 0.1, 0.08, 0.09, 0.07, 0.08))):
        case 0:
            return p.pattern("plaster carpet", light, size=(1, 4), contrast=(0.03, 0.25))
        case 1:
            return p.pattern("plaster", p.colour((0.2, 0.7), (0.3, 0.9)), size=(1, 4), contrast=(0.03, 0.25))
        case 2:
            return p.pattern("checks dots marble", light, size=(0.3, 1.2), contrast=(0.1, 0.5))
        case 3:
            return p.photo(size=(1.5, 5), strength=(0.1, 0.5))
        case 4:
            return p.pattern("bricks tiles planks", p.colour((0, 0.5), (0.4, 0.9), (0, 0.12)), size=(0.6, 2))
        case _:
            return p.pattern("tiles", light, size=(0.4, 1.2), contrast=(0.1, 0.4), gloss=0.1)


def _floor(p: Paints) -> int:
    """Wood, carpet, tiles, or anything flat."""
    gloss = float(p.rng.choice([0, 0.05, 0.2]))
    match int(p.rng.integers(5)):
        case 0 | 1:
            return _wood(p, "planks planks wood", size=(0.4, 1.5), gloss=gloss)
        case 2:
            return p.pattern("carpet plaster", p.colour((0, 0.5), (0.15, 0.8)), size=(0.5, 2))
        case 3:
            return p.pattern("tiles tiles checks marble", p.colour((0, 0.3), (0.4, 0.95)), gloss=gloss)
        case _:
            return p.photo(size=(0.8, 3), strength=(0.2, 0.8))


def _wood(p: Paints, families: str = "wood wood planks", *, size: Range = (0.3, 1.2), gloss: float = 0.04) -> int:
    """Browns from birch to ebony, now and then white paint."""
    if p.rng.random() < 0.2:
        return p.pattern("plaster", p.colour((0, 0.1), (0.7, 0.97)), contrast=(0, 0.15), gloss=gloss)
    brown = p.colour((0.2, 0.7), (0.2, 0.85), (0.02, 0.11))
    return p.pattern(families, brown, size=size, contrast=(0.2, 0.7), gloss=gloss)


def _cloth(p: Paints) -> int:
    """Any colour, plain, patterned or printed with a photograph."""
    match int(p.rng.integers(4)):
        case 0:
            return p.pattern("checks dots marble", p.colour(), p.colour(), size=(0.1, 0.7))
        case 1:
            return p.photo(size=(0.4, 2), strength=(0.4, 1))
        case _:
            return p.pattern("carpet plaster", p.colour((0, 0.8)), size=(0.3, 1), contrast=(0.1, 0.4))


def _metal(p: Paints) -> int:
    """Grey to white, shiny."""
    grey = p.colour((0, 0.1), (0.1, 0.95))
    return p.pattern("plaster wood", grey, contrast=(0.02, 0.2), gloss=float(p.rng.uniform(0.1, 0.5)))


def _plain(p: Paints) -> int:
    """Painted or plastic, any colour."""
    gloss = float(p.rng.choice([0, 0.1, 0.4]))
    return p.pattern("plaster carpet", p.colour(), contrast=(0, 0.3), gloss=gloss)


def _dark(p: Paints) -> int:
    """Nearly black: screens, tyres, gaps."""
    return p.pattern("plaster", p.colour((0, 0.3), (0.02, 0.25)), contrast=(0, 0.3), gloss=0.2)


def _leaf(p: Paints) -> int:
    """Foliage."""
    green = p.colour((0.3, 0.8), (0.2, 0.6), (0.18, 0.4))
    return p.pattern("marble plaster carpet", green, green * 0.15, size=(0.3, 1.2))


def _thing(p: Paints) -> int:
    """Whatever small things are made of."""
    kinds = ("plain", "cloth", "wood", "metal", "dark", "print")
    return p.of(str(p.rng.choice(kinds, p=(0.3, 0.2, 0.15, 0.1, 0.05, 0.2))))


def _print(p: Paints) -> int:
    """A photograph, repeated: wrappings, covers, tins."""
    return p.photo(size=(0.2, 0.8))


RECIPES: dict[str, Callable[[Paints], int]] = {
    "wall": _wall,
    "floor": _floor,
    "wood": _wood,
    "cloth": _cloth,
    "metal": _metal,
    "plain": _plain,
    "dark": _dark,
    "leaf": _leaf,
    "thing": _thing,
    "print": _print,
}
"""What a paint can be for."""
