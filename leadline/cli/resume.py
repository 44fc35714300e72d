"""`--resume` alone: the other flags of `train`, `distill` and `prune` come from the run's folder."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leadline.core.errors import TrainingFailed
from leadline.core.spec import from_json

Verb = Callable[..., int]


def with_options_of_run(verb: Verb, args: Sequence[str]) -> Verb:
    """The verb whose flags are by default those of the run that `args` go on with (`--resume --out RUN`).

    What is typed besides counts, and the run itself refuses what differs. Where there is no such run, the verb itself.
    TrainingFailed if what the folder keeps cannot be read, or if there is no folder and no data to begin with.
    """
    out = _value(args, "--out", "-o")
    if out is None or not {"--resume", "--resume=True"} & set(args):
        return verb
    folder = Path(out).with_suffix("") if Path(out).suffix == ".safetensors" else Path(out)
    if not folder.is_dir():
        if _value(args, "--data", "--unlabelled") is None and not {"-h", "--help", "--help-all"} & set(args):
            raise TrainingFailed(f"there is no run in {folder}; give the --out of the run that is to go on")
        return verb
    from leadline.pipelines.resume import read_requested

    options = dict(read_requested(folder) or {})
    pruning = dict(options.get("pruning", {}))
    training = options.get("training") or pruning.pop("training", {})
    known = {**training, **pruning, **options.get("distillation", {})}
    if not known:
        return verb
    if _value(args, "--fit.steps") is not None:  # epochs would set the steps again
        known.pop("epochs", None)
    kinds = typing.get_type_hints(verb)
    try:
        found = {name: _stored(kinds[name], name, known, Path(out)) for name in inspect.signature(verb).parameters}
    except (ValueError, TypeError) as error:
        raise TrainingFailed(f"{folder} keeps options of another version ({error}): give all of them again") from error
    return _with_defaults(verb, {name: value for name, value in found.items() if value is not _UNKNOWN})


_UNKNOWN = object()


def _value(args: Sequence[str], *flags: str) -> str | None:
    """The last value that `args` give to one of these flags."""
    found = None
    for word, following in zip(args, [*args[1:], None], strict=True):
        flag, equals, value = word.partition("=")
        if flag in flags:
            found = value if equals else following
    return found


def _stored(kind: Any, name: str, known: Mapping[str, Any], out: Path) -> Any:
    """What a verb's parameter was in the run; `_UNKNOWN` where the run does not keep it."""
    if name in known:
        return from_json(kind, known[name])
    if name == "out":
        return out
    if not dataclasses.is_dataclass(kind):
        return _UNKNOWN
    own = {field.name: known[field.name] for field in dataclasses.fields(kind) if field.name in known}
    if "out" in (field.name for field in dataclasses.fields(kind)):
        own["out"] = str(out)
    return from_json(typing.cast(Any, kind), own) if own else _UNKNOWN


def _with_defaults(verb: Verb, defaults: Mapping[str, Any]) -> Verb:
    """The verb with other defaults in its signature, from which its flags are made."""

    @functools.wraps(verb)
    def resumed(*positional: Any, **flags: Any) -> int:
        return verb(*positional, **flags)

    signature = inspect.signature(verb)
    parameters = [
        p.replace(default=defaults[p.name]) if p.name in defaults else p for p in signature.parameters.values()
    ]
    resumed.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return resumed
