"""Damaged checkpoints, and well-formed ones that say what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.case import Case, pick
from fuzz.damage import damaged
from fuzz.json_damage import changed, odd_text
from fuzz.nets import joined, read_parts, write_nets

Rng = np.random.Generator
_SHAPES = (
    [],
    [0],
    [1],
    [0, 0, 0, 0],
    [1, 1, 1, 1],
    [1 << 40],
    [1 << 31, 1 << 31],
    [1 << 62, 4],
    [-1],
    [1.5],
    None,
    "x",
)
_TYPES = ("F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "C64", "X", None, 7)


def prepare(folder: Path) -> None:
    """Whole files to damage, and a folder of data for the verbs that need one."""
    from support.tiny_scenes import render, write_folder

    write_nets(folder)
    write_folder(folder / "rooms", [render(seed, size=(48, 64)) for seed in range(4)])
    (folder / "rooms" / "dataset.toml").write_text('layout = "folder"\ndepth_scale = 1000\ntest_fraction = 0.5\n')


def make(rng: Rng, folder: Path, prepared: Path) -> Case:
    """One file, and a function or verb that reads it."""
    if rng.random() < 0.12:
        source = pick(rng, sorted(prepared.glob("*.pth.tar")))
        done, data = damaged(rng, source.read_bytes())
        path = folder / source.name
        path.write_bytes(data)
        return Case(f"{source.name}: {done} (import)", lambda: _verb("import", str(path), "--out", str(folder / "x")))
    source = pick(rng, sorted(prepared.glob("*.safetensors")))
    way = pick(rng, (_bytes, _spec, _spec, _spec, _spec, _spec, _provenance, _metadata, _header, _tensors, _values))
    done, data = way(rng, source)
    path = folder / pick(rng, (source.name,) * 9 + ("net.pth",))
    path.write_bytes(data)
    name, use = pick(rng, USES)
    return Case(f"{source.name}: {done} ({name})", lambda: use(path, folder, prepared), told=name not in OWN)


def _bytes(rng: Rng, source: Path) -> tuple[str, bytes]:
    return damaged(rng, source.read_bytes())


def _spec(rng: Rng, source: Path) -> tuple[str, bytes]:
    header, body = read_parts(source)
    done, spec = changed(rng, json.loads(header["__metadata__"]["spec"]))
    header["__metadata__"]["spec"] = json.dumps(spec)
    return f"spec {done}", joined(header, body)


def _provenance(rng: Rng, source: Path) -> tuple[str, bytes]:
    header, body = read_parts(source)
    key = pick(rng, ("provenance", "provenance", "spec"))
    done, header["__metadata__"][key] = odd_text(rng)
    return f"{key} is {done}", joined(header, body)


def _metadata(rng: Rng, source: Path) -> tuple[str, bytes]:
    header, body = read_parts(source)
    if rng.random() < 0.3:
        header["__metadata__"] = pick(
            rng, ({}, None, [], "x", {"format": "leadline-1"}, {"format": "leadline-99"}, {"a": 1})
        )
        return "other metadata", joined(header, body)
    done, header["__metadata__"] = changed(rng, header["__metadata__"])
    return f"metadata {done}", joined(header, body)


def _header(rng: Rng, source: Path) -> tuple[str, bytes]:
    header, body = read_parts(source)
    if rng.random() < 0.2:
        done, text = odd_text(rng)
        return f"header is {done}", joined(text, body)
    name = pick(rng, [key for key in header if key != "__metadata__"])
    key, value = pick(rng, (
        ("shape", pick(rng, _SHAPES)), ("dtype", pick(rng, _TYPES)),
        ("data_offsets", pick(rng, ([0, 0], [0, 1 << 50], [5, 1], [-4, 0], None, [0]))),
    ))  # fmt: skip
    header[name][key] = value
    if key == "shape" and rng.random() < 0.5 and isinstance(value, list) and not all(value):
        header[name]["data_offsets"] = [0, 0]
    return f"{name}: {key} {value}", joined(header, body)


def _tensors(rng: Rng, source: Path) -> tuple[str, bytes]:
    """Tensors are missing, more, or of another shape, in a file that is whole."""
    from safetensors.numpy import load, save

    header, _ = read_parts(source)
    tensors = load(source.read_bytes())
    name = pick(rng, sorted(tensors))
    way = int(rng.integers(5))
    if way == 0:
        del tensors[name]
    elif way == 1:
        tensors[pick(rng, ("extra", "", name + ".x", "\x1b[2J", "../x"))] = tensors[name]
    elif way == 2:
        shape = [int(rng.integers(0, 5)) if rng.random() < 0.5 else n for n in tensors[name].shape]
        tensors[name] = np.ones(shape, np.float32)
    elif way == 3:
        tensors[name] = tensors[name].reshape(*tensors[name].shape, 1)
    else:
        for key, value in tensors.items():
            tensors[key] = np.zeros((0,) * value.ndim, np.float32)
    return f"tensors, way {way} {name}", save(tensors, header["__metadata__"])


def _values(rng: Rng, source: Path) -> tuple[str, bytes]:
    from safetensors.numpy import load, save

    header, _ = read_parts(source)
    tensors = load(source.read_bytes())
    name, value = pick(rng, sorted(tensors)), pick(rng, (np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, 1e-45))
    tensors[name] = np.full_like(tensors[name], value)
    if rng.random() < 0.3:
        kind = pick(rng, (np.float64, np.float16, np.int64, np.int8, np.uint8, np.bool_))
        with np.errstate(all="ignore"):
            tensors[name] = np.nan_to_num(tensors[name]).astype(kind)
    return f"{name} is {value} {tensors[name].dtype}", save(tensors, header["__metadata__"])


def _loaded(path: Path, folder: Path, prepared: Path) -> None:
    """The net, and what it makes of a picture: where that is valid it is a number."""
    from leadline.predict.predictor import load_predictor

    predictor = load_predictor(path)
    depth = predictor(np.full((24, 40, 3), 90, np.uint8))
    assert depth.values.shape == (24, 40) and np.isfinite(depth.values[depth.valid]).all()


def _told(path: Path, folder: Path, prepared: Path) -> None:
    from leadline.nn.checkpoint import origin, read_provenance

    assert isinstance(read_provenance(path), dict)
    assert all(isinstance(line, str) for line in origin(path)["licences"])


def _taught(path: Path, folder: Path, prepared: Path) -> None:
    from leadline.distill.teachers import open_teacher

    open_teacher(path)


def _inited(path: Path, folder: Path, prepared: Path) -> None:
    import torch

    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.pretrained.tflite import give_from_file_

    give_from_file_(build(zoo.litedepth(), seed=0).encoder, path, torch.zeros(1, 3, 32, 32))


def _predicted(path: Path, folder: Path, prepared: Path) -> None:
    photos = str(prepared / "rooms" / "images" / "000.png")
    _verb("predict", photos, "--model", str(path), "--out", str(folder / "out"), "--save", "npy", "--json")


def _about(path: Path, folder: Path, prepared: Path) -> None:
    words = ["--json"] if path.stat().st_size % 2 else []
    _verb("info", str(path), *words)


def _trained(path: Path, folder: Path, prepared: Path) -> None:
    _verb(
        "train", "--data", str(prepared / "rooms"), "--out", str(folder / "run"), "--model", str(path),
        "--fit.steps", "1",
        "--batch", "2", "--view.size", "32", "48", "--val-every", "0", "--workers", "0", "--cache-gb", "0",
    )  # fmt: skip


def _pruned(path: Path, folder: Path, prepared: Path) -> None:
    _verb(
        "prune", str(path), "--method", "l1", "--budget", "macs=0.9x", "--data", str(prepared / "rooms"), "--out",
        str(folder / "small.safetensors"), "--no-finetune", "--batch", "2", "--val-every", "0", "--multiple", "1",
    )  # fmt: skip


def _quantized(path: Path, folder: Path, prepared: Path) -> None:
    """Up to the runtime, which is not asked: a missing one is an error of leadline's own."""
    _verb(
        "quantize", str(path), "--runtime", "eager", "--data", str(prepared / "rooms"), "--out",
        str(folder / "x.safetensors"),
        "--images", "2",
    )  # fmt: skip


def _valued(path: Path, folder: Path, prepared: Path) -> None:
    _verb("val", "--data", str(prepared / "rooms"), "--model", str(path), "--json")


def _verb(*words: str) -> None:
    from leadline.cli.main import main

    code = main(list(words))
    assert code != 2, f"the words {words} were not understood"


Use = Callable[[Path, Path, Path], Any]
OWN = ("load", "origin")  # the others may say that a file does not end as it should
USES: tuple[tuple[str, Use], ...] = (
    *[("load", _loaded)] * 6, *[("origin", _told)] * 3, ("teacher", _taught), ("init", _inited), ("predict",
    _predicted),
    *[("info", _about)] * 3, ("train", _trained), ("prune", _pruned), ("quantize", _quantized), ("val", _valued),
)  # fmt: skip
