"""The verbs under `leadline data`: what a folder holds, what is wrong with it, and scenes that are made on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from leadline.cli.command import Verbs, print_json, tell, warn
from leadline.cli.flags import AS_SAID, Read
from leadline.cli.short_help import short_help
from leadline.core.errors import BadData, LeadlineError
from leadline.core.text import shown

Folder = Annotated[Path, arg(metavar="FOLDER")]


@short_help(
    {
        "Flags": "--n --layout --depth-scale --max-depth --json",
    },
    "leadline data check NYU",
    "leadline data check photos --layout folder --depth-scale 1000",
)
def check(path: Folder, /, *, n: int = 64, reading: Read = AS_SAID, json: bool = False) -> int:
    """Name the likely faults of a data set before anyone trains on it. The exit code is 1 if there is a real one.

    Args:
        path: the data set
        n: how many frames, spread over all, are looked at closely
        reading: how to read it
        json: print one JSON object
    """
    from leadline.core.spec import to_json
    from leadline.data.validate.check import check as check_data

    checked = check_data(path, n=n, **reading.given())
    tell_unread([path])
    if json:
        findings = [to_json(finding) for finding in checked.findings]
        print_json({"ok": checked.ok, "summary": dict(checked.summary), "findings": findings})
    else:
        facts = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in checked.summary.items()}
        width = max(map(len, facts)) + 2
        print(*(shown(f"{key:<{width}}{value}") for key, value in facts.items()), sep="\n")
        for finding in checked.findings:
            print(shown(f"{finding.severity}: {finding.where}: {finding.what}"), f"    {finding.advice}", sep="\n")
    if not checked.ok:
        n_errors = sum(finding.severity == "error" for finding in checked.findings)
        warn(f"{path} has {n_errors} fault(s) of severity error; the first: {checked.findings[0].what}")
    return 0 if checked.ok else 1


@short_help(
    {
        "Flags": "--layout --depth-scale --depth-key --max-depth --json",
    },
    "leadline data ls NYU",
    "leadline data ls frames --layout folder --depth-scale 256",
)
def ls(path: Folder, /, *, reading: Read = AS_SAID, json: bool = False) -> int:
    """Show what leadline sees in a folder of data: its layout, how many items each split has, and the first one.

    Args:
        path: the data set
        reading: how to read it
        json: print one JSON object
    """
    from leadline.core.spec import to_json
    from leadline.core.types import depth_of
    from leadline.data.dataset import first_readable
    from leadline.data.layouts.detect import described, open_dataset
    from leadline.data.validate.parts import notes as folders_say

    overrides = reading.given()
    root, description = described(path, **overrides)
    data = open_dataset(path, "all", **overrides)
    parts = dict(data.parts)
    counts = {"train": 0, **parts, "test": parts.get("test", parts.get("val", 0))}
    counts = {part: counts[part] for part in dict.fromkeys(("train", "val", "test", *counts)) if part in counts}
    counts["all"] = len(data)
    tell_unread([path])
    sample = first_readable(data)
    depth, known = depth_of(sample)
    seen = depth[known] if data.joint or not data.classes else depth[:0]
    facts: dict[str, Any] = {
        "path": str(path),
        "description": to_json(description),
        "items": counts,
        "parts": data.rule,
        "notes": [finding.what for finding in folders_say(root, description, data)],
        "first": {
            "name": sample.name,
            "size": list(sample.image.shape[:2]),
            "valid": float((sample.valid[1] if data.joint else sample.valid).mean()),
            "depth_range_m": [float(seen.min()), float(seen.max())] if seen.size else None,
        },
    }
    if json:
        print_json(facts)
        return 0
    stated = {key: value for key, value in facts["description"].items() if value is not None}
    print(shown(f"{path}: {', '.join(f'{key} {value}' for key, value in stated.items())}"))
    print(f"items: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    if data.rule:
        print(f"parts: {data.rule}")
    height, width = facts["first"]["size"]
    holds = [] if data.classes else ["no depth"]
    if facts["first"]["depth_range_m"]:
        low, high = facts["first"]["depth_range_m"]
        holds = [f"depth {low:.2f} to {high:.2f} m on {known.mean():.0%} of the pixels"]
    if data.classes and sample.target.ndim:
        holds.append(f"{len(data.classes)} classes on {facts['first']['valid']:.0%} of the pixels")
    elif data.classes:
        holds = [f"class {data.classes[int(sample.target)]}, one of {len(data.classes)}"]
    print(shown(f"first: {sample.name}, {width}x{height}, {', '.join(holds)}"))
    for note in facts["notes"]:
        print(shown(f"note: {note}"))
    return 0


@short_help(
    {
        "Flags": "--out --labels --names --n --vmin --vmax --json",
    },
    "leadline data show NYU --out pictures",
    "leadline data show NYU --labels labels --out pictures --n 20",
)
def show(
    path: Folder,
    /,
    *,
    out: Path,
    labels: Annotated[Path | None, arg(metavar="LABELS")] = None,
    names: tuple[str, ...] = (),
    n: int = 8,
    vmin: float | None = None,
    vmax: float | None = None,
    reading: Read = AS_SAID,
    json: bool = False,
) -> int:
    """Draw frames beside their depth or classes as pictures, or beside what a label set says of them.

    A picture is photograph, truth, label and their difference.

    Args:
        path: the data set
        out: the folder of the pictures, NAME.png; not one from which data are read
        labels: what `leadline label` has made of the data set
        names: frames, by the names that other commands print; none: `n`, spread over all
        n: how many
        vmin: the nearest end of the colours, 0 if metres
        vmax: the farthest end of the colours, 10 if metres
        reading: how to read it
        json: print one JSON object
    """
    from PIL import Image

    from leadline.cli.drawn import drawn_item
    from leadline.core.writing import may_be_written, safe_names
    from leadline.data.dataset import called, evenly
    from leadline.data.label_set import open_labels, with_labels
    from leadline.data.layouts.detect import open_dataset
    from leadline.data.layouts.reads import folders_read

    if n < 1:
        raise ValueError(f"n is {n}; at least one frame must be drawn")
    data = open_dataset(path, "all", **reading.given())
    if labels is not None:
        known = open_labels(labels)  # of one part, it may be: the others are not shown
        labelled = tuple(key for key in data.keys if called(key) in known.places)
        data = with_labels(replace(data, keys=labelled or data.keys), known)
    places = {called(key): i for i, key in enumerate(data.keys)}
    if unknown := [name for name in names if name not in places]:
        raise BadData(f"{path} has no frame {unknown[0]!r}; it has {len(places)}, such as {next(iter(places))!r}")
    chosen = [places[name] for name in names] or evenly(n, len(data))
    apart, safe = folders_read(path, data), safe_names([called(key) for key in data.keys])
    for i in chosen:  # before anything is drawn
        may_be_written(out / f"{safe[i]}.png", inside=out, apart=apart)
    drawn, left_out = [], {}
    for i in dict.fromkeys(chosen):
        try:
            sample = data[i]
        except (LeadlineError, OSError) as error:
            left_out[called(data.keys[i])] = str(error)
            continue
        file = out / f"{safe[i]}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_item(sample, data.classes, vmin, vmax)).save(file)
        drawn.append(str(file))
    if json:
        print_json({"drawn": drawn, "left_out": left_out})
    else:
        print("\n".join(map(shown, drawn)))
    for why in left_out.values():
        warn(why)
    return 0 if drawn else 1


@short_help(
    {
        "Flags": "--n --seed --kind --size --textures --split --stereo --workers --json",
    },
    "leadline data synth rooms --n 200",
    "leadline data synth streets --kind street --stereo --size 192 640",
)
def synth(
    path: Folder,
    /,
    *,
    n: int = 100,
    seed: int = 0,
    kind: Literal["room", "street", "mixed"] = "room",
    size: tuple[int, int] = (240, 320),
    textures: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    split: Literal["train", "val", "test"] | None = None,
    stereo: bool = False,
    workers: Annotated[int | None, arg(metavar="N")] = None,
    json: bool = False,
) -> int:
    """Draw synthetic scenes with exact depth into a folder that every other verb reads. Run again, it goes on.

    Args:
        path: where the scenes go
        n: how many
        seed: the same seed gives the same pixels
        kind: furnished rooms, streets, or both in turn
        size: height and width of the pictures
        textures: a folder of photographs to cut textures from; by default they are drawn
        split: mark the folder as this part; by default its last fifth is the test part
        stereo: draw the view of a right camera too, and write KITTI's layout
        workers: processes; by default one for each core
        json: print one JSON object
    """
    from leadline.core.writing import may_be_written
    from leadline.data.synthetic.dataset import synthetic, write

    if textures is not None:
        may_be_written(path / "images", apart=[textures], advice="give another folder")
    scenes = synthetic(n, seed=seed, kind=kind, size=size, textures_folder=textures, stereo=stereo)
    drawn = write(scenes, path, workers=workers, split=split)
    if json:
        print_json({"path": str(path), "n": n, "drawn": drawn, "kind": kind, "seed": seed, "size": list(size)})
    else:
        where = shown(path)
        print(f"{where}: {n} scenes, {drawn} drawn now; look at them with: leadline data show {where} --out PICTURES")
    return 0


def tell_unread(folders: Iterable[Path]) -> None:
    """Say on standard error what in each folder looks like a photograph and is passed over; see `data.unread`."""
    from leadline.data.layouts.unread import unread

    for folder in dict.fromkeys(folders):
        tell(unread(folder) if folder.is_dir() else "")


VERBS: Verbs = {"check": check, "ls": ls, "show": show, "synth": synth}
