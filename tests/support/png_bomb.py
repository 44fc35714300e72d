"""A picture that is small on disk and large in memory."""

from __future__ import annotations

import zlib

from fuzz.chunks import chunk


def bomb(width: int, height: int, bits: int = 16) -> bytes:
    """A grey PNG that says it has so many pixels, and holds 10 kB of zeros."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    body = zlib.compress(bytes(10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
