"""The plan of a label set: what decides its bytes. A folder keeps it from the first moment on, so that a run that goes
on there makes the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.checkpoint import write_atomically
from leadline.data.dataset import Dataset, with_depth
from leadline.data.finding import some
from leadline.data.labels import FORMAT, MANIFEST, called
from leadline.errors import BadData
from leadline.options_distill import Labelling
from leadline.spec import to_json
from leadline.teachers import Teacher

PLAN, LOCK, PIECES = "plan.json", ".lock", "pieces"


def planned(teacher: Teacher, data: Dataset, where: str, run: Labelling, reading: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes of a label set: the manifest but for its shards."""
    if not len(data):
        raise BadData(f"{where} holds no images to label")
    if teacher.facts.get("fused") == {"truth": True} and not len(with_depth(data)):
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


def _keys(data: Dataset) -> str:
    """A hash of what is read, in its order."""
    from hashlib import sha256 as digest

    text = json.dumps([to_json(key) if hasattr(key, "__dataclass_fields__") else str(key) for key in data.keys])
    return digest(text.encode()).hexdigest()


def claim(out: Path, said: dict[str, Any]) -> None:
    """Keep the plan in `out`; another one there is a BadData, if any image was labelled by it."""
    wanted = json.loads(json.dumps(said))
    for name in (PLAN, MANIFEST, "labels-*.tar"):
        for draft in out.glob(f".{name}.*"):
            draft.unlink()  # of a run that was killed
    begun = (out / MANIFEST).exists() or any(out.glob("labels-*")) or any(out.glob(f"{PIECES}/*"))
    for name in (PLAN, MANIFEST):
        path = out / name
        if path.exists():
            try:
                found = dict(json.loads(path.read_bytes()))
            except (ValueError, TypeError) as error:
                raise BadData(f"{path} is damaged, {error}: remove {out} and label anew, or put it back") from error
            if not begun and found.get("format") == FORMAT:
                path.unlink()  # of a run that could not begin, whose flags may have been why
            elif other := [line for key in wanted for line in _differing(key, wanted[key], found.get(key))]:
                raise BadData(f"{out} holds labels that were made otherwise: {some(other)}; give another --out")
    if not begun and {path.name for path in out.iterdir()} <= {LOCK, PIECES}:
        write_atomically(out / PLAN, json.dumps(wanted, indent=1).encode())
    elif not ((out / PLAN).exists() or (out / MANIFEST).exists()):
        raise BadData(f"{out} holds other files; a new or empty folder is needed")


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
