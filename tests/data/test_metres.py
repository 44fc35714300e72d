"""From stored numbers to metres: rotated bits, rays, marks, and depth that nothing has."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import render, write_folder, write_png

from leadline.cli.main import main
from leadline.core.errors import BadData, Lost
from leadline.data.depth_io import write_depth
from leadline.data.depth_names import Stored
from leadline.data.layouts.description import Description
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.frame import Source
from leadline.data.layouts.metres import FARTHEST_M, ray_lengths, stored_to_metres

DEPTH = render(0)[1]


def folder(root: Path, depth: np.ndarray, name: str = "000.npy", toml: str = "") -> Path:
    """A set of one frame whose depth is written by its suffix."""
    write_folder(root, [(np.zeros((*DEPTH.shape, 3), np.uint8), DEPTH)])
    (root / "depth" / "000.png").unlink()
    if name.endswith(".npy"):
        np.save(root / "depth" / name, depth)
    else:
        Image.fromarray(depth).save(root / "depth" / name)
    (root / "dataset.toml").write_text(toml)
    return root


def test_rotated_bits_are_rotated_back_up_to_the_largest_number() -> None:
    millimetres = np.array([[0, 1, 1234, 8191, 8192, 30000, 65534]], np.uint16)
    rotated = millimetres << np.uint16(3) | millimetres >> np.uint16(13)
    depth, valid = stored_to_metres(Stored(rotated), Description(depth_rotated=3))
    assert np.allclose(depth, millimetres / 1000) and (valid == (millimetres > 0)).all()
    with pytest.raises(BadData, match="holds float32; depth_rotated is for files of unsigned 16 bits"):
        stored_to_metres(Stored(DEPTH), Description(depth_rotated=3))


def test_the_key_for_rotated_bits_reads_a_whole_set(tmp_path: Path) -> None:
    millimetres = np.rint(DEPTH * 1000).astype(np.uint16)
    stored = millimetres << np.uint16(3) | millimetres >> np.uint16(13)
    sample = open_dataset(folder(tmp_path, stored, "000.png", "depth_rotated = 3"), "all")[0]
    assert np.abs(sample.target - DEPTH).max() < 0.001


@pytest.mark.parametrize("size", [(96, 128), (48, 64), (192, 256)])
def test_distances_along_rays_become_depth_at_the_maps_own_size(size: tuple[int, int]) -> None:
    fx, fy, cx, cy = 100.0, 110.0, 60.0, 50.0
    y, x = (np.indices(size) + 0.5) * np.array([96 / size[0], 128 / size[1]])[:, None, None] - 0.5
    wall = np.full(size, 3.0)
    distance = (wall * np.sqrt(((x - cx) / fx) ** 2 + ((y - cy) / fy) ** 2 + 1)).astype(np.float32)
    source = Source(Path("somewhere"), Description(ray_distance=True, intrinsics=(fx, fy, cx, cy)))
    sample = source.sample("a", np.zeros((96, 128, 3), np.uint8), distance)
    assert sample.valid.all() and np.allclose(sample.target, 3, atol=1e-4)


def test_the_range_is_of_depth_and_not_of_distances() -> None:
    rays = ray_lengths(np.array([[10, 0, 0], [0, 10, 0], [0, 0, 1]], np.float64), (1, 40))
    depth, valid = stored_to_metres(Stored((5 * rays).astype(np.float32)), Description(max_depth=5.001), rays=rays)
    assert valid.all() and np.allclose(depth, 5)


def test_a_range_beyond_the_number_type_holds_all_or_nothing() -> None:
    stored = Stored(np.array([[0, 1, 5]], np.float32))
    depth, valid = stored_to_metres(stored, Description(max_depth=1e308))
    assert valid.tolist() == [[False, True, True]] and depth.tolist() == [[0, 1, 5]]
    assert not stored_to_metres(stored, Description(min_depth=1e308))[1].any()


def test_rays_need_a_camera() -> None:
    with pytest.raises(BadData, match=r"ray_distance needs the camera: state intrinsics = \[fx, fy, cx, cy\]"):
        Source(Path("somewhere"), Description(ray_distance=True)).sample("a", np.zeros((96, 128, 3), np.uint8), DEPTH)


@pytest.mark.parametrize("intrinsics", [(500, 500, 640, 360), (40, 40, 16, 12)])
def test_rays_need_the_camera_of_images_of_this_size(intrinsics: tuple[float, float, float, float]) -> None:
    source = Source(Path("somewhere"), Description(ray_distance=True, intrinsics=intrinsics))
    with pytest.raises(BadData, match=r"somewhere: the image is 128 wide, 96 high, .*optical axis .* another size"):
        source.sample("a", np.zeros((96, 128, 3), np.uint8), DEPTH)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("mark", [1e10, 1e11, np.inf, np.nan, -1, -9999, 0])
def test_what_is_stated_as_no_depth_is_none(dtype: str, mark: float) -> None:
    with np.errstate(over="ignore"):
        values = np.array([[1.5, mark, 2.5]]).astype(dtype)
    depth, valid = stored_to_metres(Stored(values), Description(invalid=(0, 1e10, 1e11)))
    assert valid.tolist() == [[True, False, True]] and depth.tolist() == [[1.5, 0, 2.5]]


def test_the_largest_number_of_16_bits_is_no_depth_unless_somebody_says_so(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 65535]], np.uint16)
    assert stored_to_metres(Stored(values), Description())[1].tolist() == [[False, True, False]]
    assert stored_to_metres(Stored(values), Description(invalid=(0,)))[1].tolist() == [[False, True, True]]
    assert stored_to_metres(Stored(values), Description(invalid=(-1,)))[1].tolist() == [[False, True, True]]
    assert stored_to_metres(Stored(values, scale=1000.0), Description())[1].tolist() == [[False, True, True]]
    assert stored_to_metres(Stored(values.astype(np.int32)), Description())[1].tolist() == [[False, True, True]]


@pytest.mark.parametrize(("farthest", "refused"), [(999.0, False), (1001.0, True), (1e10, True)])
def test_depth_beyond_the_limit_is_refused_with_what_helps(tmp_path: Path, farthest: float, refused: bool) -> None:
    depth = DEPTH.copy()
    depth[:2] = farthest
    root = folder(tmp_path, depth)
    if not refused:
        assert open_dataset(root, "all")[0].target.max() == farthest
        return
    with pytest.raises(BadData) as caught:
        open_dataset(root, "all")[0]
    assert "000.npy: 256 of 12288 pixels are farther than 1000 m" in str(caught.value)
    assert all(word in str(caught.value) for word in (f"{farthest:.4g} m", "invalid", "max_depth", "depth_scale"))
    for said in ({"max_depth": 80.0}, {"invalid": (farthest,)}):
        assert open_dataset(root, "all", **said)[0].valid.sum() == 12288 - 256
    assert open_dataset(root, "all", max_depth=1e11)[0].valid.all()


def test_a_unit_that_was_forgotten_is_refused_too(tmp_path: Path) -> None:
    root = folder(tmp_path, (DEPTH * 1000).astype(np.float32))
    with pytest.raises(BadData, match="farther than 1000 m"):
        open_dataset(root, "all")[0]
    assert open_dataset(root, "all", depth_scale=1000.0)[0].target.max() < 10 < FARTHEST_M


def test_files_that_say_their_scale_mix_with_files_that_do_not(tmp_path: Path) -> None:
    write_folder(tmp_path, [render(i) for i in range(3)])
    for i, scale in enumerate((256.0, 5000.0)):
        write_depth(tmp_path / "depth" / f"{i:03d}.png", render(i)[1], scale=scale)
    data = open_dataset(tmp_path, "all")
    for i in range(3):
        assert np.abs(data[i].target - render(i)[1]).max() < 1 / 256
    data = open_dataset(tmp_path, "all", depth_scale=1000.0)
    assert data[2].valid.all()
    with pytest.raises(BadData, match=r"000\.png says that it has 256 units per metre, and depth_scale is 1000"):
        data[0]


def test_a_key_reads_the_depth_of_a_set_whose_arrays_have_odd_names(tmp_path: Path) -> None:
    write_folder(tmp_path, [render(i) for i in range(3)])
    for i in range(3):
        (tmp_path / "depth" / f"{i:03d}.png").unlink()
        np.savez(tmp_path / "depth" / f"{i:03d}.npz", a=np.zeros((2, 2)), b=render(i)[1])
    (tmp_path / "dataset.toml").write_text('depth_key = "b"\n')
    assert (open_dataset(tmp_path, "all")[1].target == render(1)[1]).all()


def test_listing_reads_the_named_array_and_refuses_disparity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, [render(i) for i in range(3)])
    for i in range(3):
        (tmp_path / "depth" / f"{i:03d}.png").unlink()
        other = np.full(DEPTH.shape, 2, np.uint8)
        np.savez(tmp_path / "depth" / f"{i:03d}.npz", confidence=other, depth_map=render(i)[1])
    assert main(["data", "ls", str(tmp_path)]) == 0
    assert f"depth {render(0)[1].min():.2f} to {render(0)[1].max():.2f} m" in capsys.readouterr().out
    for i in range(3):
        kind = np.array("relative_disparity")
        np.savez(tmp_path / "depth" / f"{i:03d}.npz", relative_disparity=1 / DEPTH, valid=DEPTH > 0, kind=kind)
    assert main(["data", "ls", str(tmp_path)]) == 1
    assert "000.npz holds relative_disparity, not depth in metres" in capsys.readouterr().err


def test_a_mark_that_renderers_write_is_not_learned_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    write_folder(root, [render(i) for i in range(4)])
    for i in range(4):
        (root / "depth" / f"{i:03d}.png").unlink()
        depth = render(i)[1]
        depth[:20] = 1e10
        np.save(root / "depth" / f"{i:03d}.npy", depth)
    words = ["train", "--data", str(root), "--out", str(tmp_path / "run"), "--model", "litedepth", "--loss", "l1"]
    words += ["--fit.steps", "2", "--batch", "2", "--workers", "0", "--cache-gb", "0"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "2560 of 12288 pixels are farther than 1000 m, up to 1e+10 m" in said and "max_depth" in said
    assert main(["data", "check", str(root)]) == 1
    assert "4 of 4 maps have depth farther than 1000 m" in capsys.readouterr().out


def test_the_command_line_says_what_a_png_lost_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert main(["--version"]) == 0
    with pytest.warns(Lost) as told:
        write_depth(tmp_path / "a.png", np.full((4, 4), 70.0, np.float32), scale=1000)
    [line] = warnings.formatwarning(told[0].message, told[0].category, "a.py", 1).splitlines()
    assert line.startswith("leadline: ") and "a.png lost 16 of 16 pixels" in line
    assert warnings.formatwarning("other", UserWarning, "a.py", 1).startswith("a.py:1: UserWarning: other")


def test_a_plain_png_and_one_of_ours_hold_the_same_pixels(tmp_path: Path) -> None:
    write_depth(tmp_path / "a.png", DEPTH, scale=1000)
    write_png(tmp_path / "b.png", DEPTH)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(Image.open(tmp_path / "b.png"))).all()
