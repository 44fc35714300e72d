"""Many photographs: one `Outcome` each, files written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.core.errors import LeadlineError, about
from leadline.core.preprocess import read_image
from leadline.core.text import counted
from leadline.predict.predictor import Predictor

if TYPE_CHECKING:
    from leadline.predict.writers import Saver


@dataclass(frozen=True)
class Outcome:
    """What became of one file: either `error`, or the depth's facts and the files written.

    `low`, `median` and `high` are of the valid pixels, in `unit`, and None where there are none; `valid` is their part.
    `camera` is that of a point cloud, with `source`, where it is from; None without one.
    """

    source: Path
    error: str | None = None
    kind: str | None = None
    unit: str | None = None
    size: tuple[int, int] | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    valid: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    camera: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values: `source` and `error`, or `source` and the rest, `low` and `high` named `min` and `max`."""
        if self.error is not None:
            return {"source": str(self.source), "error": self.error}
        facts = {key: value for key, value in vars(self).items() if key not in ("error", "low", "high")}
        files = [str(path) for path in self.files]
        return facts | {"source": str(self.source), "min": self.low, "max": self.high, "files": files}


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    save: Sequence[str] = ("vis",),
    colormap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    fov: float | None = None,
    intrinsics: str | None = None,
    own_range: bool = False,
    keep_going: bool = True,
) -> Iterator[Outcome]:
    """One Outcome for each of `paths`, as each is done, its depth saved in the folder `out` in every format of `save`:

    - `png16` NAME_depth.png, 16 bits, millimetres (where something is farther than 65.5 m: the units per metre that
      hold it, with a warning; the file's text says which), 0 = none; only for metric depth
    - `npy`   NAME_depth.npy, float32; metric: metres and 0 = none, otherwise the kind's own scale and NaN = none
    - `npz`   NAME_depth.npz, the same in an array named `depth` (or by its kind), with `valid` and `kind`
    - `vis`   NAME_vis.png, coloured, for the eye; see `viz.picture` for `colormap`, `vmin`, `vmax`, and `viz.own_range`
    - `side`  NAME_side.png, the photograph and `vis` next to each other
    - `ply`   NAME.ply, a coloured point cloud in metres (x right, y down, z forward), for the camera of `intrinsics`
      (fx,fy,cx,cy or a file, see `cameras.stated_camera`), or one that sees `fov` degrees across the longer side, or
      that of the photograph's EXIF block, else one of 58 degrees; the file and the Outcome say which. Only for metric
      depth

    NAME is the file's name without its suffix, made different where two files share it; no file of `paths` is ever
    overwritten. A file that cannot be used is an Outcome with its error, or with `keep_going=False` the error itself.
    """
    from leadline.predict.writers import Saver, output_names

    # refuses before any work
    saver = Saver(
        tuple(save), predictor.name, predictor.head.kind, colormap, vmin, vmax, fov, intrinsics, None, own_range
    )
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the results need a folder")
    names = output_names(paths, out, saver.endings)
    return _each(predictor, list(zip(paths, names, strict=True)), out, saver, keep_going)


def mean_latency_ms(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The mean milliseconds of each part over the pictures that did not fail; empty if all did."""
    times = [outcome.latency_ms for outcome in outcomes if outcome.error is None]
    return {part: sum(one[part] for one in times) / len(times) for part in times[0]} if times else {}


def summary(outcomes: Sequence[Outcome], predictor: Predictor) -> str:
    """One line: how many pictures, how many failed, how long one took from the file to its depth, and the net alone.
    Writing the results is not in it.
    """
    n, failed = len(outcomes), sum(outcome.error is not None for outcome in outcomes)
    told = counted(n, "picture") + (f", {failed} failed" if failed else "")
    times = mean_latency_ms(outcomes)
    if not times:
        return told
    mean = "" if n - failed == 1 else "mean "
    whole, net = sum(times.values()), times["inference_ms"]
    return f"{told}; {mean}latency {whole:.1f} ms, of which the net {net:.1f} ms ({predictor.runtime})"


def _each(
    predictor: Predictor,
    work: Sequence[tuple[Path, str]],
    out: Path,
    saver: Saver,
    keep_going: bool,
) -> Iterator[Outcome]:
    for path, name in work:
        start = time.perf_counter()
        try:
            frame = read_image(path)
            read_ms = (time.perf_counter() - start) * 1000
            depth, latency_ms = predictor.timed(frame)
            own = saver.of(path, (frame.shape[0], frame.shape[1]))
            files = own.write(out, name, frame, depth)
        except (LeadlineError, OSError, ValueError) as error:  # ValueError: a name with a NUL byte
            if not keep_going:
                raise
            yield Outcome(path, error=about(path, error))
            continue
        seen = depth.values[depth.valid]
        low, median, high = (float(f(seen)) for f in (np.min, np.median, np.max)) if seen.size else (None, None, None)
        size = (frame.shape[0], frame.shape[1])
        valid = seen.size / depth.values.size
        latency_ms = latency_ms | {"read_ms": read_ms}
        camera = None if own.seen is None else own.seen.to_json()
        yield Outcome(path, None, depth.kind, depth.unit, size, low, median, high, valid, latency_ms, files, camera)
