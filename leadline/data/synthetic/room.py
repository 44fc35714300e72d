"""One furnished room from a random generator: walls, openings, furniture, lamps, and where the camera stands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leadline.data.synthetic import furniture as furniture
from leadline.data.synthetic.furniture import STYLES, Piece, clutter
from leadline.data.synthetic.materials import Paints
from leadline.data.synthetic.meshes import Mesh, box, merge, panel, tube, turn
from leadline.data.synthetic.scene import Light, Pose, Scene, pose
from leadline.data.synthetic.textures import Textures

Rectangle = tuple[float, float, float, float]


@dataclass
class _Plan:
    """The room while it is being furnished: its sizes, what is taken on the floor and on each wall, what stands."""

    size: tuple[float, float, float]
    camera: np.ndarray
    floor: list[Rectangle] = field(default_factory=list)
    walls: list[list[Rectangle]] = field(default_factory=lambda: [[], [], [], []])
    parts: list[Mesh] = field(default_factory=list)

    def wall(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Start, direction, inward normal and length of wall `k`, counter-clockwise from the near one."""
        w, d, _ = self.size
        starts = [(-w / 2, 0), (w / 2, 0), (w / 2, d), (-w / 2, d)]
        along = [(1, 0), (0, 1), (-1, 0), (0, -1)]
        e = np.array(along[k], np.float64)
        return np.array(starts[k], np.float64), e, np.array([-e[1], e[0]]), (w, d)[k % 2]

    def stand(self, piece: Piece, x: float, y: float, angle: float, *, tuck: bool = False) -> bool:
        """Put the piece there unless it meets another, a wall or the camera; True where it stands."""
        mesh, (a, b, height) = piece
        c, s = abs(np.cos(angle)), abs(np.sin(angle))
        half = np.array([a * c + b * s, a * s + b * c]) / 2
        spot = (x - half[0], y - half[1], x + half[0], y + half[1])
        w, d, h = self.size
        if spot[0] < -w / 2 or spot[2] > w / 2 or spot[1] < 0 or spot[3] > d or height > h:
            return False
        near = np.maximum(np.abs(self.camera[:2] - (x, y)) - half, 0)
        if np.hypot(*near) < (0.9 if height > 1.1 else 0.3):
            return False
        if not tuck and any(_meet(spot, other) for other in self.floor):
            return False
        self.floor.append(spot)
        self.parts.append(turn(mesh, angle, (x, y, 0)))
        return True

    def hang(self, k: int, spot: Rectangle) -> bool:
        """Take the part `spot` (along, height, along, height) of wall `k`; False where it is taken."""
        if spot[0] < 0.02 or spot[2] > self.wall(k)[3] - 0.02 or any(_meet(spot, other) for other in self.walls[k]):
            return False
        self.walls[k].append(spot)
        return True


