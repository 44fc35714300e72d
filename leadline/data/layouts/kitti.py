"""KITTI (Geiger et al., IJRR 2013): rectified stereo of a car, sparse LiDAR depth in 16-bit PNG, 256 units per metre.

Two layouts. The raw one, with the depth of the depth-completion benchmark (Uhrig et al., 3DV 2017) beside it:

    2011_09_26/calib_cam_to_cam.txt
    2011_09_26/2011_09_26_drive_0005_sync/image_02/data/*.{png,jpg}   left; image_03: right
    2011_09_26/2011_09_26_drive_0005_sync/proj_depth/groundtruth/image_02/*.png   (or proj_depth/velodyne_raw)

and the lists of the Eigen split as BTS and ZoeDepth write them, `image depth focal` in each line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from leadline.core.errors import BadData
from leadline.core.preprocess import IMAGE_SUFFIXES
from leadline.core.text import columns
from leadline.data.dataset import Dataset
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import each_once, find_files, is_hidden, located, read_lines, stem
from leadline.data.layouts.frame import Camera, Frame, Source
from leadline.data.layouts.parts import BY_FOLDERS, OTHERS, by_scenes, dataset, part_in, part_of, with_rest

SCALES = {"uint16": 256.0}
BY_LISTS = "by the names of its lists"
_IMAGE_HOMES = ("", "raw", "kitti_raw", "raw_data", "input")
_BENCHMARK = "data_depth_annotated"
_DEPTH_HOMES = ("", "gts", _BENCHMARK, f"{_BENCHMARK}/train", f"{_BENCHMARK}/val", "train", "val")


def open_kitti(root: Path, description: Description, split: str) -> Dataset:
    """The frames of the left camera in all drives below `root`, with intrinsics from the calibration.

    `description.items` says which: "depth", those with a depth map; "images", all; "pairs", those with a right image
    (`right` and `baseline_m` are set; without a depth map nothing is valid). A view without a partner is then BadData.
    Depth is `groundtruth` (accumulated and cleaned) if any drive has it, else `velodyne_raw`; the data set's name says
    which. It lies in the drive, or in the benchmark's `train/` and `val/`. Split: by those (or by such folders above
    the drives), else by whole drives, else in order; of all frames, so that a pair and its depth are in one part.
    """
    above = ("", "*/", "*/*/", "*/*/*/")
    folders = each_once(path for part in above for path in sorted(root.glob(f"{part}image_02/data")))
    drives = [folder.parents[1] for folder in folders]
    if not drives:
        raise BadData(f"{root} holds no KITTI drives: looked for DATE/DATE_drive_NNNN_sync/image_02/data")
    depths = {drive: _depth_folders(root, drive) for drive in drives}
    kinds = [kind for kind in ("groundtruth", "velodyne_raw") if any(kind in found for found in depths.values())]
    kind = kinds[0] if kinds else "no"
    frames = [frame for drive in drives for frame in _drive(root, drive, depths[drive].get(kind, []))]
    if frames and description.items == "depth" and not any(frame.depth for frame in frames):
        raise BadData(_without_depth(root, frames))
    of = {frame: _part(frame) for frame in frames}
    parts: Mapping[str, Sequence[Frame]]
    parts, rule = by_scenes(frames, description)
    if {"val", "test"} & set(of.values()):
        parts = {part: [f for f in frames if (of[f] or "train") == part] for part in ("train", "val", "test")}
        rule = BY_FOLDERS
        if description.items == "images":
            with_depth = {name: [frame for frame in part if frame.depth] for name, part in parts.items()}
            parts = with_rest(with_depth, frames)
    if description.items == "pairs":
        _refuse_lone_views(root, drives)
        parts = {name: [frame for frame in part if frame.right] for name, part in parts.items()}
    else:
        every = description.items == "images"
        parts = {name: [f._replace(right=None) for f in part if every or f.depth] for name, part in parts.items()}
    source = Source(root, description, _cameras(root, frames), SCALES)
    note = "pairs" if description.items == "pairs" else f"{kind} depth"
    return dataset(source, parts, split, note, rule=rule)


def _without_depth(root: Path, frames: Sequence[Frame]) -> str:
    calibrated = all((root / folder / "calib_cam_to_cam.txt").is_file() for folder in {f.camera for f in frames})
    return (
        f"{root} has {len(frames)} images and no depth map for any of them: looked for proj_depth/groundtruth/image_02 "
        "and proj_depth/velodyne_raw/image_02 in the drives and in the benchmark's folders; depth of the same names as "
        f"the images is needed{'' if calibrated else ', and calib_cam_to_cam.txt, which is missing too, in each date'}"
    )


def open_eigen(root: Path, description: Description, split: str) -> Dataset:
    """The frames in the lists `*train*.txt`, `*val*.txt` and `*test*.txt` with lines `image depth focal`.

    Lines whose depth is `None` are left out: 45 of the 697 test images have no improved ground truth, which leaves the
    usual 652. Paths are relative to `root`, or to the folders the benchmark's downloads unpack to.
    """
    parts = listed_parts(root, lambda rows: _listed(root, rows))
    frames = [frame for part in parts.values() for frame in part]
    if not frames:
        raise BadData(f"{root} has no *train*files_with_gt.txt or *test*files_with_gt.txt with a depth map in a line")
    return dataset(Source(root, description, _cameras(root, frames), SCALES), parts, split, "eigen", rule=BY_LISTS)


def gt_lists(root: Path) -> list[Path]:
    """The lists of BTS and ZoeDepth in `root`: `*files_with_gt*.txt`, in upper or lower case."""
    found = (path for path in sorted(root.glob("*.[tT][xX][tT]")) if not is_hidden(path.name))
    return [path for path in found if "files_with_gt" in path.name.lower()]


def listed_parts(root: Path, read: Callable[[list[tuple[str, str]]], Sequence[Frame]]) -> dict[str, Sequence[Frame]]:
    """The parts of such lists by the words in their names; `read` makes frames of (image, depth) pairs."""
    of: dict[str, list[tuple[str, str]]] = {part: [] for part in ("train", "val", "test")}
    for path in gt_lists(root):
        pairs = [(image, depth) for image, depth in read_rows(path) if depth is not None]
        own = of.setdefault(part_in(path.stem) or OTHERS, [])
        before = dict(own)
        for image, depth in pairs:
            if before.get(image, depth) != depth:
                raise BadData(f"{path} gives {image} the depth map {depth}, and another list {before[image]}; keep one")
        own += [pair for pair in pairs if pair[0] not in before]  # lists may overlap
    return {part: read(pairs) for part, pairs in of.items()}


def read_rows(path: Path) -> list[tuple[str, str | None]]:
    """(image, depth or None) of each line `image depth focal`; BadData names a line that is not like that."""
    rows = []
    for line in read_lines(path):
        words = columns(line)
        if len(words) not in (2, 3):
            raise BadData(f"{path}: the line {line!r} should be: image depth focal")
        if len(words) == 3 and not _is_number(words[2]):
            raise BadData(
                f"{path}: the line {line!r} has {words[2]!r} where a focal length should be; if that is another depth"
                " map, keep the one that is to be learned from, as image depth focal"
            )
        rows.append((words[0], None if words[1].lower() == "none" else words[1]))
    return rows


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return word.lower() == "none"
    return True


def _listed(root: Path, pairs: Sequence[tuple[str, str]]) -> Sequence[Frame]:
    images = located(root, [image for image, _ in pairs], _IMAGE_HOMES)
    depths = located(root, [depth for _, depth in pairs], _DEPTH_HOMES)
    # .../DATE/DATE_drive_NNNN_sync/image_02/data/N.png: the calibration is that of the date
    dates = [Path(image).parents[3].as_posix() if len(Path(image).parents) > 3 else "" for image in images]
    return [Frame(stem(i), i, d, camera=date) for i, d, date in zip(images, depths, dates, strict=True)]


def _part(frame: Frame) -> str | None:
    """The part by the folders above a frame's depth map, else above its image."""
    folders = [folder for file in (frame.depth, frame.image) if file for folder in Path(file).parent.parts]
    return next((part for folder in folders if (part := part_of(folder))), None)


