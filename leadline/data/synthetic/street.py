"""One street from a random generator: road, pavements, house fronts, cars, trees, poles, people, sun or cloud."""

from __future__ import annotations

import numpy as np

from leadline.data.synthetic.materials import Paints
from leadline.data.synthetic.meshes import Mesh, blob, box, merge, panel, tube, turn
from leadline.data.synthetic.scene import Light, Pose, Scene, pose
from leadline.data.synthetic.textures import Textures

_NEAR, _FAR = -15.0, 160.0  # metres before and behind which nothing is built


def street(rng: np.random.Generator, textures: Textures) -> tuple[Scene, Pose]:
    """A street along +y and a camera 1.65 m above its right lane, as on KITTI's car."""
    p = Paints(rng, textures)
    half, walk = rng.uniform(3.8, 6.0), rng.uniform(1.5, 4.5)
    parts = _ground(p, half, walk)
    for side in (-1, 1):
        parts += _houses(p, side, half + walk) if rng.random() < 0.8 else _hedge(p, side, half + walk)
        parts += _parked(p, side, half) if rng.random() < 0.75 else []
        parts += _pavement(p, side, half, walk)
    for lane in (-1, 1):
        ahead = rng.uniform(8, 60)
        while ahead < 90 and rng.random() < 0.5:
            parts.append(turn(_car(p), (0 if lane > 0 else np.pi) + rng.normal(0, 0.03), (lane * half * 0.3, ahead, 0)))
            ahead += rng.uniform(7, 30)
    if rng.random() < 0.5:
        parts += _end(p, half + walk)

    cloudy = rng.random() < 0.35
    height, turned = rng.uniform(0.35, 1.3), rng.uniform(-np.pi, np.pi)
    sun = np.array([np.cos(height) * np.sin(turned), np.cos(height) * np.cos(turned), np.sin(height)])
    warm = np.array([1.1, 1.0, rng.uniform(0.75, 0.95)])
    spans = np.array([[0.02, 0, 0], [0, 0.02, 0]])
    lights = () if cloudy else (Light(sun, spans, rng.uniform(1.5, 3.5) * warm, far=True),)
    blue = np.array([0.75, 0.9, 1.1]) * rng.uniform(0.6, 1.0)
    above = np.full(3, 0.9) if cloudy else blue
    pale = np.full(3, rng.uniform(1.0, 1.6))
    overhead = pale * 0.8 if cloudy else rng.uniform(0.7, 1.6) * np.array([0.35, 0.6, 1.0])
    ambient = np.array([above * 0.45, above])
    scene = Scene(
        merge(parts),
        p.table(),
        lights,
        ambient,
        up=np.array([0.0, 0, 1]),
        sky=np.array([pale, overhead]),
        cloud=p.tile("plaster"),
        overcast=float(rng.uniform(0, 1) if cloudy else rng.uniform(-1, 0.3)),
    )
    place = np.array([half * 0.3 + rng.normal(0, 0.4), 0, 1.65 + rng.normal(0, 0.05)])
    return scene, pose(place, rng.normal(0, 0.08), rng.normal(-0.01, 0.015), rng.normal(0, 0.01))


def _ground(p: Paints, half: float, walk: float) -> list[Mesh]:
    """Road, markings, kerbs and the land behind; large patches, so that near and far are one surface each."""
    length, middle = _FAR - _NEAR, (_FAR + _NEAR) / 2
    grey = p.colour((0, 0.1), (0.25, 0.6))
    road = p.pattern("carpet plaster", grey, size=(1.5, 4), contrast=(0.1, 0.4))
    stone = p.pattern("tiles plaster carpet", p.colour((0, 0.15), (0.4, 0.8)), size=(0.8, 2), contrast=(0.1, 0.4))
    land = p.of("leaf") if p.rng.random() < 0.6 else stone
    parts = [box((2 * half, length, 0.5), road, (0, middle, -0.5))]
    for side in (-1, 1):
        parts.append(box((walk, length, 0.62), stone, (side * (half + walk / 2), middle, -0.5)))
        parts.append(box((40, length, 0.6), land, (side * (half + walk + 20), middle, -0.5)))
    white = p.pattern("plaster carpet", p.colour((0, 0.1), (0.7, 0.95)), size=(1, 2))
    if p.rng.random() < 0.7:
        dash, gap = p.rng.uniform(2, 4), p.rng.uniform(2, 6)
        for y in np.arange(_NEAR, 90, dash + gap):
            parts.append(box((0.12, dash, 0.006), white, (0, y, 0)))
    if p.rng.random() < 0.4:
        parts += [box((0.12, length, 0.006), white, (side * (half - 0.3), middle, 0)) for side in (-1, 1)]
    for _ in range(int(p.rng.integers(0, 5))):
        size = (*p.rng.uniform(0.6, 3, 2), 0.004)
        parts.append(
            box(size, p.pattern("carpet", grey * 0.7), (p.rng.uniform(-0.6, 0.6) * half, p.rng.uniform(5, 40), 0))
        )
    return parts


