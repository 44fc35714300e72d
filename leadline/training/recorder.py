"""A net whose answers are kept: what a loss with a second part looks at besides."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Recorder:
    """The net, whose questions and answers are kept for a second look: image, raw, and the finest of its maps."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.calls: list[tuple[Tensor, bool, Tensor]] = []

    def __call__(self, image: Tensor, raw: bool = False) -> Any:
        out = self.net(image, raw=raw)
        self.calls.append((image, raw, finest(out)))
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)


def finest(out: Any) -> Tensor:
    """The one answer of a net, or the first of its raw maps."""
    maps: list[Tensor] = out if isinstance(out, list) else [out]
    return maps[0]
