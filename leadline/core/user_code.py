"""FILE.py:name, a function in a file of the user's own. Its code runs when the function is called, never before."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from leadline.core.errors import BadCode, LeadlineError

_PLACE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class UserFunction:
    """The function `name` of `file`. It pickles as these two, so that every process loads the file itself.

    What the file or the function raises is a BadCode in one line, with the file and the line; errors of leadline's own
    stay as they are.
    """

    file: Path
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"

    def __call__(self, *given: Any) -> Any:
        function = self.loaded()
        try:
            return function(*given)
        except (LeadlineError, MemoryError):
            raise
        except Exception as error:  # it is the user's code: anything may be raised
            raise BadCode(self.told(error)) from error

    def loaded(self) -> Callable[..., Any]:
        """The function; the file runs if this process has not loaded it yet. BadCode if that fails or lacks `name`."""
        module = _module(self.file)
        function = getattr(module, self.name, None)
        if not callable(function):
            own = [k for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
            has = f"it has {', '.join(own)}" if own else "it has no functions"
            raise BadCode(f"{self.file} has no function {self.name!r}; {has}")
        found: Callable[..., Any] = function
        return found

    def refuse_unless_takes(self, *names: str) -> None:
        """BadCode unless the function can be called with so many arguments in this order."""
        function = self.loaded()
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # a function written in C says nothing of itself
            return
        try:
            signature.bind(*names)
        except TypeError:
            raise BadCode(
                f"{self.where()}: {self.name}{signature} cannot be called with {len(names)} arguments; "
                f"{self.name}({', '.join(names)}) is needed"
            ) from None

    def where(self, error: BaseException | None = None) -> str:
        """FILE:LINE, the last line of the file that `error` passed through, or that where the function begins."""
        line = _last_line(self.file, None if error is None else error.__traceback__)
        code = getattr(self.loaded(), "__code__", None) if line is None else None
        line = code.co_firstlineno if code is not None else line
        return str(self.file) if line is None else f"{self.file}:{line}"

    def told(self, error: BaseException, what: str = "") -> str:
        """What the function, or `what`, raised, in one line."""
        return f"{self.where(error)}: {what or self.name} raised {_in_a_line(error)}"

    def sha256(self) -> str:
        """Of the file; BadCode if it cannot be read."""
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()
        except OSError as error:
            raise BadCode(f"{self.file} cannot be read: {error.strerror}") from error


def user_function(text: str, below: Path | None = None) -> UserFunction | None:
    """The UserFunction that `text` names as FILE.py:name, relative to the folder `below` or to where the process is;
    None for any other text, and for a file or folder that is itself called so. Nothing is loaded.
    """
    found = _PLACE.fullmatch(text)
    folder = "" if below is None else str(below)
    if found is None or os.path.exists(os.path.join(folder, text)):
        return None
    file = os.path.abspath(os.path.join(folder, os.path.expanduser(found["file"])))
    return UserFunction(Path(file), found["name"])


@lru_cache(maxsize=64)
def _module(file: Path) -> ModuleType:
    if not file.is_file():
        raise BadCode(f"there is no file {file}; FILE.py:name is a function in a file of your own")
    name = f"leadline_user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    sys.path.insert(0, str(file.parent))  # for what the file imports from beside it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise BadCode(f"{error.filename or file}:{error.lineno}: {error.msg}") from error
    except Exception as error:  # it is the user's code: anything may be raised
        del sys.modules[name]
        line = _last_line(file, error.__traceback__)
        raise BadCode(f"{file}{'' if line is None else f':{line}'}: loading it raised {_in_a_line(error)}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _last_line(file: Path, trace: TracebackType | None) -> int | None:
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