def room(rng: np.random.Generator, textures: Textures) -> tuple[Scene, Pose]:
    """A room of 2 to 10 metres and a camera in it at 0.8 to 1.8 m, near a wall and looking across."""
    p = Paints(rng, textures)
    scale = float(rng.choice([0.8, 1.0, 1.4, 1.9], p=(0.2, 0.45, 0.25, 0.1)))
    plan_size = (rng.uniform(2.4, 4.8) * scale, rng.uniform(2.7, 5.2) * scale, rng.uniform(2.3, 2.9))
    w, d, h = (float(v) for v in plan_size)
    eye = np.array([rng.uniform(-0.4, 0.4) * w, rng.uniform(0.1, 0.3) * d, np.clip(rng.normal(1.35, 0.2), 0.8, 1.8)])
    plan = _Plan((w, d, h), eye)
    style = str(rng.choice(list(STYLES)))
    aim = np.array([rng.uniform(-0.35, 0.35) * w, rng.uniform(0.55, 0.95) * d]) - eye[:2]
    yaw = float(np.arctan2(aim[0], aim[1]))

    _shell(p, plan)
    lights = _openings(p, plan) + _lamps(p, plan)
    for _ in range(int(rng.choice(3, p=(0.2, 0.55, 0.25)))):
        _foreground(p, plan, yaw)
    _along_walls(p, plan, style)
    _middle(p, plan)
    _on_walls(p, plan)

    level = rng.uniform(0.15, 0.8)
    tint = 1 + rng.uniform(-0.12, 0.12, 3)
    ambient = level * tint * np.array([[rng.uniform(0.5, 0.9)], [1.0]])
    scene = Scene(merge(plan.parts), p.table(), tuple(lights), ambient, np.array([0.0, 0, 1]))
    return scene, pose(eye, yaw, rng.normal(-0.24, 0.13), rng.normal(0, 0.04))


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _shell(p: Paints, plan: _Plan) -> None:
    """Floor, ceiling, four walls, skirting boards, now and then a chimney breast or a rug."""
    w, d, h = plan.size
    wall, floor = p.of("wall"), p.of("floor")
    ceiling = p.pattern("plaster tiles", p.colour((0, 0.1), (0.8, 0.98)), contrast=(0.02, 0.12), size=(1, 3))
    other = p.of("wall") if p.rng.random() < 0.25 else wall
    shell = box((w, d, h), wall, (0, d / 2, 0))
    plan.parts.append(shell._replace(material=np.repeat([wall, wall, wall, other, floor, ceiling], 2)))
    if p.rng.random() < 0.7:
        paint, high = p.of("wood"), p.rng.uniform(0.05, 0.14)
        plan.parts += [box((w, 0.015, high), paint, (0, d - 0.008, 0))]
        plan.parts += [box((0.015, d, high), paint, (x * (w / 2 - 0.008), d / 2, 0)) for x in (-1, 1)]
    if p.rng.random() < 0.25:
        a, b = p.rng.uniform(0.4, 1.3, 2)
        x, y = p.rng.choice([-1, 1]) * (w - a) / 2, d - b / 2
        plan.stand((box((a, b, h), wall), (a, b, h)), x, y, 0)
    if p.rng.random() < 0.4:
        a, b = p.rng.uniform(1, 2.2, 2)
        rug = box((min(a, w * 0.8), min(b, d * 0.6), 0.012), p.of("cloth"))
        plan.parts.append(
            turn(rug, p.rng.normal(0, 0.1), (p.rng.uniform(-0.2, 0.2) * w, d * p.rng.uniform(0.4, 0.6), 0))
        )


def _openings(p: Paints, plan: _Plan) -> list[Light]:
    """Doors and windows; by day the windows shine."""
    lights: list[Light] = []
    day = p.rng.random() < 0.6
    for k in p.rng.permutation(4)[: int(p.rng.integers(1, 4))].tolist():
        start, e, inward, length = plan.wall(k)
        if p.rng.random() < 0.4:
            a, high = p.rng.uniform(0.75, 1.0), min(p.rng.uniform(1.95, 2.1), plan.size[2] - 0.1)
            s = p.rng.uniform(0.1, max(length - a - 0.1, 0.11))
            if plan.hang(k, (s, 0, s + a, high)):
                leaf = p.of("dark") if p.rng.random() < 0.2 else p.of("wood") if p.rng.random() < 0.7 else p.of("plain")
                _flat(p, plan, k, s + a / 2, 0.0, a, high, leaf, frame=p.of("wood"))
                centre = start + e * (s + a / 2) + inward * 0.35
                half = np.abs(e) * a / 2 + np.abs(inward) * 0.35
                plan.floor.append((*(centre - half), *(centre + half)))
            continue
        a, low = p.rng.uniform(0.7, 1.8), p.rng.uniform(0.7, 1.1)
        high = p.rng.uniform(0.8, 1.3)
        s = p.rng.uniform(0.1, max(length - a - 0.1, 0.11))
        if high + low > plan.size[2] - 0.1 or not plan.hang(k, (s, low, s + a, low + high)):
            continue
        glow = p.rng.uniform(1.5, 6) if day else 0.02
        pane = p.photo(glow=glow, strength=(0.1, 0.7)) if p.rng.random() < 0.5 else p.shining(glow)
        frame = p.of("wood")
        _flat(p, plan, k, s + a / 2, low, a, high, pane, frame=frame)
        bar, angle = box((0.04, 0.05, high), frame, (0, 0.025, 0)), float(np.arctan2(-inward[0], inward[1]))
        plan.parts.append(turn(bar, angle, (*(start + e * (s + a / 2)), low)))
        place = np.array([*(start + e * (s + a / 2) + inward * 0.08), low + high / 2])
        if day and len(lights) < 2:
            spans = np.array([[*(e * a), 0], [0, 0, high]])
            cold = np.array([0.9, 1.0, 1.15]) * p.rng.uniform(0.9, 1.1, 3)
            lights.append(Light(place, spans, p.rng.uniform(2, 8) * a * high * cold, np.array([*inward, 0.0])))
        if p.rng.random() < 0.45:
            cloth = p.of("cloth")
            for side in (s - 0.05, s + a + 0.05):
                for i in range(5):
                    spot = start + e * (side + (i - 2) * 0.07) + inward * 0.09
                    if 0.1 < side < length - 0.1:
                        plan.parts.append(tube(0.05, high + 0.4, cloth, (*spot, max(low - 0.3, 0.02))))
    return lights


