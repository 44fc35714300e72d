"""The verbs about models: which there are, what they are and cost, and those of other programs."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from leadline.cli.command import print_json
from leadline.cli.say import closing
from leadline.cli.short_help import WIDTH, short_help
from leadline.core.old_keys import OLD_SPLIT
from leadline.core.text import shown


@short_help(
    {
        "Flags": "--json",
    },
    "leadline list",
    "leadline list --json",
)
def list_models(*, json: bool = False) -> int:
    """List the nets that leadline can build, what they cost, and which come with trained weights.

    Args:
        json: print one JSON object
    """
    from leadline.bench.remembered import fastest_times
    from leadline.core.report import grid
    from leadline.nn import zoo
    from leadline.nn.files import shipped

    times = fastest_times()
    models = [_known(name, times) for name in sorted({*zoo.names(None), *shipped()})]
    if json:
        print_json({"models": models})
        return 0
    head = ["net", "input", "kind", "parameters", "MACs", "file", f"delta1 ({_PROTOCOL})", "fastest here"]
    rows = [head]
    for m in models:
        kind = f"{m['kind']}, {m['unit']}" if m["kind"] == "metric" else m["kind"]
        file = "none, train it" if m["bytes"] is None else f"{m['bytes'] / 1e6:.1f} MB"
        delta1 = "" if m["delta1"] is None else f"{m['delta1']:.3f}"
        size, costs = "x".join(map(str, m["input"])), [_rounded(m["parameters"]), _rounded(m["macs"])]
        rows.append([m["name"], size, kind, *costs, file, delta1, _time(m["fastest"])])
    print(grid(rows))
    print("\nfastest here: of what --runtime auto has measured on this machine; empty: not measured yet")
    return 0


_PROTOCOL = "nyu-eigen@1"  # under which the shipped nets are compared


def _known(name: str, times: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a net with a name, without building it or loading torch; `times` are `fastest_times`."""
    from leadline.core.storage import sha256
    from leadline.nn import zoo
    from leadline.nn.costs import recorded_costs
    from leadline.nn.files import read_provenance, read_spec, shipped

    file = shipped().get(name)
    spec = zoo.spec(name) if file is None else read_spec(name)
    facts: dict[str, Any] = {
        "name": name,
        "kind": spec.head.kind,
        "unit": spec.head.unit,
        "input": spec.preprocess.size,
    }
    facts |= recorded_costs()[name]._asdict()
    if file is None:
        return facts | {"weights": None, "bytes": None, "delta1": None, "fastest": None}
    metrics = read_provenance(name).get("metrics", {}).get("test part", {}).get(_PROTOCOL, {})
    fastest = times.get(sha256(file))
    facts |= {"weights": str(file), "bytes": file.stat().st_size, "delta1": metrics.get("delta1")}
    return facts | {"fastest": fastest and fastest._asdict()}


def _rounded(n: int) -> str:
    """`3.96 M`, `15.0 G`."""
    return f"{n / 1e9:.1f} G" if n >= 1e9 else f"{n / 1e6:.3g} M"


def _time(fastest: Mapping[str, Any] | None) -> str:
    return "{ms:.3g} ms ({runtime} {precision}, threads: {threads})".format(**fastest) if fastest else ""


@short_help(
    {
        "Flags": "--channels --json",
    },
    "leadline info fastdepth",
    "leadline info net.onnx --json",
)
def info(name: Annotated[str, arg(metavar="NAME|FILE")], /, *, channels: bool = False, json: bool = False) -> int:
    """Show what a net is and costs, and where its weights come from.

    Args:
        name: a net of `leadline list`, a checkpoint, a file or dynamic folder of `leadline export`, whose manifest is
            printed, or an ONNX or TFLite file of another program
        channels: print the groups of channels instead: which share a fate when the net is pruned, and which may not go
        json: print one JSON object
    """
    from leadline.bench.remembered import fastest_times
    from leadline.cli.early import check_known
    from leadline.core.spec import to_json
    from leadline.nn import zoo
    from leadline.nn.files import find, read_provenance, read_spec, shipped
    from leadline.runtime import SUFFIXES
    from leadline.runtime.dynamic import described_dynamic, is_dynamic
    from leadline.runtime.external import is_external

    if is_dynamic(name) and not channels:
        return _printed(described_dynamic(Path(name)), json)
    if SUFFIXES.get(Path(name).suffix, "eager") != "eager" and not channels:
        return _print_external(Path(name), json) if is_external(name) else _print_manifest(Path(name), json)
    is_file = Path(name).exists() or Path(name).suffix != "" or os.sep in name
    if not is_file:
        check_known(name)
    if channels:
        return _print_channels(name, is_file, json)
    file = find(name) if is_file or name in shipped() else None
    spec = zoo.spec(name) if file is None else read_spec(name)
    cost = (_counted if is_file else _known)(name, fastest_times())
    facts: dict[str, Any] = {
        "name": spec.name,
        "parameters": cost["parameters"],
        "macs": cost["macs"],
        "input": to_json(spec.preprocess),
        "kind": spec.head.kind,
        "unit": spec.head.unit,
        "weights": None if file is None else str(file),
        "bytes": None if file is None else file.stat().st_size,
        "fastest": cost["fastest"],
        **{"history": list(spec.provenance), "skipped": list(spec.skipped), "gates": list(spec.gates)},
        "provenance": {} if file is None else read_provenance(name),
    }
    if json:
        print_json(facts)
    else:
        more = {"weights": facts["weights"] or f"none; `leadline train --model {name}` makes some"}
        print(_table(facts | more | {"fastest": _time(facts["fastest"])}))
    return 0


