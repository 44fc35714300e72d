"""Losses as they are typed: NAME, NAME:WEIGHT or NAME:WEIGHT@map, and FILE.py:NAME in place of NAME."""

from __future__ import annotations

import re
from collections.abc import Sequence

from leadline.core.user_code import user_function
from leadline.training.loss_names import unknown_loss
from leadline.training.losses import LOSSES, Criterion, Term
from leadline.training.losses.own import user_loss

_OWN = re.compile(r"(?P<place>.+\.py:\w+)(?P<rest>(:[^@]*)?(@.*)?)")


def typed(names: Sequence[str]) -> dict[str, Term]:
    """The terms that `names` mean, see `losses.Term`; what cannot be meant is a ValueError. A name may come twice.

    FILE.py:NAME is a criterion of the user's own; its file is loaded here, and BadCode says what is wrong with it.
    """
    terms: dict[str, Term] = {}
    for entry in names:
        name, weight, at, criterion = _parts(entry)
        if name == "stereo":
            raise ValueError("the loss 'stereo' learns from pairs of views alone; give --loss stereo by itself")
        if criterion is None:
            raise ValueError(unknown_loss(name))
        if at not in ("", "target", "map"):
            raise ValueError(f"the loss {entry!r} is to be taken at {at!r}; allowed: @target, @map")
        try:
            factor = float(weight or 1)
        except ValueError:
            factor = 0.0
        if not 0 < factor < float("inf"):
            raise ValueError(f"the loss {entry!r} has the weight {weight!r}; a number above 0 is needed")
        key = entry if name in terms else name
        if key in terms:
            raise ValueError(f"the loss {entry!r} is given twice; give it once, with the sum of the weights")
        terms[key] = Term(criterion, factor, "map" if at == "map" else "target")
    if not terms:
        raise ValueError(f"no loss is given; known: {', '.join(LOSSES)}, stereo")
    return terms


def _parts(entry: str) -> tuple[str, str, str, Criterion | None]:
    """(name, weight, place, criterion) of one entry; None for a name that is unknown."""
    own = _OWN.fullmatch(entry)
    if own is not None and (function := user_function(own["place"])) is not None:
        weight, _, at = own["rest"].partition("@")
        return function.name, weight.removeprefix(":"), at, user_loss(function)
    what, _, at = entry.partition("@")
    name, _, weight = what.partition(":")
    return name, weight, at, LOSSES.get(name)
