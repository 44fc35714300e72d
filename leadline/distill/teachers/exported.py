"""Exported files as teachers: our own, which say what they are, and other people's ONNX and TFLite files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from leadline.core.errors import BadArtefact
from leadline.core.preprocess import prepare, restore
from leadline.core.storage import sha256
from leadline.data.batch import Batch
from leadline.distill.options import ExternalModel
from leadline.distill.teachers.teacher import Teacher
from leadline.runtime import load
from leadline.runtime.external import open_external
from leadline.runtime.manifest import files_of

Look = Callable[[np.ndarray], np.ndarray]
"""One picture uint8 [H,W,3] -> its depth float32 [H,W], NaN where there is no prediction."""


def exported_teacher(path: Path, threads: int | None = None) -> Teacher:
    """A file of `leadline export`."""
    runner, manifest = load(path, threads)
    how = manifest.spec.preprocess

    def look(frame: np.ndarray) -> np.ndarray:
        size = (frame.shape[0], frame.shape[1])
        if manifest.frame is not None:
            if size != manifest.frame:
                raise BadArtefact(f"{path} takes whole frames of {manifest.frame} only, this picture is {size}")
            return np.asarray(runner(frame[None])[0, 0])
        values, valid = restore(runner(prepare(frame, how))[0, 0], size, how)
        return np.where(valid, values, np.float32(np.nan))

    facts = {"file": path.name, "sha256": sha256(*files_of(path)), "licences": manifest.provenance.get("licences", [])}
    return Teacher(manifest.spec.name, manifest.spec.head.kind, each(look), facts)


def external_teacher(path: Path, external: ExternalModel, threads: int | None = None) -> Teacher:
    """A file that leadline has not made: `external` states what the file does not; errors as in `open_external`."""
    runner, found = open_external(path, external, threads)

    def look(frame: np.ndarray) -> np.ndarray:
        size = (frame.shape[0], frame.shape[1])
        values, valid = restore(runner(prepare(frame, found.preprocess))[0, 0], size, found.preprocess)
        return np.where(valid, values, np.float32(np.nan))

    facts = {"file": path.name, "sha256": found.source, "output": found.output, **found.facts}
    return Teacher(found.name, found.head.kind, each(look), facts)


def each(look: Look) -> Callable[[Batch], Tensor]:
    """`ask` of a teacher that looks at one picture at a time."""

    def ask(batch: Batch) -> Tensor:
        frames = (batch.image.detach().cpu() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        maps = [torch.from_numpy(np.ascontiguousarray(look(np.ascontiguousarray(frame)))) for frame in frames]
        return torch.stack(maps)[:, None].to(batch.image.device)

    return ask
