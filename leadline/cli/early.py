"""What can be refused before torch is loaded and before data are read: unknown names, and endings that do not fit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from leadline.core.text import nearest
from leadline.runtime.options import Precision
from leadline.training.options import Training

PLOTS = (
    ".avif", ".eps", ".gif", ".jpeg", ".jpg", ".pdf", ".pgf", ".png", ".ps", ".raw", ".rgba", ".svg", ".svgz", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""The endings of pictures that matplotlib writes."""


def check_model(model: str, *, trained: bool = True) -> None:
    """An error unless `model` names a net with weights, a file or a run's folder, or, where it need not be `trained`,
    a net of the zoo. Exported files and dynamic folders are left to what opens them.
    """
    from leadline.nn import zoo
    from leadline.nn.files import find
    from leadline.runtime import SUFFIXES
    from leadline.runtime.dynamic import is_dynamic

    if (
        is_dynamic(model)
        or SUFFIXES.get(Path(model).suffix, "eager") != "eager"
        or (not trained and model in zoo.names(None))
    ):
        return
    if not trained and not Path(model).suffix and "/" not in model and not Path(model).exists():
        check_known(model)
    find(model)


def check_teachers(sources: Iterable[str]) -> None:
    """A ValueError for a plain word that is no net with weights and no file or folder."""
    from leadline.nn.files import shipped

    for source in sources:
        if not Path(source).suffix and "/" not in source and source not in shipped() and not Path(source).exists():
            raise ValueError(f"{source} is no teacher and no file or folder; {nearest(source, shipped())}")


def check_known(name: str) -> None:
    """A ValueError, with what is near, for a name that is neither of a net that ships nor of one of the zoo."""
    from leadline.nn import zoo
    from leadline.nn.files import shipped

    if name not in (known := [*shipped(), *zoo.names(None)]):
        raise ValueError(f"the net {name!r} is unknown; {nearest(name, known)}")


def check_runtimes(*names: str) -> None:
    """A ValueError for a name that is no runtime's; none is loaded."""
    from leadline.runtime import check_name

    for name in names:
        check_name(name)


def check_precisions(names: Iterable[str]) -> None:
    """A ValueError for a name that is no precision's."""
    for name in names:
        if name not in (known := get_args(Precision)):
            raise ValueError(f"the precision {name!r} is unknown; one of {', '.join(known)} is needed")


def check_protocol_names(names: Iterable[str]) -> None:
    """A ValueError for a name that is no protocol's."""
    from leadline.evaluation.protocols import find

    for name in names:
        find(name)


def check_layout(layout: str | None) -> None:
    """A ValueError for a name that is no layout's and no function of the user's own."""
    if layout is None:
        return
    from leadline.core.user_code import user_function
    from leadline.data.layouts.detect import LAYOUTS

    if layout not in LAYOUTS and user_function(layout) is None:
        raise ValueError(f"layout is {layout!r}; {nearest(layout, LAYOUTS)}")


def check_ending(flag: str, file: Path | None, endings: Iterable[str]) -> None:
    """A ValueError unless the file's name ends in one of `endings`, in capitals or not."""
    endings = list(endings)
    if file is not None and file.suffix.lower() not in endings:
        words = ", ".join(ending.removeprefix(".") for ending in endings)
        raise ValueError(f"{flag} is {file}; its name must end in one of {words}")


def check_training(run: Training) -> None:
    """The names in the options of a training."""
    from leadline.training.loss_names import check_loss_names

    check_model(run.model, trained=run.pretrained)
    check_loss_names(run.loss)
    check_protocol_names([run.protocol])
    check_layout(run.reading.layout)
