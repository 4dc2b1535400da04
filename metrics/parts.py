"""Pictures of single parts, for the distances that otherwise see whole images."""

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2 import InterpolationMode, functional

MARGIN = 0.25  # of the longer side of a part's bounding box
MIN_AREA = 0.001  # of the picture: 4 pixels at 64 px, 262 at 512 px


def part_crops(
    images: Tensor, labels: Tensor, part: int, size: int, margin: float = MARGIN, min_area: float = MIN_AREA
) -> Tensor:
    """Squares around one part, uint8 [n, 3, size, size], bicubic with antialiasing.

    A square has the part's bounding box in its middle, and `margin` of the longer side free on both ends. It never
    leaves the picture, so that nothing must be made up: it is first moved, and if too large its margin gives way.

    Args:
        images: uint8 [N, 3, R, R].
        labels: class ids, [N, R, R].
        part: the class.
        size: side of the results, in px.
        margin: share of the longer side of the bounding box.
        min_area: samples are left out whose part covers less than this share of the picture, or has no pixel.
    """
    masks = labels == part
    areas = masks.flatten(1).sum(1)
    chosen = areas >= max(1, min_area * masks[0].numel()) if len(masks) else areas.bool()
    corners = _squares(masks[chosen], margin).tolist()
    crops = [
        functional.resized_crop(image, top, left, side, side, [size, size], InterpolationMode.BICUBIC, antialias=True)
        for image, (top, left, side) in zip(images[chosen], corners, strict=True)
    ]
    return torch.stack(crops) if crops else images.new_empty(0, 3, size, size)


def _squares(masks: Tensor, margin: float) -> Tensor:
    """[n, 3] long: top, left and side of a square around each mask [n, R, R], none of them empty."""
    resolution = masks.shape[-1]
    boxes = masks_to_boxes(masks)  # x0, y0, x1, y1, both ends included
    first, last = boxes[:, [1, 0]], boxes[:, [3, 2]] + 1
    side = ((last - first).amax(1, keepdim=True) * (1 + 2 * margin)).round().clamp(max=resolution)
    corner = ((first + last - side) / 2).floor().clamp(min=0).minimum(resolution - side)
    return torch.cat((corner, side), dim=1).long()
