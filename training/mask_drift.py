"""Mask drift of a fine-tuned generator (domain adaptation).

Shapes: N samples, D latent width, K classes, H x W images.
"""

import torch
from torch import Tensor

from datasets.transforms import segmentation_to_labels
from metrics.agreement import confusion, mean_iou
from models import Generator

_SEED = 0
_SAMPLES = 32


class MaskDrift:
    """Distance of a generator's masks from those of the pretrained model: 1 - mean IoU of their label maps, 0 to 1.

    Both generate from the same codes in W, mapped by the pretrained model, so changes of the mapping network do not
    count; their noise is fixed. The mean is over classes: small parts, such as eyes, count as much as large ones.
    `pretrained` and the generators to measure must be in eval mode and on the same device.
    """

    @torch.no_grad()
    def __init__(self, pretrained: Generator, batch_size: int) -> None:
        z = torch.randn(_SAMPLES, pretrained.config.latent_dim, generator=torch.Generator().manual_seed(_SEED))
        self._codes = pretrained.mapping(z.to(pretrained.positions.weight)).split(batch_size)
        self._labels = [_labels(pretrained, codes) for codes in self._codes]
        self._num_classes = pretrained.config.num_classes

    @torch.no_grad()
    def measure(self, generator: Generator) -> float:
        """Return the drift from the pretrained generator, 0 to 1; the global random state does not change."""
        counts = torch.zeros(self._num_classes, self._num_classes, dtype=torch.long)
        for codes, labels in zip(self._codes, self._labels, strict=True):
            counts += confusion(_labels(generator, codes), labels, self._num_classes).cpu()
        return 1 - mean_iou(counts)


def _labels(generator: Generator, codes: Tensor) -> Tensor:
    """Return the generator's label maps, uint8 [N, H, W], for codes w [N, D]."""
    return segmentation_to_labels(generator.synthesis(codes).segmentation)
