"""What is wrong with a label set: other bytes than were written, images without an answer, answers that are unsure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadData
from leadline.core.text import some
from leadline.data.dataset import evenly
from leadline.data.label_set import Labels, open_labels, read_label
from leadline.data.validate.finding import Finding, each

_UNSURE = 8  # so many of those that were looked at are named


def check_labels(root: Path, n: int) -> tuple[dict[str, Any], list[Finding]]:
    """(summary, findings) of the label set at `root`: all bytes of its archives, and `n` labels spread over all.

    BadData if it cannot be opened.
    """
    labels = open_labels(root)
    findings = list(_damaged(labels))
    if findings:
        return _facts(labels), findings
    names = list(labels.places)
    looks = {}
    for i in evenly(n, len(names)):
        try:
            values, confidence = read_label(labels, names[i])
        except BadData as error:
            findings.append(Finding("error", str(error), names[i], "label the data set anew, or copy the set again"))
            continue
        known = values > 0
        if known.any():
            looks[names[i]] = float(np.median(values[known])), float(confidence[known].mean()), float(known.mean())
    facts = _facts(labels) | {"n_read": len(looks)}
    if looks:
        median, sure, valid_share = (float(np.mean(column)) for column in zip(*looks.values(), strict=True))
        facts |= {
            "median_m" if labels.kind == "metric" else "median": median,
            "confidence": sure,
            "valid_fraction": valid_share,
        }
        unsure = sorted(looks, key=lambda name: looks[name][1])[:_UNSURE]
        least = looks[unsure[0]][1]
        if least < 1:  # one teacher, asked once, does not measure it
            what = f"the least sure of {len(looks)}: mean confidence {least:.2f} of {facts['confidence']:.2f}"
            todo = "look at these pictures, or train with --min-confidence"
            findings.append(Finding("note", what, some(unsure, _UNSURE), todo))
    return facts, [*findings, *_missing(labels)]


def _facts(labels: Labels) -> dict[str, Any]:
    manifest = labels.manifest
    return {
        "name": labels.root.name,
        "layout": "label set",
        "kind": labels.kind,
        "teacher": manifest["teacher"]["name"],
        "data": manifest["data"]["name"],
        "n": len(labels),
        "shards": len(manifest["shards"]),
    }


def _damaged(labels: Labels) -> Iterator[Finding]:
    for shard in labels.manifest["shards"]:
        with (labels.root / shard["file"]).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard["sha256"]:
                yield Finding("error", "other bytes than were written", shard["file"], "copy it again")


def _missing(labels: Labels) -> Iterator[Finding]:
    todo = "repair the image, then `leadline label --retry-skipped`"
    skipped = [Finding("warning", f"no label: {one['why']}", one["name"], todo) for one in labels.manifest["skipped"]]
    yield from each(skipped, at_most=5)
    if empty := [name for name, line in labels.places.items() if line.get("no_prediction")]:
        what = f"of {len(empty)} images there is no prediction"
        yield Finding("warning", what, some(empty), "unlabelled ones are not learned from")
