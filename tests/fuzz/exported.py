"""Damaged exported files, and whole ones whose description is damaged or says what cannot be.

TVM's and Inductor's files are native code, so of those only the descriptions are damaged, beside a stub that no linker
takes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.case import Case, pick
from fuzz.damage import damaged
from fuzz.json_damage import changed, odd_text
from fuzz.nets import write_nets

Rng = np.random.Generator
_DATA = ("onnx", "openvino", "litert", "executorch", "ncnn")
_CODE = {"tvm": ".so", "inductor": ".pt2"}


def prepare(folder: Path) -> None:
    """One small file by each runtime that is installed, with its description."""
    from leadline.core.errors import LeadlineError
    from leadline.runtime import backend, suffix
    from leadline.runtime.export import export

    write_nets(folder / "nets")
    net = folder / "nets" / "fastdepth.safetensors"
    for name in _DATA:
        if backend(name).missing() is None:
            try:
                export(net, name, folder / name / f"net{suffix(name)}")
            except LeadlineError as error:
                print(f"{name} makes no file here: {error}")
    _write_dynamic(folder / "dynamic", net)
    described = [path for path in folder.glob("*/net.*.json") if path.parent.name in _DATA]
    for name, ending in _CODE.items():
        if described:
            (folder / name).mkdir()
            (folder / name / f"net{ending}").write_text("this is no library\n" * 9)
            text = described[0].read_text("utf-8").replace(f'"{described[0].parent.name}"', f'"{name}"')
            (folder / name / f"net{ending}.json").write_text(text, "utf-8")


def _write_dynamic(folder: Path, net: Path) -> None:
    """One net as both widths of a dynamic folder, which PyTorch runs."""
    from leadline.core.storage import sha256
    from leadline.runtime.dynamic import Choice, DynamicManifest, write_manifest

    folder.mkdir()
    names = tuple(f"width-{i}.safetensors" for i in range(2))
    for name in names:
        shutil.copy(net, folder / name)
    choice = Choice(start=0, thresholds=(0.01,))
    hashes = tuple(sha256(folder / name) for name in names)
    write_manifest(folder, DynamicManifest(files=names, hashes=hashes, choice=choice, measured={"ms": 1.0}))


def make(rng: Rng, folder: Path, prepared: Path) -> Case:
    """A copy of an exported file with something in it, or in its description, that does not belong there."""
    known = sorted(path.name for path in prepared.iterdir() if path.is_dir() and path.name != "nets")
    if not known:
        return Case("no runtime is installed", lambda: None)
    name = pick(rng, known)
    shutil.copytree(prepared / name, folder / name)
    files = sorted((folder / name).iterdir())
    if name == "dynamic":
        manifest = folder / name / "dynamic.json"
        done = _described(rng, manifest) if rng.random() < 0.8 else _bytes(rng, pick(rng, files))
        return Case(f"{name}: {done}", lambda: used(folder / name))
    [path] = [one for one in files if one.stem == "net" and one.suffix not in (".json", ".bin", ".data")]
    manifests = [one for one in files if one.suffix == ".json"]
    if name == "onnx" and rng.random() < 0.5:
        done = _inside(rng, path)
    elif manifests and (name in _CODE or rng.random() < 0.6):
        done = _described(rng, manifests[0])
    else:
        done = _bytes(rng, pick(rng, [one for one in files if one.suffix != ".json"]))
    if name in ("onnx", "litert") and rng.random() < 0.2:
        return Case(f"{name}: {done} (teacher)", lambda: asked(path), told=True)
    return Case(f"{name}: {done}", lambda: used(path))


def asked(path: Path) -> Any:
    """Take it for another program's file, without its description, as a teacher: told what it gives."""
    from leadline.distill.options import ExternalModel
    from leadline.distill.teachers import open_teacher

    path.with_name(f"{path.name}.json").unlink(missing_ok=True)
    open_teacher(path, ExternalModel(kind="metric"))


def used(path: Path) -> Any:
    """Load it and look at a picture; what it says of it is a number wherever it is valid."""
    from leadline.predict.predictor import load_predictor

    predictor = load_predictor(path)
    size = predictor.frame or (24, 40)
    depth = predictor(np.full((*size, 3), 90, np.uint8))
    assert depth.values.shape == size and np.isfinite(depth.values[depth.valid]).all()


def _bytes(rng: Rng, path: Path) -> str:
    if rng.random() < 0.1:
        path.unlink()
        return f"{path.name} is gone"
    done, data = damaged(rng, path.read_bytes())
    path.write_bytes(data)
    return f"{path.name} {done}"


def _described(rng: Rng, path: Path) -> str:
    turn = rng.random()
    if turn < 0.15:
        return _bytes(rng, path)
    if turn < 0.3:
        done, text = odd_text(rng)
    else:
        done, plain = changed(rng, json.loads(path.read_text("utf-8")))
        text = json.dumps(plain)
    path.write_text(text, "utf-8")
    return f"{path.name} {done}"


def _inside(rng: Rng, path: Path) -> str:
    """The description of an ONNX file stands in its metadata."""
    import onnx

    model = onnx.load(path)
    [said] = [one for one in model.metadata_props if one.key == "leadline"]
    done, plain = changed(rng, json.loads(said.value)) if rng.random() < 0.8 else (None, None)
    if done is None:
        done, said.value = odd_text(rng)
    else:
        said.value = json.dumps(plain)
    onnx.save(model, path)
    return f"description {done}"
