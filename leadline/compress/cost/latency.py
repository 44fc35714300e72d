"""How long a net takes on this machine, measured, and for widths that nobody has built, from a table of its layers.

The table is NetAdapt's (Yang et al. 2018, arXiv 1804.03230): each layer is measured by itself at some widths, and
a net's time is the sum over its layers. Two things differ: between the measured widths we interpolate, and what the sum
lacks (enlarging, adding skips, calls) is learned from one measurement of the whole net.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache as remembered
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from leadline.compress.cost.count import Cost, Shapes, shapes_of
from leadline.compress.cost.layer_latency import (
    Entry,
    LayerKind,
    Size,
    at_bench,
    call,
    each,
    kinds,
    measure_layer,
    widths_of,
)
from leadline.core.machine import check_threads, installed_version
from leadline.core.report import Report
from leadline.core.spec import from_json, to_json
from leadline.core.storage import cache, kept, write_atomically
from leadline.core.timing import Times, measure
from leadline.nn.build import Net

Rest = Literal["half", "added", "scaled"]
"""What the sum over the layers lacks is the same for all widths (added), grows with the sum (scaled), or one half of it
does (half), which fits best: calls and the last enlargement stay, while skips and cold caches shrink with the widths.
"""

_PACKAGES = {"eager": "torch", "inductor": "torch", "onnx": "onnxruntime", "tvm": "apache-tvm"}
_PACKAGES |= {"litert": "ai-edge-litert"}  # the others are named like their package


@dataclass(frozen=True)
class Table:
    """The entries measured on `device` (processor, cores) with `runtime` of this `version` and so many `threads`."""

    device: str
    runtime: str
    version: str
    threads: int
    entries: tuple[Entry, ...]


def timed(
    nets: Mapping[str, Net], size: Size, runtime: str, *, threads: int | None = None, n: int = 50, warmup: int = 5
) -> dict[str, Times]:
    """The Times of each net for one image of `size` (height, width), compiled for `runtime` and called in turns.

    `threads` None: every core. The files are made in a temporary folder; the image is noise in 0..1, always the same.
    """
    with at_bench(runtime, threads) as bench:
        return measure({name: call(net, size, bench) for name, net in nets.items()}, n=n, warmup=warmup)


def table(
    net: nn.Module,
    size: Size,
    runtime: str,
    *,
    threads: int | None = None,
    folder: Path | None = None,
    n: int = 50,
    say: Callable[[str], object] = lambda _: None,
) -> Table:
    """The Table of all layers of `net` for images of `size` (height, width), each measured by itself.

    Layers of one kind (kernel, stride, padding, input size, depthwise or not) share an entry, see
    `layer_latency.measure_layer`: 8, a half and the whole of the largest width among them, at each side.

    `folder` (None: in leadline's cache) keeps an entry for each kind. One that is there for this device, runtime and
    number of threads, and wide enough, is not measured again. `n` calls each; `say` gets a line for each entry.
    """
    place = cache() / "latency" if folder is None else folder
    version = installed_version(_PACKAGES.get(runtime, runtime)) or "unknown"
    empty = Table(_device(), runtime, version, check_threads(threads), ())
    entries = []
    wanted = kinds(net, size)
    with at_bench(runtime, empty.threads) as bench:
        for i, (what, one) in enumerate(wanted.items(), 1):
            entry = _kept(place, empty, what, one)
            say(f"layer {i} of {len(wanted)}: {what}" + (", measured before" if entry else ""))
            if entry is None:
                entry = measure_layer(what, one, bench, n)
                alone = to_json(replace(empty, entries=(entry,)))
                with kept(place):
                    write_atomically(_file(place, empty, what, one), json.dumps(alone, indent=1).encode())
            entries.append(entry)
    return replace(empty, entries=tuple(entries))


def latency_cost(net: nn.Module, size: Size, found: Table, whole_ms: float, rest: Rest = "half") -> Cost:
    """Milliseconds for one image of `size` by the table, made to fit `whole_ms`, the measured time of `net` itself.

    `rest` says what becomes of the difference of the two in other widths. Never negative. A layer that the table lacks
    is a ValueError.
    """
    by_name = {entry.what: remembered(_interpolated(entry)) for entry in found.entries}
    used = []
    for what, one in each(net, size):
        if what not in by_name:
            raise ValueError(f"the table has no {what}; make it with `table` for this net and size")
        used.append((one.layer, one.depthwise, by_name[what]))

    def layered(shapes: Shapes) -> float:
        return sum(ms(*widths_of(layer, depthwise, shapes[layer.weight])) for layer, depthwise, ms in used)

    unpruned = layered(shapes_of(net))
    fixed = (whole_ms - unpruned) * {"added": 1.0, "half": 0.5, "scaled": 0.0}[rest]
    if unpruned <= 0:
        return lambda shapes: whole_ms  # one measurement of the whole net says nothing about other widths
    return lambda shapes: max(0.0, fixed + layered(shapes) * (whole_ms - fixed) / unpruned)


def table_error(
    net: Net, size: Size, found: Table, nets: Mapping[str, Net], *, rest: Rest = "half", n: int = 50
) -> Report:
    """How far the table's predictions for `nets`, which are `net` in other widths, are from their measured times.

    All are measured in turns, `net` too. `metrics` are the mean and the worst relative error, and the mean `spread` of
    the measured times, 90th over 10th percentile less 1: where it is much larger than the errors of a quiet machine,
    other work ran beside and the errors are its. `context` has [predicted, measured] milliseconds of each.
    """
    times = timed({"": net, **nets}, size, found.runtime, threads=found.threads, n=n)
    cost = latency_cost(net, size, found, times[""].median, rest)
    pairs = {name: [cost(shapes_of(other)), times[name].median] for name, other in nets.items()}
    errors = [abs(predicted / measured - 1) for predicted, measured in pairs.values()]
    metrics = {"mean_error": float(np.mean(errors)), "worst_error": max(errors)}
    metrics["spread"] = float(np.mean([each_net.p90 / each_net.p10 - 1 for each_net in times.values()]))
    where = {"device": found.device, "runtime": found.runtime, "version": found.version, "threads": found.threads}
    return Report(
        "latency table",
        n=len(nets),
        metrics=metrics,
        latency_ms=times[""].spread(),
        context=where | {"size": list(size), "nets": pairs},
    )


def _interpolated(entry: Entry) -> Callable[[int, int], float]:
    """(input, output width) -> milliseconds, linear between the grid's points and beyond them, never negative."""
    from scipy.interpolate import RegularGridInterpolator

    sides = {1: entry.outputs} if not entry.inputs else {0: entry.inputs, 1: entry.outputs}
    sides = {side: widths for side, widths in sides.items() if len(widths) > 1}
    values = np.reshape(entry.ms, [len(widths) for widths in sides.values()])
    if not sides:
        return lambda *_: float(values)
    line = RegularGridInterpolator(tuple(sides.values()), values, bounds_error=False, fill_value=None)
    return lambda *widths: max(0.0, float(line([widths[side] for side in sides])[0]))


def _file(folder: Path, where: Table, what: str, one: LayerKind | None = None) -> Path:
    """The file of a kind of layer; without `one` a pattern for any widths."""
    device = hashlib.sha256(where.device.encode()).hexdigest()[:12]
    widths = "*" if one is None else f"{one.inputs} to {one.outputs}"
    name = f"{where.runtime} {where.version} {where.threads} threads {device} {what} widths {widths}.json"
    return folder / name.replace(" ", "_")


def _kept(folder: Path, where: Table, what: str, one: LayerKind) -> Entry | None:
    """An earlier entry whose widths include the wanted ones; files of another format are skipped."""
    for path in sorted(folder.glob(_file(folder, where, what).name)):
        try:
            found = from_json(Table, json.loads(path.read_bytes()))
        except (ValueError, RecursionError):
            continue
        entry = found.entries[0] if len(found.entries) == 1 else None
        if entry is None or entry.what != what or replace(found, entries=()) != where:
            continue
        grids = zip((entry.inputs, entry.outputs), (one.inputs, one.outputs), strict=True)
        if all(not grid or grid[0] <= largest <= grid[-1] for grid, largest in grids):
            return entry
    return None


def _device() -> str:
    """The processor and its number of cores."""
    try:
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    except OSError:
        model = None
    return f"{model[1] if model else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
