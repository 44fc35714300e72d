"""The verbs about models: which there are, what they are and cost, and those of other programs."""

from __future__ import annotations

import os
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from leadline.cli.command import print_json
from leadline.cli.short_help import short_help
from leadline.core.text import shown

if TYPE_CHECKING:
    from leadline.nn.build import Net


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
    from leadline.nn import zoo
    from leadline.nn.checkpoint import load, shipped

    files = shipped()
    models: list[dict[str, Any]] = []
    for name in sorted({*zoo.names(), *files}):
        spec = load(name).spec if name in files else zoo.spec(name)
        head, weights = spec.head, str(files[name]) if name in files else None
        models.append(
            {"name": name, "kind": head.kind, "unit": head.unit, "input": spec.preprocess.size, "weights": weights}
        )
    if json:
        print_json({"models": models})
        return 0
    for m in models:
        height, width = m["input"]
        weights = "with weights" if m["weights"] else "no weights, train it"
        print(f"{m['name']:<24} {height}x{width:<6} {m['kind']:<20} {weights}")
    return 0


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
        name: a net of `leadline list`, a checkpoint, or a file of `leadline export`, whose manifest is printed
        channels: print the groups of channels instead: which share a fate when the net is pruned, and which may not go
        json: print one JSON object
    """
    from leadline.compress.cost.count import macs, parameters
    from leadline.core.spec import to_json
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.checkpoint import find, is_run, load, read_provenance, shipped
    from leadline.runtime import SUFFIXES

    if SUFFIXES.get(Path(name).suffix, "eager") != "eager" and not channels:
        return _print_manifest(Path(name), json)
    has_file = name in shipped() or Path(name).is_file() or is_run(name) or Path(name).suffix != "" or os.sep in name
    net = load(name) if has_file else build(zoo.spec(name), seed=0)
    if channels:
        return _print_channels(net, json)
    spec, file = net.spec, find(name) if has_file else None
    facts: dict[str, Any] = {
        "name": spec.name,
        "parameters": parameters(net),
        "macs": macs(net, spec.preprocess.size),
        "input": to_json(spec.preprocess),
        "kind": spec.head.kind,
        "unit": spec.head.unit,
        "weights": None if file is None else str(file),
        "bytes": None if file is None else file.stat().st_size,
        "history": list(spec.provenance),
        "provenance": {} if file is None else read_provenance(name),
    }
    if json:
        print_json(facts)
    else:
        for key, value in facts.items():
            text = f"{value:,}".replace(",", " ") if isinstance(value, int) else value
            print(f"{key:<11}{dumps(text) if isinstance(text, dict | list) else shown(text or 'none')}")
    return 0


def _print_manifest(path: Path, json: bool) -> int:
    from leadline.core.spec import to_json
    from leadline.runtime import read_manifest
    from leadline.runtime.manifest import files_of

    manifest = read_manifest(path)
    facts = {"name": manifest.spec.name, **to_json(manifest), "bytes": sum(f.stat().st_size for f in files_of(path))}
    if json:
        print_json(facts)
    else:
        for key, value in facts.items():
            print(f"{key:<13}{dumps(value) if isinstance(value, dict | list | tuple) else shown(value)}")
    return 0


def _print_channels(net: Net, json: bool) -> int:
    import torch

    from leadline.compress.pruning.trace import trace
    from leadline.core.report import grid

    found = trace(net, torch.zeros(1, 3, *net.spec.preprocess.size))
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

    Args:
        source: the file to read, a pickle of torch
        out: the checkpoint to write, .safetensors
        json: print one JSON object
    """
    from leadline.core.writing import may_be_written
    from leadline.nn.checkpoint import save
    from leadline.nn.pretrained.fastdepth_authors import import_fastdepth

    may_be_written(out, reads=[source])
    net = import_fastdepth(source)
    save(net, out, provenance={"imported from": source.name})
    if json:
        print_json({"source": str(source), "wrote": str(out), "widths": list(net.spec.encoder.widths)})
    else:
        print(shown(f"{source}: {net.spec.name}; wrote {out}"))
    return 0
