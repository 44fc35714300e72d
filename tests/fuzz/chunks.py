"""Pictures that are well-formed and say what they should not: sizes that are lies, bombs, chunks in another order."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from fuzz.case import pick

Rng = np.random.Generator
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HUGE = (0, 1, 20_000, 65_535, 100_000, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_PNG_KINDS = (
    (0, 1),
    (0, 2),
    (0, 4),
    (0, 8),
    (0, 16),
    (2, 8),
    (2, 16),
    (3, 1),
    (3, 8),
    (4, 8),
    (4, 16),
    (6, 8),
    (6, 16),
)


def hostile(rng: Rng) -> tuple[str, str, bytes]:
    """(what it is, an ending, the bytes)."""
    return pick(rng, (_lying_png, _shuffled_png, _bomb, _lying_size, _text_bomb))(rng)


def plain(rng: Rng) -> tuple[str, str, bytes]:
    """A whole small PNG of any kind, also of those that pillow does not write: grey of 2 and 4 bits, colour of 16."""
    colour, bits = pick(rng, _PNG_KINDS)
    return f"PNG 17x9 colour {colour} bits {bits}", "png", _blank(17, 9, colour, bits)


def largest(rng: Rng) -> tuple[str, str, bytes]:
    """A PNG with nearly as many pixels as are read at all, of any kind: small on disk, large in memory."""
    colour, bits = pick(rng, _PNG_KINDS)
    width, height = pick(rng, ((9_999, 9_999), (99_000, 1_000), (1_000, 99_000)))
    return f"PNG {width}x{height} colour {colour} bits {bits}", "png", _blank(width, height, colour, bits)


def bomb_of(stream_bytes: int) -> bytes:
    """A zlib stream of that many zero bytes (its checksum is wrong), made without taking their memory."""
    made = zlib.compressobj(9)
    start = made.compress(bytes(1 << 20)) + made.flush(zlib.Z_FULL_FLUSH)
    again = made.compress(bytes(1 << 20)) + made.flush(zlib.Z_FULL_FLUSH)
    return start + again * (stream_bytes >> 20) + made.flush()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _blank(width: int, height: int, colour: int, bits: int) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * channels * bits + 7) // 8)
    made = zlib.compressobj(1)
    body = b"".join(made.compress(row) for _ in range(height)) + made.flush()
    palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\0\x80") if colour == 3 else b""
    return _SIGNATURE + _header(width, height, colour, bits) + palette + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _header(width: int, height: int, colour: int, bits: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def _lying_png(rng: Rng) -> tuple[str, str, bytes]:
    colour, bits = pick(rng, _PNG_KINDS)
    width, height = pick(rng, _HUGE), pick(rng, _HUGE)
    data = _blank(8, 8, colour, bits)
    end = len(_SIGNATURE) + 25
    return f"PNG that claims {width}x{height}", "png", _SIGNATURE + _header(width, height, colour, bits) + data[end:]


def _shuffled_png(rng: Rng) -> tuple[str, str, bytes]:
    parts = list(_chunks(_blank(16, 16, *pick(rng, _PNG_KINDS))))
    extra = [chunk(pick(rng, (b"tRNS", b"gAMA", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"iCCP", b"pHYs",
    b"IDAT")),
                   rng.bytes(int(rng.integers(0, 40))))]  # fmt: skip
    parts = [*parts, *extra]
    order = rng.permutation(len(parts))
    return "PNG with its chunks in another order", "png", _SIGNATURE + b"".join(parts[i] for i in order)


def _chunks(png: bytes) -> Iterator[bytes]:
    at = len(_SIGNATURE)
    while at < len(png):
        length = 12 + struct.unpack(">I", png[at : at + 4])[0]
        yield png[at : at + length]
        at += length


def _bomb(rng: Rng) -> tuple[str, str, bytes]:
    side = int(rng.integers(10_001, 14_000))
    return f"PNG bomb {side}x{side}", "png", _blank(side, side, 0, 1)


def _text_bomb(rng: Rng) -> tuple[str, str, bytes]:
    kind = pick(rng, (b"zTXt", b"iCCP", b"iTXt"))
    before = b"a\0\0" if kind != b"iTXt" else b"a\0\1\0\0\0"
    data = _blank(8, 8, 2, 8)
    end = len(_SIGNATURE) + 25
    return f"PNG with a {kind.decode()} bomb", "png", data[:end] + chunk(kind, before + bomb_of(3 << 30)) + data[end:]


def _lying_size(rng: Rng) -> tuple[str, str, bytes]:
    width, height = (min(pick(rng, _HUGE), (1 << 31) - 1) for _ in range(2))
    kind = pick(rng, ("ppm", "pgm", "bmp", "gif", "tif", "webp", "jpg", "pfm"))
    if kind in ("ppm", "pgm"):
        magic = pick(rng, ("P1", "P2", "P3", "P4", "P5", "P6"))
        data = f"{magic}\n{width} {height}\n{pick(rng, (0, 1, 255, 65535, 65536, -1))}\n".encode() + bytes(300)
    elif kind == "pfm":
        kind, data = "ppm", f"Pf\n{width} {height}\n{pick(rng, (-1.0, 1.0, 0.0, 'nan', 'inf'))}\n".encode() + bytes(300)
    elif kind == "bmp":
        bits, method = pick(rng, (1, 4, 8, 16, 24, 32)), pick(rng, (0, 1, 2, 3))
        data = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 400, 0, 0, 54, 40, width, height, 1, bits, method, 0, 0, 0, 0, 0)
        data += bytes(300)
    elif kind == "gif":
        data = b"GIF89a" + struct.pack("<HHBBB", width & 65535, height & 65535, 0x80, 0, 0) + bytes(6)
        data += b"," + struct.pack("<HHHHB", 0, 0, width & 65535, height & 65535, 0) + b"\x02\x02\x4c\x01\0;"
    elif kind == "tif":
        rows = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, pick(rng, (1, 8, 16, 32))), (259, 3, 1, 1),
                (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 300),
                (339, 3, 1, pick(rng, (1, 2, 3)))]  # fmt: skip
        body = b"".join(struct.pack("<HHII", *row) for row in rows)
        data = b"II*\0" + struct.pack("<IH", 8, len(rows)) + body + bytes(304)
    elif kind == "webp":
        size = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
        frame = b"\x30\x01\0\x9d\x01\x2a" + size + bytes(60)
        data = b"RIFF" + struct.pack("<I", 12 + len(frame)) + b"WEBPVP8 " + struct.pack("<I", len(frame)) + frame
    else:
        sof = struct.pack(">BHHB", 8, height & 65535, width & 65535, 1) + b"\x01\x11\0"
        data = (
            b"\xff\xd8\xff\xc0"
            + struct.pack(">H", 2 + len(sof))
            + sof
            + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
            + bytes(90)
        )
    return f"{kind} that claims {width}x{height}", kind, data
