"""What a weight file lacks, estimated from images: a layer that imitates two, a norm from the statistics behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def imitate_(stem: nn.Sequential, layers: nn.Module, images: Tensor) -> None:
    """Let `stem` give on its own what `stem` and then `layers` give, as nearly as one convolution can, in place.

    `stem` is convolution, batch norm, activation; `layers` end before that same activation. The kernel and shift are
    those of least squares over the pixels of `images` [B,3,H,W]; the batch norm learns its statistics.
    """
    conv, norm = stem[0], stem[1]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and conv.groups == 1
    assert norm.running_mean is not None and norm.running_var is not None
    was_training = stem.training
    with torch.no_grad():
        wanted = _rows(layers.eval()(stem.eval()(images))).double()
        patches = F.unfold(images, conv.kernel_size, conv.dilation, conv.padding, conv.stride)  # type: ignore[arg-type]
        patches = F.pad(patches.transpose(1, 2).flatten(0, 1), (0, 1), value=1.0).double()  # the last finds the shift
        found = torch.linalg.lstsq(patches.T @ patches, patches.T @ wanted, driver="gelsd").solution
        kernel, shift = found[:-1], found[-1]
        values = patches[:, :-1] @ kernel
        mean, deviation = values.mean(0), values.std(0, correction=0).clamp(min=1e-4)
        conv.weight.copy_((kernel / deviation).T.reshape(conv.weight.shape))  # its outputs have a variance of 1
        norm.running_mean.copy_(mean / deviation)
        norm.running_var.fill_(1.0)
        norm.weight.copy_(deviation * (1 + norm.eps) ** 0.5)
        norm.bias.copy_(shift + mean)
    stem.train(was_training)


def match_(
    norm: nn.BatchNorm2d, conv: nn.Conv2d, inputs: Tensor, rest: Tensor, after: nn.BatchNorm2d, steps: int = 100
) -> None:
    """Scale and shift of `norm` with which conv(relu(norm(inputs))) + rest has the statistics that `after` holds.

    In place; its own statistics become those of `inputs` [B,C,h,w]. `conv` is 1x1, so all is pointwise and some pixels
    stand for all. Found by Adam from where `norm` changes nothing; the distance is that of normal distributions, per
    channel: squared difference of means over the variance, and squared logarithm of the ratio of variances.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    assert after.running_mean is not None and after.running_var is not None
    mean, variance = after.running_mean, after.running_var
    values, rest = _some(_rows(inputs.detach())), _some(_rows(rest.detach()))
    weight = conv.weight[:, :, 0, 0].detach().T
    norm.running_mean.copy_(values.mean(0))
    norm.running_var.copy_(values.var(0, correction=0))
    deviation = torch.sqrt(norm.running_var + norm.eps)
    values = (values - norm.running_mean) / deviation
    gain, shift = deviation.clone().requires_grad_(), norm.running_mean.clone().requires_grad_()
    optimizer = torch.optim.Adam([gain, shift], lr=0.02)
    with torch.enable_grad():
        for _ in range(steps):
            out = torch.relu(values * gain + shift) @ weight + rest
            ratio = (out.var(0, correction=0) / variance).clamp(min=1e-3)
            distance = ((out.mean(0) - mean).square() / variance).mean() + ratio.log().square().mean()
            optimizer.zero_grad()
            distance.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        norm.weight.copy_(gain)
        norm.bias.copy_(shift)


def _rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(0, 2)  # [pixels, channels]


def _some(rows: Tensor, most: int = 4096) -> Tensor:
    return rows[:: max(1, len(rows) // most)]
