"""Turn a finished run into weights of the package: half precision, measured as they are stored, provenance inside.

python -m recipes.ship runs/shipped --data DATA/nyu --out leadline/weights
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import tyro

from leadline.checkpoint import load, read_provenance, save
from leadline.data.layouts import open_dataset
from leadline.evaluate import evaluate_all
from leadline.predict import load_predictor
from leadline.report import table


def main(
    run: tyro.conf.Positional[Path], /, *, data: Path, out: Path, protocols: str = "nyu-eigen@1,fastdepth-224@1"
) -> Path:
    """Write `out`/NAME.safetensors from the checkpoint of `run`, with its metrics on the test part of `data`."""
    said = json.loads((run / "run.json").read_text())
    source = next(path for path in run.glob("*.safetensors") if path.stem not in ("last", "state"))
    provenance = read_provenance(source)
    provenance |= {
        "command": ["python", "-m", f"recipes.{Path(said['command'][0]).stem}", *said["command"][1:]],
        "commit": said["commit"],
        "versions": said["versions"],
        "device": said["device"],
    }
    # where the data lay is nobody's business: DATA, as in the recipe's own description
    text, place = json.dumps(provenance), str(data.parent)
    provenance = json.loads(text.replace(f'"{place}/', '"DATA/').replace(f'"{place}"', '"DATA"'))
    target = save(load(source), out / source.name, provenance=provenance, dtype=torch.float16)
    reports = evaluate_all(load_predictor(target), open_dataset(data, "test"), protocols.split(","), name=source.stem)
    test = {r.protocol: {"n": r.n, **{k: round(v, 4) for k, v in r.metrics.items()}} for r in reports}
    provenance["metrics"] = {**provenance["metrics"], "test part": test}
    save(load(source), target, provenance=provenance, dtype=torch.float16)
    print(table(reports))
    print(f"{target}: {target.stat().st_size} bytes")
    return target


if __name__ == "__main__":
    tyro.cli(main)
