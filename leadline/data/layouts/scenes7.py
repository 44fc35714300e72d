"""7-Scenes (Shotton et al., CVPR 2013): `seq-XX/frame-NNNNNN.{color,depth}.png`, Kinect depth in millimetres.

Images may be `.jpg`, too. Depth is the sensor's own: 0 and 65535 mean "no depth". Intrinsics are those of
`camera-intrinsics.txt` (3x3, beside the frames or above), else the usual ones: 585, 585, 320, 240 at 640x480.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.core.text import read_text, split_lines
from leadline.data.dataset import Dataset
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import find_files, read_lines
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.layouts.parts import BY_FOLDERS, by_folders, by_scenes, dataset, with_rest

KINECT = Camera(585.0, 585.0, 320.0, 240.0, size=(480, 640))


def open_scenes7(root: Path, description: Description, split: str) -> Dataset:
    """The frames of a sequence, a scene (folder of `seq-XX`) or all scenes, that have colour and depth; by
    `description.items` also those without depth.

    Split: by the `TestSplit.txt` of the scenes where they exist, else by folders called as parts, else by
    whole sequences, else in order.
    """
    found = set(find_files(root, (".png", *IMAGE_SUFFIXES)))
    every = []
    for image in find_files(root, tuple(f".color{suffix}" for suffix in IMAGE_SUFFIXES)):
        name = re.sub(r"\.color\.\w+$", "", image, flags=re.IGNORECASE)
        depth = f"{name}.depth.png" if f"{name}.depth.png" in found else None
        every.append(Frame(name, image, depth, camera=Path(image).parent.as_posix()))
    frames = [frame for frame in every if frame.depth]
    if not frames:
        raise BadData(f"{root} holds no 7-Scenes frames: looked for seq-XX/frame-NNNNNN.color.png beside .depth.png")
    cameras = {folder: _camera(root, folder) for folder in {frame.camera for frame in every}}
    wanted = every if description.items == "images" else frames
    for_test = _test_sequences(root, {frame.camera for frame in wanted})
    rule = "by TestSplit.txt"
    if for_test is None:
        listed = by_folders(frames)
        parts, rule = by_scenes(frames, description) if listed is None else (listed, BY_FOLDERS)
        parts = with_rest(parts, every) if wanted is every else parts
    else:
        parts = {
            "train": [frame for frame in wanted if frame.camera not in for_test],
            "test": [frame for frame in wanted if frame.camera in for_test],
        }
    return dataset(Source(root, description, cameras, marks=(65535,)), parts, split, rule=rule)


def read_intrinsics(path: Path) -> Camera:
    """The Camera in a text file of 3x3 numbers, or of 4x4, whose last row and column do not count."""
    try:
        lines = [line for line in split_lines(read_text(path)) if line.partition("#")[0].strip()]
        matrix = np.loadtxt(lines, dtype=np.float64) if lines else np.empty((0, 0))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} is not a 3x3 matrix of numbers: {error}") from error
    matrix = matrix[:3, :3] if matrix.shape == (4, 4) else matrix
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise BadData(f"{path} has the shape {matrix.shape}; a 3x3 matrix with focal lengths above 0 is needed")
    return Camera(float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]))


def _camera(root: Path, folder: str) -> Camera:
    place = root / folder
    for above in (place, *place.parents):
        file = above / "camera-intrinsics.txt"
        if file.is_file():
            return read_intrinsics(file)
        if above == root:
            break
    return KINECT


def _test_sequences(root: Path, folders: set[str]) -> set[str] | None:
    """The sequence folders that the scenes' lists name as test; None if no scene has lists."""
    listed, for_test = False, set()
    for folder in folders:
        path = (root / folder).parent / "TestSplit.txt"
        if not path.is_file():
            continue
        listed = True
        numbers = {int(number) for line in read_lines(path) for number in re.findall(r"\d+", line)}
        number = re.search(r"(\d+)$", Path(folder).name)
        if number is not None and int(number.group(1)) in numbers:
            for_test.add(folder)
    return for_test if listed else None
