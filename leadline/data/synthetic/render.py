"""Light in synthetic scenes: rays through every pixel, soft shadows, one bounce, and a camera that is not perfect.

Everything lives in the left camera's frame (x right, y down, z forward), so a ray (x, y, 1) * t hits at depth t.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from leadline.core.errors import MissingPackage
from leadline.data.synthetic.meshes import Mesh
from leadline.data.synthetic.scene import Light, Scene
from leadline.data.synthetic.textures import Textures

World = Any
"""An Embree scene, whose package has no types."""

_REACH = 3  # pixels: half the window in which light is smoothed on one surface


class _View(NamedTuple):
    """One look at a scene: what all steps of drawing it share."""

    scene: Scene
    world: World
    textures: Textures
    intrinsics: np.ndarray
    size: tuple[int, int]
    eye: np.ndarray  # [3]
    rng: np.random.Generator


def rays(intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Directions float32 [H*W,3] with z = 1 through the middle of every pixel; pixel (row i, column j) is (j, i)."""
    y, x = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    return np.asarray((pixels @ np.linalg.inv(intrinsics).T).astype(np.float32))


def look(
    scene: Scene,
    world: World,
    textures: Textures,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    shift: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """What a camera moved right by `shift` metres sees: (linear colours float32 [H,W,3], depth float32 [H,W]).

    Depth is in metres along the optical axis, infinite in the sky.
    """
    eye, directions = np.array([shift, 0, 0], np.float32), rays(intrinsics, size)
    view = _View(scene, world, textures, intrinsics, size, eye, rng)
    found = _cast(world, np.broadcast_to(eye, directions.shape), directions)
    hit = found["primID"] >= 0
    seen, missed = np.flatnonzero(hit), np.flatnonzero(~hit)
    colour = np.zeros((len(directions), 3), np.float32)
    group = np.where(hit, scene.mesh.group[found["primID"]], -1).astype(np.int32)
    if len(seen):
        colour[seen] = _shade(view, directions[seen], {key: value[seen] for key, value in found.items()}, group, seen)
    if len(missed):
        colour[missed] = _sky(view, directions[missed])
    depth = np.where(hit, found["tfar"], np.float32(np.inf))
    return _soften_edges(view, colour, group).reshape(*size, 3), depth.reshape(size)


def build(mesh: Mesh) -> World:
    """The triangles, ready for rays. Raises MissingPackage without embreex."""
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise MissingPackage("embreex", "synthetic", "drawing synthetic scenes") from error
    world: World = EmbreeScene(robust=False)
    TriangleMesh(world, mesh.points.astype(np.float32))
    return world


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N,1] from two [N,3]; einsum is several times faster than a sum over so short an axis."""
    return np.asarray(np.einsum("ij,ij->i", a, b)[:, None])


def _cast(world: World, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = world.run(
        np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=True
    )
    return found


def _shade(
    view: _View, directions: np.ndarray, hit: dict[str, np.ndarray], group: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Linear colours [N,3] of the N pixels `seen`: albedo * (lights * visibility + bounced light) + gloss + glow."""
    scene, mesh, materials = view.scene, view.scene.mesh, view.scene.materials
    triangle, depth = hit["primID"], hit["tfar"]
    share = (1 - hit["u"] - hit["v"], hit["u"], hit["v"])
    normals, uv = _between(mesh.normals, triangle, share), _between(mesh.uv, triangle, share)
    ray = np.sqrt(_dot(directions, directions))
    back = directions / -ray
    normals /= np.sqrt(_dot(normals, normals)) + 1e-9
    slant = _dot(normals, back)
    normals *= np.where(slant < 0, np.float32(-1), np.float32(1))
    slant = np.abs(slant)
    row = mesh.material[triangle]
    scale = materials.scale.astype(np.float32)[row]
    pixel = depth / np.float32(view.intrinsics[0, 0])  # its width in metres, seen straight on
    footprint = pixel * scale * _stretch(mesh)[triangle] / np.sqrt(slant[:, 0] + np.float32(0.05))
    place_in_tile = uv * scale[:, None] + materials.offset.astype(np.float32)[row]
    texel = view.textures.look_up(materials.tile[row], place_in_tile, footprint)
    albedo = materials.base.astype(np.float32)[row] + materials.gain.astype(np.float32)[row] * texel
    place = view.eye + directions * depth[:, None]
    start = place + normals * (np.float32(2e-3) + np.float32(1e-4) * depth[:, None])

    # every other pixel, like a chessboard, sends a bounced ray and one to each light; those about it share the answers
    sent = (seen // view.size[1] + seen % view.size[1]) % 2 == 0
    towards = [_towards(light, place) for light in scene.lights]
    soft = np.zeros((len(seen), 4 + len(scene.lights)), np.float32)
    soft[sent, 0], soft[sent, 1:4] = 1, _bounce(view, start[sent], normals[sent])
    for i, light in enumerate(scene.lights):
        soft[sent, 4 + i] = _visible(light, view, start[sent], normals[sent])
    rest = soft[sent].mean(axis=0) if sent.any() else np.ones(soft.shape[1], np.float32)
    soft = _spread(soft, group, seen, view.size)
    soft = np.where(soft[:, :1] > 0, soft / np.maximum(soft[:, :1], np.float32(1e-6)), rest)
    colour = albedo * soft[:, 1:4]
    gloss = materials.gloss.astype(np.float32)[row][:, None]
    for i, (light, (to, power)) in enumerate(zip(scene.lights, towards, strict=True)):
        facing = _dot(normals, to).clip(0)
        half = to + back
        half /= np.sqrt(_dot(half, half)) + 1e-9
        shine = _dot(normals, half).clip(0) ** 2
        shine = shine**16
        lit = soft[:, 4 + i : 5 + i] * power[:, None] * light.colour.astype(np.float32)
        colour += lit * (albedo * facing + gloss * shine)
    return np.asarray(colour + albedo * materials.glow.astype(np.float32)[row][:, None])


def _between(corners: np.ndarray, triangle: np.ndarray, share: tuple[np.ndarray, ...]) -> np.ndarray:
    """Values float32 [N,C] inside triangles from those at their corners [T,3,C]."""
    here = corners.astype(np.float32)[triangle]
    return np.asarray(sum(weight[:, None] * here[:, k] for k, weight in enumerate(share)))


def _stretch(mesh: Mesh) -> np.ndarray:
    """Units of texture coordinate per metre, for each triangle."""
    (a, b), (c, d) = ((x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) for x in (mesh.points, mesh.uv))
    area = np.linalg.norm(np.cross(a, b), axis=1)
    return np.asarray(np.sqrt(np.abs(c[:, 0] * d[:, 1] - c[:, 1] * d[:, 0]) / (area + 1e-12)).astype(np.float32))


def _towards(light: Light, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(unit directions [N,3] to the light's middle, its power [N]) at `place` [N,3]."""
    if light.far:
        return np.broadcast_to(light.place.astype(np.float32), place.shape), np.ones(len(place), np.float32)
    towards = light.place.astype(np.float32) - place
    distance = np.sqrt(_dot(towards, towards))
    towards /= distance + np.float32(1e-6)
    power = 1 / (distance[:, 0] ** 2 + np.float32(0.3))
    if light.facing is not None:
        power *= -(towards @ light.facing.astype(np.float32)).clip(-1, 0)
    return towards, power


def _visible(light: Light, view: _View, start: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """1 where one random point of the light is seen from `start`, else 0, float32 [N]."""
    towards, power = _towards(light, start)
    # what turns away from the light needs no ray
    ask = np.flatnonzero((_dot(normals, towards)[:, 0] > 0) & (power > 0))
    spot = (view.rng.random((len(ask), 2), dtype=np.float32) - 0.5) @ light.spans.astype(np.float32)
    middle = light.place.astype(np.float32)
    aim = middle + spot if light.far else middle - start[ask] + spot
    reach = np.full(len(ask), 1e4 if light.far else 0.98, np.float32)
    visible = np.zeros(len(start), np.float32)
    visible[ask] = view.world.run(start[ask], aim, dists=reach, query="OCCLUDED") < 0
    return visible


def _bounce(view: _View, start: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Light [N,3] that comes along one random (cosine-weighted) direction: ambient, darker and tinted near surfaces."""
    scene = view.scene
    sphere = view.rng.standard_normal(start.shape, dtype=np.float32)
    sphere /= np.sqrt(_dot(sphere, sphere)) + 1e-9
    aim = normals + 0.98 * sphere
    aim /= np.sqrt(_dot(aim, aim))
    found = _cast(view.world, start, aim)
    height = 0.5 + 0.5 * (aim @ scene.up.astype(np.float32))[:, None]
    light = scene.ambient[0].astype(np.float32) * (1 - height) + scene.ambient[1].astype(np.float32) * height
    met = found["primID"] >= 0
    tint = scene.materials.base + scene.materials.gain * view.textures.mean()[scene.materials.tile]
    near = np.where(met, found["tfar"], np.float32(1e4))[:, None]
    colour = tint.astype(np.float32)[scene.mesh.material[np.where(met, found["primID"], 0)]]
    open_share = near / (near + np.float32(0.35))
    return np.asarray(light * np.where(met[:, None], (0.35 + 0.65 * colour) * open_share, 1))


def _spread(layers: np.ndarray, group: np.ndarray, seen: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sums [N,C] of `layers` over the neighbouring pixels on the same surface, along columns, then along rows."""
    picture = np.zeros((layers.shape[1], *size), np.float32)
    picture.reshape(len(picture), -1)[:, seen] = layers.T
    same = group.reshape(size)
    for axis in (0, 1):
        total = picture.copy()
        for step in range(1, min(_REACH, size[axis] - 1) + 1):
            a, b = (slice(step, None), slice(None)), (slice(None, -step), slice(None))
            a, b = (a, b) if axis == 0 else (a[::-1], b[::-1])
            equal = (same[a] == same[b]).astype(np.float32)
            total[:, *a] += picture[:, *b] * equal
            total[:, *b] += picture[:, *a] * equal
        picture = total
    return picture.reshape(len(picture), -1)[:, seen].T


def _soften_edges(view: _View, colour: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Anti-aliased colours: on the border of two surfaces, four rays a pixel ask which surface they meet.

    Each takes the colour of the nearest pixel, of the nine about it, that shows this surface.
    """
    height, width = view.size
    same = group.reshape(view.size)
    edge = np.zeros(view.size, bool)
    for a, b in (((slice(1, None),), (slice(None, -1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        differ = same[a] != same[b]
        edge[a] |= differ
        edge[b] |= differ
    rows, columns = np.nonzero(edge)
    if not len(rows):
        return colour
    offsets = ((-0.375, -0.125), (-0.125, 0.375), (0.375, 0.125), (0.125, -0.375))
    aim = np.concatenate([np.stack([columns + dx, rows + dy, np.ones(len(rows))], axis=1) for dy, dx in offsets])
    prim = _cast(view.world, np.broadcast_to(view.eye, aim.shape), aim @ np.linalg.inv(view.intrinsics).T)["primID"]
    surfaces = np.where(prim >= 0, view.scene.mesh.group[prim], -1).reshape(4, -1)
    total = np.zeros((len(rows), 3), np.float32)
    for (dy, dx), surface in zip(offsets, surfaces, strict=True):
        source = rows * width + columns
        lost = np.flatnonzero(surface != group[source])
        sy, sx = (1 if dy > 0 else -1), (1 if dx > 0 else -1)
        near = [(0, sx), (sy, 0)] if abs(dx) > abs(dy) else [(sy, 0), (0, sx)]
        for oy, ox in [*near, (sy, sx), (0, -sx), (-sy, 0), (sy, -sx), (-sy, sx), (-sy, -sx)]:
            other = (rows[lost] + oy).clip(0, height - 1) * width + (columns[lost] + ox).clip(0, width - 1)
            found = group[other] == surface[lost]
            source[lost[found]] = other[found]
            lost = lost[~found]
        total += colour[source]
    smooth = colour.copy()
    smooth[rows * width + columns] = total / 4
    return smooth


def _sky(view: _View, directions: np.ndarray) -> np.ndarray:
    """Colours [N,3] from the horizon to overhead, with clouds on a plane far above."""
    scene = view.scene
    if scene.sky is None:
        return np.zeros_like(directions)
    height = _dot(directions, np.broadcast_to(scene.up.astype(np.float32), directions.shape))
    height = (height / np.sqrt(_dot(directions, directions))).clip(0, 1)
    share = np.sqrt(height)
    blue = scene.sky[0].astype(np.float32) * (1 - share) + scene.sky[1].astype(np.float32) * share
    over = directions[:, [0, 2]] / (height + np.float32(0.08)) * np.float32(0.12)
    cloud = view.textures.look_up(np.full(len(over), scene.cloud), over, np.full(len(over), 0.01, np.float32))
    thick = (scene.overcast + cloud[:, :1] * 2 - 1).clip(0, 1)
    return np.asarray(blue * (1 - thick) + scene.sky[0].astype(np.float32) * thick)
