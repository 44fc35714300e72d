"""`leadline predict`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from leadline.cli import flags
from leadline.cli.command import names, print_json, progress, warn
from leadline.cli.flags import Count, Model, Number, Out, Runtime, Source
from leadline.cli.say import closing
from leadline.core.text import shown
from leadline.runtime.options import NOTHING_SAID, ExternalModel

if TYPE_CHECKING:
    from leadline.predict.files import Outcome


def predict(
    source: Source,
    /,
    *,
    model: Model = "fastdepth",
    out: Out = Path("out"),
    save: Annotated[str | None, arg(metavar="FORMATS")] = None,
    colormap: Annotated[str | None, arg(metavar="NAME")] = None,
    vmin: Number = None,
    vmax: Number = None,
    fov: Number = None,
    intrinsics: Annotated[str | None, arg(metavar="FX,FY,CX,CY|FILE")] = None,
    flip: bool = False,
    runtime: Runtime = None,
    threads: Count = None,
    external: ExternalModel = NOTHING_SAID,
    json: bool = False,
) -> int:
    """Depth of photographs: an image, a folder, a pattern in quotes or a .txt list. A bad file does not stop the rest.

    Args:
        source: image, folder (not those below it), pattern such as 'photos/**/*.jpg', or .txt list of images
        model: a net that ships with leadline, a checkpoint, a run's folder, or any exported, ONNX or TFLite file
        out: where the results go
        save: one or more of vis,side,png16,npy,npz,ply with commas between; by default vis,png16 (millimetres) for
            metric depth and vis,npy for relative
        colormap: a colour map of matplotlib for vis; by default near is bright
        vmin: vis: the depth of the first colour; by default 0 m, or the picture's own range if it is the only one, or
            depth is relative
        vmax: vis: the depth of the last colour; by default 10 m, or as for vmin
        fov: ply: how many degrees the camera sees across the picture's longer side; by default what the focal length in
            the photograph's EXIF block says, else 58
        intrinsics: ply: the camera in pixels, as four numbers or as a file: a 3x3 matrix in text, KITTI's calibration,
            or JSON; of the picture as it is stored
        flip: look at the mirrored picture too and merge the two answers, in twice the time
        runtime: what runs the net, such as onnx or openvino; auto: the fastest one here; by default PyTorch
        threads: threads of the runtime; by default its own choice
        external: what an ONNX or TFLite file of another program does not say of itself
        json: print one JSON object
    """
    from leadline.core.image_sources import sources
    from leadline.predict.files import mean_latency_ms, predict_files, summary

    paths = sources(source, warn)
    predictor = replace(flags.predictor(model, runtime, threads, external), flip=flip)
    formats = names(save, "save") or (("vis", "png16") if predictor.head.kind == "metric" else ("vis", "npy"))
    look = {"colormap": colormap, "vmin": vmin, "vmax": vmax, "fov": fov, "intrinsics": intrinsics}
    look["own_range"] = len(paths) == 1
    outcomes = []
    for outcome in predict_files(predictor, paths, out, save=formats, **look):  # type: ignore[arg-type]
        outcomes.append(outcome)
        if json:  # else each has its own line
            progress(f"{len(outcomes)} of {len(paths)} pictures")
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
