"""What this machine can do at most: its matrix peak in three number formats, its memory, and the time that follows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.core.timing import repeat

if TYPE_CHECKING:
    import torch

SIZES = (512, 1024, 2048, 3072)
"""Edges of the square matrices that are multiplied."""

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Of one weight."""


def peaks(threads: int, sizes: tuple[int, ...] = SIZES, copied: int | None = None) -> dict[str, float]:
    """What `threads` threads of this machine reach: the best of several sizes and of several calls, by PyTorch.

    - `fp32`, `bf16`, `int8`: billions of operations a second (a multiply-accumulate is two) of a matrix product
    - `copy_gb_s`: 10^9 bytes a second, read and written, of a copy of `copied` bytes, by default more than the caches

    The number of PyTorch's threads is as before afterwards.
    """
    import torch

    from leadline.runtime.torch_threads import torch_threads

    with torch_threads(threads), torch.inference_mode():
        best = dict.fromkeys(("fp32", "bf16", "int8"), 0.0)
        for size in sizes:
            for name, call in _products(size):
                best[name] = max(best[name], 2 * size**3 / (_least_ms(call) * 1e6))
        return best | {"copy_gb_s": _copy_gb_s(copied or _beyond_caches())}


def bound_ms(peaks: Mapping[str, float], precision: str, macs: int, moved: int) -> float:
    """The least milliseconds for `macs` multiply-accumulates in `precision` and `moved` bytes, whichever takes longer.

    Runtimes compute fp16 as fp32 or bf16, so its peak is the better of the two.
    """
    peak = max(peaks["fp32"], peaks["bf16"]) if precision == "fp16" else peaks[precision]
    return max(2 * macs / (peak * 1e6), moved / (peaks["copy_gb_s"] * 1e6))


def moved_bytes(parameters: int, precision: str, size: tuple[int, int]) -> int:
    """The bytes that one inference has to move: each weight, the float32 input [3,h,w] and output [1,h,w], once."""
    return parameters * BYTES[precision] + 4 * 4 * size[0] * size[1]


def _products(size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Products of two square matrices: the format, and the call."""
    import torch

    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        out = torch.empty(size, size, dtype=dtype)
        yield name, lambda a=a, b=b, out=out: torch.mm(a, b, out=out)  # type: ignore[misc]
    # int8 by two APIs: a product that packs its second factor in each call, and a layer whose weights are packed once.
    a, b = (torch.randint(-127, 127, (size, size), dtype=torch.int8) for _ in range(2))
    if _runs(product := lambda: torch._int_mm(a, b)):
        yield "int8", product
    if _runs(layer := _int8_layer(a, b)):
        yield "int8", layer


def _int8_layer(a: torch.Tensor, b: torch.Tensor) -> Callable[[], object]:
    import torch

    size = len(a)
    scales, zeros = torch.ones(size), torch.zeros(size, dtype=torch.int64)
    unsigned = (a.int() + 128).clamp(0, 255).to(torch.uint8)
    packed: list[torch.Tensor] = []

    def call() -> object:
        if not packed:
            packed.append(torch.ops.onednn.qlinear_prepack(b, [size, size]))
        return torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, 0, packed[0], scales, zeros, None, 1e-3, 0, torch.uint8, "none", [], ""
        )

    return call


def _runs(call: Callable[[], object]) -> bool:
    """Whether this build of PyTorch and this processor have the call."""
    with contextlib.suppress(RuntimeError, AttributeError, NotImplementedError, TypeError):
        call()
        return True
    return False


def _copy_gb_s(n_bytes: int) -> float:
    import torch

    source = torch.ones(n_bytes // 4)  # not zeros: the system gives no memory to zeros before they are written
    target = torch.ones(n_bytes // 4)
    return 2 * n_bytes / (_least_ms(lambda: target.copy_(source)) * 1e6)


def _beyond_caches() -> int:
    """Bytes: more than the last cache, within 256 MiB to 1 GiB."""
    text = "".join(p.read_text() for p in Path("/sys/devices/system/cpu/cpu0/cache").glob("index3/size")).strip()
    cache = int(text[:-1]) * 1024 if text.endswith("K") and text[:-1].isdigit() else 0
    return min(max(cache + 2**26, 2**28), 2**30)


def _least_ms(call: Callable[[], object], at_least_s: float = 0.4) -> float:
    """The quickest of many calls: whatever else the machine does can only slow one down."""
    best = min(repeat(call, 3, warmup=2))
    return min([best, *repeat(call, int(at_least_s * 1000 / best))])
