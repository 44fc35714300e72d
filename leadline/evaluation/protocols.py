"""Evaluation protocols: everything between a prediction and a number, named and versioned, so that numbers compare.

In the order in which it happens:

1. The prediction is brought to the target's size (the resize rule); pixels it left out take the nearest predicted value
   once it is metric, so that leaving pixels out gains nothing.
2. The mask rule and the crop choose the pixels that count.
3. Alignment makes the prediction metric (or refuses the kind), the clamp limits it.
4. Metrics of one image; the mean over images is the set's number.

A published protocol's behaviour never changes under its name: a change gets a new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from leadline.core.geometry import ALIGNMENTS, Alignment, align, extend
from leadline.core.report import Report
from leadline.core.spec import Kind
from leadline.core.tasks import task_of
from leadline.core.text import nearest
from leadline.core.types import Depth
from leadline.evaluation.metrics import METRICS, measure

EIGEN = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")


@dataclass(frozen=True)
class Protocol:
    """How predictions are judged.

    `crop` is (top, bottom, left, right): fractions of the target's size, rounded down, or, where `frame` (height,
    width) is set, pixels of a target of exactly that size. `depth_range` is in metres: targets strictly inside it
    count, and `clamp` clips the prediction to it (an alignment always does). `resize`: `bilinear` brings the prediction
    to the target; `fastdepth` brings both to FastDepth's 224x224 view by nearest neighbour. `mask`: `target` counts
    valid targets in range; `either` counts every pixel where target or prediction is positive. `average` is `image`:
    the mean of the images' metrics, each image with equal weight. `task` says what is judged (`core.tasks`); all but
    `metrics` is for depth. `units` and `source` are for the reader.
    """

    name: str
    version: int
    source: str
    depth_range: tuple[float, float]
    align: Alignment = "none"
    crop: tuple[float, float, float, float] | None = None
    frame: tuple[int, int] | None = None
    clamp: bool = True
    resize: Literal["bilinear", "fastdepth"] = "bilinear"
    mask: Literal["target", "either"] = "target"
    average: Literal["image"] = "image"
    metrics: tuple[str, ...] = EIGEN
    task: str = "depth"
    units: str = "depth in m, silog x 100, deltas as fractions"

    @property
    def id(self) -> str:
        """`name@version`, as printed with every number."""
        return f"{self.name}@{self.version}"


class Matched(NamedTuple):
    """One image ready to be measured: metric prediction and target [H,W] in metres, which pixels count, and how many of
    those the prediction had left out."""

    pred: np.ndarray
    target: np.ndarray
    counts: np.ndarray
    n_filled: int


GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)

_ALL = (
    Protocol(
        "nyu-eigen", 1, depth_range=(1e-3, 10.0), crop=(45, 471, 41, 601), frame=(480, 640),
        source="Eigen et al. 2014 crop (rows 45:471, columns 41:601), range and clamp as in BTS, AdaBins, ZoeDepth. "
        "Resize is bilinear with pixel centres kept (ZoeDepth: corners kept)",
    ),
    Protocol(
        "kitti-eigen-garg", 1, depth_range=(1e-3, 80.0), crop=GARG,
        source="Garg et al. 2016 crop; meant for the 652 frames with improved ground truth; metric prediction",
    ),
    Protocol(
        "kitti-eigen-raw", 1, depth_range=(1e-3, 80.0), crop=GARG, align="median",
        source="monodepth2: 697 frames of raw LiDAR, Garg et al. 2016 crop, median ratio of each image",
    ),
    Protocol(
        "fastdepth-224", 1, depth_range=(0.0, float(2**16)), frame=(480, 640), clamp=False, resize="fastdepth",
        mask="either", metrics=("delta1", "delta2", "delta3", "rmse", "mae", "abs_rel", "log10", "irmse", "imae"),
        units="m (the paper prints RMSE in mm), irmse and imae in 1/km",
        source="FastDepth's dataloader and metrics.py: nearest by 250/480, centre 228x304, nearest to 224x224, "
        "OR-mask. Deltas, rmse and mae count every pixel of the mask; where target or prediction is 0 the deltas count "
        "a miss, and abs_rel, log10, irmse, imae, which would be infinite, leave the pixel out",
    ),
    Protocol(
        "indoor-metric", 1, depth_range=(0.1, 10.0), metrics=(*EIGEN, "si_rmse", "mae"),
        source="leadline: whole frame of any size, 0.1 to 10 m, no alignment",
    ),
    Protocol(
        "zeroshot-disparity", 1, depth_range=(1e-3, 80.0), align="lsq_disparity",
        source="MiDaS, ZipDepth: scale and shift of each image by least squares in disparity. They use a range and a "
        "crop for each set (NYU: Eigen crop, 10 m); here one range and the whole frame serve every set",
    ),
    Protocol(
        "zeroshot-depth", 1, depth_range=(1e-3, 80.0), align="lsq_depth",
        source="Marigold: scale and shift of each image by least squares in depth; here one range and the whole frame "
        "serve every set",
    ),
    Protocol(
        "qai-nyu", 1, depth_range=(0.0, 10.0), align="lsq_disparity", metrics=("delta1",),
        source="Qualcomm AI Hub Models, depth_evaluator.py: disparity fit, cap at 10 m, whole frame, targets in "
        "0 to 10 m (delta1 is printed there in percent)",
    ),
    Protocol(
        "mai2022", 1, depth_range=(1e-3, 65.536), metrics=("si_rmse", "rmse"),
        source="Mobile AI 2022 depth challenge as in LiteDepth's data set class: millimetres clipped to >= 1, target "
        "> 1 mm; the upper end is that of 16-bit millimetres. The score also needs the runtime: mai2022_score",
    ),
    Protocol(
        "top1", 1, depth_range=(0.0, 1.0), metrics=("top1", "top5"), task="classify", units="fractions",
        source="CIFAR-10, ImageNet: the part of the images whose class is the likeliest, or among the likeliest five",
    ),
    Protocol(
        "miou", 1, depth_range=(0.0, 1.0), metrics=("miou", "pixel_accuracy"), task="segment", units="fractions",
        source="CamVid, Cityscapes: intersection over union of each class over all pixels of the set but void, and "
        "the mean over the classes that occur in it",
    ),
    Protocol(
        "joint", 1, depth_range=(0.1, 10.0), metrics=("delta1", "abs_rel", "rmse", "miou", "pixel_accuracy"),
        task="joint", units="rmse in m, the others as fractions",
        source="leadline: depth as under indoor-metric@1, labels as under miou@1, of images that have both",
    ),
)  # fmt: skip

PROTOCOLS: dict[str, Protocol] = {p.id: p for p in _ALL}
"""The built-in protocols by `name@version`."""


def find(name: str) -> Protocol:
    """The built-in protocol `name@version`; another name is a ValueError with the nearest one."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise ValueError(f"the protocol {name!r} is unknown; {nearest(name, PROTOCOLS)}")


