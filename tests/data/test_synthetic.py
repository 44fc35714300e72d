"""Synthetic scenes: exact depth, a right view that fits, the same pixels from the same seed, files that return."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadData, MissingPackage
from leadline.core.geometry import unproject
from leadline.data.layouts import detect as layouts
from leadline.data.synthetic.dataset import FARTHEST_M, KINDS, SceneKind, render, synthetic, write
from leadline.data.synthetic.materials import Paints
from leadline.data.synthetic.meshes import Mesh, blob, box, merge, panel, tube, turn
from leadline.data.synthetic.render import build, look
from leadline.data.synthetic.room import room
from leadline.data.synthetic.scene import Light, Scene, pose, seen_from
from leadline.data.synthetic.textures import TILE, textures

SIZE = (48, 64)
INTRINSICS = np.array([[52.0, 0, 31.5], [0, 52.0, 23.5], [0, 0, 1]])
CAMERA = pose(np.array([0.3, 1.0, 1.4]), 0.4, -0.2, 0.05)


def scene_of(*meshes: Mesh, light: Light | None = None) -> Scene:
    """White things in grey light."""
    paints = Paints(np.random.default_rng(0), textures())
    paints.pattern("plaster", np.ones(3), contrast=(0, 0))
    lights = () if light is None else (light,)
    return Scene(merge(meshes), paints.table(), lights, np.full((2, 3), 0.1), np.array([0.0, 0, 1]))


def view(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    scene = seen_from(scene, CAMERA)
    return look(scene, build(scene.mesh), textures(), INTRINSICS, SIZE, np.random.default_rng(0))


def test_depth_of_a_box_room_is_the_closed_form() -> None:
    _, depth = view(scene_of(box((4, 6, 2.7), 0, (0, 3, 0))))
    place, axes = CAMERA
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(INTRINSICS).T @ axes  # in the room's frame
    low, high = np.array([-2, 0, 0]), np.array([2, 6, 2.7])
    # a ray of length t = depth leaves the room where it meets the first of the three walls ahead
    closed = np.min((np.where(rays > 0, high, low) - place) / rays, axis=-1)
    assert np.abs(depth - closed).max() < 1e-4


def test_points_lie_on_the_planes_they_come_from() -> None:
    _, depth = view(scene_of(box((4, 6, 2.7), 0, (0, 3, 0))))
    place, axes = CAMERA
    points = unproject(depth, INTRINSICS) @ axes + place
    walls = np.concatenate([points - [-2, 0, 0], points - [2, 6, 2.7]], axis=1)
    assert np.abs(walls).min(axis=1).max() < 1e-4


def test_depth_is_along_the_axis_and_not_along_the_ray() -> None:
    place, axes = CAMERA
    wall = panel(place + 3 * axes[2], 20 * axes[0], 20 * axes[1], 0)  # faces the camera at 3 m
    _, depth = view(scene_of(wall))
    assert np.abs(depth - 3).max() < 1e-5


def test_what_stands_in_the_way_throws_a_shadow() -> None:
    lamp = Light(np.array([0, 3, 2.5]), np.eye(3)[:2] * 0.1, np.full(3, 5.0))
    floor = box((8, 12, 0.1), 0, (0, 3, -0.1))
    lit, depth = view(scene_of(floor, light=lamp))
    shaded, same_depth = view(scene_of(floor, box((0.6, 0.6, 0.05), 0, (0, 3, 2.0)), light=lamp))
    floor_seen = np.isfinite(depth) & (depth == same_depth)
    left = shaded[floor_seen] / lit[floor_seen]
    assert left.min() < 0.4  # the grey light remains
    assert left.max() > 0.9  # elsewhere the floor stays lit


def test_a_corner_is_darker_than_an_open_floor() -> None:
    open_floor, _ = view(scene_of(box((8, 12, 0.1), 0, (0, 3, -0.1))))
    below = slice(-4, None)
    boxed_in, _ = view(scene_of(box((1.2, 2.4, 2.7), 0, (0.3, 1.6, 0))))
    assert boxed_in[below].mean() < 0.8 * open_floor[below].mean()


@pytest.mark.parametrize("mesh", [box((1, 2, 3), 0, (1, 0, 0)), box((1, 2, 3), 0, top=(0.5, 0.2, 0.1))])
@pytest.mark.parametrize("angle", [0.0, 2.0])
def test_flat_normals_stand_on_their_triangles(mesh: Mesh, angle: float) -> None:
    mesh = turn(mesh, angle, (1, 2, 3))
    sides = mesh.points[:, 1:] - mesh.points[:, :1]
    assert np.abs(np.einsum("tsk,tck->tsc", sides, mesh.normals)).max() < 1e-9
    assert np.allclose(np.linalg.norm(mesh.normals, axis=2), 1)


@pytest.mark.parametrize(
    "mesh", [blob((1, 2, 3), 0), blob((1, 1, 0.3), 0, power=0.3), tube(0.5, 2, 0), tube(1, 1, 0, lying=True)]
)
def test_round_normals_point_outwards(mesh: Mesh) -> None:
    middle = (mesh.points.min(axis=(0, 1)) + mesh.points.max(axis=(0, 1))) / 2
    assert ((mesh.points - middle) * mesh.normals).sum(axis=2).min() > 0
    assert np.allclose(np.linalg.norm(mesh.normals, axis=2), 1)


def test_a_texture_is_read_at_its_texels_and_fades_to_its_mean() -> None:
    tiles = textures()
    near = tiles.look_up(np.array([3]), (np.array([[5, 9]]) + 0.5) / TILE, np.array([0.0]))
    texel = tiles.texels[3 * TILE * TILE + 9 * TILE + 5] / 255
    assert np.allclose(near, texel**2.2, atol=1e-3)
    spots = np.random.default_rng(0).random((500, 2))
    far = tiles.look_up(np.full(500, 6), spots, np.full(500, 1.0))
    close = tiles.look_up(np.full(500, 6), spots, np.full(500, 1 / TILE))
    assert far.std() < 0.6 * close.std()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_pixels_in_any_order(kind: SceneKind) -> None:
    first = render(5, kind=kind, size=SIZE)
    other = render(6, kind=kind, size=SIZE)
    again = render(5, kind=kind, size=SIZE)
    for name in ("image", "target", "valid", "right"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert not np.array_equal(first.target, other.target)


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_out_the_right_view_changes_nothing_else(kind: SceneKind) -> None:
    both, left = render(7, kind=kind, size=SIZE), render(7, kind=kind, size=SIZE, stereo=False)
    assert np.array_equal(both.image, left.image) and np.array_equal(both.target, left.target)
    assert left.right is None and left.baseline_m is None and both.baseline_m > 0


@pytest.mark.parametrize("kind", KINDS)
def test_samples_keep_their_promises(kind: SceneKind) -> None:
    for seed in range(4):
        sample = render(seed, kind=kind, size=(37, 53), stereo=False)
        assert sample.image.dtype == np.uint8 and sample.image.shape == (37, 53, 3)
        assert sample.target.dtype == np.float32 and sample.valid.dtype == bool
        assert (sample.target[~sample.valid] == 0).all()
        assert sample.target[sample.valid].min() > 0.1 and sample.target.max() <= FARTHEST_M[kind]
        assert sample.valid.mean() > 0.4 and sample.image.std() > 5
        assert sample.valid.all() or kind == "street"


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_view_moved_by_its_disparity_is_the_left_view(kind: SceneKind) -> None:
    size = (96, 256)
    moved, still = [], []
    for seed in range(3):
        sample = render(seed, kind=kind, size=size)
        rows, columns = np.nonzero(sample.valid)
        depth = sample.target[rows, columns]
        at = columns - sample.intrinsics[0, 0] * sample.baseline_m / depth
        use = (at >= 0) & (depth < 20)
        rows, columns, at = rows[use], columns[use], at[use]
        left = sample.image[rows, columns].astype(np.float64)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, size[1] - 1), (at - low)[:, None]
        right = sample.right[rows, low] * (1 - share) + sample.right[rows, high] * share
        # what the right camera cannot see differs in any case: the median leaves it out
        moved.append(np.median(np.abs(right - left)))
        still.append(np.median(np.abs(sample.right[rows, columns] - left)))
    assert np.mean(moved) < 6 and np.mean(moved) < 0.8 * np.mean(still)


def test_one_pixel_can_be_drawn() -> None:
    assert render(0, size=(1, 1)).image.shape == (1, 1, 3)


def test_nothing_reaches_out_of_the_room() -> None:
    for seed in range(6):
        scene, (eye, _) = room(np.random.default_rng(seed), textures())
        points = scene.mesh.points
        low, high = points[:12].min(axis=(0, 1)), points[:12].max(axis=(0, 1))  # the walls come first
        assert (points >= low - 0.12).all() and (points <= high + 0.12).all()
        assert (eye > low + 0.1).all() and (eye < high - 0.1).all()


def test_seeds_of_different_sets_differ_and_longer_sets_begin_alike() -> None:
    short, long, other = synthetic(4), synthetic(50), synthetic(50, seed=1)
    assert long.keys[:4] == short.keys
    assert len(set(long.keys) | set(other.keys)) == 100
    assert [kind for kind, _ in synthetic(4, kind="mixed").keys] == ["room", "street", "room", "street"]


def test_a_data_set_travels_to_other_processes() -> None:
    data = synthetic(2, seed=3, size=SIZE)
    copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy[1].image, data[1].image) and copy[1].name == data[1].name


def test_photographs_become_textures(tmp_path: Path) -> None:
    Image.new("RGB", (40, 60), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "broken.jpg").write_bytes(b"not a photograph")
    tiles = textures(tmp_path)
    assert tiles.n_photos == 1
    assert np.allclose(tiles.mean()[-1], [1, 0, 0], atol=1e-3)
    with_photographs, drawn = synthetic(1, size=SIZE, textures_folder=tmp_path)[0], synthetic(1, size=SIZE)[0]
    assert not np.array_equal(with_photographs.image, drawn.image)


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no readable photograph"):
        textures(tmp_path)


def test_written_scenes_are_read_again_by_the_folder_layout(tmp_path: Path) -> None:
    data = synthetic(3, size=SIZE)
    assert write(data, tmp_path, workers=1, split="train") == 3
    again = layouts.open_dataset(tmp_path, "train")
    assert len(again) == 3
    drawn = {sample.name: sample for sample in (data[i] for i in range(3))}
    for i in range(3):
        sample = again[i]
        truth = drawn[Path(sample.name).name]
        assert np.abs(sample.target - truth.target).max() <= 0.00051 and sample.valid.all()
        assert np.allclose(sample.intrinsics, truth.intrinsics)
        assert np.abs(sample.image.astype(float) - truth.image).mean() < 8  # JPEG


def test_streets_are_written_deep_enough(tmp_path: Path) -> None:
    data = synthetic(2, kind="mixed", size=SIZE)
    write(data, tmp_path, workers=1, split="train")
    again = layouts.open_dataset(tmp_path, "train")
    drawn = {sample.name: sample for sample in (data[0], data[1])}
    for i in range(2):
        truth = drawn[Path(again[i].name).name]
        assert np.array_equal(again[i].valid, truth.valid)
        assert np.abs(again[i].target - truth.target).max() <= 0.0021
        assert again[i].intrinsics is None  # two cameras in one folder


@pytest.mark.slow
def test_several_processes_write_the_same_files_and_resume(tmp_path: Path) -> None:
    data = synthetic(2, size=SIZE)
    write(data, tmp_path / "one", workers=1)
    lost = next((tmp_path / "one" / "depth").iterdir())
    before = {path.name: path.read_bytes() for path in (tmp_path / "one").rglob("*.*g")}
    lost.unlink()
    assert write(data, tmp_path / "one", workers=1) == 1
    assert write(data, tmp_path / "one", workers=1) == 0
    assert write(data, tmp_path / "two", workers=2) == 2
    for folder in ("one", "two"):
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*.*g")} == before


def test_another_data_set_is_not_mixed_in(tmp_path: Path) -> None:
    write(synthetic(0, size=SIZE), tmp_path, workers=1)
    with pytest.raises(BadData, match="other data"):
        write(synthetic(1, kind="street", size=SIZE), tmp_path, workers=1)


@pytest.mark.parametrize(
    ("kind", "stereo"),
    [
        ("room", False),
        ("street", True),
        *(pytest.param(*k, marks=pytest.mark.slow) for k in (("mixed", False), ("room", True))),
    ],
)
@pytest.mark.slow
def test_another_size_is_refused_before_anything_is_written(tmp_path: Path, kind: SceneKind, stereo: bool) -> None:
    write(synthetic(2, kind=kind, size=(16, 32), stereo=stereo), tmp_path, workers=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    others = [((24, 32), stereo), ((16, 40), stereo), ((16, 32), not stereo)]
    for size, pairs in others:
        with pytest.raises(BadData, match=r"other data than was asked|\.jpg is 16x32, and \d+x\d+ was asked for now"):
            write(synthetic(4, kind=kind, size=size, stereo=pairs), tmp_path, workers=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not [path for path in tmp_path.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert write(synthetic(3, kind=kind, size=(16, 32), stereo=stereo), tmp_path, workers=1) == 1


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "1-0-room-5.jpg").write_bytes(b"half")
    assert write(synthetic(1, size=(16, 32)), tmp_path, workers=1) == 1
    assert not (tmp_path / ".partial").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embreex.rtcore_scene", None)
    with pytest.raises(MissingPackage, match=r"leadline\[synthetic\]"):
        render(0, size=SIZE)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="room, street"):
        render(0, kind="cave")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size"):
        render(0, size=(0, 5))
    with pytest.raises(ValueError, match="seed"):
        render(-1)
    with pytest.raises(ValueError, match="mixed"):
        synthetic(1, kind="cave")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        synthetic(-1)
