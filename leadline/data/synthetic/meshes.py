"""Triangles for synthetic scenes: boxes, tubes, blobs and panels in metres, x right, y forward, z up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

Point = Sequence[float] | np.ndarray


class Mesh(NamedTuple):
    """T triangles. Texture coordinates are metres, or 0..1 on a `panel`."""

    points: np.ndarray  # [T,3,3]: triangle, corner, xyz
    normals: np.ndarray  # [T,3,3]: unit normals at the corners
    uv: np.ndarray  # [T,3,2]
    material: np.ndarray  # [T] row of the material table
    group: np.ndarray  # [T] triangles of one smooth surface share a number


_CORNERS = np.array([[x, y, z] for z in (0, 1) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
_FACES = np.array([[0, 2, 6, 4], [1, 3, 7, 5], [0, 1, 5, 4], [2, 3, 7, 6], [0, 1, 3, 2], [4, 5, 7, 6]])
_SPLIT = _FACES[:, [[0, 1, 2], [0, 2, 3]]].reshape(12, 3)
_BOX = _CORNERS[_SPLIT]
_BOX_NORMALS = np.repeat(
    np.repeat([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1.0]], 2, 0)[:, None], 3, 1
)
_AXES = np.repeat([[1, 2], [1, 2], [0, 2], [0, 2], [0, 1], [0, 1]], 2, axis=0)[:, None]
_BOX_UV = (np.arange(12)[:, None, None], np.arange(3)[None, :, None], _AXES)  # the two axes in each face's plane
_BOX_GROUP = np.repeat(np.arange(6), 2)
_PANEL_UV = np.array([[[0, 1], [1, 1], [1, 0]], [[0, 1], [1, 0], [0, 0]]], np.float64)


def box(size: Point, material: int, at: Point = (0, 0, 0), top: tuple[float, float, float] = (1, 1, 0)) -> Mesh:
    """A box of `size` (x, y, z) whose bottom centre is `at`.

    `top` is how much of the bottom's x and y size the top has, and its shift along y in metres.
    """
    scale = np.asarray(size, np.float64)
    if top == (1, 1, 0):
        points, normals = _BOX * scale + at, _BOX_NORMALS
    else:
        corners = _CORNERS * scale
        corners[4:, :2] *= top[:2]
        corners[4:, 1] += top[2]
        points = (corners + at)[_SPLIT]
        normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        # a side that shrinks to a point has no area: its normal is never seen
        normals = np.repeat((normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))[:, None], 3, 1)
    return Mesh(points, normals, points[_BOX_UV], np.full(12, material), _BOX_GROUP)


def panel(centre: Point, across: Point, up: Point, material: int) -> Mesh:
    """A flat rectangle with edges `across` and `up`; its texture spans it exactly once."""
    c, u, v = (np.asarray(p, np.float64) for p in (centre, across, up))
    a, b, d, e = c - u / 2 - v / 2, c + u / 2 - v / 2, c + u / 2 + v / 2, c - u / 2 + v / 2
    normal = np.cross(u, v)
    normals = np.broadcast_to(normal / np.linalg.norm(normal), (2, 3, 3)).copy()
    return Mesh(np.array([[a, b, d], [a, d, e]]), normals, _PANEL_UV, np.full(2, material), np.zeros(2, int))


def tube(
    radius: float, height: float, material: int, at: Point = (0, 0, 0), *, top: float = 1, lying: bool = False
) -> Mesh:
    """A closed upright cylinder on `at`, or a cone's stump where `top` (share of the radius) is not 1.

    `lying` turns its axis to x: then `at` is the middle of its axis.
    """
    points, normals, uv, group = _tube(float(top))
    points, uv = points * (radius, radius, height), uv * (radius, height)
    if lying:
        points = (points - (0, 0, height / 2))[..., [2, 1, 0]]
        normals = normals[..., [2, 1, 0]]
    return Mesh(points + at, normals, uv, np.full(len(points), material), group)


def blob(size: Point, material: int, at: Point = (0, 0, 0), power: float = 1.0, *, coarse: bool = False) -> Mesh:
    """A superellipsoid of `size` on `at`, its lowest point: power 1 is an ellipsoid, 0.3 a cushion, 0.1 a box.

    `coarse` spends a third of the triangles, for what is small or far.
    """
    points, normals, angles = _blob(round(float(power), 1), *((9, 6) if coarse else (16, 9)))
    scale = np.asarray(size, np.float64)
    bent = normals / scale
    bent /= np.maximum(np.linalg.norm(bent, axis=2, keepdims=True), 1e-12)
    place = points * scale + np.asarray(at) + (0, 0, scale[2] / 2)
    return Mesh(place, bent, angles * scale.mean(), np.full(len(points), material), np.zeros(len(points), int))


def merge(meshes: Iterable[Mesh]) -> Mesh:
    """All triangles as one mesh; surfaces stay apart."""
    parts = list(meshes)
    groups, first = [], 0
    for part in parts:
        groups.append(part.group + first)
        first += int(part.group.max()) + 1
    points, normals, uv, material, _ = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Mesh(points, normals, uv, material, np.concatenate(groups))


def turn(mesh: Mesh, angle: float, shift: Point = (0, 0, 0)) -> Mesh:
    """The mesh turned by `angle` (radians, counter-clockwise from above) about the z axis, then moved by `shift`."""
    c, s = np.cos(angle), np.sin(angle)
    back = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])  # row vectors: the transpose of the turn
    return mesh._replace(points=mesh.points @ back + np.asarray(shift), normals=mesh.normals @ back)


@lru_cache(maxsize=32)
def _tube(top: float, sides: int = 14) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points, normals, uv and groups of a tube of radius 1 and height 1."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low = np.column_stack([ring, np.zeros(sides + 1)])
    high = np.column_stack([ring * top, np.ones(sides + 1)])
    flat = np.column_stack([ring, np.zeros(sides + 1)])
    points, normals, uv, group = [], [], [], []
    for i in range(sides):
        j = i + 1
        for ends in (((0, i), (0, j), (1, j)), ((0, i), (1, j), (1, i))):
            points.append([(low, high)[level][k] for level, k in ends])
            normals.append([flat[k] for _, k in ends])
            uv.append([(angle[k], level) for level, k in ends])
            group.append(0)
        for level, rim, z in ((1, high, 1.0), (2, low, 0.0)):
            points.append([np.array([0, 0, z]), rim[i], rim[j]])
            normals.append([np.array([0, 0, 2 * z - 1])] * 3)
            uv.append([(0, 0), tuple(ring[i]), tuple(ring[j])])
            group.append(level)
    return np.array(points), np.array(normals), np.array(uv, np.float64), np.array(group)


@lru_cache(maxsize=32)
def _blob(power: float, around: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, normals and angles of a superellipsoid of size 1 about the origin."""
    v, u = np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, rows), np.linspace(-np.pi, np.pi, around + 1), indexing="ij")

    def bend(values: np.ndarray, exponent: float) -> np.ndarray:
        return np.asarray(np.sign(values) * np.abs(values).clip(1e-9) ** exponent)

    shape = [bend(np.cos(v), power) * bend(np.cos(u), power), bend(np.cos(v), power) * bend(np.sin(u), power)]
    points = 0.5 * np.stack([*shape, bend(np.sin(v), power)], axis=2)
    inverse = 2 - power
    shape = [bend(np.cos(v), inverse) * bend(np.cos(u), inverse), bend(np.cos(v), inverse) * bend(np.sin(u), inverse)]
    normals = np.stack([*shape, bend(np.sin(v), inverse)], axis=2)
    angles = np.stack([u, v], axis=2)

    def triangles(grid: np.ndarray) -> np.ndarray:
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
        pairs = np.stack([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)], axis=2)
        return pairs.reshape(-1, 3, grid.shape[-1])

    return triangles(points), triangles(normals), triangles(angles)