def _depth_folders(root: Path, drive: Path) -> dict[str, list[Path]]:
    """A drive's folders of depth maps by kind; they lie in the drive, or in the benchmark's own folders."""
    above = ["*/train", "*/val", "train", "val"]
    homes = [drive, *(path for part in above for path in sorted(root.glob(f"{part}/{drive.name}")))]
    found: dict[str, list[Path]] = {}
    for folder in (path for home in homes for path in home.glob("proj_depth/*/image_02")):
        found.setdefault(folder.parent.name, []).append(folder)
    return found


def _drive(root: Path, drive: Path, depth_folders: Sequence[Path]) -> Iterator[Frame]:
    folder = drive.relative_to(root).as_posix()
    right = {stem(file): f"image_03/data/{file}" for file in find_files(drive / "image_03" / "data", IMAGE_SUFFIXES)}
    depth: dict[str, Path] = {}
    for place in depth_folders:
        depth |= {stem(file): place / file for file in find_files(place, (".png",))}
    for file in find_files(drive / "image_02" / "data", IMAGE_SUFFIXES):
        here = "" if folder == "." else f"{folder}/"
        other, values = right.get(stem(file)), depth.get(stem(file))
        yield Frame(
            name=f"{here}image_02/{stem(file)}",
            image=f"{here}image_02/data/{file}",
            depth=None if values is None else values.relative_to(root).as_posix(),
            right=None if other is None else here + other,
            camera=Path(folder, "..").as_posix() if folder == "." else Path(folder).parent.as_posix(),
        )


