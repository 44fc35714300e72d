"""Real-time depth from one camera on small machines. Everything public; nothing is loaded before it is used.

A name here is never at once a function and a module: `leadline.evaluate` is always the module of that name.
"""

import importlib

TYPE_CHECKING = False  # as type checkers understand it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from leadline.core import viz as viz
    from leadline.core.errors import LeadlineError as LeadlineError
    from leadline.core.preprocess import read_image as read_image
    from leadline.core.report import Report as Report
    from leadline.core.spec import Spec as Spec
    from leadline.core.types import Depth as Depth
    from leadline.core.types import Item as Item
    from leadline.core.types import Sample as Sample
    from leadline.data.batch import Batch as Batch
    from leadline.data.dataset import Dataset as Dataset
    from leadline.data.label_set import open_labels as open_labels
    from leadline.data.layouts.detect import open_dataset as open_dataset
    from leadline.data.loader import Batches as Batches
    from leadline.data.loader import Part as Part
    from leadline.data.loader import loader as loader
    from leadline.distill.teachers import open_teacher as open_teacher
    from leadline.evaluation import evaluate as evaluate
    from leadline.evaluation.protocols import PROTOCOLS as PROTOCOLS
    from leadline.nn import zoo as zoo
    from leadline.nn.build import build as build
    from leadline.nn.checkpoint import load as load
    from leadline.nn.checkpoint import save as save
    from leadline.nn.pretrained.fastdepth_authors import import_fastdepth as import_fastdepth
    from leadline.nn.wrap import wrap as wrap
    from leadline.predict.predictor import Predictor as Predictor
    from leadline.predict.predictor import load_predictor as load_predictor
    from leadline.predict.predictor import predictor_of as predictor_of
    from leadline.runtime.export import export as export
    from leadline.training import losses as losses
    from leadline.training.fit import fit as fit
    from leadline.training.options import FitOptions as FitOptions

__version__ = "0.1.0"

__all__ = [
    "PROTOCOLS",
    "Batch",
    "Batches",
    "Dataset",
    "Depth",
    "FitOptions",
    "Item",
    "LeadlineError",
    "Part",
    "Predictor",
    "Report",
    "Sample",
    "Spec",
    "build",
    "evaluate",
    "export",
    "fit",
    "import_fastdepth",
    "load",
    "load_predictor",
    "loader",
    "losses",
    "open_dataset",
    "open_labels",
    "open_teacher",
    "predictor_of",
    "read_image",
    "save",
    "viz",
    "wrap",
    "zoo",
]

# Name -> the module that defines it, or that it is.
_HOME = {
    "PROTOCOLS": "evaluation.protocols",
    "Batch": "data.batch",
    "Batches": "data.loader",
    "Dataset": "data.dataset",
    "Depth": "core.types",
    "FitOptions": "training.options",
    "Item": "core.types",
    "LeadlineError": "core.errors",
    "Part": "data.loader",
    "Predictor": "predict.predictor",
    "Report": "core.report",
    "Sample": "core.types",
    "Spec": "core.spec",
    "build": "nn.build",
    "export": "runtime.export",
    "fit": "training.fit",
    "import_fastdepth": "nn.pretrained.fastdepth_authors",
    "load": "nn.checkpoint",
    "load_predictor": "predict.predictor",
    "loader": "data.loader",
    "open_dataset": "data.layouts.detect",
    "open_labels": "data.label_set",
    "open_teacher": "distill.teachers",
    "predictor_of": "predict.predictor",
    "read_image": "core.preprocess",
    "save": "nn.checkpoint",
    "wrap": "nn.wrap",
}
_MODULES = {"evaluate": "evaluation.evaluate", "losses": "training.losses", "viz": "core.viz", "zoo": "nn.zoo"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'leadline' has no attribute {name!r}")
    from leadline.core.packages import needing

    with needing(f"leadline.{name}"):
        found = importlib.import_module(f"leadline.{_MODULES.get(name) or _HOME[name]}")
    return found if name in _MODULES else getattr(found, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
