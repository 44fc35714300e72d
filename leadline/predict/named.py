"""Photographs in, names out: classes of pictures, and labels of pixels as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from leadline.core.errors import LeadlineError, about
from leadline.core.preprocess import read_image
from leadline.core.types import Labels
from leadline.core.viz_labels import labels_picture
from leadline.predict.predictor import Predictor
from leadline.predict.writers import output_names, png_text

ENDINGS = ("_labels.png", "_vis.png")


@dataclass(frozen=True)
class Named:
    """What came of one picture: `classes`, a name and its part (of the probability, or of the pixels), the largest
    first, and the files with its labels; or the `error`.
    """

    source: Path
    error: str | None = None
    classes: tuple[tuple[str, float], ...] = ()
    files: tuple[Path, ...] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        if self.error is not None:
            return {"source": str(self.source), "error": self.error}
        return {"source": str(self.source), "classes": dict(self.classes), "files": [str(file) for file in self.files]}


def name_files(predictor: Predictor, paths: Sequence[Path], out: Path, *, n: int = 5) -> Iterator[Named]:
    """One Named for each of `paths`, as each is done, with the `n` largest classes.

    Of a net of labels, the folder `out` gets NAME_labels.png, 8 bits, the number of each pixel's class, and
    NAME_vis.png, coloured with a legend. A file that cannot be used is a Named with its error.
    """
    of_pixels = predictor.head.kind == "labels"
    if of_pixels and out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the results need a folder")
    names = output_names(paths, out, ENDINGS) if of_pixels else [path.stem for path in paths]
    for path, name in zip(paths, names, strict=True):
        try:
            frame = read_image(path)
            if of_pixels:
                labels = predictor.labels(frame)
                yield Named(path, None, tuple(labels.shares().items())[:n], _write(labels, out, name, predictor.name))
            else:
                yield Named(path, None, tuple(predictor.scores(frame).best(n)))
        except (LeadlineError, OSError, ValueError) as error:  # ValueError: a name with a NUL byte
            yield Named(path, about(path, error))


def _write(labels: Labels, out: Path, name: str, model: str) -> tuple[Path, ...]:
    out.mkdir(parents=True, exist_ok=True)
    facts = png_text({"model": model, "kind": "labels", "classes": ", ".join(labels.classes)})
    numbers, picture = (out / f"{name}{ending}" for ending in ENDINGS)
    Image.fromarray(labels.values).save(numbers, format="PNG", pnginfo=facts)
    Image.fromarray(labels_picture(labels)).save(picture, format="PNG", pnginfo=facts)
    return numbers, picture
