"""What a model gives, by its header alone: data sets are read before any model is loaded."""

from __future__ import annotations

from pathlib import Path

from leadline.core.spec import Kind
from leadline.nn.files import read_spec
from leadline.runtime import SUFFIXES, read_manifest
from leadline.runtime.dynamic import is_dynamic, spec_of_dynamic
from leadline.runtime.external import is_external


def kind_of(model: str | Path) -> Kind:
    """The kind of the head of a name, a checkpoint, an exported file or a dynamic folder; of a file of another program,
    which gives depth, `metric`. Errors as `load_predictor` raises them.
    """
    if is_dynamic(model):
        return spec_of_dynamic(Path(model)).head.kind
    if SUFFIXES.get(Path(model).suffix, "eager") == "eager":
        return read_spec(model).head.kind
    return "metric" if is_external(model) else read_manifest(Path(model)).spec.head.kind
