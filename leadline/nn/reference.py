"""Reference: a module that another one uses and does not own."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Reference(Generic[T]):
    """Holds `module` so that it does not become a child of the nn.Module that keeps this in an attribute.

    torch registers every module that is assigned to an attribute: its weights would be saved and trained with those of
    the holder, and `.to` and `.train` would reach it.
    """

    def __init__(self, module: T) -> None:
        self.module = module
