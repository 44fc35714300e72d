"""A criterion from a file of the user's own: `--loss FILE.py:name`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leadline.core.errors import BadCode
from leadline.core.user_code import UserFunction


@dataclass(frozen=True)
class UserLoss:
    """`function(pred, target, valid) -> scalar`, all [B,1,H,W], `valid` bool; it is never asked where nothing is valid.

    What is no loss is a BadCode with the file and the line: an exception, no tensor, several numbers, a number that is
    not finite for a prediction that is, or one through which no gradient flows, or none that is
    finite.
    """

    function: UserFunction

    def __call__(self, pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        if not bool(valid.any()):
            return (pred * 0).sum()
        if torch.is_grad_enabled() and pred.requires_grad:
            pred = pred.view_as(pred)  # a view: a hook on `pred` itself would see the gradients of other losses
            pred.register_hook(self._refuse_wild)  # type: ignore[no-untyped-call]
        value = self.function(pred, target, valid)
        if wrong := _wrong(value, pred):
            raise BadCode(f"{self.function.where()}: the loss {self.function.name} {wrong}")
        return value  # type: ignore[no-any-return]

    def _refuse_wild(self, gradient: Tensor) -> None:
        """A masked pixel with 0 / 0 leaves the loss finite, and makes its gradient NaN."""
        if not bool(torch.isfinite(gradient).all()):
            at = self.function
            raise BadCode(
                f"{at.where()}: the loss {at.name} has a gradient that is not finite; pixels that are not valid have "
                "the target 0: take pred[valid] and target[valid] before you divide or take a log"
            )


def user_loss(function: UserFunction) -> UserLoss:
    """The criterion; the file is loaded now, and BadCode says what is wrong with it."""
    function.refuse_unless_takes("pred", "target", "valid")
    return UserLoss(function)


def _wrong(value: Any, pred: Tensor) -> str:
    """Why `value` cannot be made small; "" if it can."""
    if not isinstance(value, Tensor):
        return f"gives {type(value).__name__}; a tensor with one number is needed"
    if value.ndim or not value.is_floating_point():
        return f"gives {value.dtype} of shape {list(value.shape)}; a scalar of floats is needed, such as x.mean()"
    if torch.is_grad_enabled() and pred.requires_grad and not value.requires_grad:
        return "does not depend on pred in a way that torch can differentiate (detach, numpy, a comparison?)"
    number = float(value.detach())
    if not torch.isfinite(value) and bool(torch.isfinite(pred).all()):
        return f"gives {number} for a finite prediction; divide by nothing that can be 0, and take no log or root of it"
    return ""