def _lamps(p: Paints, plan: _Plan) -> list[Light]:
    """One or two lamps under the ceiling, and one from the camera's side where flash or another room helps."""
    w, d, h = plan.size
    lights = []
    for _ in range(int(p.rng.choice([0, 1, 2], p=(0.15, 0.65, 0.2)))):
        x, y = p.rng.uniform(-0.35, 0.35) * w, p.rng.uniform(0.25, 0.85) * d
        size, drop = p.rng.uniform(0.2, 0.9), p.rng.choice([0.02, 0.06, 0.5])
        lamp = p.shining(p.rng.uniform(1, 5))
        shape = box((size, size * p.rng.uniform(0.3, 1), 0.05), lamp, (x, y, h - drop - 0.05))
        if drop == 0.5:
            shape = tube(size * 0.3, 0.2, lamp, (x, y, h - drop), top=0.6)
            plan.parts.append(tube(0.01, drop - 0.2, p.of("dark"), (x, y, h - drop + 0.2)))
        plan.parts.append(shape)
        warm = np.array([1.1, 1.0, p.rng.uniform(0.6, 1.0)])
        spans = np.array([[size, 0, 0], [0, size, 0]])
        lights.append(
            Light(np.array([x, y, h - drop - 0.1]), spans, p.rng.uniform(1, 5) * warm, np.array([0.0, 0, -1]))
        )
    if not lights or p.rng.random() < 0.2:
        place = plan.camera + np.array([p.rng.normal(0, 0.5), 0, 0.6])
        place[2] = min(place[2], h - 0.1)
        lights.append(Light(place, np.eye(3)[:2] * 0.2, np.full(3, p.rng.uniform(1, 4))))
    return lights


def _foreground(p: Paints, plan: _Plan, yaw: float) -> None:
    """Something low within reach of the camera."""
    kinds = (furniture.table, furniture.low_table, furniture.chair, furniture.bed, furniture.sofa, furniture.heap)
    for _ in range(3):
        piece = kinds[int(p.rng.integers(len(kinds)))](p)
        away, side = p.rng.uniform(0.65, 1.6), p.rng.uniform(-0.55, 0.55)
        x, y = plan.camera[:2] + away * np.array([np.sin(yaw + side), np.cos(yaw + side)])
        if piece[1][2] < 1.1 and plan.stand(piece, x, y, p.rng.uniform(-np.pi, np.pi)):
            return


def _along_walls(p: Paints, plan: _Plan, style: str) -> None:
    pieces, weights = zip(*STYLES[style], strict=True)
    share = np.array(weights) / sum(weights)
    for k in p.rng.permutation(4).tolist():
        start, e, inward, length = plan.wall(k)
        s = p.rng.uniform(0, 0.5)
        while s < length - 0.3:
            make = pieces[int(p.rng.choice(len(pieces), p=share))]
            mesh, (a, b, high) = make(p)
            x, y = start + e * (s + a / 2) + inward * (b / 2 + p.rng.uniform(0.02, 0.06))
            spot = (s, 0.0, s + a, high)
            free = not any(_meet(spot, other) for other in plan.walls[k])
            angle = float(np.arctan2(-inward[0], inward[1]))
            if free and plan.stand((mesh, (a, b, high)), x, y, angle):
                plan.walls[k].append(spot)
                s += a + p.rng.uniform(0.0, 0.3)
            else:
                s += p.rng.uniform(0.1, 0.5)


