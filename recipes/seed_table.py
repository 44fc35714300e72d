"""Mean and spread over seeds of what `recipes.evaluate_students` has found about the cells of
`recipes.distillation_grid`, as a Markdown table.

python -m recipes.seed_table runs/evaluated.jsonl --folder runs/grid
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import tyro

from recipes.distillation_grid import SHARES, STUDENTS
from recipes.evaluate_students import AWAY, PLACES

ROWS = (*SHARES, "halved")
CELL = re.compile(rf"({'|'.join(STUDENTS)})_({'|'.join(ROWS)})(?:_(\d+))?")


def cells(lines: list[str], folder: str) -> dict[tuple[str, str], list[dict[str, dict[str, float]]]]:
    """What was found about each student and row whose weights lie in `folder`, one entry a seed."""
    found: dict[tuple[str, str], dict[str, dict[str, dict[str, float]]]] = defaultdict(dict)
    for line in lines:
        facts = json.loads(line)
        model = Path(facts.pop("model"))
        place = model.parent
        plain = model.suffix == ".safetensors" and "+" not in str(model)  # neither mirrored nor one of several
        if plain and place.parent.name == Path(folder).name and (cell := CELL.fullmatch(place.name)):
            student, row, seed = cell.groups()
            found[student, row][seed or "0"] = facts
    known = [(student, row) for student in STUDENTS for row in ROWS if (student, row) in found]
    return {cell: list(found[cell].values()) for cell in known}


def said(values: list[float]) -> str:
    """Their mean, and of several half the distance from the lowest to the highest."""
    spread = f" ± {np.ptp(values) / 2:.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def main(evaluated: tyro.conf.Positional[Path], /, *, folder: str = "runs/grid") -> None:
    """Print delta1 / abs_rel of each cell, in metres and aligned.

    Args:
        evaluated: the file that `recipes.evaluate_students` has written
        folder: where the cells lie; of evaluated nets elsewhere nothing is said
    """
    found = cells(evaluated.read_text().splitlines(), folder)
    metres, aligned = ([f"{place} {protocol}" for place in PLACES] for protocol in AWAY)
    for columns in (["validation nyu-eigen@1", "nyu nyu-eigen@1", *metres], aligned):
        print("| student | row | seeds |", " | ".join(columns), "|")
        print("|" + "---|" * (3 + len(columns)))
        for (student, row), seeds in found.items():
            shown = [" / ".join(said([s[c][m] for s in seeds]) for m in ("delta1", "abs_rel")) for c in columns]
            print(f"| `{student}` | {row} | {len(seeds)} |", " | ".join(shown), "|")
        print()


if __name__ == "__main__":
    tyro.cli(main)
