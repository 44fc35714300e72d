"""Furniture for synthetic rooms: each piece from random sizes and paints, front towards +y, bottom centre at 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from leadline.data.synthetic.materials import Paints
from leadline.data.synthetic.meshes import Mesh, blob, box, merge, panel, tube, turn

Piece = tuple[Mesh, tuple[float, float, float]]
"""A mesh and the box (x, y, z) it stands in."""


def table(p: Paints) -> Piece:
    """A table with things on it."""
    w, d, h = p.rng.uniform(0.7, 1.8), p.rng.uniform(0.5, 1.0), p.rng.uniform(0.62, 0.8)
    return _table(p, w, d, h, int(p.rng.integers(0, 7)))


def low_table(p: Paints) -> Piece:
    """A coffee table or stool."""
    return _table(p, p.rng.uniform(0.4, 1.2), p.rng.uniform(0.35, 0.7), p.rng.uniform(0.3, 0.5), int(p.rng.integers(5)))


def desk(p: Paints) -> Piece:
    """A table with drawers, a screen and a keyboard."""
    mesh, (w, d, h) = _table(p, p.rng.uniform(1, 1.8), p.rng.uniform(0.55, 0.8), p.rng.uniform(0.7, 0.78), 4)
    parts = [mesh, box((0.4, d * 0.9, h - 0.05), p.of("wood"), (-w / 2 + 0.22, 0, 0))]
    for x in p.rng.uniform(-w / 2 + 0.35, w / 2 - 0.35, int(p.rng.integers(1, 3))):
        parts.append(_screen(p, (x, -d / 2 + 0.15, h)))
        parts.append(box((0.42, 0.14, 0.02), p.of("plain"), (x, 0.08, h)))
    return merge(parts), (w, d, h + 0.45)


def chair(p: Paints) -> Piece:
    """Four legs or one column, a seat and a back."""
    w, d, h = p.rng.uniform(0.38, 0.55), p.rng.uniform(0.38, 0.52), p.rng.uniform(0.4, 0.5)
    top = p.rng.uniform(0.35, 0.6)
    frame, seat = p.of("thing"), p.of("cloth") if p.rng.random() < 0.6 else p.of("wood")
    parts = [
        blob((w, d, 0.08), seat, (0, 0, h - 0.06), 0.3),
        box((w, 0.04, top * 0.6), seat, (0, -d / 2, h + top * 0.4)),
    ]
    parts += [box((0.04, 0.04, top * 0.5), frame, (x * w * 0.4, -d / 2, h - 0.02)) for x in (-1, 1)]
    if p.rng.random() < 0.6:
        parts += _legs(frame, w, d, h - 0.04)
    else:
        parts += [tube(0.035, h, frame), tube(w * 0.5, 0.05, frame, top=0.3)]
    if p.rng.random() < 0.3:
        parts += [box((0.05, d * 0.8, 0.04), frame, (x * w * 0.55, 0, h + 0.2)) for x in (-1, 1)]
    return merge(parts), (w, d + 0.05, h + top)


def bed(p: Paints) -> Piece:
    """Frame, mattress, blanket, pillows and a headboard; its head is at the back."""
    w, d, h = p.rng.uniform(0.9, 1.9), p.rng.uniform(1.9, 2.15), p.rng.uniform(0.3, 0.5)
    sheet, frame = p.of("cloth"), p.of("wood")
    parts = [
        box((w, d, h * 0.6), frame),
        blob((w * 0.98, d * 0.98, h * 0.7), sheet, (0, 0, h * 0.4), 0.2),
        blob((w * 1.03, d * p.rng.uniform(0.4, 0.75), 0.16), p.of("cloth"), (0, d * 0.15, h * 1.1 - 0.1), 0.3),
        box((w, 0.06, h + p.rng.uniform(0.1, 0.7)), frame, (0, -d / 2 + 0.03, 0)),
    ]
    pillow = p.of("cloth")
    for x in (-0.25, 0.25) if w > 1.2 else (0.0,):
        size = (min(w * 0.44, 0.7), 0.4, 0.16)
        parts.append(blob(size, pillow, (x * w, -d / 2 + 0.3, h * 1.05), 0.6))
    if p.rng.random() < 0.5:
        parts += clutter(p, w * 0.7, d * 0.5, h * 1.1 + 0.05, 2)
    return merge(parts), (w, d, h + 0.5)


def sofa(p: Paints) -> Piece:
    """Or an armchair."""
    w, d, h = (
        p.rng.choice([0.85, 1.5, 2.0]) * p.rng.uniform(0.9, 1.15),
        p.rng.uniform(0.8, 0.95),
        p.rng.uniform(0.38, 0.46),
    )
    paint, soft = p.of("cloth"), p.rng.choice([0.1, 0.2, 0.3])
    arm = p.rng.uniform(0.12, 0.25)
    parts = [
        box((w, d, h * 0.7), paint, (0, 0, 0.04)),
        blob((w, 0.3, h + 0.42), paint, (0, -d / 2 + 0.15, 0.03), soft),
        *(blob((arm, d, h + 0.2), paint, (x * (w - arm) / 2, 0, 0.03), soft) for x in (-1, 1)),
    ]
    n = max(1, round((w - 2 * arm) / 0.65))
    each = (w - 2 * arm) / n
    for i in range(n):
        x = -w / 2 + arm + (i + 0.5) * each
        parts.append(blob((each, d - 0.25, 0.2), paint, (x, 0.12, h * 0.7), soft))
        if p.rng.random() < 0.5:
            parts.append(blob((0.4, 0.18, 0.38), p.of("cloth"), (x, -d / 2 + 0.38, h + 0.05), 0.6))
    return merge(parts), (w, d, h + 0.45)


def shelf(p: Paints) -> Piece:
    """Boards with books and things."""
    w, d, h = p.rng.uniform(0.6, 1.6), p.rng.uniform(0.24, 0.4), p.rng.uniform(0.8, 2.2)
    wood, n = p.of("wood"), max(1, round(float(h / p.rng.uniform(0.28, 0.45))))
    parts = [box((0.025, d, h), wood, (x * w / 2, 0, 0)) for x in (-1, 1)]
    parts.append(box((w, 0.015, h), p.of("wood") if p.rng.random() < 0.3 else wood, (0, -d / 2 + 0.01, 0)))
    books = [p.of("thing") for _ in range(6)]
    for level in range(n + 1):
        z = level * (h - 0.03) / n
        parts.append(box((w, d, 0.025), wood, (0, 0, z)))
        room = (h - 0.03) / n - 0.05
        if level == n:
            parts += clutter(p, w, d, h, 2) if h < 1.8 else []
        elif p.rng.random() < 0.65:
            x = -w / 2 + 0.03
            while x < w / 2 - 0.08 and p.rng.random() < 0.95:
                thick, tall = p.rng.uniform(0.02, 0.09), room * p.rng.uniform(0.6, 0.98)
                paint = books[int(p.rng.integers(6))]
                parts.append(box((thick, d * p.rng.uniform(0.6, 0.9), tall), paint, (x + thick / 2, 0, z + 0.025)))
                x += thick + (0.002 if p.rng.random() < 0.9 else 0.15)
        else:
            parts += clutter(p, w - 0.1, d - 0.05, z + 0.025, 3, room)
    return merge(parts), (w, d, h)


def cupboard(p: Paints) -> Piece:
    """A wardrobe, chest or fridge: doors or drawers with gaps and knobs."""
    tall = p.rng.random() < 0.5
    w, d = p.rng.uniform(0.5, 1.6), p.rng.uniform(0.35, 0.65)
    h = p.rng.uniform(1.6, 2.2) if tall else p.rng.uniform(0.5, 1.2)
    body, front, knob = p.of("wood"), p.of("wood"), p.of("metal")
    if p.rng.random() < 0.5:
        front = body
    columns = max(1, round(w / p.rng.uniform(0.4, 0.7)))
    rows = int(p.rng.integers(1, 3)) if tall else int(p.rng.integers(1, 5))
    parts = [box((w, d, h), body)]
    for i in range(columns):
        for j in range(rows):
            x, z = -w / 2 + (i + 0.5) * w / columns, 0.06 + j * (h - 0.08) / rows
            parts.append(box((w / columns - 0.02, 0.02, (h - 0.08) / rows - 0.02), front, (x, d / 2 + 0.01, z)))
            parts.append(blob((0.04, 0.04, 0.04), knob, (x + 0.3 * w / columns, d / 2 + 0.035, z + 0.4 * h / rows)))
    parts += [] if tall else clutter(p, w, d, h, int(p.rng.integers(6)))
    return merge(parts), (w, d + 0.06, h)


def kitchen(p: Paints) -> Piece:
    """A counter with doors, things on it, and cupboards above."""
    w, d, h = p.rng.uniform(1.2, 3.0), 0.6, p.rng.uniform(0.85, 0.95)
    front, top = p.of("wood"), p.pattern("marble plaster tiles", p.colour((0, 0.3), (0.2, 0.95)), gloss=0.2)
    parts = [box((w, d - 0.04, h - 0.04), front), box((w + 0.02, d, 0.04), top, (0, 0, h - 0.04))]
    n, handle = max(2, round(w / 0.55)), p.of("metal")
    upper = p.rng.random() < 0.8
    for i in range(n):
        x = -w / 2 + (i + 0.5) * w / n
        parts.append(box((w / n - 0.015, 0.02, h - 0.2), front, (x, d / 2 - 0.01, 0.1)))
        parts.append(box((w / n * 0.4, 0.02, 0.02), handle, (x, d / 2 + 0.02, h - 0.18)))
        if upper and p.rng.random() < 0.9:
            parts.append(box((w / n - 0.01, 0.33, 0.7), front, (x, -d / 2 + 0.17, h + 0.52)))
            parts.append(box((0.02, 0.02, 0.12), handle, (x + w / n * 0.35, -d / 2 + 0.34, h + 0.57)))
    stove = float(p.rng.uniform(-w / 2 + 0.35, w / 2 - 0.35))
    parts.append(box((0.58, 0.03, h - 0.1), p.of("dark"), (stove, d / 2, 0.06)))
    parts.append(box((0.56, 0.5, 0.02), p.of("metal"), (stove, 0, h)))
    parts += clutter(p, w, d * 0.8, h, int(p.rng.integers(3, 9)), 0.45)
    return merge(parts), (w, d + 0.05, h + 1.2)


def bath(p: Paints) -> Piece:
    """A tub, a basin with a mirror, or a toilet."""
    white = p.pattern("plaster", p.colour((0, 0.1), (0.8, 0.98)), contrast=(0, 0.1), gloss=0.3)
    match int(p.rng.integers(3)):
        case 0:
            rim = [box((1.6, 0.08, 0.55), white, (0, y, 0)) for y in (-0.34, 0.34)]
            ends = [box((0.08, 0.6, 0.55), white, (x, 0, 0)) for x in (-0.76, 0.76)]
            return merge([*rim, *ends, box((1.5, 0.6, 0.15), white)]), (1.6, 0.78, 0.55)
        case 1:
            basin = blob((0.6, 0.45, 0.25), white, (0, 0, 0.62), 0.5)
            mirror = panel((0, -0.24, 1.5), (-0.5, 0, 0), (0, 0, 0.7), p.photo(strength=(0.3, 0.8), gloss=0.3))
            tap = tube(0.02, 0.2, p.of("metal"), (0, -0.15, 0.85))
            foot = box((0.5, 0.4, 0.65), p.of("wood")) if p.rng.random() < 0.5 else tube(0.09, 0.65, white, top=0.8)
            return merge([basin, mirror, tap, foot]), (0.6, 0.5, 1.8)
        case _:
            bowl, foot = blob((0.38, 0.5, 0.2), white, (0, 0.1, 0.22), 0.7), tube(0.13, 0.3, white, (0, 0.02, 0))
            lid = blob((0.37, 0.47, 0.04), white, (0, 0.1, 0.41), 0.5)
            return merge([bowl, foot, lid, box((0.38, 0.18, 0.4), white, (0, -0.24, 0.36))]), (0.4, 0.7, 0.8)


def floor_lamp(p: Paints) -> Piece:
    """A foot, a pole and a shade."""
    h, r = p.rng.uniform(1.2, 1.8), p.rng.uniform(0.12, 0.22)
    frame = p.of("metal")
    shade = tube(r, 0.28, p.shining(p.rng.uniform(0.1, 2)), (0, 0, h - 0.28), top=p.rng.uniform(0.5, 1))
    return merge([tube(0.15, 0.03, frame), tube(0.015, h - 0.1, frame), shade]), (0.4, 0.4, h)


def plant(p: Paints) -> Piece:
    """A pot with leaves."""
    r, h, leaf = p.rng.uniform(0.1, 0.22), p.rng.uniform(0.4, 1.6), p.of("leaf")
    parts = [tube(r, 0.3, p.of("thing"), top=1.2), tube(0.02, h * 0.6, p.of("wood"), (0, 0, 0.2))]
    for _ in range(int(p.rng.integers(5, 16))):
        size = p.rng.uniform((0.08, 0.25, 0.02), (0.16, 0.5, 0.15)) * (0.5 + h / 2)
        parts.append(turn(blob(size, leaf, (0, size[1] / 2, 0.25 + h * p.rng.uniform(0.2, 0.8))), p.rng.uniform(0, 7)))
    return merge(parts), (0.6, 0.6, h)


def heap(p: Paints) -> Piece:
    """Boxes, balls and rolls standing on the floor."""
    w, d = p.rng.uniform(0.25, 0.9, 2)
    parts, z = [], 0.0
    for _ in range(int(p.rng.integers(1, 4))):
        h, share = p.rng.uniform(0.12, 0.5), p.rng.uniform(0.7, 1)
        parts.append(turn(box((w * share, d * share, h), p.of("thing")), p.rng.uniform(-0.15, 0.15), (0, 0, z)))
        z += h
    return merge(parts + clutter(p, w * 0.7, d * 0.7, z, 2)), (w * 1.15, d * 1.15, z)


def clutter(p: Paints, w: float, d: float, z: float, n: int, room: float = 0.4) -> list[Mesh]:
    """At most `n` small things, none through another, on a surface of w x d metres at height z."""
    parts: list[Mesh] = []
    taken: list[tuple[float, float, float]] = []
    for _ in range(n):
        r = float(min(p.rng.uniform(0.03, 0.16), w / 2, d / 2))
        x, y = (p.rng.uniform(-1, 1, 2) * (w / 2 - r, d / 2 - r)).tolist()
        if any(np.hypot(x - a, y - b) < r + c for a, b, c in taken):
            continue
        taken.append((x, y, r))
        h = min(r * p.rng.uniform(0.5, 3.5), room)
        turned = float(p.rng.uniform(-3, 3))
        match int(p.rng.integers(6)):
            case 0 | 1:
                mesh = turn(box((r * 1.5, r * p.rng.uniform(0.5, 1.3), h), p.of("thing")), turned, (x, y, z))
            case 2:
                mesh = tube(
                    r * p.rng.uniform(0.3, 0.8), h, p.of("thing"), (x, y, z), top=float(p.rng.choice([0.5, 1, 1.3]))
                )
            case 3:
                size = r * p.rng.uniform(0.8, 1.9)
                mesh = blob((size, size, min(size, room)), p.of("thing"), (x, y, z))
            case 4:
                pages = p.of("thing")
                book = [
                    box((r * 1.6, r * 1.2, 0.03), pages if i % 2 else p.of("thing"), (0, 0, 0.03 * i)) for i in range(4)
                ]
                mesh = turn(merge(book[: int(p.rng.integers(1, 5))]), turned, (x, y, z))
            case _:
                stem = tube(r * 0.25, h * 0.6, p.of("thing"), (x, y, z))
                mesh = merge([stem, blob((r, r, h * 0.5), p.of("thing"), (x, y, z + h * 0.5), 0.8)])
        parts.append(mesh)
    return parts


def _table(p: Paints, w: float, d: float, h: float, n: int) -> Piece:
    top, frame = p.of("wood"), p.of("thing")
    round_top = p.rng.random() < 0.2
    if round_top:
        d = w
    slab = tube(w / 2, 0.04, top, (0, 0, h - 0.04)) if round_top else box((w, d, 0.04), top, (0, 0, h - 0.04))
    legs = [tube(0.04, h, frame), tube(w * 0.3, 0.04, frame)] if round_top else _legs(frame, w, d, h - 0.04)
    share = 0.68 if round_top else 1.0
    return merge([slab, *legs, *clutter(p, w * share, d * share, h, n)]), (w, d, h)


def _legs(paint: int, w: float, d: float, h: float, thick: float = 0.045) -> list[Mesh]:
    places = [(x, y, 0) for x in (-1, 1) for y in (-1, 1)]
    return [box((thick, thick, h), paint, (x * (w - thick) / 2, y * (d - thick) / 2, 0)) for x, y, _ in places]


def _screen(p: Paints, at: tuple[float, float, float]) -> Mesh:
    w, h = p.rng.uniform(0.4, 0.6), p.rng.uniform(0.26, 0.36)
    x, y, z = at
    dark = p.of("dark")
    picture = p.photo(glow=p.rng.uniform(0.3, 1.5)) if p.rng.random() < 0.6 else dark
    face = panel((x, y + 0.026, z + 0.1 + h / 2), (w * 0.94, 0, 0), (0, 0, h * 0.92), picture)
    return merge([box((w, 0.05, h), dark, (x, y, z + 0.1)), box((0.16, 0.12, 0.1), dark, at, (0.4, 0.4, 0)), face])


STYLES: dict[str, list[tuple[Callable[[Paints], Piece], float]]] = {
    "living": [(sofa, 4), (shelf, 2), (cupboard, 2), (floor_lamp, 1), (plant, 1), (low_table, 1), (heap, 0.5)],
    "bedroom": [(bed, 4), (cupboard, 3), (shelf, 1), (desk, 1), (heap, 1), (chair, 1), (floor_lamp, 0.5)],
    "kitchen": [(kitchen, 5), (cupboard, 2), (table, 1), (chair, 1), (shelf, 0.5), (heap, 0.5)],
    "office": [(desk, 5), (shelf, 3), (cupboard, 2), (chair, 2), (plant, 0.5), (heap, 1)],
    "bathroom": [(bath, 6), (cupboard, 2), (shelf, 0.5), (plant, 0.3)],
    "dining": [(cupboard, 3), (shelf, 1), (plant, 1), (floor_lamp, 1), (sofa, 1), (chair, 1)],
    "storage": [(shelf, 4), (heap, 4), (cupboard, 2), (table, 1), (chair, 1)],
}
"""What stands along the walls of each kind of room, with weights."""
