"""A folder of depth maps as a teacher: predictions of another net, or measurements of a scanner."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leadline.core.errors import BadData
from leadline.core.storage import sha256 as hash_of
from leadline.data.batch import Batch
from leadline.data.depth_io import DEPTH_SUFFIXES
from leadline.data.map_folder import map_files, open_map_folder, refuse_shape
from leadline.distill.options import ExternalModel
from leadline.distill.teachers.teacher import Teacher


def folder_teacher(root: Path, external: ExternalModel) -> Teacher:
    """The depth maps below `root`: one that lies in it is for pictures of the same name, wherever those lie; one in a
    folder below for the picture of the same path. Suffixes do not count, nor does `_depth` at the end: what `leadline
    predict` has written is read, the most exact of several formats, and its pictures for the eye are passed over.

    Maps are of the upright pictures: an EXIF orientation has been applied before they are compared.

    What their numbers are is `external.kind`; `external.depth_scale` is in units per metre (relative numbers keep their
    own; disparities may be negative, and only in integers 0 is no value). Files that say both of themselves, as those
    of `predict` do, need neither; where nobody says it, that is a ValueError. Of files that hold several arrays,
    `external.output` names the one that counts. A map is brought to the
    picture's size by nearest neighbour; one of another aspect ratio is a ValueError when that picture is labelled. A
    picture without a map gets no answer; a map that has gone since is an OSError. BadData if the folder holds no depth
    maps, or two for one picture.
    """
    files = map_files(root)
    if not files:
        raise BadData(f"{root} is no teacher: neither config.json (Hugging Face) nor depth maps, {DEPTH_SUFFIXES}")
    maps = open_map_folder(root, external.kind, external.depth_scale, external.output)

    def files_of(name: str) -> tuple[Path, ...]:
        found = maps.file_of(name)
        return () if found is None else (root / found,)

    def ask(batch: Batch) -> Tensor:
        depth = torch.full_like(batch.image[:, :1], torch.nan)
        for row, name in zip(depth, batch.name, strict=True):
            for file in files_of(name):
                if not file.is_file():
                    raise OSError(f"{file} was there a while ago and is not any more")
                values, size = maps.read(file), (batch.image.shape[-2], batch.image.shape[-1])
                refuse_shape(file, (values.shape[0], values.shape[1]), name, size)
                nearest = Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST)
                row[0] = torch.from_numpy(np.array(nearest))
        return depth

    listing = "\n".join(f"{file} {hash_of(root / file)}" for file in files)
    listed = sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    facts = {
        "folder": root.resolve().name, "n": len(files), "listing": listed, "depth_scale": maps.depth_scale,
        "licences": list(external.licences), "by_name": True,
    }  # fmt: skip
    return Teacher(root.resolve().name, maps.kind, ask, facts, files_of=files_of)