def _houses(p: Paints, side: int, edge: float) -> list[Mesh]:
    """House fronts with windows and doors, some set back, some with a roof; gaps between them."""
    parts: list[Mesh] = []
    y = _NEAR + p.rng.uniform(-8, 0)
    back = edge + p.rng.uniform(0, 5)
    while y < _FAR:
        w, d, h = p.rng.uniform(6, 18), p.rng.uniform(8, 14), p.rng.uniform(3.5, 16)
        front = back + p.rng.uniform(0, 2) * (p.rng.random() < 0.4)
        wall = p.of("wall")
        parts.append(box((d, w, h), wall, (side * (front + d / 2), y + w / 2, 0)))
        if p.rng.random() < 0.5:
            roof = p.pattern("bricks tiles planks plaster", p.colour((0, 0.6), (0.15, 0.6), (0, 0.08)))
            parts.append(box((d + 0.6, w, 2.5), roof, (side * (front + d / 2), y + w / 2, h), (0.05, 1, 0)))
        parts += _windows(p, side * (front - 0.02), -side, y, w, h)
        y += w + (p.rng.uniform(1, 12) if p.rng.random() < 0.3 else 0.0)
    return parts


def _windows(p: Paints, x: float, normal: int, y: float, w: float, h: float) -> list[Mesh]:
    """Rows of windows and a door on a front at `x` that faces `normal` along x, from y to y + w."""
    storey, each = p.rng.uniform(2.7, 3.3), p.rng.uniform(1.8, 3.2)
    a, b = p.rng.uniform(0.8, 1.4), p.rng.uniform(1.1, 1.7)
    glass, frame, door = p.photo(strength=(0.2, 0.7), gloss=0.4), p.of("plain"), p.of("wood")
    if p.rng.random() < 0.4:
        glass = p.of("dark")
    parts: list[Mesh] = []
    n, rows = max(1, int(w / each)), max(1, int((h - 0.6) / storey))
    entry = int(p.rng.integers(n))
    for i in range(n):
        middle = y + (i + 0.5) * w / n
        for row in range(rows if y < 90 else 0):
            if row == 0 and i == entry:
                parts.append(box((0.1, 1.0, 2.1), door, (x, middle, 0.05)))
                continue
            low = row * storey + 1.0
            parts.append(box((0.1, a + 0.16, b + 0.16), frame, (x + 0.02 * normal, middle, low - 0.08)))
            across = (0, a * -normal, 0)
            parts.append(panel((x + 0.075 * normal, middle, low + b / 2), across, (0, 0, b), glass))
    return parts


def _hedge(p: Paints, side: int, edge: float) -> list[Mesh]:
    """A hedge, wall or fence with trees behind."""
    h = p.rng.uniform(0.8, 2.5)
    paint = p.of("leaf") if p.rng.random() < 0.6 else p.of("wall")
    parts = [box((0.5, _FAR - _NEAR, h), paint, (side * (edge + 0.4), (_FAR + _NEAR) / 2, 0))]
    for y in np.arange(_NEAR, 140, p.rng.uniform(5, 14)):
        at = (side * (edge + p.rng.uniform(2, 12)), y + p.rng.uniform(-2, 2), 0)
        parts.append(turn(_tree(p), 0, at))
    return parts


def _parked(p: Paints, side: int, half: float) -> list[Mesh]:
    parts, y = [], p.rng.uniform(4, 14)
    inset = p.rng.uniform(0.95, 1.2)  # of their middle from the kerb
    while y < 100:
        if p.rng.random() < 0.65:
            angle = (0 if p.rng.random() < 0.6 else np.pi) + p.rng.normal(0, 0.04)
            parts.append(turn(_car(p), angle, (side * (half - inset), y, 0.0)))
        y += p.rng.uniform(5.0, 7.5)
    return parts


def _pavement(p: Paints, side: int, half: float, walk: float) -> list[Mesh]:
    """Trees, lamp posts, signs, bins and people on one pavement."""
    parts: list[Mesh] = []
    kinds = [_tree, _pole, _sign, _person, _bin]
    share = p.rng.dirichlet(np.ones(5))
    y = p.rng.uniform(2, 10)
    spread = p.rng.uniform(3, 12)
    while y < 110:
        make = kinds[int(p.rng.choice(5, p=share))]
        x = half + p.rng.uniform(0.3, max(walk - 0.3, 0.4))
        parts.append(turn(make(p), p.rng.uniform(-3, 3), (side * x, y, 0.12)))
        y += spread * p.rng.uniform(0.5, 1.8)
    return parts


def _end(p: Paints, edge: float) -> list[Mesh]:
    """A house across the end of the street."""
    y, h = p.rng.uniform(35, 130), p.rng.uniform(6, 15)
    return [box((2 * edge + 12, 10, h), p.of("wall"), (p.rng.uniform(-6, 6), y + 5, 0))]


