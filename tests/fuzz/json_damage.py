"""Values of JSON that nobody expects, put somewhere into a description that is right."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fuzz.case import pick

Rng = np.random.Generator
VALUES: tuple[Any, ...] = (
    0, 0, -1, -1, 1, 2, 3, 7, 1_000_000_000, 10**18, 2**31, 2**63, 2**64, 10**400, 0.0, -0.0, 0.5, 5.0, 1e9, 1e-300,
    1e308,
    -1e308, math.nan, math.nan, math.inf, -math.inf, None, True, False, "", "nan", "../../x", "/etc/x", "a/b",
    "a\\b", "\x00",
    "\x1b[2J", "\n", "..", ".", "\u202e", "x" * 100_000, "timm:resnet18", "timm:../x", [], {}, [[]], [0], [0, 0], [0,
    0, 0],
    [-1, -1], [5, 5], [1e9, 1e9], [10**9, 10**9], [math.nan] * 3, [1] * 100_000, {"a": 1}, "metric",
    "relative_disparity",
)  # fmt: skip


def changed(rng: Rng, plain: Any) -> tuple[str, Any]:
    """(what was changed, a copy of `plain` in which one or two values are others, are missing or are new)."""
    plain, said = copy.deepcopy(plain), []
    for _ in range(1 + int(rng.random() < 0.2)):
        places = list(_places(plain, plain, ""))
        if not places:
            break
        holder, key, name = pick(rng, places)
        turn = rng.random()
        if turn < 0.85:
            holder[key] = pick(rng, VALUES)
            said.append(f"{name} {_brief(holder[key])}")
        elif turn < 0.93:
            del holder[key]
            said.append(f"no {name}")
        elif isinstance(holder, dict):
            holder[pick(rng, ("extra", "", "\x00", key + " "))] = holder[key]
            said.append(f"more beside {name}")
        else:
            holder.append(holder[key])
            said.append(f"{name} twice")
    return "; ".join(said), plain


def odd_text(rng: Rng) -> tuple[str, str]:
    """(what it is, a text in place of a JSON object)."""
    return pick(rng, (
        ("nothing", ""), ("a list", "[1, 2]"), ("a number", "7"), ("null", "null"), ("a string", '"x"'),
        ("half an object", '{"a"'),
        ("nested lists", "[" * 10_000 + "]" * 10_000), ("nested objects", '{"a":' * 10_000 + "1" + "}" * 10_000),
        ("nested and open", "[" * 100_000), ("NaN", "NaN"), ("a long number", "9" * 5000),
        ("a long number in an object",
         '{"licences": ' + "9" * 5000 + "}"), ("licences of a number", '{"licences": 5}'),
        ("licences of a string", '{"licences": "none"}'), ("licences of null", '{"licences": null}'),
        ("licences of lists", '{"licences": [[1], {"a": 2}]}'), ("a lone surrogate", '{"licences": ["\\ud800"]}'),
        ("a key twice", '{"a": 1, "a": 2}'), ("control characters", '{"a": "\\u001b[2J\\u0000"}'),
    ))  # fmt: skip


def _places(whole: Any, inside: Any, name: str) -> Iterator[tuple[Any, Any, str]]:
    keys = list(inside) if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
    for key in keys:
        here = f"{name}.{key}".strip(".")
        yield inside, key, here
        yield from _places(whole, inside[key], here)


def _brief(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, int) else str(value) if abs(value) < 10**30 else "10**400"
    return text if len(text) < 40 else f"{text[:37]}..."


def dumped(value: Any) -> str:
    """JSON text; whole numbers of any length."""
    return json.dumps(value)
