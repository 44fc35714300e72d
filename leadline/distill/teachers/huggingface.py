"""Hugging Face's depth models as teachers: Depth Anything, DPT, ZoeDepth and the like, by `transformers`.

Their own image processors bring a picture in and the depth back, so nothing about them is repeated here.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.core.errors import BadCheckpoint, MissingPackage
from leadline.core.quiet import quiet
from leadline.core.spec import Kind
from leadline.core.storage import sha256
from leadline.core.text import reason, some
from leadline.data.batch import Batch
from leadline.distill.options import FLAG, ExternalModel
from leadline.distill.teachers.exported import Look, each
from leadline.distill.teachers.teacher import Teacher

CONFIG = "config.json"
_METRIC = ("zoedepth", "depth_pro", "glpn")
"""Model types that give metres by their design."""
_NO_CODE = {"trust_remote_code": False}
"""Said, since transformers would ask at the terminal whether it may run what lies in the folder."""


def hub_teacher(where: str | Path, external: ExternalModel) -> Teacher:
    """The model in a folder that `save_pretrained` wrote (config.json, model.safetensors, preprocessor_config.json), or
    by its name on the hub, which is then downloaded.

    MissingPackage without transformers; BadCheckpoint if the folder is not a whole depth model; ValueError if nobody
    knows what kind of depth it gives and `external.kind` is None.
    """
    try:
        with quiet():  # transformers imports quantisation packages, which print
            from transformers import AutoImageProcessor, AutoModelForDepthEstimation
    except ImportError as error:
        raise MissingPackage("transformers", "teachers", "a teacher from Hugging Face") from error
    try:
        with quiet():
            # some are stored in half precision, which CPUs have no kernels for
            net, loaded = AutoModelForDepthEstimation.from_pretrained(
                str(where), use_safetensors=True, dtype=torch.float32, output_loading_info=True, **_NO_CODE
            )
            net.eval()
            processor = AutoImageProcessor.from_pretrained(str(where), **_NO_CODE)
    except Exception as error:  # settings that make no sense make transformers raise nearly anything
        fault = reason(error)
        if "torchvision" in str(error):
            raise BadCheckpoint(
                f"transformers prepares the pictures of {where} by torchvision, which is not installed: install it in "
                f"the version that belongs to torch {torch.__version__}"
            ) from error
        if "couldn't connect" in fault:
            raise BadCheckpoint(f"{where} is no file or folder here, and the hub cannot be reached: {fault}") from error
        what = "is not a depth model" if Path(where).is_dir() else "is no file or folder here, and no depth model"
        raise BadCheckpoint(f"{where} {what} that transformers can load: {fault}") from error
    kind = _stated(net.config) or external.kind or _usual(net.config)
    if kind is None:
        raise ValueError(
            f"{where} is a {net.config.model_type}, and nothing says what its numbers are: give its kind "
            f"({FLAG}), metric, relative_depth or relative_disparity"
        )

    def look(frame: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), _quiet():
            out = net(**processor(images=frame, return_tensors="pt").to(net.device))
            if net.config.model_type == "zoedepth":
                found = _unpadded(out.predicted_depth, frame.shape[:2], processor.do_pad)
            else:
                [processed] = processor.post_process_depth_estimation(out, target_sizes=[frame.shape[:2]])
                found = processed["predicted_depth"]
        return np.asarray(found.float().cpu().numpy() * np.float32(external.unit_m))

    ask = each(look)

    def there(batch: Batch) -> Tensor:
        net.to(batch.image.device)
        return ask(batch)

    _refuse_gaps(where, net, sorted(loaded["missing_keys"]), look)
    name = Path(where).name if Path(where).is_dir() else str(where)
    facts: dict[str, Any] = {"hub": name, "type": net.config.model_type, "licences": list(external.licences)}
    files = sorted([*Path(where).glob("*.safetensors"), *Path(where).glob("*.json")])
    if files:
        facts["sha256"] = sha256(*files)
    elif getattr(net.config, "_commit_hash", None):
        facts["commit"] = net.config._commit_hash
    facts["unit_m"] = external.unit_m
    return Teacher(Path(where).name, kind, there, facts)


def _refuse_gaps(where: str | Path, net: Any, missing: list[str], look: Look) -> None:
    """BadCheckpoint if the answer depends on weights that the files lack, which transformers draws by lot.

    Published files of DPT lack some that no answer depends on: hence the question, with not-a-number in their place.
    """
    places = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name in missing:
        if name in places and places[name].is_floating_point():
            places[name].data.fill_(torch.nan)
    if missing and not np.isfinite(look(np.full((96, 128, 3), 128, np.uint8))).all():
        raise BadCheckpoint(f"{where} lacks {len(missing)} of its weights, {some(missing)}: copy or download it again")


def _unpadded(depth: Tensor, size: tuple[int, ...], padded: bool) -> Tensor:
    """ZoeDepth's depth [1,h,w] at the picture's size: its processor pads each side by 3 sqrt(half its length).

    transformers 5 does this too, but not without torchvision.
    """
    rows, columns = (int(3 * math.sqrt(n / 2)) if padded else 0 for n in size)
    height, width = size
    whole = F.interpolate(depth[None], size=(height + 2 * rows, width + 2 * columns), mode="bicubic")
    return whole[0, 0, rows : rows + height, columns : columns + width]


def is_hub_folder(path: Path) -> bool:
    """Whether the folder holds a model in the hub's layout."""
    try:
        config = json.loads((path / CONFIG).read_bytes()) if (path / CONFIG).is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "model_type" in config


def _stated(config: Any) -> Kind | None:
    """The kind that a model's configuration states."""
    stated = getattr(config, "depth_estimation_type", None)
    if config.model_type == "depth_anything" and stated is not None:
        return "metric" if stated == "metric" else "relative_disparity"
    return "metric" if config.model_type in _METRIC else None


def _usual(config: Any) -> Kind | None:
    """DPT's own weights give disparity (MiDaS); those on DINOv2 are of either kind, and do not state which."""
    inner = getattr(getattr(config, "backbone_config", None), "model_type", None)
    return "relative_disparity" if config.model_type == "dpt" and inner != "dinov2" else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers tells of packages that it can do without."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
