"""Synthetic scenes: furnished rooms and streets from a seed, with exact metric depth and a second view.

Same seed, same pixels, in any process and any order. The scenes are drawn with Embree; pictures have soft shadows, one
bounce of light, anti-aliased edges, and the faults of a real camera: exposure, white balance, blur and noise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from leadline.core.errors import BadData
from leadline.core.text import read_text, reason
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.pictures import opened_picture
from leadline.data.synthetic.camera import camera
from leadline.data.synthetic.render import build, look
from leadline.data.synthetic.room import room
from leadline.data.synthetic.scene import seen_from
from leadline.data.synthetic.street import street
from leadline.data.synthetic.textures import Textures
from leadline.data.synthetic.textures import textures as read_textures

SceneKind = Literal["room", "street"]
Key = tuple[SceneKind, int]
KINDS: tuple[SceneKind, ...] = get_args(SceneKind)
FOCAL = {"room": 518.9 / 640, "street": 0.58}  # focal length / image width: Kinect (NYU Depth v2), KITTI
BASELINE_M = {"room": 0.12, "street": 0.54}
FARTHEST_M = {"room": 20.0, "street": 80.0}  # beyond, `valid` is False


def render(
    seed: int,
    *,
    kind: SceneKind = "room",
    size: tuple[int, int] = (240, 320),
    textures: Textures | None = None,
    stereo: bool = True,
) -> Item:
    """One scene as a numpy Item: image, depth along the optical axis in metres, intrinsics and the right view.

    Pixel (row i, column j) has its middle at (x, y) = (j, i) for `intrinsics`; the ray goes through the middle, so
    depth is exact there. The right camera stands `baseline_m` to the right: a point at depth z is seen
    `fx * baseline_m / z` pixels further left. `stereo=False` leaves the right view out, at half the cost; nothing else
    changes. Sky and what is farther than 80 m (street) is not valid. Raises MissingPackage without embreex.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it cannot be negative")
    if min(size) < 1:
        raise ValueError(f"size is {size}; (height, width) of at least 1 pixel is needed")
    tiles = read_textures(None) if textures is None else textures
    root = np.random.SeedSequence([seed, KINDS.index(kind)])
    plan, left_light, right_light, sensor, left_noise, right_noise = (np.random.default_rng(s) for s in root.spawn(6))
    scene, stand = (room if kind == "room" else street)(plan, tiles)
    scene = seen_from(scene, stand)
    intrinsics, world = _intrinsics(kind, size), build(scene.mesh)
    colour, depth = look(scene, world, tiles, intrinsics, size, left_light)
    develop = camera(sensor, colour)
    valid = depth <= FARTHEST_M[kind]
    sample = Item(
        image=develop(colour, left_noise),
        target=np.where(valid, depth, np.float32(0)),
        valid=valid,
        name=_name((kind, seed)),
        intrinsics=intrinsics,
    )
    if not stereo:
        return sample
    right, _ = look(scene, world, tiles, intrinsics, size, right_light, shift=BASELINE_M[kind])
    return replace(sample, right=develop(right, right_noise), baseline_m=BASELINE_M[kind])


def synthetic(
    n: int,
    *,
    seed: int = 0,
    kind: SceneKind | Literal["mixed"] = "room",
    size: tuple[int, int] = (240, 320),
    textures_folder: Path | None = None,
    stereo: bool = False,
) -> Dataset:
    """`n` scenes drawn when they are read; the keys are (kind, seed of the scene), unlike for unlike `seed`.

    `mixed` is rooms and streets in turn. Textures are cut from the photographs under `textures_folder`, else drawn.
    """
    if kind not in (*KINDS, "mixed"):
        raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}, mixed")
    if n < 0:
        raise ValueError(f"n is {n}; the number of scenes cannot be negative")
    seeds = np.random.SeedSequence(seed).generate_state(n, np.uint64).tolist()
    keys = tuple((KINDS[i % 2] if kind == "mixed" else kind, s) for i, s in enumerate(seeds))
    return Dataset(f"synthetic-{kind}", keys, partial(_read, size=size, folder=textures_folder, stereo=stereo))


def write(
    data: Dataset, out: Path, *, workers: int | None = None, split: Literal["train", "val", "test"] | None = None
) -> int:
    """Store data of `synthetic` under `out` as the layout `folder` reads it; how many scenes were drawn comes back.

    images/NAME.jpg (quality 95), depth/NAME.png (16 bits; 1000 units per metre, 256 where there are streets, which are
    deeper than millimetres reach) and dataset.toml, with the intrinsics unless kinds are mixed. Stereo pairs go where
    the layout `kitti` reads them, a drive and a calib_cam_to_cam.txt for each kind.

    Scenes that are there already are not drawn again, and files appear whole or not at all, so a run that was cut short
    can be repeated. `workers` processes (None: one per core). `split` marks the folder as that part. Raises BadData
    where `out` was written with other settings.
    """
    out = Path(out)
    firsts = {kind: data[i] for kind in KINDS for i in [k for k, key in enumerate(data.keys) if key[0] == kind][:1]}
    stereo = any(sample.right is not None for sample in firsts.values())
    text = _describe(data, firsts, stereo, split)
    _refuse_other(out, text, firsts, stereo)
    for kind, sample in firsts.items():
        for file in _files(out, (kind, 0), stereo):
            file.parent.mkdir(parents=True, exist_ok=True)
        if stereo:
            (out / kind / "calib_cam_to_cam.txt").write_text(_calibration(sample), encoding="utf-8")
    shutil.rmtree(out / ".partial", ignore_errors=True)  # of a run that was killed
    (out / ".partial").mkdir(parents=True)
    (out / "dataset.toml").write_text(text, encoding="utf-8")
    todo = [key for key in data.keys if not _files(out, key, stereo)[-1].exists()]
    store = partial(_store, data.read, out, _depth_scale(data, stereo), stereo)
    workers = min(workers or os.cpu_count() or 1, len(todo))
    if workers > 1:
        # spawned, not forked: the caller may run threads
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(store, todo, chunksize=4))
    else:
        for key in todo:
            store(key)
    shutil.rmtree(out / ".partial")
    return len(todo)