def _middle(p: Paints, plan: _Plan) -> None:
    """Tables with chairs about them, single pieces, heaps."""
    w, d, _ = plan.size
    kinds = (furniture.table, furniture.low_table, furniture.chair, furniture.heap, furniture.plant)
    for _ in range(int(p.rng.integers(2, 8))):
        make = kinds[int(p.rng.choice(5, p=(0.3, 0.15, 0.25, 0.25, 0.05)))]
        piece = make(p)
        x, y, angle = p.rng.uniform(-0.42, 0.42) * w, p.rng.uniform(0.15, 0.95) * d, p.rng.choice([0, np.pi / 2])
        angle += p.rng.normal(0, 0.25)
        if not plan.stand(piece, x, y, angle) or make is not furniture.table:
            continue
        for side in range(4):
            if p.rng.random() < 0.55:
                turned = angle + side * np.pi / 2
                away = piece[1][1 - side % 2] / 2 + p.rng.uniform(0.1, 0.4)
                at = (x + np.sin(turned) * away, y - np.cos(turned) * away)
                if not any(_meet((at[0] - 0.2, at[1] - 0.2, at[0] + 0.2, at[1] + 0.2), r) for r in plan.floor[:-1]):
                    plan.stand(furniture.chair(p), *at, turned, tuck=True)
    for mesh in clutter(p, w * 0.9, d * 0.8, 0, int(p.rng.integers(0, 8))):
        low, high = mesh.points.min(axis=(0, 1)), mesh.points.max(axis=(0, 1))
        size, middle = high - low, (high + low) / 2
        plan.stand((turn(mesh, 0, (-middle[0], -middle[1], 0)), tuple(size)), middle[0], middle[1] + d / 2, 0)


def _on_walls(p: Paints, plan: _Plan) -> None:
    """Pictures, boards and small shelves."""
    for k in range(4):
        start, e, inward, length = plan.wall(k)
        for _ in range(int(p.rng.integers(0, 6))):
            a, b = p.rng.uniform(0.2, 1.1), p.rng.uniform(0.2, 0.9)
            s, low = p.rng.uniform(0, length), p.rng.uniform(1.0, 1.6)
            if not plan.hang(k, (s, low, s + a, low + b)) or low + b > plan.size[2] - 0.1:
                continue
            if p.rng.random() < 0.2:
                board = merge([box((a, 0.2, 0.025), p.of("wood")), *clutter(p, a, 0.18, 0.025, 4, b - 0.03)])
                spot = start + e * (s + a / 2) + inward * 0.105
                plan.parts.append(turn(board, float(np.arctan2(-inward[0], inward[1])), (*spot, low)))
            else:
                _flat(
                    p, plan, k, s + a / 2, low, a, b, p.photo(), frame=p.of("thing") if p.rng.random() < 0.7 else None
                )


def _flat(
    p: Paints, plan: _Plan, k: int, s: float, low: float, a: float, b: float, paint: int, *, frame: int | None = None
) -> None:
    """A panel a x b on wall `k`: foot `low` above the floor, middle `s` along the wall, framed or not."""
    start, e, inward, _ = plan.wall(k)
    angle = float(np.arctan2(-inward[0], inward[1]))
    spot = (*(start + e * s), low)
    face = panel((0, 0.026, b / 2), (-a, 0, 0), (0, 0, b), paint)
    plan.parts.append(turn(merge([box((a, 0.025, b), paint, (0, 0.0125, 0)), face]), angle, spot))
    if frame is not None:
        edge = p.rng.uniform(0.02, 0.07)
        bars = [box((edge, 0.045, b + edge), frame, (x * a / 2, 0.02, 0)) for x in (-1, 1)]
        bars += [box((a + edge, 0.045, edge), frame, (0, 0.02, z)) for z in (-edge / 2 if low else 0, b - edge / 2)]
        plan.parts.append(turn(merge(bars), angle, spot))
