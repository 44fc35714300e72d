"""Text that other programs wrote, and text for people to read: what a file says whatever its byte order mark, lines
whatever ends them, names without what would move a terminal's cursor, and values and errors cut to one short line.
"""

from __future__ import annotations

import codecs
import difflib
import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_MARKS = (  # the longest first: UTF-32's little-endian mark begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[Nn]one|nan")
# controls, marks that turn the writing direction, breaks of lines, byte order marks, and bytes that are no UTF-8
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text of a file's bytes: UTF-8, or what its byte order mark says (UTF-8, UTF-16 or UTF-32), without the mark.

    With `errors="surrogateescape"` bytes that are no UTF-8 are kept as Python keeps them in file names. ValueError if
    it is no text, or UTF-16 without a mark.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and _is_utf16(content):
        raise ValueError("it looks like UTF-16 without a byte order mark; save it as UTF-8")
    try:
        return content.decode(encoding, "strict" if "16" in encoding or "32" in encoding else errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in {encoding.removesuffix('-sig').upper()} ({error.reason})") from error


def _is_utf16(content: bytes) -> bool:
    """Whether every second byte of the start is 0, as in the UTF-16 of plain Latin letters."""
    start = content[:64]
    zeros = sorted((start[::2].count(0), start[1::2].count(0)))
    return len(start) > 3 and zeros[0] == 0 and zeros[1] * 2 >= len(start) - 1


def read_text(path: str | Path) -> str:
    """What a text file says, see `decoded`. OSError if it cannot be read, ValueError if it is no text."""
    return decoded(Path(path).read_bytes())


def split_lines(text: str) -> list[str]:
    """The lines, whether they end in LF, CR LF or CR. Rarer breaks, such as U+2028, may stand in a name and stay."""
    return re.split("\r\n|\r|\n", text)


def columns(line: str) -> list[str]:
    """The columns of a line, parted by tabs, else by commas, else by blanks. Blanks in a file's name do not part it: a
    column that is no number goes on to its ending, if all have one.
    """
    for mark in ("\t", ","):
        if mark in line:
            return [cell.strip() for cell in line.split(mark)]
    words, found = line.split(), []
    name = ""
    for word in words:
        name = f"{name} {word}" if name else word
        if _ENDING.search(word) or (name == word and _PLAIN.fullmatch(word)):
            found.append(name)
            name = ""
    return words if name else found


def split_list(text: str) -> tuple[str, ...]:
    """What stands between commas, each once, without the blanks around it; empty places do not count."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def shown(text: object) -> str:
    """Text with what cannot be seen (controls, directions, bytes that are no UTF-8) written out: a newline as \\n."""
    return _UNSHOWN.sub(_written, str(text))


def _written(found: re.Match[str]) -> str:
    character = found.group()
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def short_repr(value: Any) -> str:
    """`repr`, cut short before it is written: a value that a file holds in place of a number may be of any length or
    depth.
    """
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother, _SHORT.maxtuple = 4, 120, 60, 120, 16
_SHORT.maxlist = _SHORT.maxdict = 16


def shortened(text: str, most: int) -> str:
    """The text, of at most `most` characters; dots stand at the end of one that is cut."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def reason(error: BaseException, most: int = 300, *, first_line: bool = False) -> str:
    """What an exception says, on one line of at most `most` characters; its class where it says nothing.

    `first_line`: of several lines only the first, where the others are details.
    """
    words = str(error).strip()
    words = words.splitlines()[0] if first_line and words else words
    return shortened(" ".join(words.split()), most) or type(error).__name__


def some(names: Sequence[str], count: int = 3) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def counted(n: int, thing: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def figure(value: float) -> str:
    """A number to six figures, never as a power of ten where it is large: `0.25`, `368 329 000`."""
    return f"{float(f'{value:.6g}'):,.0f}".replace(",", " ") if abs(value) >= 1e6 else f"{value:.6g}"


def nearest(word: str, known: Iterable[str]) -> str:
    """For an error message: the at most three of `known` that look most like `word`, or what there is if none does."""
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else f"known: {some(known, 10)}"
