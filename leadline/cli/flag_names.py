"""Other names of flags: those of the release before, and short ones for flags of a group."""

from __future__ import annotations

OLD_FLAGS = {
    "--asking.foreign.": "--external.",
    "--asking.": "--",
    "--foreign.": "--external.",
    "--truth": "--label-weight",
    "--trust": "--min-confidence",
    "--ramped": "--warmup-distill",
    "--teach": "--distill-weight",
    "--fresh": "--reinit",
    "--again": "--retry-skipped",
    "--choose": "--val-every",
    "--imgsz": "--size",
    "--fit.still-after": "--fit.freeze-bn-after",
    "--masks.fit.still-after": "--masks.fit.freeze-bn-after",
    "--netadapt.short.still-after": "--netadapt.short.freeze-bn-after",
    "--masks.price": "--masks.regulariser",
    "--masks.steered": "--masks.controlled",
    "--masks.reach-at": "--masks.target-at",
    "--masks.speed": "--masks.lr-scale",
}
"""A flag of the release before -> the flag now, until the next release; one that ends in "." is a beginning."""

_TRAINING = {
    f"--{name}": f"--fit.{name}"
    for name in ("lr", "steps", "optimizer", "schedule", "warmup", "weight-decay", "clip", "ema", "seed", "compile")
}
SHORT_FLAGS: dict[str, dict[str, str]] = {"train": _TRAINING, "distill": _TRAINING, "prune": _TRAINING}
"""Verb -> short name -> the flag that is meant. A short name is never one of the verb's own flags."""


def new_flag(flag: str) -> str:
    """The flag as it is called now; `--no-` forms and underscores as in `OLD_FLAGS`."""
    plain = flag.replace("_", "-")
    for old, new in OLD_FLAGS.items():
        if old.endswith(".") and plain.startswith(old):
            return new + plain[len(old) :]
        if plain == old:
            return new
        if plain == _negated(old):
            return _negated(new)
    return flag


def _negated(flag: str) -> str:
    """`--masks.no-controlled` of `--masks.controlled`."""
    before, dot, name = flag[2:].rpartition(".")
    return f"--{before}{dot}no-{name}"


def in_full(word: str, verb: str) -> str:
    """The word with a short name of `SHORT_FLAGS` replaced; it may be `--flag=value`."""
    flag, equals, value = word.partition("=")
    short, plain = SHORT_FLAGS.get(verb, {}), flag.replace("_", "-")
    long = short.get(plain) or (_negated(short[positive]) if (positive := _positive(plain)) in short else flag)
    return f"{long}{equals}{value}"


def _positive(flag: str) -> str:
    """`--compile` of `--no-compile`."""
    return f"--{flag.removeprefix('--no-')}" if flag.startswith("--no-") else ""
