"""Random numbers for augmentation, one for each sample, on the device of a probability.

Shapes: N samples.
"""

import torch
from torch import Tensor


class Chance:
    """Draws for N samples; a change that does not occur is replaced by its neutral value."""

    def __init__(self, samples: int, probability: Tensor) -> None:
        self.samples = samples
        self.probability = probability

    def occurs(self, probability: Tensor | float) -> Tensor:
        """Bool [N], true with this probability."""
        return torch.rand(self.samples, device=self.probability.device) < probability

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in -1 to 1, [N, ...]."""
        return torch.rand(self.samples, *shape, device=self.probability.device) * 2 - 1

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """Normally distributed numbers about 0, [N, ...]."""
        return torch.randn(self.samples, *shape, device=self.probability.device) * deviation

    def sometimes(self, values: Tensor, neutral: float, probability: Tensor | None = None) -> Tensor:
        """Values [N, ...] where the change occurs, elsewhere the neutral one."""
        occurs = self.occurs(self.probability if probability is None else probability)
        return torch.where(occurs.view(-1, *[1] * (values.ndim - 1)), values, neutral)