def _read(key: Key, *, size: tuple[int, int], folder: Path | None, stereo: bool) -> Item:
    return render(key[1], kind=key[0], size=size, textures=read_textures(folder), stereo=stereo)


def _intrinsics(kind: SceneKind, size: tuple[int, int]) -> np.ndarray:
    """Square pixels, the optical axis in the middle of the picture."""
    focal = FOCAL[kind] * size[1]
    return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}"


def _files(out: Path, key: Key, stereo: bool) -> tuple[Path, ...]:
    """Where a scene's image, [right image,] and depth go."""
    image, depth = f"{_name(key)}.jpg", f"{_name(key)}.png"
    if not stereo:
        return out / "images" / image, out / "depth" / depth
    drive = out / key[0] / f"{key[0]}_drive_0000_sync"
    views = (drive / camera / "data" / image for camera in ("image_02", "image_03"))
    return (*views, drive / "proj_depth" / "groundtruth" / "image_02" / depth)


def _depth_scale(data: Dataset, stereo: bool) -> float:
    return 256.0 if stereo or any(kind == "street" for kind, _ in data.keys) else 1000.0


def _describe(data: Dataset, firsts: Mapping[SceneKind, Item], stereo: bool, split: str | None) -> str:
    layout = "kitti" if stereo else "folder"
    scale = _depth_scale(data, stereo)
    lines = [f"# leadline.data.synthetic.dataset: {data.name}", f'layout = "{layout}"', f"depth_scale = {scale:g}"]
    if len(firsts) == 1 and not stereo:
        [sample] = firsts.values()
        k = camera_of(sample)
        lines.append(f"intrinsics = [{k[0, 0]}, {k[1, 1]}, {k[0, 2]}, {k[1, 2]}]")
    if split is not None:
        lines.append(f'split = "{split}"')
    return "\n".join(lines) + "\n"


def _refuse_other(out: Path, text: str, firsts: Mapping[SceneKind, Item], stereo: bool) -> None:
    """BadData if `out` holds scenes of another kind, layout or size than is to be written."""
    advice = "choose another folder or remove this one"
    note = out / "dataset.toml"
    try:
        same = not note.exists() or read_text(note) == text
    except (OSError, ValueError) as error:
        raise BadData(f"{note} cannot be read: {reason(error)}; {advice}") from error
    if not same:
        raise BadData(f"{note} describes other data than was asked for now; {advice}")
    if not note.exists() and (other := _others(out)) is not None:
        raise BadData(f"{out} holds other files, such as {other}; a new or empty folder is needed")
    for kind, sample in firsts.items():
        height, width = sample.image.shape[:2]
        for there in sorted(_files(out, (kind, 0), stereo)[0].parent.glob("*.jpg"))[:1]:
            try:
                with opened_picture(there, ("JPEG",)) as image:
                    found = (image.height, image.width)
            except Exception as error:  # damaged pictures make pillow raise nearly anything
                raise BadData(f"{there} cannot be read: {reason(error)}; {advice}") from error
            if found != (height, width):
                raise BadData(f"{there} is {found[0]}x{found[1]}, and {height}x{width} was asked for now; {advice}")


def _others(out: Path) -> Path | None:
    """A file in the folder that is not of a run that was stopped before it wrote its description."""
    files = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    ours = ("calib_cam_to_cam.txt",)
    return next((path for path in files if path.name not in ours and ".partial" not in path.parts), None)


def camera_of(sample: Item) -> np.ndarray:
    """The intrinsics, which every scene has."""
    assert sample.intrinsics is not None
    return sample.intrinsics


def _calibration(sample: Item) -> str:
    """KITTI's lines on the two colour cameras after rectification."""
    height, width = sample.image.shape[:2]
    lines = [f"S_rect_02: {width} {height}"]
    for number, place in (("02", 0.0), ("03", sample.baseline_m or 0.0)):
        camera = camera_of(sample)
        matrix = np.column_stack([camera, [-camera[0, 0] * place, 0, 0]])
        lines.append(f"P_rect_{number}: {' '.join(f'{float(value):.12g}' for value in matrix.ravel())}")
    return "\n".join(lines) + "\n"


def _store(read: Callable[[Key], Item], out: Path, scale: float, stereo: bool, key: Key) -> None:
    from leadline.data.depth_io import write_depth

    sample, files = read(key), _files(out, key, stereo)
    drafts = [out / ".partial" / f"{os.getpid()}-{i}-{path.name}" for i, path in enumerate(files)]
    views = [view for view in (sample.image, sample.right) if view is not None]
    for view, draft in zip(views, drafts[:-1], strict=False):
        Image.fromarray(view).save(draft, quality=95)
    write_depth(drafts[-1], sample.target, sample.valid, scale=scale)
    for draft, path in zip(drafts, files, strict=True):  # depth last: where there is depth, the scene is done
        draft.replace(path)
