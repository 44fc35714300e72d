"""A small distillation: rooms with depth, photographs without, a teacher, and its label sets."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.data.options import View
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.training.options import FitOptions, Training


def made_place(root: Path) -> Path:
    """`rooms` with depth, `photos` without, a teacher, and what it says of both, as label sets."""
    write_folder(root / "rooms", [render(seed, size=(72, 96)) for seed in range(6)])
    write_folder(root / "photos", [render(seed, size=(72, 96)) for seed in range(20, 25)])
    shutil.rmtree(root / "photos" / "depth")
    net = build(zoo.litedepth(), seed=4)
    net.head.start_at(3.0)
    save(net, root / "teacher.safetensors", provenance={"licences": ["the teacher's"]})
    for name in ("rooms", "photos"):
        out = str(root / "labels" / name)
        words = ["label", str(root / name), "--teacher", str(root / "teacher.safetensors"), "--out", out]
        assert main([*words, "--licences", f"{name}'"]) == 0
    return root


def run(place: Path, out: Path, data: tuple[str, ...] = ("rooms:2",), **changes: object) -> Training:
    fit = FitOptions(steps=2, precision="no", log_every=1)
    plain = {"model": "litedepth", "batch": 4, "val_every": 0, "workers": 0, "view": View(size=(64, 96)), "fit": fit}
    plain |= {"loss": ("log_l1",), **changes}
    return Training(tuple(str(place / one) for one in data), out, **plain)  # type: ignore[arg-type]


def labels(place: Path) -> tuple[Path, ...]:
    return place / "labels" / "rooms", place / "labels" / "photos"
