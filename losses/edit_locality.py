"""Locality of edits: a part's code must not change the rest of the image.

Shapes: N samples, K parts, H x W images.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = Sequence[Tensor]  # before and after the edit
SMALL_CHANGE = 0.01  # mean absolute change of an image in [-1, 1] below which its share counts less


def locality_loss(images: Pair, masks: Pair, parts: Tensor, texture: Tensor) -> Tensor:
    """Return the share of an edit's change outside the edited part, plus the change of the masks there, a scalar.

    An edit that changes the image by much less than SMALL_CHANGE on average, as those of small parts do, costs its
    change outside the part divided by SMALL_CHANGE. Measured as a share, too, such edits lose their
    effect (docs/results.md).

    The part's region is its mask before or after the edit, whichever is larger, widened by 1/64 of the image's
    shorter side. Texture must not change the masks anywhere.

    Args:
        images: [N, 3, H, W] before and after the edit.
        masks: segmentations [N, K, H, W], about -1 to 1, before and after the edit; below 0 counts as outside.
        parts: edited part of each sample, long [N].
        texture: bool [N], True where the texture code was exchanged, False where the shape code was.
    """
    outside = 1 - _region(masks, parts)  # [N, H, W]
    change = (images[1] - images[0]).abs().mean(1)
    share = (change * outside).mean((1, 2)) / (change.mean((1, 2)) + SMALL_CHANGE)
    where = torch.where(texture[:, None, None], 1.0, outside)
    moved = ((masks[1] - masks[0]).abs().sum(1) * where).mean((1, 2))
    return (share + moved).mean()


@torch.no_grad()
def _region(masks: Pair, parts: Tensor) -> Tensor:
    samples = torch.arange(len(parts), device=parts.device)
    mask = torch.maximum(masks[0][samples, parts], masks[1][samples, parts]).float().clamp(0, 1)
    margin = max(1, min(mask.shape[1:]) // 64)
    return F.max_pool2d(mask[:, None], 2 * margin + 1, stride=1, padding=margin)[:, 0]