def protocol_hash(protocol: Protocol) -> str:
    """12 hex digits of the SHA-256 of everything that changes numbers (not of `source` and `units`)."""
    spared = ("source", "units", *(["task"] if protocol.task == "depth" else []))  # hashes of before there were tasks
    facts = {key: value for key, value in asdict(protocol).items() if key not in spared}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def misfit(protocol: Protocol, kind: Kind, size: tuple[int, int]) -> str | None:
    """Why this protocol cannot judge a prediction of `kind` on a target of `size` (height, width), or None."""
    if (task := task_of(kind)).name != protocol.task:
        fits = ", ".join(p.id for p in PROTOCOLS.values() if p.task == task.name)
        return f"{protocol.id} is for the task {protocol.task}, and the net gives {kind}; use one of: {fits}"
    if protocol.task != "depth":
        return None
    if kind not in ALIGNMENTS[protocol.align]:
        fits = ", ".join(p.id for p in PROTOCOLS.values() if p.task == "depth" and kind in ALIGNMENTS[p.align])
        return f"{protocol.id} (alignment {protocol.align}) cannot judge {kind}; use one of: {fits}"
    if protocol.frame is not None and protocol.frame != size:
        free = ", ".join(
            p.id for p in PROTOCOLS.values() if p.task == "depth" and p.frame is None and kind in ALIGNMENTS[p.align]
        )
        return f"{protocol.id} is defined on {_by(protocol.frame)} targets, this one is {_by(size)}; use one of: {free}"
    return None


