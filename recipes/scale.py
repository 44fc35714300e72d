"""How much of a net's error is scale, how far away a room is, and how much is shape: NYU's test part.

python -m recipes.scale runs/grid/*/litedepth.safetensors --data DATA/nyu
python -m recipes.scale A.safetensors B.safetensors --together --flip --data DATA/nyu
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tyro

from leadline.core.types import Depth, Item
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset
from leadline.distill.options import TeacherOptions
from leadline.distill.teachers import build_teacher
from leadline.evaluation.protocols import find, match
from recipes.evaluate_students import looking


def parts(
    predict: Callable[[np.ndarray], Depth], data: Dataset | Sequence[Item], protocol: str = "nyu-eigen@1"
) -> dict[str, float]:
    """Means over images of the log ratio of prediction and truth, of delta1 as it is and with each image's median log
    ratio taken away, and of the absolute value of that median.
    """
    rows = []
    for i in range(len(data)):
        sample = data[i]
        pred, target, counts, _ = match(find(protocol), predict(sample.image), sample.target, sample.valid)
        error = np.log(pred[counts]) - np.log(target[counts])
        median = np.median(error)
        near = [np.mean(np.abs(e) < np.log(1.25)) for e in (error, error - median)]
        rows.append((error.mean(), *near, abs(median)))
    return dict(zip(("bias", "delta1", "delta1 by own median", "median's error"), np.mean(rows, 0), strict=True))


def main(
    files: tyro.conf.Positional[tuple[str, ...]], /, *, data: Path, together: bool = False, flip: bool = False
) -> None:
    """Print a line for each file, or for all together as one teacher.

    Args:
        files: nets
        data: the test part
        together: their mean
        flip: the mirrored picture too
    """
    test = open_dataset(data, "test")
    for group in [files] if together else [(file,) for file in files]:
        facts = parts(looking(build_teacher(TeacherOptions(teacher=group, flip=flip))), test)
        print("+".join(group), " ".join(f"{name} {value:.3f}" for name, value in facts.items()), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
