"""Real-time depth from one camera on small machines. Everything public; nothing is loaded before it is used.

A name here is never at once a function and a module: `leadline.evaluate` is always the module, whoever imported it
first, and its function is `leadline.evaluate.evaluate`.
"""

import importlib

TYPE_CHECKING = False  # as type checkers understand it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from leadline import evaluate as evaluate
    from leadline import losses as losses
    from leadline import viz as viz
    from leadline.checkpoint import load as load
    from leadline.checkpoint import save as save
    from leadline.data.labels import open_labels as open_labels
    from leadline.data.layouts import open_dataset as open_dataset
    from leadline.errors import LeadlineError as LeadlineError
    from leadline.foreign import import_fastdepth as import_fastdepth
    from leadline.nn import zoo as zoo
    from leadline.nn.build import build as build
    from leadline.options import FitOptions as FitOptions
    from leadline.predict import Predictor as Predictor
    from leadline.predict import load_predictor as load_predictor
    from leadline.preprocess import read_image as read_image
    from leadline.protocols import PROTOCOLS as PROTOCOLS
    from leadline.report import Report as Report
    from leadline.spec import Spec as Spec
    from leadline.teachers import open_teacher as open_teacher
    from leadline.train import fit as fit
    from leadline.types import Depth as Depth
    from leadline.types import Sample as Sample

__version__ = "0.1.0"

__all__ = [
    "PROTOCOLS",
    "Depth",
    "FitOptions",
    "LeadlineError",
    "Predictor",
    "Report",
    "Sample",
    "Spec",
    "build",
    "evaluate",
    "fit",
    "import_fastdepth",
    "load",
    "load_predictor",
    "losses",
    "open_dataset",
    "open_labels",
    "open_teacher",
    "read_image",
    "save",
    "viz",
    "zoo",
]

# Name -> the module that defines it; the names missing here are modules themselves.
_HOME = {
    "PROTOCOLS": "protocols",
    "Depth": "types",
    "FitOptions": "options",
    "LeadlineError": "errors",
    "Predictor": "predict",
    "Report": "report",
    "Sample": "types",
    "Spec": "spec",
    "build": "nn.build",
    "fit": "train",
    "import_fastdepth": "foreign",
    "load": "checkpoint",
    "load_predictor": "predict",
    "open_dataset": "data.layouts",
    "open_labels": "data.labels",
    "open_teacher": "teachers",
    "read_image": "preprocess",
    "save": "checkpoint",
    "zoo": "nn",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'leadline' has no attribute {name!r}")
    if name == "zoo":
        return importlib.import_module("leadline.nn.zoo")
    if name not in _HOME:
        return importlib.import_module(f"leadline.{name}")
    return getattr(importlib.import_module(f"leadline.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
