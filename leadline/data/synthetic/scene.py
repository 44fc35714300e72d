"""A synthetic scene: its triangles, paints, lights and sky, and where a camera stands in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leadline.data.synthetic.materials import Materials
from leadline.data.synthetic.meshes import Mesh


@dataclass(frozen=True, eq=False)
class Light:
    """A shining parallelogram about `place` (`far` False), or the sun in the direction `place` (`far` True)."""

    place: np.ndarray  # [3]
    spans: np.ndarray  # [2,3] edges; for the sun, its blur
    colour: np.ndarray  # [3]
    facing: np.ndarray | None = None  # [3] unit: shines to this side only
    far: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """What is there, in the camera's frame, and how it is lit. Where no triangle is hit there is sky."""

    mesh: Mesh
    materials: Materials
    lights: tuple[Light, ...]
    ambient: np.ndarray  # [2,3] light from below and from above
    up: np.ndarray  # [3] unit
    sky: np.ndarray | None = None  # [2,3] colours at the horizon (and of clouds) and overhead
    cloud: int = 0  # the pattern of the clouds
    overcast: float = 0.0  # 0: some clouds, 1: only clouds, -1: none


Pose = tuple[np.ndarray, np.ndarray]
"""Where a camera stands [3], and the rows right, down, forward [3,3] of its frame."""


def pose(place: np.ndarray, yaw: float, pitch: float, roll: float) -> Pose:
    """A camera looking along +y, turned right by `yaw`, up by `pitch`, and rolled clockwise, all in radians."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    level = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    down = np.cross(forward, level)
    right = np.cos(roll) * level + np.sin(roll) * down
    return place, np.stack([right, np.cross(forward, right), forward])


def seen_from(scene: Scene, camera: Pose) -> Scene:
    """The scene in the camera's frame."""
    place, axes = camera
    mesh = scene.mesh._replace(points=(scene.mesh.points - place) @ axes.T, normals=scene.mesh.normals @ axes.T)
    lights = tuple(
        Light(
            (x.place if x.far else x.place - place) @ axes.T,
            x.spans @ axes.T,
            x.colour,
            None if x.facing is None else x.facing @ axes.T,
            x.far,
        )
        for x in scene.lights
    )
    return replace(scene, mesh=mesh, lights=lights, up=axes @ scene.up)
