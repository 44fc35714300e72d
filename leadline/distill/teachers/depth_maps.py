"""A folder of depth maps as a teacher: what somebody else's net, or a scanner, has said of the pictures already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leadline.core.errors import BadData
from leadline.core.own_results import is_own_picture
from leadline.core.storage import sha256 as hash_of
from leadline.core.types import Sample
from leadline.data.depth_io import DEPTH_SUFFIXES, read_stored
from leadline.data.layouts.description import Description
from leadline.data.layouts.filelist import depth_stem, find_files, stem
from leadline.data.layouts.measured import measured, refuse_far
from leadline.distill.options import FLAG, ExternalModel
from leadline.distill.teachers.teacher import Teacher


def folder_teacher(root: Path, said: ExternalModel) -> Teacher:
    """The depth maps below `root`: one that lies in it is for pictures of the same name, wherever those lie; one in a
    folder below for the picture of the same path. Suffixes do not count, nor does `_depth` at the end: what `leadline
    predict` has written is read, the most exact of several formats, and its pictures for the eye are passed over.

    Maps are of the upright pictures: an EXIF orientation has been applied before they are compared.

    What their numbers are is `said.kind`, and `said.depth_scale` is in units per metre (relative numbers keep their
    own; disparities may be negative, and only in integers 0 is no value). Files that say both of themselves, as those
    of `predict` do, need neither; where nobody says it, that is a ValueError. Of files that hold several arrays,
    `said.output` names the one that counts. A map is brought to the
    picture's size by nearest neighbour; one of another aspect ratio is a ValueError when the picture is asked about. A
    picture without a map gets no answer; a map that has gone since is an OSError. BadData if the folder holds no depth
    maps, or two for one picture.
    """
    files = [file for file in find_files(root, DEPTH_SUFFIXES) if not _for_the_eye(root / file)]
    if not files:
        raise BadData(f"{root} is no teacher: neither config.json (Hugging Face) nor depth maps, {DEPTH_SUFFIXES}")
    said, scaled = _with_what_files_say(root / files[0], said)
    if said.kind is None:
        raise ValueError(
            f"{root} holds {len(files)} depth maps, and nothing says what their numbers are: give their kind "
            f"({FLAG}), metric, relative_depth (farther is larger) or relative_disparity (nearer is larger)"
        )
    if said.kind == "metric" and said.depth_scale is None and not scaled:
        raise ValueError(
            f"{root} holds metric depth maps: give their units per metre, such as 1000 or 256 (--external.depth-scale)"
        )
    places = _by_name(root, files)

    def files_of(name: str) -> tuple[Path, ...]:
        found = places.get(name, places.get(PurePosixPath(name).name))
        return () if found is None else (root / found,)

    def ask(batch: Sample) -> Tensor:
        depth = torch.full_like(batch.image[:, :1], torch.nan)
        for row, name in zip(depth, batch.name, strict=True):
            for file in files_of(name):
                if not file.is_file():
                    raise OSError(f"{file} was there a while ago and is not any more")
                values, size = _numbers(file, said), (batch.image.shape[-1], batch.image.shape[-2])
                if abs(np.log(values.shape[1] / values.shape[0] * size[1] / size[0])) > 0.05:
                    lies = " (turned by 90 degrees: made of the picture as stored, without its EXIF orientation?)"
                    hint = lies if abs(np.log(values.shape[0] / values.shape[1] * size[1] / size[0])) <= 0.05 else ""
                    raise ValueError(f"{file} is {values.shape}, the picture {name} {size[::-1]}: not one shape{hint}")
                row[0] = torch.from_numpy(np.array(Image.fromarray(values).resize(size, Image.Resampling.NEAREST)))
        return depth

    listing = "\n".join(f"{file} {hash_of(root / file)}" for file in files)
    listed = sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    facts = {
        "folder": root.resolve().name, "n": len(files), "listing": listed, "depth_scale": said.depth_scale,
        "licences": list(said.licences), "by_name": True,
    }  # fmt: skip
    return Teacher(root.resolve().name, said.kind, ask, facts, files_of=files_of)


def _with_what_files_say(path: Path, said: ExternalModel) -> tuple[ExternalModel, bool]:
    """(`said`, with the kind that the file `path` states of itself where nobody has; whether it states its scale)."""
    if said.kind is not None and (said.kind != "metric" or said.depth_scale is not None):
        return said, False
    try:
        stored = read_stored(path, key=said.output, kind=said.kind)
    except BadData:  # it is named when a picture is asked about
        return said, False
    return (said if said.kind else replace(said, kind=stored.kind)), stored.scale is not None


def _numbers(path: Path, said: ExternalModel) -> np.ndarray:
    """float32 [H,W], NaN where there is none."""
    stored = read_stored(path, key=said.output, kind=said.kind)
    if said.kind == "relative_disparity":
        values = stored.values
        return np.where((values != 0) | (values.dtype.kind == "f"), values, np.nan).astype(np.float32)
    if said.kind == "metric" and said.depth_scale is None and stored.scale is None:
        raise BadData(f"{path} does not say its units per metre, as others in its folder do (--external.depth-scale)")
    depth, valid = measured(stored, Description(depth_scale=said.depth_scale), scale=1.0)
    if said.kind == "metric":
        refuse_far(depth, stored, str(path), "save what has no depth as 0, or as NaN in floating point")
    return np.where(valid, depth, np.float32(np.nan))


def _by_name(root: Path, files: list[str]) -> Mapping[str, str]:
    """Picture -> its file; one called `_depth` is known by its whole name, too."""
    places: dict[str, str] = {}
    for file in sorted(files, key=_exactness):
        name = stem(file)
        if name in places and depth_stem(file) == name:
            raise BadData(f"{root}: {places[name]} and {file} are for one picture, {name!r}; give a folder of one")
        places.setdefault(name, file)
    return places | {depth_stem(file): file for name, file in places.items() if depth_stem(file) != name}


def _exactness(file: str) -> int:
    """The order of the formats in which `leadline predict` may have written one depth."""
    return next((i for i, suffix in enumerate((".npz", ".npy")) if file.lower().endswith(suffix)), 2)


def _for_the_eye(path: Path) -> bool:
    return is_own_picture(path) and not path.name.lower().endswith("_depth.png")
