"""Layouts: how data sets lie on disk. Each is a function that returns a Dataset. Its names load when they are used."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leadline.data.layouts.detect import LAYOUTS as LAYOUTS
    from leadline.data.layouts.detect import described as described
    from leadline.data.layouts.detect import open_dataset as open_dataset

__all__ = ["LAYOUTS", "described", "open_dataset"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.detect"), name)
