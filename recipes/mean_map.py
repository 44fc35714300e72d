"""The floor that any depth net must beat: the mean depth map of the training part, whatever the photograph shows.

python -m recipes.mean_map DATA/nyu --protocols nyu-eigen@1,fastdepth-224@1
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro

from leadline.core.report import Report, table
from leadline.core.types import Depth
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import open_dataset
from leadline.evaluation.evaluate import evaluate_all


def mean_map(data: Dataset) -> np.ndarray:
    """The mean depth of each pixel, float32 [H,W] in metres, over the items where it is valid; all of one size."""
    total: np.ndarray | float = 0.0
    count: np.ndarray | float = 0.0
    for i in range(len(data)):
        sample = data[i]
        total, count = total + sample.target.astype(np.float64), count + sample.valid
    return np.asarray(total / np.maximum(count, 1), np.float32)


def main(data: tyro.conf.Positional[Path], /, *, protocols: str = "nyu-eigen@1") -> list[Report]:
    """Print the table of the training part's mean map on the test part."""
    depth = Depth(mean_map(open_dataset(data, "train")))
    reports = evaluate_all(lambda _: depth, open_dataset(data, "test"), protocols.split(","), name="mean map")
    print(table(reports))
    return reports


if __name__ == "__main__":
    tyro.cli(main)
