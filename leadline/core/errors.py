"""What can go wrong in the world outside, as one small tree.

    LeadlineError            anything below; the command line prints its message as one line and exits with 1
    |-- BadImage             a file that should be a photograph is missing, empty, cut short, too large or not an image
    |-- BadData              a data set, a depth map or a label is missing, malformed or contradicts its description
    |-- BadCheckpoint        a weight file is cut short, of another program, of another version, or would run code
    |-- BadArtefact          an exported file is missing, damaged, without its description, or not for what was asked
    |-- NoRuntime            a runtime's packages are not installed; the message holds the command that brings them
    |-- ExportFailed         a runtime's own compiler refuses a net
    |-- AcceptanceFailed     a compressed file is refused since it is slower or less accurate than allowed
    |-- BudgetInfeasible     no net of the kind asked for meets the budget; the message holds the smallest reachable
    |-- BadCode              a function in a file of the user's own raises, or is not what is asked for
    |-- MissingPackage       an optional package is not installed; the message holds the command that installs it
    `-- TrainingFailed       the loss is not finite, or a run cannot be resumed

Wrong arguments are plain `ValueError`; both say what was given, what is allowed and what to do.
"""

from __future__ import annotations

import errno
import os

_ADVICE = {
    errno.EEXIST: "it is there already, as a file; give another folder",
    errno.ENOTDIR: "it is a file, or lies below one; a folder is needed",
    errno.ENOSPC: "the disk is full; make room, or give a folder on another disk",
    errno.EDQUOT: "the quota is used up; make room, or give a folder on another disk",
    errno.EROFS: "the disk is read-only; give a folder that can be written",
    errno.EACCES: "permission denied; give a folder or file that you may use",
    errno.EPERM: "permission denied; give a folder or file that you may use",
    errno.ENAMETOOLONG: "the name is too long for the disk; give a shorter one",
}


def plainly(error: BaseException) -> str:
    """An error's message; that of the system with the file and what to do, in place of its number."""
    advice = _ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None
    if advice is None or not isinstance(error, OSError):
        return str(error)
    return advice if error.filename is None else f"{os.fsdecode(error.filename)}: {advice}"


def about(path: os.PathLike[str], error: BaseException) -> str:
    """`plainly`, with the file that it is about, unless it names that already."""
    message = plainly(error)
    return message if str(path) in message else f"{path}: {message}"


class LeadlineError(Exception):
    """The parent of every error that leadline raises on purpose about the outside world."""


class BadImage(LeadlineError):
    """A photograph cannot be read."""


class BadData(LeadlineError):
    """A data set, a depth map or a label cannot be used as it is."""


class BadCheckpoint(LeadlineError):
    """A weight file cannot be used."""


class BadArtefact(LeadlineError):
    """An exported file cannot be used."""


class NoRuntime(LeadlineError):
    """A runtime cannot run here."""


class ExportFailed(LeadlineError):
    """A runtime's compiler refuses a net."""


class AcceptanceFailed(LeadlineError):
    """A compressed file does not keep what it promises: the message holds the figures."""


class BudgetInfeasible(LeadlineError):
    """A budget that pruning cannot meet: the message holds what can be met."""


class BadCode(LeadlineError):
    """A file of the user's own code cannot be used; the message holds the file and the line."""


class MissingPackage(LeadlineError):
    """An optional package is needed for what was asked; `otherwise` says what else can be done."""

    def __init__(self, package: str, extra: str, purpose: str, otherwise: str = "") -> None:
        self.asked = package, extra, purpose, otherwise
        missing = f"{purpose} needs the package '{package}', which is not installed: pip install 'leadline[{extra}]'"
        super().__init__(missing + (f"; {otherwise}" if otherwise else ""))

    def __reduce__(self) -> tuple[type[MissingPackage], tuple[str, str, str, str]]:
        return MissingPackage, self.asked  # so that it can leave a worker process


class TrainingFailed(LeadlineError):
    """A training run cannot go on."""


class Lost(UserWarning):
    """A file that was written says less, or says it otherwise, than it was given; the message says how much."""
