"""Pictures that hold numbers (labels, masks, classes), opened without what a hostile one could do."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from PIL import Image

from leadline.core.preprocess import MAX_PIXELS


@contextlib.contextmanager
def opened_picture(file: Path | IO[bytes], formats: Sequence[str]) -> Iterator[Image.Image]:
    """A picture in one of Pillow's `formats`, its header read and its pixels not yet, in their stored mode.

    ValueError if it has more than MAX_PIXELS pixels, or is no file. Damaged ones make Pillow raise nearly anything.
    """
    if isinstance(file, Path) and not os.path.isfile(file):  # a pipe would be waited for
        raise ValueError("there is no such file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large files, which are refused here, and of odd metadata
        with Image.open(file, formats=tuple(formats)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels, at most {MAX_PIXELS} are read")
            yield picture
