"""A teacher over the images of a data set: what it says, kept as a label set."""

from __future__ import annotations

from leadline.labelling.run import Progress, label

__all__ = ["Progress", "label"]