def _refuse_lone_views(root: Path, drives: Sequence[Path]) -> None:
    """BadData that names the images of one camera without an image of the other."""
    alone: list[str] = []
    for drive in drives:
        views = {side: drive / folder / "data" for side, folder in (("left", "image_02"), ("right", "image_03"))}
        files = {side: {stem(file): file for file in find_files(path, IMAGE_SUFFIXES)} for side, path in views.items()}
        for side, other in (("left", "right"), ("right", "left")):
            lost = [file for name, file in files[side].items() if name not in files[other]]
            alone += [f"{(views[side] / file).relative_to(root)} has no {other} view" for file in lost]
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise BadData(
            f"{root}: {len(alone)} images have no partner in image_02/data (left) or image_03/data (right): "
            f"{', '.join(alone[:5])}{more}; add the missing views or remove the lone ones"
        )


def _cameras(root: Path, frames: Sequence[Frame]) -> dict[str, Camera]:
    found = {folder: _camera(root / folder) for folder in {frame.camera for frame in frames}}
    return {folder: camera for folder, camera in found.items() if camera is not None}


def _camera(date: Path) -> Camera | None:
    """The left colour camera after rectification, and its distance to the right one, from a date's calibration."""
    path = date / "calib_cam_to_cam.txt"
    if not path.is_file():
        return None
    lines = dict(line.split(":", 1) for line in read_lines(path) if ":" in line)
    try:
        left, right = ([float(word) for word in lines[key].split()] for key in ("P_rect_02", "P_rect_03"))
        width, height = (float(word) for word in lines["S_rect_02"].split()) if "S_rect_02" in lines else (0.0, 0.0)
        size = (round(height), round(width)) if width else None
        if not (left[0] > 0 and left[5] > 0):
            raise ValueError(f"its focal lengths are {left[0]:g} and {left[5]:g}")
        return Camera(left[0], left[5], left[2], left[6], size, baseline_m=(left[3] - right[3]) / left[0])
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise BadData(f"{path} lacks P_rect_02 and P_rect_03 with 12 numbers each ({error})") from error
