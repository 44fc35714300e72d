"""Flags that several verbs have."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from leadline.cli.command import names, progress
from leadline.cli.early import check_model, check_precisions, check_protocol_names, check_runtimes
from leadline.cli.say import inform
from leadline.core.machine import stated_threads
from leadline.data.options import Reading
from leadline.nn.files import DEFAULT
from leadline.runtime.options import NOTHING_SAID, ExternalModel

if TYPE_CHECKING:
    from leadline.bench.rows import BenchOptions
    from leadline.predict.predictor import Predictor


Source = Annotated[str, arg(metavar="SOURCE")]
Out = Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
Number = Annotated[float | None, arg(metavar="NUMBER")]
Count = Annotated[int | None, arg(metavar="N")]
Runtime = Annotated[str | None, arg(metavar="NAME|auto")]
Device = Annotated[str | None, arg(metavar="NAME")]
Read = Annotated[Reading, arg(name="")]  # its fields are flags: --layout, --depth-scale ...
AS_SAID = Reading()  # by dataset.toml


def predictor(
    model: str,
    runtime: str | None,
    threads: int | None,
    external: ExternalModel = NOTHING_SAID,
    device: str | None = None,
    n_images: int = 1,
) -> Predictor:
    """What the flags of these names say; the runtime `auto` tells on standard error what it chose, and why.

    Without a number of threads, and for many images, it is measured whether one thread is faster.
    """
    threads = stated_threads(threads)
    from leadline.predict.predictor import load_predictor
    from leadline.runtime import SUFFIXES
    from leadline.runtime.external import refuse_external

    load: Callable[[int | None], Predictor] = partial(_load, load_predictor, model, runtime, external, device)
    if runtime == "auto" and SUFFIXES.get(Path(model).suffix, "eager") != "eager":
        load = partial(_load, load_predictor, model, None, external, device)  # a file says itself what runs it
    elif runtime == "auto":
        if device is not None:
            raise ValueError(
                f"--runtime auto measures on the processor; with --device {device} name a runtime, or none"
            )
        refuse_external(model, external)
        progress(f"looking for the fastest runtime for {model}")
        from leadline.bench.fastest import choose

        choice = choose(model, threads=threads, say=progress)
        progress("")
        inform(choice.why)
        load = partial(_load, load_predictor, choice.file, None, NOTHING_SAID, None)
    if threads is not None or (device or "cpu").lower() != "cpu":  # elsewhere the processor's threads do not count
        return load(threads)
    from leadline.predict.threads import load_with_fast_threads

    opened, why = load_with_fast_threads(load, n_images)
    inform(why)
    return opened


def _load(
    load: Callable[..., Predictor],
    model: str | Path,
    runtime: str | None,
    external: ExternalModel,
    device: str | None,
    threads: int | None,
) -> Predictor:
    return load(model, runtime=runtime, threads=threads, device=device, external=external)


def parse_size(name: str, text: str | None) -> tuple[int, int] | None:
    """(height, width) from HEIGHTxWIDTH; ValueError for anything else, naming the flag."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise ValueError(f"--{name} is {text!r}; HEIGHTxWIDTH in pixels is needed, such as 480x640")
    return int(found[1]), int(found[2])


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What predicts: the flags that `predict` and `val` share."""

    model: Annotated[str | None, arg(aliases=["-m"], metavar="NAME|FILE|RUN")] = None
    """A net that ships with leadline (by default fastdepth_small), a checkpoint, a run's folder, or any exported,
    ONNX or TFLite file."""
    runtime: Runtime = None
    """What runs the net, such as onnx or openvino; auto: the fastest one here; by default the ONNX file that ships for
    the model, where onnxruntime is installed, else PyTorch (eager)."""
    threads: Count = None
    """Threads of the runtime; by default its own choice, or one if that is faster on this busy machine."""
    device: Device = None
    """Where the runtime computes, such as cpu (the default), cuda, or of OpenVINO gpu; a wrong name is answered with
    those that are here."""
    flip: bool = False
    """Predict each mirrored image too and take the mean, in twice the time."""
    external: ExternalModel = NOTHING_SAID
    """What a file of another program, or a folder of depth maps, does not say of itself."""

    @property
    def name(self) -> str:
        """The model, or the one that stands in where none is given."""
        return self.model or DEFAULT

    def check(self) -> None:
        """An error for a model or runtime that is not there, before anything heavy is loaded."""
        check_model(self.name)
        check_runtimes(*([] if self.runtime in (None, "auto") else [str(self.runtime)]))

    def predictor(self, n_images: int = 1) -> Predictor:
        """The model, opened for so many images."""
        opened = predictor(self.name, self.runtime, self.threads, self.external, self.device, n_images)
        return replace(opened, flip=self.flip)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and on what: the flags that `bench` and `parity` share."""

    runtime: Annotated[str, arg(metavar="NAMES|all")] = "all"
    """Runtimes to export to, such as onnx,openvino with commas between, or all; not for exported files."""
    precision: Annotated[str, arg(metavar="NAMES")] = "fp32"
    """One or more of fp32, fp16, bf16, int8 with commas between; not for exported files."""
    size: Annotated[str | None, arg(metavar="HEIGHTxWIDTH")] = None
    """The net's input size; by default the model's own."""
    frame: Annotated[str | None, arg(metavar="HEIGHTxWIDTH")] = None
    """The camera's size, by default 480x640; given, files that take whole frames of it are made too."""
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """A data set on which the accuracy of each file is measured."""
    split: str = "test"
    """Train, val, test or all of it; where there is no test part, val stands in for it."""
    allow_code: bool = False
    """Run the function FILE.py:NAME that the data's dataset.toml names as its layout; else no code is run."""
    protocol: Annotated[str, arg(metavar="NAME")] = "indoor-metric@1"
    """How accuracy is measured, as in `leadline val`."""
    limit: Annotated[int | None, arg(metavar="N")] = None
    """Only the first N images."""
    calibration: Annotated[str | None, arg(metavar="FOLDER")] = None
    """For int8: images (a folder, a pattern or a .txt list) from which it learns ranges."""
    images: int = 128
    """For int8: how many of them, evenly spaced."""
    device: Device = None
    """Where all runtimes compute, such as cpu (the default) or cuda; those that cannot are named."""
    external: ExternalModel = NOTHING_SAID
    """What ONNX and TFLite files of other programs do not say of themselves."""

    def check(self) -> None:
        """An error for a name that is not known, before anything heavy is loaded."""
        check_runtimes(*([] if self.runtime == "all" else names(self.runtime, "runtime")))
        check_precisions(names(self.precision, "precision"))
        check_protocol_names([self.protocol])
        for flag in ("size", "frame"):
            parse_size(flag, getattr(self, flag))

    def options(self, **more: Any) -> BenchOptions:
        """What `bench` and `parity` measure by, with `more` of its fields."""
        from leadline.bench.rows import BenchOptions
        from leadline.runtime import BACKENDS

        return BenchOptions(
            runtimes=tuple(BACKENDS) if self.runtime == "all" else names(self.runtime, "runtime"),
            precisions=names(self.precision, "precision"),  # type: ignore[arg-type]  # `bench.rows.check` checks them
            size=parse_size("size", self.size),
            frame=parse_size("frame", self.frame) or BenchOptions.frame,
            whole_frame=self.frame is not None,
            data=self.data,
            split=self.split,
            allow_code=self.allow_code,
            protocol=self.protocol,
            limit=self.limit,
            calibration=self.calibration,
            n_calibration=self.images,
            external=self.external,
            device=None if self.device is None else self.device.lower(),
            **more,
        )


ALL = Comparison()  # every runtime
SHIPPED = ModelOptions()  # the net that ships as the default
