"""Losses as they are typed: NAME, NAME:WEIGHT or NAME:WEIGHT@map."""

from __future__ import annotations

from collections.abc import Sequence

from leadline.training.losses import LOSSES, Term


def typed(names: Sequence[str]) -> dict[str, Term]:
    """The terms that `names` mean, see `losses.Term`; what cannot be meant is a ValueError. A name may come twice."""
    terms: dict[str, Term] = {}
    for entry in names:
        what, _, at = entry.partition("@")
        name, _, weight = what.partition(":")
        if name == "stereo":
            raise ValueError("the loss 'stereo' learns from pairs of views alone; give --loss stereo by itself")
        if name not in LOSSES:
            raise ValueError(f"the loss {name!r} is unknown; known: {', '.join(LOSSES)}")
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
        terms[key] = Term(LOSSES[name], factor, "map" if at == "map" else "target")
    if not terms:
        raise ValueError(f"no loss is given; known: {', '.join(LOSSES)}, stereo")
    return terms