def _counted(name: str, times: Mapping[str, Any]) -> dict[str, Any]:
    """What the net in a checkpoint costs; `times` as in `_known`."""
    from leadline.compress.cost.count import macs, parameters
    from leadline.core.storage import sha256
    from leadline.nn.checkpoint import find, load

    net = load(name)
    fastest = times.get(sha256(find(name)))
    costs = {"parameters": parameters(net), "macs": macs(net, net.spec.preprocess.size)}
    return costs | {"fastest": fastest and fastest._asdict()}


def _table(facts: Mapping[str, Any]) -> str:
    """Two columns, what and value, `WIDTH` wide; what is empty is left out, and what takes many lines is only named."""
    origin = dict(facts.get("provenance") or {})
    if isinstance(command := origin.get("command"), list):
        origin["command"] = " ".join(map(str, command))
    rows, left = list[tuple[str, str]](), list[str]()
    for key, value in [*(item for item in facts.items() if item[0] != "provenance"), *origin.items()]:
        if key == "metrics":
            rows += _figures(value)
        elif value in (None, "", [], (), {}):
            continue
        elif (text := _plain(value)) and (len(text) <= 200 or key == "licences"):
            rows.append((key, text))
        else:
            left.append(key)
    rows += [("with --json", f"also {', '.join(left)}")] if left else []
    margin = max(len(key) for key, _ in rows) + 2
    lines: list[str] = []
    wrapper = textwrap.TextWrapper(max(WIDTH - margin, 40), break_long_words=False, break_on_hyphens=False)
    for key, text in rows:
        first, *rest = wrapper.wrap(shown(text))
        lines += [f"{shown(key):<{margin}}{first}", *(" " * margin + line for line in rest)]
    return "\n".join(lines)


def _figures(metrics: Any) -> Iterator[tuple[str, str]]:
    """A row for each protocol among metrics, which may stand in groups."""
    for key, value in metrics.items() if isinstance(metrics, Mapping) else ():
        if isinstance(value, Mapping) and any(isinstance(item, Mapping) for item in value.values()):
            yield from _figures(value)
        elif (text := _plain(value)) is not None:
            yield str(key).replace(OLD_SPLIT, "validation split"), text


def _plain(value: Any, depth: int = 0) -> str | None:
    """A value in one line, or None if it is no flat one: `size 224 224, resize bilinear`."""
    if depth > 2 or (depth and isinstance(value, Mapping)):
        return None
    if isinstance(value, Mapping):
        parts = {key: _plain(item, depth + 1) for key, item in value.items()}
        return None if None in parts.values() else ", ".join(f"{key} {part}" for key, part in parts.items())
    if isinstance(value, list | tuple):
        items = [_plain(item, depth + 1) for item in value]
        mark = "; " if any(isinstance(item, str | list | tuple) for item in value[1:]) else " "
        return None if None in items else mark.join(map(str, items))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", " ")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_manifest(path: Path, json: bool) -> int:
    from leadline.core.spec import to_json
    from leadline.runtime import read_manifest
    from leadline.runtime.manifest import files_of

    manifest = read_manifest(path)
    n_bytes = sum(file.stat().st_size for file in files_of(path))
    return _printed({"name": manifest.spec.name, **to_json(manifest), "bytes": n_bytes}, json)


def _printed(facts: dict[str, Any], json: bool) -> int:
    if json:
        print_json(facts)
    else:
        print(_table(facts))
    return 0


def _print_external(path: Path, json: bool) -> int:
    from leadline.runtime.external import described_external

    facts = described_external(path)
    if json:
        print_json(facts)
    else:
        note = "of another program; --external.kind of predict, val, bench and parity says what its numbers are"
        print(_table({**facts, "origin": note}))
    return 0


def _print_channels(name: str, is_file: bool, json: bool) -> int:
    from leadline.compress.pruning.trace import traced
    from leadline.core.report import grid
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.checkpoint import load, shipped

    net = load(name) if is_file or name in shipped() else build(zoo.spec(name), seed=0)
    found = traced(net)
    if json:
        keys = ("group", "channels", "tied", "why_frozen")
        facts = [(g.name, g.size, g.modules, g.frozen) for g in found.groups]
        groups = [dict(zip(keys, fact, strict=True)) for fact in facts]
        print_json({"groups": groups, "unknown_operations": list(found.unknown)})
        return 0
    print(grid([("group", "channels", "made or passed on by", "may it shrink"), *found.explained()]))
    if found.unknown:
        print(f"\noperations without a rule, which freeze what they touch: {', '.join(found.unknown)}")
    return 0


@short_help(
    {
        "Flags": "--out --json",
    },
    "leadline import mobilenet-nnconv5.pth.tar --out authors.safetensors",
    "leadline import authors.pth.tar -o authors.safetensors --json",
)
def import_model(
    source: Annotated[Path, arg(metavar="FILE")],
    /,
    *,
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")],
    json: bool = False,
) -> int:
    """Make a checkpoint of another program's weights: the authors' FastDepth (.pth.tar). Nothing in the file is run.

    It holds the numbers that the file holds: of a file in half precision, half precision.

    Args:
        source: the file to read, a pickle of torch
        out: the checkpoint to write, .safetensors
        json: print one JSON object
    """
    from leadline.core.writing import may_be_written
    from leadline.nn.checkpoint import save
    from leadline.nn.pretrained.fastdepth_authors import read_fastdepth

    may_be_written(out, reads=[source])
    net, dtype = read_fastdepth(source)
    save(net, out, provenance={"imported from": source.name}, dtype=dtype)
    if json:
        print_json({"source": str(source), "wrote": str(out), "widths": list(net.spec.encoder.widths)})
    else:
        closing(shown(f"{source}: {net.spec.name}; wrote {out}"))
    return 0
