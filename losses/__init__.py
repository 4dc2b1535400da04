"""Terms of the training objective. They take tensors and callables, never model classes."""

from losses.adversarial import discriminator_loss, generator_loss, relativistic_loss
from losses.edit_locality import locality_loss
from losses.gradient_penalty import gradient_penalties, penalty_scale
from losses.loss_config import LossConfig
from losses.mask import mask_loss
from losses.path_length import PathLength, path_length_loss, path_lengths

__all__ = [
    "LossConfig",
    "PathLength",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalties",
    "locality_loss",
    "mask_loss",
    "path_length_loss",
    "path_lengths",
    "penalty_scale",
    "relativistic_loss",
]
