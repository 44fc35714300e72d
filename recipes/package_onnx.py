"""The ONNX files that ship beside the weights: half-precision weights, computed in float32, verified.

python -m recipes.package_onnx
python -m recipes.package_onnx litedepth --out /tmp

A weight of the exported graph is that of the checkpoint, which half precision holds exactly, times the scale of the
batch norm that was folded into it. So both are stored, and the file computes what the checkpoint does. The runtime
multiplies them once, while it loads.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tyro

from leadline.core.errors import ExportFailed
from leadline.core.storage import write_atomically
from leadline.nn.checkpoint import load, shipped
from leadline.runtime.export import ALLOWED, difference, export
from leadline.runtime.manifest import dumps
from leadline.runtime.onnx_file import KEY, manifest_of, with_manifest

MAX_BYTES = 4_000_000
"""Of a file; a net that needs more has none."""
_ROUNDING = 1e-6  # of float32, relative to a weight


def main(names: tyro.conf.Positional[tuple[str, ...]] = (), /, *, out: Path = Path("leadline/weights")) -> list[Path]:
    """Write `out`/NAME.onnx for shipped nets, by default for all whose file is small enough.

    Args:
        names: shipped nets
        out: the folder of the files
    """
    written = []
    for name in names or shipped():
        with TemporaryDirectory() as folder:
            whole = export(name, "onnx", Path(folder) / f"{name}.onnx")
            content = halved(whole, [tensor.numpy() for tensor in load(name).state_dict().values()])
        if len(content) > MAX_BYTES:
            print(f"{name}: {len(content)} bytes, more than {MAX_BYTES}: no file")
            continue
        path = write_atomically(out / f"{name}.onnx", content)
        if (found := difference(path, name)) > ALLOWED / 10:
            path.unlink()
            raise ExportFailed(f"{path} differs from PyTorch by {found:.2g} of the largest value, so it was not kept")
        print(f"{path}: {len(content)} bytes, differs from PyTorch by {found:.1e} of the largest value")
        written.append(path)
    return written


def halved(path: Path, weights: list[np.ndarray]) -> bytes:
    """The float32 ONNX file of leadline's at `path`, its weights in half precision, each with one scale for an output.

    `weights` are the checkpoint's. What is none of them times such scales stays as it is.
    """
    import onnx

    model, manifest = onnx.load(path), manifest_of(path)
    assert manifest is not None
    kept = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    before: list[Any] = []
    for stored in list(model.graph.initializer):
        values = onnx.numpy_helper.to_array(stored)
        same = [w for w in weights if w.shape == values.shape and w.ndim == 4]
        found = next((pair for weight in same if (pair := _scaled(values, weight)) is not None), None)
        if found is None:
            continue
        half, scale = (
            onnx.numpy_helper.from_array(array, f"{stored.name}.{word}")
            for array, word in zip(found, ("half", "scale"), strict=True)
        )
        model.graph.initializer.remove(stored)
        model.graph.initializer.extend([half, scale])
        cast = onnx.helper.make_node("Cast", [half.name], [f"{stored.name}.cast"], to=onnx.TensorProto.FLOAT)
        before += [cast, onnx.helper.make_node("Mul", [cast.output[0], scale.name], [stored.name])]
    after = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*before, *after])
    onnx.checker.check_model(model)
    content = model.SerializeToString(deterministic=True)
    bound = replace(manifest, hashes=(hashlib.sha256(content).hexdigest(),))
    return with_manifest(content, dumps(bound))


def _scaled(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(float16, float32 [outputs,1,1,1]) whose product is `values`, the first being `weight`; else None."""
    half = weight.astype(np.float16)
    rows, given = (array.reshape(len(array), -1) for array in (half.astype(np.float64), values.astype(np.float64)))
    square = (rows * rows).sum(1)
    scale = np.divide((rows * given).sum(1), square, out=np.zeros_like(square), where=square > 0)
    wrong = np.abs(rows * scale[:, None] - given).max(1) > _ROUNDING * np.abs(given).max(1)
    if wrong.any():
        return None
    return half, scale.astype(np.float32).reshape(-1, *(1,) * (values.ndim - 1))


if __name__ == "__main__":
    tyro.cli(main)