def _car(p: Paints) -> Mesh:
    """A car, van or lorry heading along +y."""
    w, length, van = p.rng.uniform(1.65, 1.9), p.rng.uniform(3.6, 4.8), p.rng.random() < 0.2
    body = p.pattern("plaster", p.colour((0, 0.9)), contrast=(0, 0.15), gloss=0.4)
    glass, tyre, lamp = p.of("dark"), p.of("dark"), p.of("plain")
    h = p.rng.uniform(0.7, 0.85)
    parts = [blob((w, length, h * 0.9), body, (0, 0, 0.22), 0.2)]
    if van:
        high = p.rng.uniform(1.0, 1.9)
        parts += [box((w, length * 0.78, high), body, (0, -length * 0.1, h), (0.95, 0.97, 0))]
        parts += [panel((0, length * 0.293, h + high * 0.6), (-w * 0.85, 0, 0), (0, -0.02, high * 0.5), glass)]
    else:
        shift, long = -length * p.rng.uniform(0.02, 0.1), length * p.rng.uniform(0.55, 0.7)
        parts += [box((w * 0.94, long, 0.5), glass, (0, shift, h + 0.12), (0.8, 0.62, -0.05))]
        parts += [box((w * 0.78, long * 0.63, 0.05), body, (0, shift - 0.05, h + 0.61))]
        parts += [box((w * 0.92, 0.08, 0.5), body, (0, shift - 0.05, h + 0.12), (0.86, 1, 0))]
    r = p.rng.uniform(0.29, 0.36)
    for x in (-1, 1):
        for y in (-0.31, 0.31):
            parts.append(tube(r, 0.2, tyre, (x * (w / 2 - 0.09), y * length, r), lying=True))
            parts.append(tube(r * 0.6, 0.22, lamp, (x * (w / 2 - 0.09), y * length, r), lying=True))
        for y in (-0.5, 0.5):
            parts.append(box((0.3, 0.1, 0.14), lamp, (x * (w / 2 - 0.22), y * (length - 0.1), h * 0.75)))
    parts += [box((0.5, 0.06, 0.12), lamp, (0, -length / 2 + 0.01, 0.5))]
    return merge(parts)


def _tree(p: Paints) -> Mesh:
    h, r, leaf = p.rng.uniform(2, 4.5), p.rng.uniform(1, 2.6), p.of("leaf")
    bark = p.pattern("wood carpet", p.colour((0.2, 0.5), (0.15, 0.5), (0.04, 0.1)), size=(0.3, 0.8))
    parts = [tube(p.rng.uniform(0.08, 0.25), h + 0.5, bark, top=0.7)]
    parts.append(blob((r, r, r), leaf, (0, 0, h - 0.1 * r), coarse=True))
    for _ in range(int(p.rng.integers(6, 16))):
        size = r * p.rng.uniform(0.3, 0.95, 3)
        spot = p.rng.normal(0, 0.33 * r, 3)
        parts.append(blob(size, leaf, (spot[0], spot[1], h + spot[2]), coarse=True))
    return merge(parts)


def _pole(p: Paints) -> Mesh:
    h, paint = p.rng.uniform(4, 8), p.of("metal")
    arm = box((0.08, p.rng.uniform(0.2, 1.8), 0.08), paint, (0, 0.6, h))
    return merge(
        [
            tube(p.rng.uniform(0.05, 0.12), h, paint, top=0.7),
            arm,
            blob((0.3, 0.6, 0.2), p.of("plain"), (0, 1.2, h - 0.1)),
        ]
    )


def _sign(p: Paints) -> Mesh:
    h, a = p.rng.uniform(2, 3), p.rng.uniform(0.4, 0.9)
    plate = panel((0, 0.05, h), (a, 0, 0), (0, 0, a * p.rng.uniform(0.6, 1.3)), p.photo())
    return merge([tube(0.04, h, p.of("metal")), plate])


def _person(p: Paints) -> Mesh:
    h, skin = p.rng.uniform(1.5, 1.9), p.pattern("plaster", p.colour((0.3, 0.6), (0.3, 0.9), (0.03, 0.08)))
    legs, shirt, stride = p.of("cloth"), p.of("cloth"), p.rng.uniform(0.05, 0.25)
    parts = [blob((0.17, 0.2, h * 0.52), legs, (x * 0.1, x * stride, 0), 0.5) for x in (-1, 1)]
    parts += [blob((0.13, 0.15, h * 0.36), shirt, (x * 0.25, -x * stride / 2, h * 0.47), 0.6) for x in (-1, 1)]
    return merge(
        [
            *parts,
            blob((0.44, 0.28, h * 0.4), shirt, (0, 0, h * 0.46), 0.6),
            blob((0.2, 0.23, 0.27), skin, (0, 0, h - 0.27)),
        ]
    )


def _bin(p: Paints) -> Mesh:
    size = p.rng.uniform((0.4, 0.4, 0.6), (1.2, 0.9, 1.3))
    return merge(
        [
            box(size, p.of("thing"), (0, 0, 0), (1.1, 1.1, 0)),
            box((*size[:2] * 1.15, 0.06), p.of("plain"), (0, 0, size[2])),
        ]
    )
