"""`leadline predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from leadline.cli.command import names, print_json, progress, warn
from leadline.cli.flags import SHIPPED, ModelOptions, Number, Out
from leadline.cli.say import closing
from leadline.cli.short_help import short_help
from leadline.core.text import counted, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadline.predict.files import Outcome
    from leadline.predict.predictor import Predictor
    from leadline.predict.writers import Saver


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How pictures and point clouds are made."""

    colormap: Annotated[str | None, arg(metavar="NAME")] = None
    """vis: a colour map such as magma_r, turbo, viridis or gray, or another of matplotlib where that is installed; by
    default near is bright."""
    vmin: Number = None
    """For vis: the depth of the first colour; by default 0 m, or the picture's own range if it is the only one, or
    depth is relative."""
    vmax: Number = None
    """For vis: the depth of the last colour; by default 10 m, or as for vmin."""
    fov: Number = None
    """For ply: how many degrees the camera sees across the picture's longer side; by default what the focal length in
    the photograph's EXIF block says, else 58."""
    intrinsics: Annotated[str | None, arg(metavar="FX,FY,CX,CY|FILE")] = None
    """For ply: the camera in pixels, as four numbers or as a file: a 3x3 matrix in text, KITTI's calibration, or JSON;
    of the picture as it is stored."""


_PLAIN = _Look()


@short_help(
    {
        "Model": "--model --runtime --threads",
        "Results": "--out --save --colormap --vmin --vmax --json",
        "Camera, for point clouds": "--fov",
    },
    "leadline predict photo.jpg",
    "leadline predict 'photos/*.jpg' --model litedepth --out depth --save vis,ply",
)
def predict(
    source: Annotated[tuple[str, ...], arg(metavar="SOURCE ...")],
    /,
    *,
    what: Annotated[ModelOptions, arg(name="")] = SHIPPED,
    out: Out = Path("out"),
    save: Annotated[str | None, arg(metavar="FORMATS")] = None,
    look: Annotated[_Look, arg(name="")] = _PLAIN,
    json: bool = False,
) -> int:
    """Predict the depth of photographs; a bad file does not stop the rest. Nets of classes or labels name what is seen.

    Args:
        source: images, folders (not those below), patterns such as 'photos/**/*.jpg', or .txt lists of images
        what: the model, and what runs it
        out: where the results go
        save: one or more of vis,side,png16,npy,npz,ply with commas between; by default vis,png16 (millimetres) for
            metric depth and vis,npy for relative
        look: how pictures and point clouds are made
        json: print one JSON object
    """
    from leadline.core.image_sources import sources
    from leadline.predict.files import mean_latency_ms, predict_files, summary
    from leadline.predict.writers import Saver

    if not source:
        warn("no SOURCE is given: an image, a folder, a pattern or a .txt list is needed (see leadline predict --help)")
        return 2
    what.check()
    Saver(names(save, "save") or ("vis", "png16"), what.name, "metric", **vars(look))  # refuses what cannot be
    paths = list(dict.fromkeys(path for each in source for path in sources(each, warn)))
    predictor = what.predictor(len(paths))
    formats = names(save, "save") or (("vis", "png16") if predictor.head.unit == "m" else ("vis", "npy"))
    if predictor.head.classes:
        saver = None
        if predictor.head.kind == "joint":
            saver = Saver(formats, predictor.name, "metric", own_range=len(paths) == 1, **vars(look))
        return _name(predictor, paths, out, saver, json)
    outcomes = []
    for outcome in predict_files(predictor, paths, out, save=formats, own_range=len(paths) == 1, **vars(look)):
        outcomes.append(outcome)
        if json:  # else each has its own line
            progress(f"{len(outcomes)} of {counted(len(paths), 'picture')}")
        if outcome.error is not None:
            warn(outcome.error)
        elif not json:
            print(_described(outcome), flush=True)
    progress("")
    n_failed = sum(outcome.error is not None for outcome in outcomes)
    if json:
        files = [outcome.to_json() for outcome in outcomes]
        facts = {"model": predictor.name, "runtime": predictor.runtime, "precision": predictor.precision}
        facts |= {"kind": predictor.head.kind, "unit": predictor.head.unit}
        counts = {"n": len(files), "n_failed": n_failed, "mean_latency_ms": mean_latency_ms(outcomes)}
        print_json({**facts, **counts, "files": files})
    elif len(outcomes) > n_failed or len(outcomes) > 1:  # of one picture that failed, the error says it all
        closing(summary(outcomes, predictor))
    return 1 if n_failed else 0


def _name(predictor: Predictor, paths: Sequence[Path], out: Path, saver: Saver | None, json: bool) -> int:
    """The classes of each picture, or of its pixels beside their depth; a bad file does not stop the rest."""
    from leadline.predict.named import name_files

    found = []
    for named in name_files(predictor, paths, out, saver=saver):
        found.append(named)
        if named.error is not None:
            warn(named.error)
        elif not json:
            classes = ", ".join(f"{shown(name)} {part:.2f}" for name, part in named.classes)
            metres = ""
            if named.metres is not None:
                low, median, high = named.metres
                metres = f"; depth {low:.3f} to {high:.3f} m, median {median:.3f}"
            print(f"{shown(named.source)}: {classes}{metres}")
            if named.files:
                print(f"  wrote {', '.join(map(shown, named.files))}", flush=True)
    n_failed = sum(named.error is not None for named in found)
    if json:
        facts = {"model": predictor.name, "kind": predictor.head.kind, "n": len(found), "n_failed": n_failed}
        print_json(facts | {"files": [named.to_json() for named in found]})
    elif len(found) > 1:
        closing(f"{counted(len(found), 'picture')}, {n_failed} failed")
    return 1 if n_failed else 0


def _described(outcome: Outcome) -> str:
    height, width = outcome.size or (0, 0)
    what = "metric depth in m" if outcome.kind == "metric" else f"{outcome.kind}, no unit"
    numbers = "no valid pixel"
    if outcome.low is not None:
        numbers = f"min {outcome.low:.3f}, median {outcome.median:.3f}, max {outcome.high:.3f}"
    times = ", ".join(f"{name.removesuffix('_ms')} {value:.1f}" for name, value in outcome.latency_ms.items())
    files = ", ".join(shown(path) for path in outcome.files)
    camera = ""
    if outcome.camera is not None:
        camera = "\n  camera: focal length {fx:.1f} pixels, from {source}".format(**outcome.camera)
    start = f"{shown(outcome.source)} ({width}x{height}): {what}: {numbers}"
    return f"{start}\n  latency in ms: {times}{camera}\n  wrote {files}"