def apply(protocol: Protocol, pred: Depth, target: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """The metrics of one image. `target` [H,W] in metres counts where `valid`; nothing to count gives NaN.

    A kind that cannot be aligned, or a target of another size than the crop is defined for, is a ValueError.
    """
    return measure_matched(protocol, match(protocol, pred, target, valid))


def match(protocol: Protocol, pred: Depth, target: np.ndarray, valid: np.ndarray) -> Matched:
    """Steps 1 to 3: prediction and target as this protocol compares them."""
    if valid.shape != target.shape or target.ndim != 2:
        raise ValueError(f"target {target.shape} and valid {valid.shape} differ in size or are not [H,W]")
    if problem := misfit(protocol, pred.kind, (target.shape[0], target.shape[1])):
        raise ValueError(problem)
    usable = valid & np.isfinite(target)
    truth = np.where(usable, target, 0).astype(np.float64)
    seen = np.isfinite(pred.values) & (True if pred.valid is None else pred.valid)
    if not (seen.any() and usable.any()):
        return Matched(np.full_like(truth, np.nan), truth, np.zeros_like(usable), 0)
    values, seen = _resize(pred.values, seen, target.shape)
    low, high = protocol.depth_range
    counts = usable & (truth > low) & (truth < high) & _window(protocol, target.shape)
    metric = align(Depth(values, pred.kind, seen), truth, counts, protocol.align, depth_range=protocol.depth_range)
    if metric.valid is None or not metric.valid.any():
        return Matched(np.full_like(truth, np.nan), truth, np.zeros_like(usable), 0)
    metres = extend(metric.values, metric.valid).astype(np.float64)
    if protocol.clamp:
        metres = metres.clip(low, high)
    if protocol.resize == "fastdepth":
        metres, truth, counts, seen = (_fastdepth_view(x) for x in (metres, truth, counts, seen))
    if protocol.mask == "either":
        counts = (truth > 0) | (metres > 0)
    return Matched(metres, truth, counts, int(np.count_nonzero(counts & ~seen)))


def measure_matched(protocol: Protocol, matched: Matched) -> dict[str, float]:
    """Step 4: the protocol's metrics of what `match` returned."""
    pred, target, counts, _ = matched
    if protocol.mask == "target":
        return measure(pred, target, counts, protocol.metrics)
    whole = tuple(n for n in protocol.metrics if n in ("delta1", "delta2", "delta3", "rmse", "mae"))
    ratios = tuple(n for n in protocol.metrics if n not in whole and n in METRICS)
    both = counts & (pred > 0) & (target > 0)
    found = measure(pred, target, counts, whole) | measure(pred, target, both, ratios)
    return {name: found[name] for name in protocol.metrics}


def mai2022_score(si_rmse: float, runtime_ms: float) -> float:
    """The Mobile AI 2022 score in the unit of LiteDepth's cal_score.py: 0.01 / (2^(20 si_rmse) * runtime in seconds).

    The challenge divides by a further constant that was not published, so only ratios of scores mean anything.
    """
    if not runtime_ms > 0:
        raise ValueError(f"runtime_ms is {runtime_ms}; a positive number is needed")
    return float(0.01 / (2 ** (20 * si_rmse) * runtime_ms / 1000))


def with_mai2022_score(reports: Sequence[Report], latency_ms: float) -> list[Report]:
    """The reports, that of mai2022@1 with its `score` for a net of that latency."""
    context = {"score_latency_ms": latency_ms}
    return [
        r | Report(r.name, metrics={"score": mai2022_score(r.metrics["si_rmse"], latency_ms)}, context=context)
        if r.protocol == "mai2022@1"
        else r
        for r in reports
    ]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _window(protocol: Protocol, size: tuple[int, ...]) -> np.ndarray:
    inside = np.zeros(size, bool)
    height, width = (1, 1) if protocol.frame else size
    top, bottom, left, right = protocol.crop or (0, size[0] / height, 0, size[1] / width)
    inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return inside


def _resize(values: np.ndarray, seen: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    if values.shape == size:
        return values, seen
    whole = Image.fromarray(extend(values, seen).astype(np.float32))
    resized = np.asarray(whole.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return resized, seen[np.ix_(_nearest(seen.shape[0], size[0]), _nearest(seen.shape[1], size[1]))]


def _nearest(size: int, new_size: int) -> np.ndarray:
    """Which of `size` pixels each of `new_size` takes by nearest neighbour; of two as near, the one pillow takes."""
    indices = Image.fromarray(np.arange(size, dtype=np.float32)[None])
    chosen = np.asarray(indices.resize((new_size, 1), Image.Resampling.NEAREST))[0]
    return np.asarray(chosen, np.intp)


def _fastdepth_view(x: np.ndarray) -> np.ndarray:
    """FastDepth's validation transform of a 480x640 map: 250x333, its centre 228x304 (row 11, column 14), 224x224."""
    rows, columns = _nearest(480, 250)[11:][:228], _nearest(640, 333)[14:][:304]
    return x[np.ix_(rows[_nearest(228, 224)], columns[_nearest(304, 224)])]
