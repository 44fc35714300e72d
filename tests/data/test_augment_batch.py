"""A batch that is augmented on the device is the batch that workers would have made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset
from leadline.data.loader import Part, collate, loader
from leadline.data.options import View
from leadline.data.transforms.augment import augment
from leadline.data.transforms.batch import augmented, draw, gather

CPU = torch.device("cpu")
NO_COLOUR = View(size=(24, 40), zoom=(0.8, 2.0), stretch=1.3, rotate=15, jitter=0, colour_shift=0)


def frame(key: int) -> Item:
    """Smooth colours; depth in steps that are wider than a rounding of positions; frames of two sizes."""
    size = (48, 64) if key % 3 else (40, 90)
    rng = np.random.default_rng(key)
    y, x = np.mgrid[: size[0], : size[1]] / 16
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(0.2, 1.0, (3, 3))]
    image = (127 + 110 * np.stack(waves, -1)).astype(np.uint8)
    target = (1 + np.floor(x) + 10 * np.floor(y)).astype(np.float32)
    valid = np.floor(x + y) % 3 > 0
    return Item(image, np.where(valid, target, np.float32(0)), valid, f"f{key}")


def both(view: View, n: int = 12) -> tuple[Batch, Batch]:
    """The batch that workers make, and that of the device."""
    items = [augment(frame(i), np.random.default_rng(i), view) for i in range(n)]
    waiting = [draw(frame(i), np.random.default_rng(i), view) for i in range(n)]
    return collate(items), augmented(gather(waiting), CPU, view)


def share_close(a: torch.Tensor, b: torch.Tensor, within: float) -> float:
    return float(((a - b).abs() <= within).float().mean())


def test_a_batch_has_the_same_form_names_and_order() -> None:
    workers, device = both(NO_COLOUR)
    assert (device.name, device.pseudo_kind) == (workers.name, workers.pseudo_kind)
    assert device.pseudo_depth is None and workers.pseudo_depth is None
    for what in ("image", "target", "valid"):
        a, b = getattr(workers, what), getattr(device, what)
        assert a.shape == b.shape and a.dtype == b.dtype


@pytest.mark.parametrize(
    "view",
    [
        NO_COLOUR,
        replace(NO_COLOUR, rotate=0, stretch=1.0),
        replace(NO_COLOUR, zoom=(0.4, 0.6), flip=1.0),
        replace(NO_COLOUR, zoom=(1.0, 1.0), rotate=0, stretch=1.0, flip=0.0),
    ],
)
def test_the_same_draws_show_the_same_view(view: View) -> None:
    """Depth lies at the same pixels or, where a position falls between two, at the neighbour."""
    workers, device = both(view)
    assert share_close(workers.image, device.image, 1.5 / 255) > 0.99
    assert share_close(workers.target, device.target, 1e-4) > 0.99
    assert float((workers.valid == device.valid).float().mean()) > 0.99


@pytest.mark.parametrize("changes", [{"jitter": 0.4}, {"colour_shift": 0.2}, {"jitter": 0.3, "colour_shift": 0.1}])
def test_the_same_draws_show_the_same_colours(changes: dict[str, float]) -> None:
    workers, device = both(replace(NO_COLOUR, **changes))  # type: ignore[arg-type]
    assert share_close(workers.image, device.image, 5 / 255) > 0.99
    assert float((workers.image - device.image).mean().abs()) < 2 / 255


def test_what_is_not_in_the_frame_is_black_and_invalid() -> None:
    _, device = both(replace(NO_COLOUR, zoom=(0.4, 0.5), rotate=0))
    corners = device.image[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any() and not device.valid[:, :, [0, -1], [0, -1]].any()
    assert not device.target[~device.valid].any()


def test_depth_is_divided_by_the_zoom() -> None:
    view = replace(NO_COLOUR, zoom=(2.0, 2.0), rotate=0, stretch=1.0)
    _, device = both(view)
    seen = device.target[device.valid] * 2
    torch.testing.assert_close(seen, seen.round())


def test_batches_of_the_loader_are_the_same_either_way() -> None:
    from functools import partial

    data = Dataset("frames", tuple(range(9)), frame)
    view = replace(NO_COLOUR, jitter=0.2)
    plain = loader([Part(data, 4, partial(augment, view=view))], seed=5, workers=0)(3)
    waiting = loader([Part(data, 4, partial(draw, view=view))], seed=5, workers=1, gather=gather)(3)
    for _ in range(2):
        workers, device = next(plain), augmented(next(waiting), CPU, view)
        assert workers.name == device.name
        assert share_close(workers.target, device.target, 1e-4) > 0.98
        assert share_close(workers.image, device.image, 5 / 255) > 0.98


@pytest.mark.gpu
def test_a_gpu_shows_what_the_cpu_does() -> None:
    view = replace(NO_COLOUR, jitter=0.4, colour_shift=0.1)
    batch = gather([draw(frame(i), np.random.default_rng(i), view) for i in range(8)])
    here, there = augmented(batch, CPU, view), augmented(batch, torch.device("cuda"), view)
    assert there.image.is_cuda
    assert share_close(here.image, there.image.cpu(), 1e-3) > 0.99
    assert share_close(here.target, there.target.cpu(), 1e-4) > 0.99


def test_what_a_teacher_says_goes_with_its_frame() -> None:
    """Metres become fewer where a frame is enlarged, relative numbers do not; some frames have no teacher."""

    def taught(key: int) -> Item:
        whole = frame(key)
        kind = "metric" if key % 2 else "relative_depth"
        return whole if key % 4 == 3 else replace(whole, pseudo_depth=whole.target, pseudo_kind=kind)

    items = [augment(taught(i), np.random.default_rng(i), NO_COLOUR) for i in range(12)]
    workers = collate(items)
    device = augmented(
        gather([draw(taught(i), np.random.default_rng(i), NO_COLOUR) for i in range(12)]), CPU, NO_COLOUR
    )
    assert device.pseudo_kind == workers.pseudo_kind and device.pseudo_depth.shape == workers.pseudo_depth.shape
    assert share_close(workers.pseudo_depth, device.pseudo_depth, 1e-5) > 0.99
    assert not workers.pseudo_depth[3].any() and workers.pseudo_depth[1].any()
