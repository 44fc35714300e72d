"""Depth files that are small and claim, or hold, more than fits: zip and HDF5 bombs, headers that lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.case import pick
from fuzz.chunks import bomb_of
from fuzz.chunks import hostile as hostile_picture
from fuzz.chunks import largest as largest_picture

Rng = np.random.Generator
_SHAPES = (
    (100_000, 100_000),
    (1 << 40,),
    (0, 0),
    (-1, 5),
    (20_000, 20_000),
    (),
    (1, 1, 1, 1, 1),
    (1 << 62, 1 << 62),
    (24, 32),
)
_KINDS = ("<f4", "<u2", "|O", "<f8", "|S9", "<c16", "|V8", "<M8[s]", "<U4", "|b1", "<f2", ">i8", "<u8")


def write(rng: Rng, path: Path) -> str:
    """Put one in place of the depth file `path`; what it is."""
    ways = {".npy": _npy, ".npz": _npz, ".exr": _exr, ".h5": _h5, ".mat": _h5}
    return ways.get(path.suffix, _picture)(rng, path)


def npy_header(shape: tuple[int, ...], kind: str) -> bytes:
    """The start of a .npy file."""
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def _npy(rng: Rng, path: Path) -> str:
    shape, kind = pick(rng, _SHAPES), pick(rng, _KINDS)
    if rng.random() < 0.3:
        path.write_bytes(
            npy_header(shape, kind)[:10] + pick(rng, (b"(" * 100, b"{" * 60, b"1+1", b"\xff" * 40)) + bytes(99)
        )
        return "npy with another header"
    path.write_bytes(npy_header(shape, kind) + bytes(3072))
    return f"npy {shape} {kind}"


def _npz(rng: Rng, path: Path) -> str:
    way = int(rng.integers(4))
    if way == 0:  # 3 GiB of zeros in 3 MB
        content = bomb_of(3 << 30)[2:]
        _zip_of_one(path, "depth.npy", content, 3 << 30)
        return "npz bomb without a header"
    if way == 1:
        made = zlib.compressobj(9, wbits=-15)
        first = made.compress(npy_header((30_000, 30_000), "<f4")) + made.flush(zlib.Z_FULL_FLUSH)
        _zip_of_one(path, "depth.npy", first + bomb_of(3 << 30)[2:], 30_000 * 30_000 * 4 + 128)
        return "npz bomb"
    if way == 2:
        with zipfile.ZipFile(path, "w") as file:
            for name in ("depth.npy", "../depth.npy", "valid.npy", "kind.npy", "unit.npy", "/etc/x.npy", "x.txt"):
                file.writestr(name, npy_header(pick(rng, _SHAPES), pick(rng, _KINDS)) + bytes(3072))
        return "npz with strange arrays"
    shapes = [pick(rng, ((24, 32), (24, 31), (1,), ())) for _ in range(3)]
    values = [np.full(s, pick(rng, (1.0, np.nan, -1.0, 1e30)), pick(rng, (np.float32, np.float64))) for s in shapes]
    words = pick(rng, ("metric", "relative_disparity", "x", "", "\x00"))
    np.savez(path, depth=values[0], valid=values[1], kind=np.array(words), unit=values[2])
    return "npz of unlike arrays"


def _zip_of_one(path: Path, name: str, deflated: bytes, size: int) -> None:
    size = min(size, 0xFFFFFFFE)
    local = (
        struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, 0, len(deflated), size, len(name), 0) + name.encode()
    )
    entry = struct.pack(
        "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 0, 0, len(deflated), size, len(name), 0, 0, 0, 0, 0, 0
    )
    at = len(local) + len(deflated)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry) + len(name), at, 0)
    path.write_bytes(local + deflated + entry + name.encode() + end)


def _exr(rng: Rng, path: Path) -> str:
    right, bottom = (pick(rng, (0, 31, 99_999, 1 << 30, -1, -(1 << 31))) for _ in range(2))
    box = struct.pack("<iiii", 0, 0, right, bottom)
    channel = (
        pick(rng, (b"Z", b"R", b"", b"\xff" * 300))
        + b"\0"
        + struct.pack("<iB3xii", pick(rng, (0, 1, 2, 9)), 0, 1, 1)
        + b"\0"
    )
    rows = [(b"channels", b"chlist", channel), (b"compression", b"compression", bytes([pick(rng, (0, 3, 9))])),
            (b"dataWindow", b"box2i", box), (b"displayWindow", b"box2i", box), (b"lineOrder", b"lineOrder", b"\0"),
            (b"pixelAspectRatio", b"float", struct.pack("<f", 1)), (b"screenWindowCenter", b"v2f", bytes(8)),
            (b"screenWindowWidth", b"float", struct.pack("<f", 1))]  # fmt: skip
    head = b"".join(n + b"\0" + t + b"\0" + struct.pack("<i", len(v)) + v for n, t, v in rows)
    path.write_bytes(b"\x76\x2f\x31\x01\x02\0\0\0" + head + b"\0" + bytes(500))
    return f"exr {right}x{bottom}"


def _h5(rng: Rng, path: Path) -> str:
    import h5py

    depth, image = ("depth", "rgb") if path.suffix == ".h5" else ("depths", "images")
    way = int(rng.integers(4))
    with h5py.File(path, "w") as file:
        if way == 0:
            shape = (40_000, 40_000) if path.suffix == ".h5" else (4, 40_000, 40_000)
            file.create_dataset(depth, shape, "f4", chunks=(*(1,) * (len(shape) - 2), 1000, 1000), compression="gzip")
            file[image] = np.zeros((3, 24, 32) if path.suffix == ".h5" else (4, 3, 32, 24), np.uint8)
            return "hdf5 that claims 1.6 billion pixels"
        if way == 1:
            file.create_group(depth)
            file.create_group(image)
            return "hdf5 with groups in place of arrays"
        if way == 2:
            file[depth], file[image] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/")
            return "hdf5 with links to nowhere"
        file[depth] = pick(rng, ("a text", 5.0, [b"a", b"b"], np.zeros(0), np.zeros((24, 32), complex)))
        file[image] = pick(rng, (np.zeros((3, 24, 32), np.uint8), np.zeros((4, 3, 32, 24), np.uint8), 7))
        return "hdf5 with other arrays"


def _picture(rng: Rng, path: Path) -> str:
    turn = rng.random()
    if turn < 0.6:
        what, _, data = largest_picture(rng) if turn < 0.05 else hostile_picture(rng)
        path.write_bytes(data)
        return what
    kind = pick(rng, (np.float32, np.float64, np.int32, np.uint8))
    values = np.full((24, 32), pick(rng, (0, 1, 200)), kind)
    if kind in (np.float32, np.float64):
        values[:] = pick(rng, (np.nan, np.inf, -1.0, 1e38, 1e-40))
    stored = io.BytesIO()
    Image.fromarray(values.astype(np.float32) if kind is np.float64 else values).save(stored, "TIFF")
    path.write_bytes(stored.getvalue())
    return f"tiff of {values.dtype} {values.flat[0]}"
