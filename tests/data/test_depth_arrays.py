"""Which array of a file is the depth, and what a header may not make leadline do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leadline.core.errors import BadData
from leadline.data.depth_io import read_depth, read_stored, read_values

DEPTH = np.linspace(1, 3, 12, dtype=np.float32).reshape(3, 4)
OTHER = np.full((3, 4), 2, np.uint8)
NAMES = ("depth", "depth_map", "Depth", "DEPTH", "depthmap", "z", "Z", "z_depth", "distance", "gt_depth", "depth_m")


def write(path: Path, **arrays: Any) -> Path:
    """The arrays in a file of the kind that its suffix says, in the order given."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".mat":
        pytest.importorskip("scipy.io").savemat(path, arrays, do_compression=True)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    return path


@pytest.fixture(params=[".npz", ".h5", ".hdf5", ".mat"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"a{request.param}"


@pytest.mark.parametrize("name", NAMES)
def test_the_array_that_is_called_depth_counts_wherever_it_stands(path: Path, name: str) -> None:
    assert (read_values(write(path, confidence=OTHER, K=np.eye(3), **{name: DEPTH})) == DEPTH).all()


def test_depth_counts_before_other_names_that_may_be_it(path: Path) -> None:
    assert (read_values(write(path, distance=OTHER, raw_depth=OTHER, disparity=OTHER, depth=DEPTH)) == DEPTH).all()


@pytest.mark.parametrize("name", ["arr_0", "data", "values"])
def test_the_only_array_counts_whatever_it_is_called(path: Path, name: str) -> None:
    assert (read_values(write(path, **{name: DEPTH})) == DEPTH).all()


@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("left", "right"), ("K", "data"), ("confidence",), ("mask",)])
def test_where_nothing_tells_the_arrays_are_listed(path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(BadData, match=rf"a\{path.suffix} holds (?=.*{names[0]} )(?=.*{names[-1]} ).*depth_key"):
        read_values(write(path, **dict.fromkeys(names, DEPTH)))


@pytest.mark.parametrize("name", ["disparity", "inverse_depth", "relative_disparity", "relative_depth", "inv_depth"])
def test_disparity_is_never_metres(path: Path, name: str) -> None:
    for arrays in ({name: DEPTH}, {"confidence": OTHER, name: DEPTH}):
        with pytest.raises(BadData, match=r"holds relative_\w+ \(\w+\), not depth in metres"):
            read_values(write(path, **arrays))
    with pytest.raises(BadData, match="not depth in metres"):
        read_values(path, key=name)
    assert (read_values(path, kind=None) == DEPTH).all()


def test_a_key_chooses_the_array(path: Path) -> None:
    write(path, first=OTHER, second=DEPTH, depth=OTHER)
    assert (read_values(path, key="second") == DEPTH).all()
    with pytest.raises(BadData, match=r"no \w+ called 'third' \(depth_key\); it holds .*first"):
        read_values(path, key="third")


@pytest.mark.parametrize(("name", "scale"), [("depth_mm", 1000), ("depth_cm", 100), ("depth_m", 1)])
def test_a_unit_in_the_name_is_believed(path: Path, name: str, scale: float) -> None:
    depth, _ = read_depth(write(path, **{name: DEPTH * scale}))
    assert np.allclose(depth, DEPTH)


def test_what_predict_saves_is_believed(tmp_path: Path) -> None:
    valid = DEPTH < 2
    facts = {"valid": valid, "kind": np.array("metric"), "unit": np.array("m")}
    path = write(tmp_path / "a.npz", **facts, depth=DEPTH)
    depth, counts = read_depth(path)
    assert (counts == valid).all() and (depth == np.where(valid, DEPTH, 0)).all()
    assert read_stored(path).kind == "metric" and read_stored(path).scale == 1
    with pytest.raises(BadData, match="says that it has 1 units per metre, and depth_scale is 1000"):
        read_depth(path, scale=1000)


def test_the_kind_inside_a_file_counts_more_than_the_name_of_its_array(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", depth=DEPTH, kind=np.array("relative_disparity"))
    with pytest.raises(BadData, match=r"a\.npz holds relative_disparity, not depth in metres"):
        read_values(path)
    assert (read_values(path, kind="relative_disparity") == DEPTH).all()
    with pytest.raises(BadData, match="its kind is 'colour'"):
        read_values(write(path, depth=DEPTH, kind=np.array("colour")))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_pixels_that_are_not_valid_are_no_depth_in_any_number_type(tmp_path: Path, dtype: type) -> None:
    for values in (DEPTH, (DEPTH * 1000).astype(np.uint16)):
        path = write(tmp_path / "a.npz", depth=values, valid_mask=(DEPTH < 2).astype(dtype))
        assert (read_depth(path, invalid=None)[1] == (DEPTH < 2)).all()
    with pytest.raises(BadData, match="array of valid pixels is uint8"):
        read_values(write(path, depth=DEPTH, valid=np.ones((2, 2), np.uint8)))


def test_datasets_in_groups_are_found_and_two_alike_are_listed(tmp_path: Path) -> None:
    assert (read_values(write(tmp_path / "a.h5", **{"data/depth": DEPTH, "data/rgb": OTHER})) == DEPTH).all()
    with pytest.raises(BadData, match="left/depth and right/depth may both be depth"):
        read_values(write(tmp_path / "b.h5", **{"left/depth": DEPTH, "right/depth": DEPTH}))
    assert (read_values(tmp_path / "b.h5", key="left/depth") == DEPTH).all()


def test_matlabs_hdf5_has_its_axes_turned_back(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["depth"] = DEPTH.T
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    assert (read_values(tmp_path / "a.mat") == DEPTH).all()


def header(shape: object, dtype: str = "<f4") -> bytes:
    """The beginning of a .npy file."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HOSTILE = {
    "more pixels than are read": header((20000, 20000)),
    "more bytes than there are": header((9000, 9000)),
    "a number of pixels that overflows": header((2**62, 2**62)),
    "a negative size": header((-1, 5)),
    "long words": header((4, 4), "<U100000000"),
    "objects": header((4, 4), "|O"),
    "long floating point": header((4, 4), "<f16"),
    "complex numbers": header((4, 4), "<c8"),
    "no shape": header("3 * 5"),
    "code": header("__import__('os').abort()"),
    "nothing": b"",
    "text": b"depth" * 30,
    "another version": b"\x93NUMPY\x09\x00" + header((2, 2))[8:],
    "a header that is cut short": header((2, 2))[:40],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_refused_before_memory_is_taken(tmp_path: Path, what: str) -> None:
    if HOSTILE[what]:
        (tmp_path / "a.npy").write_bytes(HOSTILE[what])
        with pytest.raises(BadData, match=r"a\.npy"):
            read_values(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("depth.npy", HOSTILE[what])
    with pytest.raises(BadData, match=r"a\.npz"):
        read_values(tmp_path / "a.npz")


def test_small_files_of_large_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.data.depth_names.MAX_PIXELS", 1000)
    large = np.zeros((40, 40), np.uint16)
    np.save(tmp_path / "a.npy", large)
    files = [write(tmp_path / f"a{suffix}", depth=large) for suffix in (".npz", ".h5", ".mat")]
    for path in (*files, tmp_path / "a.npy"):
        with pytest.raises(BadData, match=rf"a\{path.suffix} claims 40 x 40 pixels; more than 1000"):
            read_values(path)
    masked = write(tmp_path / "b.npz", depth=DEPTH, valid=large)
    with pytest.raises(BadData, match=r"array of valid pixels"):
        read_values(masked)


def test_an_array_of_claimed_size_that_hdf5_has_not_stored_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", (50_000, 50_000), "f4", chunks=(100, 100), compression="gzip")
    assert (tmp_path / "a.h5").stat().st_size < 100_000
    with pytest.raises(BadData, match="claims 50000 x 50000 pixels"):
        read_values(tmp_path / "a.h5")


def test_hdf5_whose_chunks_are_larger_than_a_map_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", (4, 4), "f4", maxshape=(None, None), chunks=(100, 100), compression="gzip")
    monkeypatch.setattr("leadline.data.depth_names.MAX_PIXELS", 1000)
    with pytest.raises(BadData, match="claims 100 x 100 pixels"):
        read_values(tmp_path / "a.h5")


def test_matlab_files_that_unpack_to_more_than_a_map_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.mat", depth=np.ones((4, 4)), other=np.zeros((300, 300)))
    monkeypatch.setattr("leadline.data.depth_arrays.MAX_PIXELS", 1000)
    with pytest.raises(BadData, match=r"a\.mat unpacks to more than 8000 bytes"):
        read_values(tmp_path / "a.mat")


def test_a_header_without_end_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("depth.npy", b"\x93NUMPY\x02\x00" + (20_000_000).to_bytes(4, "little") + bytes(20_000_000))
    with pytest.raises(BadData, match=r"a\.npz has no header of a numpy array \(it has 20000000 bytes\)"):
        read_values(tmp_path / "a.npz")


def test_hdf5_that_points_to_other_files_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(DEPTH.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", DEPTH.shape, "f4", external=[(str(tmp_path / "secret"), 0, DEPTH.nbytes)])
    write(tmp_path / "b.h5", depth=DEPTH)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["depth"] = h5py.ExternalLink("b.h5", "depth")
    for name in ("a.h5", "c.h5"):
        with pytest.raises(BadData, match=name):
            read_values(tmp_path / name)
        with pytest.raises(BadData, match=name):
            read_values(tmp_path / name, key="depth")


def test_an_archive_of_anything_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "depth")
    with zipfile.ZipFile(tmp_path / "b.npz", "w"):
        pass
    members = io.BytesIO()
    np.save(members, np.array([{"a": 1}], object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("depth.npy", members.getvalue())
    for name in ("a.npz", "b.npz", "c.npz"):
        with pytest.raises(BadData, match=name):
            read_values(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".mat"])
@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_end_in_our_own_error(tmp_path: Path, suffix: str, seed: int) -> None:
    path, rng = write(tmp_path / f"a{suffix}", depth=DEPTH, confidence=OTHER), np.random.default_rng(seed)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[rng.integers(0, data.size, 1 + seed)] = rng.integers(0, 256, 1 + seed)
    path.write_bytes(data[: rng.integers(1, data.size + 1)].tobytes() if seed % 2 else data.tobytes())
    try:
        assert read_values(path).ndim == 2
    except BadData as error:
        assert path.name in str(error)
