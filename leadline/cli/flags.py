"""Flags that several verbs have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from leadline.cli.command import progress
from leadline.cli.say import inform
from leadline.data.options import Reading
from leadline.runtime.options import NOTHING_SAID, ExternalModel

if TYPE_CHECKING:
    from leadline.predict.predictor import Predictor


Source = Annotated[str, arg(metavar="SOURCE")]
Model = Annotated[str, arg(aliases=["-m"], metavar="NAME|FILE|RUN")]
Out = Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
Number = Annotated[float | None, arg(metavar="NUMBER")]
Count = Annotated[int | None, arg(metavar="N")]
Runtime = Annotated[str | None, arg(metavar="NAME|auto")]
Read = Annotated[Reading, arg(name="")]  # its fields are flags: --layout, --depth-scale ...
AS_SAID = Reading()  # by dataset.toml


def predictor(
    model: str, runtime: str | None, threads: int | None, external: ExternalModel = NOTHING_SAID
) -> Predictor:
    """What `--model`, `--runtime` and `--threads` name; `auto` tells on standard error what it chose, and why."""
    from leadline.predict.predictor import load_predictor
    from leadline.runtime import SUFFIXES
    from leadline.runtime.external import refuse_said

    if runtime != "auto":
        return load_predictor(model, runtime=runtime, threads=threads, external=external)
    if SUFFIXES.get(Path(model).suffix, "eager") != "eager":  # a file says itself what runs it
        return load_predictor(model, threads=threads, external=external)
    refuse_said(model, external)
    progress(f"looking for the fastest runtime for {model}")
    from leadline.bench.fastest import choose

    choice = choose(model, threads=threads, say=progress)
    progress("")
    inform(choice.why)
    return load_predictor(choice.file, threads=threads)


def parse_size(name: str, text: str | None) -> tuple[int, int] | None:
    """(height, width) from HEIGHTxWIDTH; ValueError for anything else, naming the flag."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise ValueError(f"--{name} is {text!r}; HEIGHTxWIDTH in pixels is needed, such as 480x640")
    return int(found[1]), int(found[2])
