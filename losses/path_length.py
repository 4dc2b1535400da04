"""Path length regularization (StyleGAN2, section 3.2, equation 4) with respect to the codes of all local layers.

Shapes: N samples, K parts, L local layers, D latent width, H x W images.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DECAY = 0.01  # step of the running mean toward the mean of a batch


class PathLength(NamedTuple):
    loss: Tensor  # scalar: mean of (length - running mean)^2
    mean: Tensor  # scalar: the updated running mean, detached


def path_lengths(image: Tensor, layer_codes: Tensor, noise: Tensor) -> Tensor:
    """Return the path length |J^T y| of each sample, [N], where J = d image / d layer_codes and y is random.

    A sample has K L codes; |J^T y| is the root mean square of the K L norms of their gradients.

    Args:
        image: generated from `layer_codes`, [N, 3, H, W].
        layer_codes: the code of every local layer, [N, K, L, D]; detached, so that no gradient reaches the mapping.
        noise: samples of N(0, 1) in the image's shape; y is noise / sqrt(H W).
    """
    projection = (image * noise).sum() / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad(projection, layer_codes, create_graph=True)
    return gradient.square().sum(-1).mean((1, 2)).sqrt()


def path_length_loss(
    lengths: Tensor, running_mean: Tensor, reduce_mean: Callable[[Tensor], Tensor] = lambda x: x
) -> PathLength:
    """Update the running mean of path lengths; return the loss, their mean squared deviation from it, and the mean.

    The gradient of the loss also flows through the update of the mean.

    Args:
        lengths: from `path_lengths`, [N].
        running_mean: the mean that the last call returned; 0 at the start.
        reduce_mean: differentiable function that averages a scalar over processes; by default there is one process.
    """
    mean = running_mean + DECAY * (reduce_mean(lengths.mean()) - running_mean)
    return PathLength((lengths - mean).square().mean(), mean.detach())
