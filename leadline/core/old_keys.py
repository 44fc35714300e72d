"""Names of an older leadline in the files that it wrote, for one release."""

from __future__ import annotations

from typing import Any

OLD_KEYS = {
    "choose": "val_every",
    "teach": "distill_weight",
    "fresh": "reinit",
    "still_after": "freeze_bn_after",
    "asking": "teachers",
    "foreign": "external",
    "truth": "label_weight",
    "trust": "min_confidence",
    "ramped": "warmup_distill",
    "price": "regulariser",
    "steered": "controlled",
    "reach_at": "target_at",
    "speed": "lr_scale",
    "metres": "focal_times_baseline",
    "teaching": "distillation",
    "together": "ensemble",
    "averaged": "test_time_augmentation",
    "fused": "to_metric",
}
"""Key then -> key now, of options, of what a checkpoint says of its net, and of what is known of a teacher."""

OLD_SPLIT = "choosing part"
"""What reports called the validation split."""


def with_new_keys(there: Any, here: Any) -> Any:
    """The JSON value `there` with its old keys, which may be dotted, as `here` has them, at every depth; a key that
    `here` knows stays.
    """
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        return [with_new_keys(old, new) for old, new in zip(there, here, strict=True)]
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return there
    found = {}
    for key, value in there.items():
        new = ".".join(OLD_KEYS.get(part, part) for part in key.split("."))
        name = new if key not in here and new in here else key
        found[name] = with_new_keys(value, here.get(name))
    return found
