"""Path length regularization (StyleGAN2, section 3.2, equation 4) with respect to the codes of all local layers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DECAY = 0.01


class PathLength(NamedTuple):
    loss: Tensor  # scalar: mean of (length - running mean)^2
    mean: Tensor  # scalar: the updated running mean, detached


def path_lengths(image: Tensor, layer_codes: Tensor, noise: Tensor) -> Tensor:
    """Return |J^T y| of each sample, [N], with J = d image / d layer_codes and random y.

    The norm is the root mean square, over the K L codes of a sample, of the norm of each code's gradient.

    Args:
        image: generated from `layer_codes`, [N, 3, R, R].
        layer_codes: the code of every local layer, [N, K, L, D]; detached, so that no gradient reaches the mapping.
        noise: samples of N(0, 1) in the image's shape; y is noise / sqrt(H W).
    """
    projection = (image * noise).sum() / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad(projection, layer_codes, create_graph=True)
    return gradient.square().sum(-1).mean((1, 2)).sqrt()


def path_length_loss(
    lengths: Tensor, running_mean: Tensor, reduce_mean: Callable[[Tensor], Tensor] = lambda x: x
) -> PathLength:
    """Return the squared deviation of the path lengths from their updated running mean, and that mean.

    The gradient of the loss also flows through the update of the mean.

    Args:
        lengths: from `path_lengths`, [N].
        running_mean: the mean that the last call returned; 0 at the start.
        reduce_mean: differentiable mean over processes.
    """
    mean = running_mean + DECAY * (reduce_mean(lengths.mean()) - running_mean)
    return PathLength((lengths - mean).square().mean(), mean.detach())
