"""What a compression step needs besides the net: batches to fine-tune on, a loss, and a validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leadline.data.loader import Batches
from leadline.nn.build import Net
from leadline.training.fit import Finish, Loss

Validate = Callable[[Net], float]
"""A net's accuracy, more is better, on images that it neither learned from nor is reported on."""


@dataclass(frozen=True)
class Recovery:
    """`batches` and `loss` as `fit` takes them; `validate` is how nets are compared."""

    batches: Batches
    loss: Loss
    validate: Validate | None = None
    finish: Finish | None = None


MakeRecovery = Callable[[], Recovery]
"""Makes the Recovery; what several processes are to use must survive pickling, as a partial of a module's function."""
