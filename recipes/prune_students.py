"""A student of the grid that has learned from the teacher (`both`), pruned to half its latency, learning from it again.

    python -m recipes.prune_students --student boosting_student --data DATA --rooms runs/rooms --out runs/grid

It is compared with the student that is whole and has had no teacher (`alone`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tyro

from leadline.cli.command import warn
from leadline.cli.train import run_training as train
from leadline.compress.options import Pruning
from leadline.pipelines.prune import run as prune
from recipes.distillation_grid import SHARES, STUDENTS, run_of


def main(
    *, data: Path, rooms: Path, out: Path, student: str = "boosting_student", labels_in: Path = Path("runs/labels"),
    start: Path = Path("runs/start"), budget: str = "latency_ms=0.5x", seed: int = 0, resume: bool = False,
) -> None:  # fmt: skip
    """Prune at once, by Taylor scores, and learn from the teacher for as many images as before.

    Args:
        data: the folder that holds nyu and the other sets
        rooms: the synthetic rooms
        out: where STUDENT_both_SEED lies and STUDENT_halved_SEED goes
        student: boosting_student, fastdepth_small or litedepth
        labels_in: what `recipes.distillation_grid labels` has made
        start: what `recipes.litedepth_start` has made
        budget: of latency in OpenVINO on one thread, or of something else
        seed: that of the student
        resume: go on with a run that was stopped
    """
    if student not in STUDENTS:
        raise SystemExit(f"the student {student!r} is unknown; known: {', '.join(STUDENTS)}")
    place = out / f"{student}_halved_{seed}"
    training, _, distillation = run_of(student, "both", data, rooms, labels_in, Path(), start, place, seed)
    source = out / f"{student}_both_{seed}" / f"{student}.safetensors"
    runtime, threads = ("openvino", 1) if budget.startswith("latency_ms") else (None, None)
    own = training.batch * sum(SHARES["both"][0].values()) // 12  # scores look at labelled images alone
    narrow = Pruning(
        method="taylor", budget=budget, out=place.with_name(f"{place.name}_pruned") / f"{student}.safetensors",
        training=replace(training, model=str(source), batch=own), runtime=runtime, threads=threads, finetune=False,
    )  # fmt: skip
    if not narrow.out.exists():
        prune(narrow, say=warn)
    train(replace(training, model=str(narrow.out), resume=resume), distillation=distillation)


if __name__ == "__main__":
    tyro.cli(main)
