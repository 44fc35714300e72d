"""`--runtime auto`: the installed runtimes are timed once on this machine, and the winner is remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.bench.device import fingerprint, versions
from leadline.bench.rows import BenchOptions
from leadline.bench.run import Bench, bench
from leadline.core.errors import LeadlineError, NoRuntime
from leadline.core.machine import usable_cores
from leadline.runtime import BACKENDS, backend
from leadline.runtime.options import Precision

_FAR: dict[str, float] = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.1}
"""A file whose parity is worse than this is not a choice, however fast."""

_UNTUNED = "tvm takes part once it is tuned: untuned it is some 50 times slower, and compiling takes long"


@dataclass(frozen=True)
class Choice:
    """The fastest file: its runtime, precision and place, why in one sentence, and the milliseconds of all by name.

    `file` is the checkpoint itself where PyTorch won.
    """

    runtime: str
    precision: Precision
    file: Path
    why: str
    measured: dict[str, float]


def choose(
    model: str | Path,
    *,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    precisions: Sequence[Precision] = ("fp32",),
    tuning: Path | None = None,
    again: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """The runtime that takes `model` (a name or checkpoint) to its fastest file on this machine.

    Measured once for each model, size, threads (None: every core), precisions, machine and set of versions, later read
    back from the `export.cache` folder; `again` measures anew. tvm takes part where its tuner's database is
    known, in `tuning` or the cache. int8 is a ValueError, since its accuracy has to be checked first.
    """
    from leadline.core.storage import cache, kept, sha256
    from leadline.nn.files import find
    from leadline.runtime.tuning import contents_of, tuning_folder

    if "int8" in precisions:
        raise ValueError("int8 is never chosen by speed alone: `leadline quantize` makes it and judges its accuracy")
    checkpoint = find(model)
    tuning = tuning_folder(tuning)
    threads = threads or usable_cores()
    key = {
        "source": sha256(checkpoint),
        "size": size,
        "threads": threads,
        "precisions": list(precisions),
        "tuning": contents_of(tuning),
        "device": fingerprint()["id"],
        "versions": versions(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    note = cache() / "choices" / f"{checkpoint.stem}-{digest}.json"
    if not again and (known := _read(note)) is not None:
        return known
    names = [n for n in BACKENDS if backend(n).missing() is None and (n != "tvm" or tuning is not None)]
    options = BenchOptions(
        runtimes=tuple(names),
        precisions=tuple(precisions),
        threads=(threads,),
        size=size,
        end_to_end=False,
        tuning=tuning,
        n=50,
        at_most_s=30,
    )
    found = bench([str(model)], options, say)
    choice = _winner(found, with_tvm="tvm" in names)
    try:
        with kept(note):
            _write(note, choice, key)
    except (OSError, LeadlineError) as error:
        say(f"the choice is not remembered, and is measured anew next time: {error}")
    return choice


def _winner(found: Bench, with_tvm: bool) -> Choice:
    """The fastest row whose output is PyTorch's."""
    ran = [row for row in found.rows if "error" not in row]
    good = [row for row in ran if row.get("parity", float("inf")) <= _FAR[row["precision"]]]
    if not good:
        raise NoRuntime(
            "no runtime could run the net: "
            + "; ".join(f"{r['runtime']}: {r.get('error', 'parity too far off')}" for r in found.rows)
        )
    good.sort(key=lambda row: float(row["latency_ms"]["median"]))
    measured = {f"{row['runtime']} {row['precision']}": round(row["latency_ms"]["median"], 3) for row in good}
    best, *others = measured
    listed = ", ".join(f"{name} {measured[name]:.3g}" for name in others)
    date, device = found.context["date"][:10], found.context["device"]
    parts = [f"{best} {measured[best]:.3g} ms, fastest of {len(measured)}" + (f" ({listed})" if others else "")]
    parts.append(f"measured {date} on this machine with {good[0]['threads']} threads (device {device['id']})")
    parts += [] if with_tvm else [_UNTUNED]
    failed = ", ".join(f"{row['runtime']} {row['precision']}" for row in found.rows if row not in good)
    parts += [f"not usable: {failed}"] if failed else []
    top = good[0]
    return Choice(top["runtime"], top["precision"], Path(top["file"]), "; ".join(parts), measured)


def _read(note: Path) -> Choice | None:
    """The choice noted earlier; None if there is none, or its file is gone."""
    try:
        plain: dict[str, Any] = json.loads(note.read_bytes())["choice"]
        choice = Choice(**(plain | {"file": Path(plain["file"])}))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if choice.file.is_file() else None


def _write(note: Path, choice: Choice, key: dict[str, Any]) -> None:
    from leadline.core.storage import write_atomically

    plain = vars(choice) | {"file": str(choice.file)}
    write_atomically(note, json.dumps({"choice": plain, "for": key}, indent=1).encode())
