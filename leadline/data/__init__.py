"""Data: depth maps on disk, the layouts people have, and a check that names a data set's faults. Loads no torch."""

from leadline.data.dataset import Dataset, hold_out, subset
from leadline.data.depth_io import read_depth, write_depth
from leadline.data.layouts.description import Description, read_description
from leadline.data.layouts.detect import LAYOUTS, open_dataset

__all__ = [
    "LAYOUTS",
    "Dataset",
    "Description",
    "hold_out",
    "open_dataset",
    "read_depth",
    "read_description",
    "subset",
    "write_depth",
]
