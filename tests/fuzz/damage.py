"""Ways to damage bytes and texts, each a function of a random generator."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from fuzz.case import pick

Rng = np.random.Generator
_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)


def _span(rng: Rng, n: int, longest: int = 64) -> slice:
    start = int(rng.integers(max(n, 1)))
    return slice(start, min(n, start + int(rng.integers(1, longest))))


def cut(rng: Rng, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def stub(rng: Rng, data: bytes) -> bytes:
    return data[: int(rng.integers(40))]


def flipped(rng: Rng, data: bytes) -> bytes:
    new = bytearray(data)
    for _ in range(int(rng.integers(1, 33)) if new else 0):
        new[int(rng.integers(len(new)))] ^= 1 << int(rng.integers(8))
    return bytes(new)


def flipped_start(rng: Rng, data: bytes) -> bytes:
    return flipped(rng, data[:128]) + data[128:]


def extreme(rng: Rng, data: bytes) -> bytes:
    """A number somewhere near the start becomes one that nobody expects."""
    new, at = bytearray(data), int(rng.integers(max(1, min(len(data), 256))))
    kind, value = pick(rng, "<> "), pick(rng, _EXTREME)
    width = pick(rng, "BHIQ")
    packed = struct.pack((kind if kind != " " else "=") + width, value & (256 ** struct.calcsize("=" + width) - 1))
    new[at : at + len(packed)] = packed
    return bytes(new)


def zeroed(rng: Rng, data: bytes) -> bytes:
    span = _span(rng, len(data), 512)
    return data[: span.start] + bytes(span.stop - span.start) + data[span.stop :]


def doubled(rng: Rng, data: bytes) -> bytes:
    span = _span(rng, len(data), 512)
    return data[: span.stop] + data[span] + data[span.stop :]


def removed(rng: Rng, data: bytes) -> bytes:
    span = _span(rng, len(data))
    return data[: span.start] + data[span.stop :]


def swapped(rng: Rng, data: bytes) -> bytes:
    a, b = sorted(int(v) for v in rng.integers(len(data) + 1, size=2))
    middle = (a + b) // 2
    return data[:a] + data[middle:b] + data[a:middle] + data[b:]


def inserted(rng: Rng, data: bytes) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]


def noise_behind(rng: Rng, data: bytes) -> bytes:
    at = int(rng.integers(8, 64))
    return data[:at] + rng.bytes(max(0, len(data) - at))


def longer(rng: Rng, data: bytes) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 4096)))


def whole(rng: Rng, data: bytes) -> bytes:
    return data


BYTES: tuple[Callable[[Rng, bytes], bytes], ...] = (
    cut, cut, stub, flipped, flipped, flipped_start, extreme, extreme, zeroed, doubled, removed, swapped, inserted,
    noise_behind, longer, whole,
)  # fmt: skip


def damaged(rng: Rng, data: bytes) -> tuple[str, bytes]:
    """(what was done, the bytes after one or two kinds of damage)."""
    done = []
    for _ in range(1 + int(rng.random() < 0.25)):
        way = pick(rng, BYTES)
        data = way(rng, data)
        done.append(way.__name__)
    return ", ".join(done), data


STRANGE = (
    "", " ", "\x00", "nan", "inf", "-inf", "-1", "0", "1e999", "9" * 400, "1_0", "\u0663", "true", "null", "[]",
    "{}", "\\",
    "..", "../../../../etc/passwd", "/etc/passwd", "/", "C:\\a\\b.png", "~", "\ufeff", "\u202egnp.a", "\x1b[2J",
    "a" * 5000,
    "%s%n", "'", '"', "#", ":", "=", ",", "None", "\r", "\x85", "\u2028", "\ud800",
)  # fmt: skip
"""Words that a list, a table or a description may hold in place of what belongs there."""


def text_damaged(rng: Rng, text: str) -> bytes:
    """A text with something in it that does not belong there, in another encoding, or damaged as bytes are."""
    way = int(rng.integers(8))
    lines = text.splitlines() or [""]
    at = int(rng.integers(len(lines)))
    if way < 3:
        words = lines[at].split(" ")
        words[int(rng.integers(len(words)))] = pick(rng, STRANGE)
        lines[at] = " ".join(words)
    elif way == 3:
        lines.insert(at, pick(rng, STRANGE))
    elif way == 4:
        return "\r\n".join(lines).encode(pick(rng, ("utf-16", "utf-8-sig", "utf-32", "utf-16-le")), "replace")
    elif way == 5:
        lines[at] = lines[at] * 3
    else:
        return damaged(rng, text.encode())[1]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
