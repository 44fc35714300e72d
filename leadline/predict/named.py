"""Photographs in, names out: classes of pictures, labels of pixels as files, and with them the depth of joint nets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leadline.core.errors import LeadlineError, about
from leadline.core.preprocess import read_image
from leadline.core.types import Labels
from leadline.core.viz_labels import joint_picture, labels_picture
from leadline.predict.predictor import Predictor
from leadline.predict.writers import Saver, colour_range, output_names, png_text

ENDINGS = ("_labels.png", "_vis.png")


@dataclass(frozen=True)
class Named:
    """What came of one picture: `classes`, a name and its part (of the probability, or of the pixels), the largest
    first, and the files with its labels; or the `error`. `metres` are the least, the median and the largest depth, of a
    net that gives it; None without.
    """

    source: Path
    error: str | None = None
    classes: tuple[tuple[str, float], ...] = ()
    files: tuple[Path, ...] = field(default_factory=tuple)
    metres: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        if self.error is not None:
            return {"source": str(self.source), "error": self.error}
        found = {"source": str(self.source), "classes": dict(self.classes), "files": [str(file) for file in self.files]}
        names = ("min", "median", "max")
        return found | ({} if self.metres is None else dict(zip(names, self.metres, strict=True)))


def name_files(
    predictor: Predictor, paths: Sequence[Path], out: Path, *, n: int = 5, saver: Saver | None = None
) -> Iterator[Named]:
    """One Named for each of `paths`, as each is done, with the `n` largest classes.

    Of a net of labels, the folder `out` gets NAME_labels.png, 8 bits, the number of each pixel's class, and
    NAME_vis.png, coloured with a legend. A net of depth and labels needs a `saver`, and `out` gets the depth in its
    formats, too; its `vis` is photograph, depth and labels in one picture. A file that cannot be used is a Named with
    its error.
    """
    own: dict[str, Callable[[Path, str], Named]] = {
        "labels": lambda path, name: _labels(predictor, path, out, name, n),
        "joint": lambda path, name: _joint(predictor, path, out, name, n, saver),
    }
    named = own.get(predictor.head.kind)
    if named is not None and out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the results need a folder")
    endings = (*ENDINGS, *(() if saver is None else saver.endings))
    names = [path.stem for path in paths] if named is None else output_names(paths, out, endings)
    for path, name in zip(paths, names, strict=True):
        try:
            if named is None:
                yield Named(path, None, tuple(predictor.scores(read_image(path)).best(n)))
            else:
                yield named(path, name)
        except (LeadlineError, OSError, ValueError) as error:  # ValueError: a name with a NUL byte
            yield Named(path, about(path, error))


def _labels(predictor: Predictor, path: Path, out: Path, name: str, n: int) -> Named:
    labels = predictor.labels(read_image(path))
    files = [
        _write(out, f"{name}{ending}", picture, labels, predictor)
        for ending, picture in zip(ENDINGS, (labels.values, labels_picture(labels)), strict=True)
    ]
    return Named(path, None, tuple(labels.shares().items())[:n], tuple(files))


def _joint(predictor: Predictor, path: Path, out: Path, name: str, n: int, saver: Saver | None) -> Named:
    if saver is None:
        raise ValueError(f"{predictor.name} gives depth and labels; a saver for the depth is needed")
    frame = read_image(path)
    seen = predictor.joint(frame)
    depth, labels = seen.depth, seen.labels
    files: list[Path] = []
    if formats := tuple(each for each in saver.formats if each != "vis"):
        of_depth = replace(saver, formats=formats).of(path, (frame.shape[0], frame.shape[1]))
        files += of_depth.write(out, name, frame, depth)
    files.append(_write(out, f"{name}{ENDINGS[0]}", labels.values, labels, predictor))
    if "vis" in saver.formats:
        low, high = colour_range(depth, saver)
        picture = joint_picture(frame, seen, vmin=low, vmax=high, colormap=saver.colormap)
        files.append(_write(out, f"{name}{ENDINGS[1]}", picture, labels, predictor))
    valid = depth.values[depth.valid]
    metres = (float(valid.min()), float(np.median(valid)), float(valid.max())) if valid.size else None
    return Named(path, None, tuple(labels.shares().items())[:n], tuple(files), metres)


def _write(out: Path, name: str, picture: np.ndarray, labels: Labels, predictor: Predictor) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    facts = {"model": predictor.name, "kind": predictor.head.kind, "classes": ", ".join(labels.classes)}
    Image.fromarray(picture).save(out / name, format="PNG", pnginfo=png_text(facts))
    return out / name
