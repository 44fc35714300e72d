"""How good nets, or teachers together, are on NYU's test part and in four places: a line of JSON each.

    python -m recipes.evaluate_students runs/grid/*/litedepth.safetensors --data DATA --out runs/evaluated.jsonl
    python -m recipes.evaluate_students A.safetensors B.safetensors --together --flip \
        --data DATA --out runs/evaluated.jsonl

NYU by `nyu-eigen@1`; all frames of kitchen, robot, office and tum by `indoor-metric@1` (metres as they are) and
`zeroshot-disparity@1` (scale and shift of each frame fitted). A file that stands in OUT is not evaluated again, as long
as it has the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tyro

from leadline.core.storage import sha256
from leadline.core.types import Depth, Item
from leadline.data.dataset import Dataset, hold_out
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import collate
from leadline.distill.options import TeacherOptions
from leadline.distill.teachers import Teacher, build_teacher
from leadline.evaluation.evaluate import evaluate_all
from leadline.nn.checkpoint import find

PLACES = {"kitchen": "kitchen", "robot": "robot", "office": "office", "tum": "tum_fr1_rpy"}
AWAY = ("indoor-metric@1", "zeroshot-disparity@1")


def looking(teacher: Teacher) -> Callable[[np.ndarray], Depth]:
    """A teacher as what `evaluate` measures."""

    def look(image: np.ndarray) -> Depth:
        unlabelled = np.zeros(image.shape[:2], np.float32)
        depth = teacher(collate([Item(image, unlabelled, unlabelled > 0, "")])).depth[0, 0].numpy()
        return Depth(depth, teacher.kind)

    return look


def evaluated(teacher: Teacher, data: Path, test: bool = True) -> dict[str, dict[str, float]]:
    """Metrics by set and protocol: on the validation split, and unless `test` is False on the rest."""
    sets: dict[str, tuple[Dataset, tuple[str, ...]]] = {
        "validation": (hold_out(open_dataset(data / "nyu", "train"))[1], ("nyu-eigen@1",))
    }
    if test:
        sets["nyu"] = open_dataset(data / "nyu", "test"), ("nyu-eigen@1",)
        sets |= {name: (open_dataset(data / folder, "all"), AWAY) for name, folder in PLACES.items()}
    found = {}
    for name, (samples, protocols) in sets.items():
        for report in evaluate_all(looking(teacher), samples, list(protocols), name=teacher.name):
            kept = {
                key: round(report.metrics[key], 4) for key in ("delta1", "abs_rel", "rmse") if key in report.metrics
            }
            found[f"{name} {report.protocol}"] = kept
    return found


def main(
    files: tyro.conf.Positional[tuple[str, ...]], /, *, data: Path, out: Path, together: bool = False,
    flip: bool = False, zooms: tuple[float, ...] = (1.0,), test: bool = True,
) -> None:  # fmt: skip
    """Measure each file, or all together as one teacher.

    Args:
        files: nets
        data: the folder that holds nyu and the places
        out: the file that lines are added to
        together: their mean
        flip: the mirrored picture too
        zooms: enlarged cut-outs too
        test: no: only on the validation split
    """
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = [(line["model"], line["sha256"]) for line in lines]
    for group in [files] if together else [(file,) for file in files]:
        name = "+".join(group) + (" flip" if flip else "") + (f" {zooms}" if zooms != (1.0,) else "")
        name += "" if test else " (validation split)"
        hashes = [sha256(find(file)) for file in group]
        if (name, hashes) in known:
            continue
        facts = evaluated(build_teacher(TeacherOptions(teacher=group, flip=flip, zooms=zooms)), data, test)
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(json.dumps({"model": name, "sha256": hashes, **facts}) + "\n")
        print(name, json.dumps(facts), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
