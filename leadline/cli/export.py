"""The verbs about runtimes: make a file for one, compare them all with PyTorch, and say which can run here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from leadline.cli.command import names, print_json, progress, warn
from leadline.cli.early import check_model, check_runtimes
from leadline.cli.flags import parse_size
from leadline.cli.say import closing
from leadline.cli.short_help import short_help
from leadline.core.text import shown
from leadline.runtime import suffix
from leadline.runtime.options import Precision

Size = Annotated[str | None, arg(metavar="HEIGHTxWIDTH")]
Folder = Annotated[Path | None, arg(metavar="FOLDER")]
Count = Annotated[int | None, arg(metavar="N")]
_N_COMPARED = 8  # calibration images on which a file in lower precision is compared with the net
Model = Annotated[str, arg(metavar="NAME|FILE")]


@short_help(
    {
        "File": "--runtime --out --precision --size --frame",
        "Int8": "--calibration --images",
        "Dynamic": "--dynamic --data",
        "Tvm": "--trials",
    },
    "leadline export fastdepth --runtime onnx",
    "leadline export litedepth --runtime onnx --precision int8 --calibration photos",
)
def export(
    model: Model,
    /,
    *,
    runtime: Annotated[str, arg(metavar="NAME")],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    precision: Precision = "fp32",
    frame: Size = None,
    size: Size = None,
    calibration: Annotated[str | None, arg(metavar="FOLDER")] = None,
    images: int = 128,
    keep: Annotated[str | None, arg(metavar="LAYERS")] = None,
    tuning: Folder = None,
    trials: int = 0,
    dynamic: bool = False,
    data: Annotated[str | None, arg(metavar="FOLDER")] = None,
    max_drop: float = 0.01,
    threads: Count = None,
    json: bool = False,
) -> int:
    """Make a file that a runtime runs. It is run once and compared with PyTorch before it counts.

    Args:
        model: a net that ships with leadline, or a checkpoint
        runtime: one of `leadline doctor`, such as onnx, openvino or litert
        out: the file to write; by default the model's name with the runtime's ending, in the current folder
        precision: the arithmetic of its layers; what the runtime has no kernels for stays float32
        frame: take camera frames uint8 of this size, with resizing and normalising, and give depth of that size
        size: the net's input size; by default the model's own
        calibration: int8: images (a folder, a pattern or a .txt list) from which it learns ranges
        images: int8: how many of them, evenly spaced
        keep: int8: layers that stay in floating point, by name with commas between
        tuning: tvm: the folder where the tuner keeps what it has tried; by default one in leadline's cache
        trials: tvm: how many schedules the tuner tries for each part of the net
        dynamic: write a folder with a file for each width of a net made by `prune --method widths`; for each picture
            the narrowest that is good enough runs
        data: dynamic: a data set with answers; the validation split of its train part chooses the rule
        max_drop: dynamic: by how much the mean accuracy may be below that of the whole net
        threads: dynamic: threads of the runtime while the widths are timed
        json: print one JSON object
    """
    from dataclasses import replace

    check_runtimes(runtime)
    check_model(model)
    if not dynamic and (data is not None or threads is not None):
        raise ValueError(f"{'data' if data is not None else 'threads'} is for dynamic folders; give --dynamic too")
    if dynamic and (size is not None or frame is not None):
        raise ValueError("the widths of a dynamic folder take the net's own size; leave --size and --frame out")
    if dynamic and data is None:
        raise ValueError("a dynamic folder needs a data set that chooses among the widths; give --data FOLDER")
    for flag, value in (("size", size), ("frame", frame)):
        parse_size(flag, value)
    if out is not None and not dynamic and out.suffix != suffix(runtime):
        raise ValueError(f"out is {out}; the files of {runtime} end in {suffix(runtime)}")
    progress(f"exporting {model} for {runtime}")
    from leadline.core.agreement import in_words
    from leadline.nn.checkpoint import find, load
    from leadline.runtime.export import agreement_with_net, difference
    from leadline.runtime.export import calibration as pictures_for
    from leadline.runtime.export import export as export_model
    from leadline.runtime.manifest import files_of
    from leadline.runtime.options import CompileOptions
    from leadline.runtime.tuning import tuning_folder

    if precision == "int8" and calibration is None:
        raise ValueError("int8 learns its ranges from images: give their folder by --calibration")
    spec = load(model).spec
    how = replace(spec.preprocess, size=parse_size("size", size) or spec.preprocess.size)
    if runtime == "tvm":
        tuning = tuning_folder(tuning, trials)
        if trials:
            progress(f"tuning takes long; interrupted, it goes on. A line for each task: tuning.jsonl under {tuning}")
    options = CompileOptions(
        precision=precision,
        frame=parse_size("frame", frame),
        calibration=(),
        keep=names(keep, "keep"),
        tuning=tuning,
        trials=trials,
    )
    if out is None:
        ending = "-dynamic" if dynamic else suffix(runtime)
        out = Path(find(model).stem + ("" if precision == "fp32" else f"-{precision}") + ending)
    if calibration is not None:
        options = replace(options, calibration=pictures_for(calibration, how, images, warn))
    if dynamic:
        from leadline.cli.export_dynamic import write_folder
        from leadline.pipelines.export_dynamic import DynamicOptions

        rule = DynamicOptions(data=str(data), max_drop=max_drop, threads=threads)
        return write_folder(model, runtime, out, rule, options, json)
    export_model(model, runtime, out, options, size=how.size)
    progress(f"comparing {out.name} with PyTorch")
    found, files = difference(out, model), files_of(out)
    near = None
    if precision != "fp32":
        near = agreement_with_net(out, model, options.calibration[:_N_COMPARED])
    progress("")
    n_bytes = sum(path.stat().st_size for path in files)
    if json:
        written = [str(path) for path in files]
        facts = {"model": model, "runtime": runtime, "precision": precision, "frame": options.frame, "files": written}
        print_json(facts | {"bytes": n_bytes, "difference": found} | ({} if near is None else {"agreement": near}))
    else:
        takes = "float32 [1,3,{},{}], RGB in 0..1".format(*how.size)
        if options.frame is not None:
            takes = "camera frames uint8 [1,{},{},3], RGB".format(*options.frame)
        closing(f"wrote {', '.join(map(shown, files))}: {n_bytes / 1e6:.1f} MB, {precision}, takes {takes}")
        if near is None:
            closing(f"run once by {runtime}: differs from PyTorch by {found:.1e} of the largest value")
        else:
            on = "a drawn picture"
            if options.calibration and options.frame is None:
                on = f"{len(options.calibration[:_N_COMPARED])} of the calibration images"
            closing(f"run by {runtime} on {on}: {in_words(near, spec.head.unit == 'm')}")
    return 0


@short_help(
    {
        "Flags": "--json",
    },
    "leadline doctor",
    "leadline doctor --json",
)
def doctor(*, json: bool = False) -> int:
    """Show which runtimes can run and export here, what the others lack, and what machine this is.

    Args:
        json: print one JSON object
    """
    from leadline.bench.device import fingerprint
    from leadline.core.report import grid
    from leadline.runtime.availability import health

    device, found = fingerprint(), health()
    if json:
        print_json({"runtimes": found, "device": device})
        return 0
    rows = [["runtime", "runs files", "makes files"]]
    for one in found:
        runs = f"ready, {one['package']} {one['version']}" if one["ready"] else one["needs"]
        rows.append([one["runtime"], runs, "ready" if one["exports"] else one["export_needs"]])
    print(grid(rows))
    print(f"\n{device['cpu']}, {device['usable_cores']} cores to use, {' '.join(device.get('isa', ['-']))}")
    print(f"{device['os']}, Python {device['python']}")
    return 0
