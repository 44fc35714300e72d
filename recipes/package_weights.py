"""Turn a finished run into weights of the package: half precision, measured as they are stored, provenance inside.

python -m recipes.package_weights runs/shipped --data DATA/nyu --out leadline/weights
python -m recipes.package_weights runs/pruned/netadapt_latency.safetensors --data DATA/nyu --out leadline/weights
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro

from leadline.core.report import table
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate_all
from leadline.nn.checkpoint import load, read_provenance, save
from leadline.predict.predictor import load_predictor


def main(
    run: tyro.conf.Positional[Path], /, *, data: Path, out: Path, protocols: str = "nyu-eigen@1,fastdepth-224@1",
    note: str = "",
) -> Path:  # fmt: skip
    """Write `out`/NAME.safetensors from the checkpoint of `run`, with its metrics on the test part of `data`.

    Args:
        run: the folder of a finished training, or the file that a pruning has made
        data: the test part
        out: the folder of the weights
        protocols: to measure by, names between commas
        note: what else whoever uses the weights should know
    """
    folder = run.with_suffix("") / "training" if run.is_file() else run
    said = json.loads((folder / "run.json").read_text())
    name = said["spec"]["name"]
    source = run if run.is_file() else run / f"{name}.safetensors"
    provenance = read_provenance(source)
    provenance |= {
        "command": ["python", "-m", f"recipes.{Path(said['command'][0]).stem}", *said["command"][1:]],
        "commit": said["commit"],
        **({"resumed": said["resumed"]} if "resumed" in said else {}),
        **({"note": note} if note else {}),
        "versions": said["versions"],
        "device": said["device"],
    }
    provenance = json.loads(json.dumps(provenance), object_hook=partial(_placeless, data=data.parent))
    target = save(load(source), out / f"{name}.safetensors", provenance=provenance, dtype=torch.float16)
    reports = evaluate_all(load_predictor(target), open_dataset(data, "test"), protocols.split(","), name=name)
    test = {r.protocol: {"n": r.n, **{k: round(v, 4) for k, v in r.metrics.items()}} for r in reports}
    provenance["metrics"] = {**provenance["metrics"], "test part": test}
    save(load(source), target, provenance=provenance, dtype=torch.float16)
    print(table(reports))
    print(f"{target}: {target.stat().st_size} bytes")
    return target


def _placeless(said: dict[str, Any], data: Path) -> dict[str, Any]:
    """Without the places where things lay, which are nobody's business: DATA/nyu, and of other paths the last part."""

    def word(value: Any) -> Any:
        if isinstance(value, list):
            return [word(item) for item in value]
        if not isinstance(value, str) or not value.startswith("/"):
            return value
        path = Path(value)
        return f"DATA/{path.relative_to(data)}".removesuffix("/.") if path.is_relative_to(data) else path.name

    return {key: word(value) for key, value in said.items()}


if __name__ == "__main__":
    tyro.cli(main)
