"""The plan of a label set: what decides its bytes. A folder keeps it from the first moment on, so that a run that goes
on there makes the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.core.errors import BadData
from leadline.core.old_keys import with_new_keys
from leadline.core.spec import to_json
from leadline.core.storage import is_draft, sweep, write_atomically
from leadline.core.text import some
from leadline.data.dataset import Dataset, called, with_depth
from leadline.data.label_index import FORMAT, LEAST_SCALE, MANIFEST, MOST_SCALE, read_object
from leadline.distill.options import Labelling
from leadline.distill.teachers import Teacher

PLAN, LOCK, PIECES = "plan.json", ".lock", "pieces"


def planned(teacher: Teacher, data: Dataset, where: str, run: Labelling, reading: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes of a label set: the manifest but for its shards."""
    if not len(data):
        raise BadData(f"{where} holds no images to label")
    if not LEAST_SCALE <= run.label_scale <= MOST_SCALE:
        raise ValueError(f"label_scale is {run.label_scale}; {LEAST_SCALE:g} to {MOST_SCALE:g} units per metre fit")
    if teacher.facts.get("to_metric") == {"truth": True} and not len(with_depth(data)):
        raise BadData(
            f"{where} has no depth that could give {teacher.name} its scale: state one (--metric SCALE or "
            "SCALE,SHIFT), name a metric teacher, or leave --metric out"
        )
    taken: dict[Path, str] = {}
    for name in map(called, data.keys):
        for file in teacher.files_of(name):
            if (other := taken.setdefault(file, name)) != name:
                raise BadData(
                    f"{file} would be the depth of {other} and of {name}: lay the maps into folders as the pictures are"
                )
    if twice := [name for name, n in Counter(map(called, data.keys)).items() if n > 1]:
        raise BadData(f"{where} has several images of one name, {some(twice)}: a label could be of either; rename them")
    return {
        "format": FORMAT,
        "kind": teacher.kind,
        "depth_scale": run.label_scale,
        "height": run.height,
        "shard": run.shard,
        **({} if run.device == "cpu" else {"device": run.device}),
        "teacher": {"name": teacher.name, **teacher.facts},
        "licences": sorted({*teacher.facts.get("licences", ()), *run.licences}),
        "data": {
            "path": where,
            "name": data.name,
            "n": len(data),
            "keys": _keys(data),
            **({"reading": to_json(dict(reading))} if reading else {}),
        },
    }


_EVER = ("name", "image", "depth", "right", "camera")
"""What a frame's key has always said of it. What came later counts where it says something, so that a label set goes
on that was begun before.
"""


def _keys(data: Dataset) -> str:
    """A hash of what is read, in its order."""
    from hashlib import sha256 as digest

    text = json.dumps([_spelled(key) for key in data.keys])
    return digest(text.encode()).hexdigest()


def _spelled(key: Any) -> Any:
    if hasattr(key, "__dataclass_fields__"):
        return to_json(key)
    if not hasattr(key, "_field_defaults"):
        return str(key)
    fields, usual = key._asdict(), key._field_defaults
    texts = (f"{name}={value!r}" for name, value in fields.items() if name in _EVER or usual.get(name, ...) != value)
    return f"{type(key).__name__}({', '.join(texts)})" if set(_EVER) <= fields.keys() else str(key)


def check_free(out: Path) -> None:
    """BadData if `out` is neither a label set, nor on its way to be one, nor empty: before anything is put there."""
    files = [path for name in (PLAN, MANIFEST) if (path := out / name).exists()]
    other = out.is_dir() and not files and (not _names(out) <= {LOCK, PIECES} or any(out.glob(f"{PIECES}/*")))
    if other or not all(str(_read(path).get("format")).startswith("leadline-labels") for path in files):
        raise BadData(f"{out} holds other files; a new or empty folder is needed")


def claim(out: Path, plan: dict[str, Any]) -> None:
    """Keep the plan in `out`; another one there is a BadData, if any image was labelled by it."""
    check_free(out)
    wanted = json.loads(json.dumps(plan))
    begun = (out / MANIFEST).exists() or any(out.glob("labels-*")) or any(out.glob(f"{PIECES}/*"))
    for path in (out / PLAN, out / MANIFEST):
        if path.exists():
            found = _read(path)
            if not begun and found.get("format") == FORMAT:
                path.unlink()  # a run that never began: its flags may have been the reason
            elif other := differing(wanted, found):
                raise BadData(f"{out} holds labels that were made otherwise: {some(other)}; give another --out")
    sweep(out)  # only now is it sure that the folder is ours
    if not begun and _names(out) <= {LOCK, PIECES}:
        write_atomically(out / PLAN, json.dumps(wanted, indent=1).encode())
    elif not ((out / PLAN).exists() or (out / MANIFEST).exists()):
        raise BadData(f"{out} holds other files; a new or empty folder is needed")


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except ValueError as error:
        raise BadData(f"{path} is damaged, {error}: remove {path.parent} and label anew, or put it back") from error


def _names(out: Path) -> set[str]:
    """What lies in a folder, but for drafts that a killed run has left."""
    return {path.name for path in out.iterdir() if not is_draft(path)}


def differing(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """What the plan `here` says otherwise than `there`, a line each."""
    there = with_new_keys(there, here)
    return [line for key in here for line in _differing(key, here[key], there.get(key))]


def _differing(name: str, here: Any, there: Any) -> list[str]:
    """`teacher.name a (there: b)` for each part of two plans that differs."""
    if isinstance(here, dict) and isinstance(there, dict):
        return [
            line
            for key in dict.fromkeys([*here, *there])
            for line in _differing(f"{name}.{key}", here.get(key), there.get(key))
        ]
    return [] if here == there else [f"{name} {_short(here)} (there: {_short(there)})"]


def _short(value: Any) -> str:
    text = str(value)
    return text[:8] if re.fullmatch("[0-9a-f]{64}", text) else text[:80]
