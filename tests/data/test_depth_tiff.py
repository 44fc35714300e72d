"""TIFF in every number type, byte order and packing, and TIFF with several pages."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadData
from leadline.core.orientation import ALL, turned
from leadline.data.depth_io import read_depth, read_values
from leadline.data.depth_tiff import _unpacked, tiff_orientation

TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
MAP = (np.arange(37 * 21).reshape(37, 21) * 7 % 120).astype(np.float64)


def predicted(rows: np.ndarray, order: str, predictor: int) -> bytes:
    """Rows as TIFF stores them; the twin of what is read."""
    if predictor == 1:
        return rows.astype(order + rows.dtype.str[1:]).tobytes()
    whole = f"u{rows.dtype.itemsize}"
    if predictor == 2:
        values = rows.view(whole)
        return np.diff(values, axis=1, prepend=values[:, :1] * 0).astype(order + whole).tobytes()
    planes = np.stack([np.frombuffer(rows.astype(">" + rows.dtype.str[1:]).tobytes(), np.uint8)])
    planes = planes.reshape(*rows.shape, rows.dtype.itemsize).transpose(0, 2, 1).reshape(rows.shape[0], -1)
    return np.diff(planes, axis=1, prepend=planes[:, :1] * 0).tobytes()


def tiff(
    *pages: np.ndarray,
    order: str = "<",
    big: bool = False,
    rows: int = 10,
    deflate: bool = False,
    predictor: int = 1,
    tile: int = 0,
    change: Mapping[int, int] | None = None,
) -> bytes:
    """A TIFF file; `change` overrules tags."""
    place, count_of = ("Q", "Q") if big else ("I", "H")
    data = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    data += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    link = len(data) - struct.calcsize(place)
    for values in pages:
        height, width = values.shape
        if tile:
            padded = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile), values.dtype)
            padded[:height, :width] = values
            tops, lefts = range(0, height, tile), range(0, width, tile)
            pieces = [np.ascontiguousarray(padded[t : t + tile, s : s + tile]) for t in tops for s in lefts]
        else:
            pieces = [values[t : t + rows] for t in range(0, height, rows)]
        packed = [predicted(piece, order, predictor) for piece in pieces]
        packed = [zlib.compress(piece) if deflate else piece for piece in packed]
        places = [len(data) + sum(map(len, packed[:i])) for i in range(len(packed))]
        data += b"".join(packed)
        lists = len(data)
        data += struct.pack(f"{order}{2 * len(packed)}{place}", *places, *map(len, packed))
        kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
        tags = {256: width, 257: height, 258: values.dtype.itemsize * 8, 259: 8 if deflate else 1, 262: 1, 277: 1}
        tags |= {339: kind, 317: predictor} | ({322: tile, 323: tile} if tile else {278: rows}) | dict(change or {})
        entries = [(tag, 4, 1, value) for tag, value in tags.items()]
        size, many = struct.calcsize(place), 16 if big else 4
        for tag, at in ((324 if tile else 273, lists), (325 if tile else 279, lists + len(packed) * size)):
            one = struct.unpack_from(order + place, data, at)[0] if len(packed) == 1 else at
            entries.append((tag, many, len(packed), one))
        data = data[:link] + struct.pack(order + place, len(data)) + data[link + size :]
        data += struct.pack(order + count_of, len(entries))
        for tag, type_, count, value in sorted(entries):
            inline = struct.pack(order + ("I" if type_ == 4 else "Q"), value).ljust(size, b"\0")
            data += struct.pack(f"{order}HH{place}", tag, type_, count) + inline
        link = len(data)
        data += bytes(size)
    return data


def stored(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return read_values(path)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_every_number_type_comes_back_as_written(tmp_path: Path, dtype: str, order: str, big: bool) -> None:
    values = MAP.astype(dtype)
    for how in ({}, {"deflate": True}, {"tile": 16}, {"tile": 16, "deflate": True}, {"rows": 100}):
        back = stored(tmp_path / "a.tif", tiff(values, order=order, big=big, **how))  # type: ignore[arg-type]
        assert back.dtype == values.dtype and (back == values).all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_predictors_are_undone(tmp_path: Path, dtype: str, order: str) -> None:
    values = MAP.astype(dtype)
    for predictor in (2, 3) if values.dtype.kind == "f" else (2,):
        back = stored(tmp_path / "a.tif", tiff(values, order=order, deflate=True, predictor=predictor))
        assert (back == values).all()


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_what_pillow_writes_is_read(tmp_path: Path, compression: str, dtype: str) -> None:
    values = MAP.astype(dtype)
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    back = read_values(tmp_path / "a.tif")
    assert back.dtype == values.dtype and (back == values).all()


@pytest.mark.parametrize("turn", ALL)
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_page_that_states_its_orientation_is_turned_once(tmp_path: Path, compression: str, turn: int) -> None:
    facts = Image.Exif()
    facts[0x0112] = turn
    Image.fromarray(MAP.astype(np.uint16)).save(tmp_path / "a.tif", compression=compression, exif=facts)
    assert np.array_equal(read_values(tmp_path / "a.tif"), turned(MAP, turn))
    assert tiff_orientation(tmp_path / "a.tif") == turn


def test_an_independent_reader_agrees_with_what_is_written_here(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff(MAP.astype("f2"), MAP.astype("f2") + 1, order=">", tile=16, deflate=True))
    assert (tifffile.imread(tmp_path / "a.tif", key=1) == MAP + 1).all()


def test_half_and_double_floating_point_are_metres(tmp_path: Path) -> None:
    for dtype in ("f2", "f8"):
        (tmp_path / "a.tiff").write_bytes(tiff((MAP / 16).astype(dtype)))
        depth, valid = read_depth(tmp_path / "a.tiff")
        assert (depth == (MAP / 16).astype(np.float32)).all() and (valid == (MAP > 0)).all()


def test_several_pages_are_listed_and_a_key_chooses(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(MAP.astype("f4"), MAP.astype("f4") + 1))
    with pytest.raises(BadData, match=r"a\.tif holds 0 \(21 x 37\), 1 \(21 x 37\); no page is called depth.*depth_key"):
        read_values(path)
    assert (read_values(path, key="1") == MAP + 1).all()
    with pytest.raises(BadData, match="no page called '2'"):
        read_values(path, key="2")


def test_a_page_that_is_called_depth_counts_and_smaller_copies_do_not(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(MAP.astype("u1"), extratags=[(285, 2, None, "confidence", True)])
        file.write(MAP.astype("f4"), extratags=[(285, 2, None, "Depth", True)])
    assert (read_values(tmp_path / "a.tif") == MAP).all()
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(MAP.astype("f4"))
        file.write(MAP[::2, ::2].astype("f4"), subfiletype=1)
    assert (read_values(tmp_path / "b.tif") == MAP).all()


@pytest.mark.parametrize(("dtype", "mark"), [("f4", "-3.4028234663852886e+38"), ("f4", "7"), ("u2", "7"), ("i2", "7")])
def test_what_a_file_calls_no_data_is_no_depth(tmp_path: Path, dtype: str, mark: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = MAP.astype(dtype)
    values[0, :3] = np.dtype(dtype).type(float(mark))
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, 2, None, mark, True)])
    assert (read_depth(tmp_path / "a.tif", scale=1)[1] == ((values != values[0, 0]) & (values > 0))).all()


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (256, 200_000_000, "more than 100000000 pixels"),
        (257, 2**31, "more than 100000000 pixels"),
        (256, 0, "damaged"),
        (257, 90_000, "damaged|cut short"),
        (278, 0, "damaged"),
        (277, 3, "3 numbers for each pixel"),
        (262, 3, "photometric 3"),
        (258, 1, "1 bits"),
        (258, 12, "12 bits"),
        (339, 6, "32 bits"),
        (259, 7, "cannot be read"),
        (259, 8, "cut short"),
    ],
)
def test_hostile_facts_are_refused(tmp_path: Path, tag: int, value: int, message: str) -> None:
    with pytest.raises(BadData, match=rf"a\.tif.*({message})"):
        stored(tmp_path / "a.tif", tiff(MAP.astype("f4"), change={tag: value}))


def test_a_piece_that_unpacks_without_end_stops_at_what_is_needed(tmp_path: Path) -> None:
    assert len(_unpacked(zlib.compress(bytes(5_000_000)), 840, 8)) == 840
    assert len(_unpacked(b"\x81\x07" * 5000, 840, 32773)) == 840


def test_pages_that_go_round_in_a_circle_are_refused(tmp_path: Path) -> None:
    content = tiff(MAP.astype("f4"))
    at = struct.unpack_from("<I", content, 4)[0]
    with pytest.raises(BadData, match="pages do not end"):
        stored(tmp_path / "a.tif", content[:-4] + struct.pack("<I", at))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_end_in_our_own_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    how = {"deflate": bool(seed % 3), "tile": 16 * (seed % 2), "big": seed % 5 == 0}
    data = np.frombuffer(tiff(MAP.astype(TYPES[seed % len(TYPES)]), **how), np.uint8).copy()  # type: ignore[arg-type]
    where = rng.integers(data.size - 300 if seed % 2 else 0, data.size, 3)
    data[where] = rng.integers(0, 256, 3)
    try:
        assert stored(tmp_path / "a.tif", data.tobytes()).ndim == 2
    except BadData as error:
        assert "a.tif" in str(error)
