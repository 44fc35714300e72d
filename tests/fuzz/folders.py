"""Data sets in every layout with something in them damaged, hostile, missing or of another kind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import class_bombs, depth_bombs
from fuzz.case import Case, pick
from fuzz.chunks import hostile as hostile_picture
from fuzz.damage import STRANGE, damaged, text_damaged
from fuzz.json_damage import changed, odd_text
from fuzz.sets import LAYOUTS

Rng = np.random.Generator
_TEXTS = (".txt", ".csv", ".toml", ".json", ".jsonl")
_KEYS = ("layout", "depth_scale", "depth_offset", "invalid", "split", "test_fraction", "min_depth", "max_depth",
         "intrinsics",
         "labels", "items", "depth_max", "ray", "x")  # fmt: skip
_SAID = ("0", "-1", "nan", "inf", "-inf", "1e308", "1e-308", "99999999999999999999", '""', '"folder"', '"tum"',
         '"cifar"', '"camvid"',
         '"\\u0000"', "[]",
         "[1]", "[0.0, 0.0, 0.0, 0.0]", "[nan, nan, nan, nan]", "[1e308, 1.0, 1.0, 1.0]", "true", "{}", "1979-05-27",
         '"../../.."', '"images"', '"pairs"', '"train"', "[[[[[[[[1]]]]]]]]")  # fmt: skip


def prepare(folder: Path) -> None:
    """Every layout, whole."""
    for name, write in LAYOUTS.items():
        write(folder / name)


def make(rng: Rng, folder: Path, prepared: Path) -> Case:
    """A copy of a data set with one to three faults, and what is to read it."""
    name = pick(rng, LAYOUTS)
    root = folder / "set"
    shutil.copytree(prepared / name, root)
    done = [_fault(rng, root) for _ in range(int(rng.integers(1, 4)))]
    use = pick(rng, USES)
    if name == "labels" and rng.random() < 0.7:
        use = _labelled
    verb = use not in OWN
    return Case(f"{name}: {'; '.join(done)} ({use.__name__})", lambda: use(root, folder / "out"), told=verb)


def _fault(rng: Rng, root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return "nothing is left"
    texts = [path for path in files if path.suffix in _TEXTS]
    path = pick(rng, texts) if texts and rng.random() < 0.4 else pick(rng, files)
    where = path.relative_to(root).as_posix().encode("ascii", "backslashreplace").decode()
    turn = rng.random()
    if turn < 0.15:
        return f"{where} {pick(rng, _PLACES)(rng, path)}"
    if turn < 0.25:
        return _described(rng, root)
    if path.suffix == ".json":
        try:
            done, plain = changed(rng, json.loads(path.read_bytes()))
            text = json.dumps(plain)
        except ValueError:
            done, text = odd_text(rng)
        path.write_text(text, "utf-8")
        return f"{where}: {done}"
    if path.suffix in _TEXTS:
        path.write_bytes(text_damaged(rng, path.read_text("utf-8", "replace")))
        return f"{where} has other words"
    if turn < 0.6 and path.suffix != ".tar":
        if path.suffix == ".parquet" or path.name.endswith(("batch", "batch_1")):
            return f"{where}: {class_bombs.write(rng, path)}"
        if path.suffix in (".jpg", ".jpeg") or "rgb" in where or "image" in where:
            what, _, data = hostile_picture(rng)
            path.write_bytes(data)
            return f"{where}: {what}"
        return f"{where}: {depth_bombs.write(rng, path)}"
    done, data = damaged(rng, path.read_bytes())
    path.write_bytes(data)
    return f"{where}: {done}"


def _described(rng: Rng, root: Path) -> str:
    if (root / "dataset.toml").is_dir():  # by another fault
        return "dataset.toml stays a folder"
    lines = [f"{pick(rng, _KEYS)} = {pick(rng, _SAID)}" for _ in range(int(rng.integers(1, 3)))]
    (root / "dataset.toml").write_text("\n".join(lines) + "\n")
    return f"dataset.toml: {'; '.join(lines)}"


def _gone(rng: Rng, path: Path) -> str:
    path.unlink()
    return "is gone"


def _emptied(rng: Rng, path: Path) -> str:
    path.write_bytes(b"")
    return "is empty"


def _folder_instead(rng: Rng, path: Path) -> str:
    path.unlink()
    path.mkdir()
    return "is a folder"


def _pipe_instead(rng: Rng, path: Path) -> str:
    path.unlink()
    os.mkfifo(path)
    return "is a named pipe"


def _link_instead(rng: Rng, path: Path) -> str:
    path.unlink()
    path.symlink_to(pick(rng, ("/nowhere", path.name, ".", "..", "../..", "/dev/null", "/dev/zero")))
    return f"links to {os.readlink(path)}"


def _renamed(rng: Rng, path: Path) -> str:
    ways = (
        b"\xff\xfe",
        b"a\nb",
        b"\x1b[2J",
        b" ",
        b"-",
        b"%s",
        b"[0]",
        b"9" * 200,
        "\u0661".encode(),
        b".hidden",
        b"._x",
    )
    path.rename(Path(os.fsdecode(os.fsencode(path.parent) + b"/" + pick(rng, ways) + os.fsencode(path.suffix))))
    return "has a strange name"


def _folder_gone(rng: Rng, path: Path) -> str:
    shutil.rmtree(path.parent)
    return "is gone with its folder"


def _strange_list(rng: Rng, path: Path) -> str:
    name = pick(rng, ("train.txt", "test.txt", "val.txt", "rgb.txt", "depth.txt", "nyu2_train.csv",
    "camera-intrinsics.txt",
                      "x_train_files_with_gt.txt", "manifest.json", "calib_cam_to_cam.txt"))  # fmt: skip
    lines = [" ".join(pick(rng, STRANGE) for _ in range(int(rng.integers(1, 4)))) for _ in range(3)]
    (path.parent / name).write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return f"has {name} beside it"


def _huge_numbers(rng: Rng, path: Path) -> str:
    name = pick(rng, ("camera-intrinsics.txt", "calib_cam_to_cam.txt"))
    number = pick(rng, ("nan", "inf", "1e308", "-1", "0", "1e-320", "9" * 400))
    text = f"{number} 0 {number}\n0 {number} 1\n0 0 1\n"
    if name.startswith("calib"):
        text = (
            "\n".join(f"P_rect_0{i}: {' '.join([number] * 12)}" for i in (2, 3)) + f"\nS_rect_02: {number} {number}\n"
        )
    for folder in (path.parent, *path.parents[:4]):
        if (folder / name).is_file() or folder == path.parent:
            (folder / name).write_text(text)
    return f"has {name} of {number[:9]}"


_PLACES: tuple[Callable[[Rng, Path], str], ...] = (
    _gone, _emptied, _folder_instead, _pipe_instead, _link_instead, _renamed, _folder_gone, _strange_list,
    _huge_numbers,
)  # fmt: skip


def _read(root: Path, out: Path) -> None:
    """Every split, and its first items: what comes out is true to its promises."""
    from leadline.core.errors import LeadlineError
    from leadline.data.layouts.detect import open_dataset

    refused: list[LeadlineError] = []
    for split in ("train", "test", "all"):
        try:
            data = open_dataset(root, split)
        except LeadlineError as error:
            refused.append(error)
            continue
        for i in range(min(len(data), 6)):
            try:
                _sound(data[i], data.classes)
            except LeadlineError as error:
                refused.append(error)
    if refused:
        raise refused[0]


def _sound(sample: Any, classes: tuple[str, ...] = ()) -> None:
    from leadline.core.tasks import CAMVID

    assert sample.image.dtype == np.uint8 and sample.image.shape[2] == 3
    of_image = bool(classes) and classes != CAMVID  # one class, not one for each pixel
    assert sample.target.shape == sample.valid.shape == (() if of_image else sample.image.shape[:2])
    counts = sample.target[sample.valid]
    if classes:
        assert sample.target.dtype == np.int64 and ((counts >= 0) & (counts < len(classes))).all()
    else:
        assert np.isfinite(sample.target).all() and (counts > 0).all()
    assert sample.valid.dtype == bool and not sample.target[~sample.valid].any()
    if sample.intrinsics is not None:
        assert np.isfinite(sample.intrinsics).all() and sample.intrinsics[0, 0] > 0 < sample.intrinsics[1, 1]
    assert sample.baseline_m is None or np.isfinite(sample.baseline_m)


def _checked(root: Path, out: Path) -> None:
    from leadline.data.validate.check import check

    found = check(root, n=4)
    assert all(str(finding.what) for finding in found.findings)


def _listed(root: Path, out: Path) -> None:
    from leadline.cli.main import main

    main(["data", "ls", str(root), "--json"])


def _shown(root: Path, out: Path) -> None:
    from leadline.cli.main import main

    before = _state(root)
    main(["data", "show", str(root), "--out", str(out), "--n", "3"])
    assert _state(root) == before, "it changed what it reads"
    assert {path.name for path in out.parent.iterdir()} <= {"set", "out"}, "it wrote elsewhere"


def _state(root: Path) -> list[tuple[str, int]]:
    return sorted((str(p), p.stat().st_size) for p in root.rglob("*") if not p.is_symlink() and p.is_file())


def _predicted(root: Path, out: Path) -> None:
    from leadline.core.image_sources import sources
    from leadline.core.spec import Head, Preprocess
    from leadline.predict.files import predict_files
    from leadline.predict.predictor import Predictor

    one = Predictor("one", lambda x: np.ones((len(x), 1, *x.shape[-2:]), np.float32), Preprocess(size=(16, 16)), Head())
    lists = sorted(path for path in root.rglob("*.txt") if path.is_file())
    for source in [*lists[:2], *sorted({path.parent for path in root.rglob("*.png")})[:2]]:
        for outcome in predict_files(one, sources(source), out, save=("npy", "png16")):
            assert outcome.error is None or outcome.error.strip()


def _stereo(root: Path, out: Path) -> None:
    from leadline.data.transforms.stereo import focal_times_baseline, open_pairs

    data = open_pairs(root, "all")
    scale = focal_times_baseline([data])
    assert np.isfinite(scale) and scale > 0


def _cached(root: Path, out: Path) -> None:
    from leadline.data.cache import cached
    from leadline.data.layouts.detect import open_dataset

    [data] = cached([open_dataset(root, "all")], out, gb=0.01, height=16)
    for i in range(min(len(data), 3)):
        _sound(data[i], data.classes)


def _labelled(root: Path, out: Path) -> None:
    from leadline.data.label_set import labels_of, open_labels, with_labels
    from leadline.data.layouts.detect import open_dataset

    rooms = root / "rooms" if (root / "rooms").is_dir() else root
    found = open_labels(root / "labels")
    data = open_dataset(rooms, "all")
    known = labels_of(data, [found])
    if known is not None:
        labelled = with_labels(data, known, keep_depth=False)
        for i in range(min(len(labelled), 4)):
            said = labelled[i]
            _sound(said, labelled.classes)
            assert np.isfinite(said.pseudo_depth).all() and (said.pseudo_depth >= 0).all()


OWN = (_read, _checked, _predicted, _labelled, _stereo, _cached)
USES = (_read, _read, _read, _read, _checked, _checked, _listed, _shown, _predicted, _stereo, _labelled, _cached)
