"""A PNG whose header claims far more pixels than its few bytes hold."""

from __future__ import annotations

import zlib


def bomb(width: int, height: int, bits: int = 16) -> bytes:
    """A PNG of so many pixels, all 0, in a few bytes for each row."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    body = zlib.compress(bytes(10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
