"""Path length regularisation (StyleGAN2, section 3.2) on the codes of every local layer."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DECAY = 0.01


class PathLength(NamedTuple):
    loss: Tensor  # scalar: mean of (length - mean)^2
    mean: Tensor  # scalar: the updated running mean, detached


def path_lengths(image: Tensor, layer_codes: Tensor, noise: Tensor) -> Tensor:
    """[N]: how far the image moves when the codes do.

    Args:
        image: drawings of `layer_codes`, [N, 3, R, R].
        layer_codes: the code of every local layer, [N, K, L, D]; a leaf, so that no gradient reaches the mapping.
        noise: N(0, 1) draws in the image's shape.
    """
    projection = (image * noise).sum() / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad(projection, layer_codes, create_graph=True)
    return gradient.square().sum(-1).mean((1, 2)).sqrt()


def path_length_loss(
    lengths: Tensor, running_mean: Tensor, reduce_mean: Callable[[Tensor], Tensor] = lambda x: x
) -> PathLength:
    """Deviation of the lengths [N] from their running mean (scalar), which is updated first.

    The gradient flows through that update.

    Args:
        lengths: from `path_lengths`.
        running_mean: as the last call returned it; 0 at the start.
        reduce_mean: differentiable mean over processes.
    """
    mean = running_mean + DECAY * (reduce_mean(lengths.mean()) - running_mean)
    return PathLength((lengths - mean).square().mean(), mean.detach())
