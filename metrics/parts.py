"""Fréchet distance of single parts, cut out of generated and of real images."""

from typing import Any

import torch
from torch import Tensor

from metrics.fid import frechet_distance
from metrics.registry import Metric, Number, Result, Samples, State, register

MARGIN = 0.25  # of the longer side of a part's bounding box
MIN_AREA = 0.001  # of the picture: 4 pixels at 64 px, 262 at 512 px
MINIMUM = 50  # crops, generated and real, below which a part's distance says nothing


@register("parts", better={"part_fid": None})  # a mean over the parts that are generated often enough
class Parts(Metric):
    """Fréchet distance of each part's cut-outs, and the mean."""

    needs = ("extractor", "real")
    packages = ("torch_fidelity",)
    minimum = MINIMUM

    @property
    def limit(self) -> int:
        """See `Metric.limit`."""
        return min(self.config.part_samples, self.config.samples, self.real_count)

    def update(self, batch: Samples) -> State:
        """Features [n, F] of the crops of every part that has any."""
        # Real samples come from the CPU, where resizing rounds otherwise than on a GPU.
        images, labels = (x.to(self.extractor.device) for x in batch)
        crops = [part_crops(images, labels, part, self.extractor.size) for part in range(len(self.classes))]
        return {str(part): self.extractor.features(cut).pooled for part, cut in enumerate(crops) if len(cut)}

    def compute(self, generated: State, real: State) -> Result:
        """See `frechet_distance`; the table has the distance of each part."""
        found: dict[str, float | None] = {}
        for part, name in enumerate(self.classes):
            pair = [state.get(str(part), torch.empty(0)) for state in (real, generated)]
            found[name] = frechet_distance(*pair) if min(map(len, pair)) >= MINIMUM else None
        values = [value for value in found.values() if value is not None]
        if values:
            counts = f"mean of {len(values)} of {len(found)} parts; {self.limit} drawn, {self.limit} real"
            mean = Number(sum(values) / len(values), counts)
        else:
            mean = Number(None, f"no part has {MINIMUM} pictures, drawn and real, in {self.limit} samples")
        return Result({"part_fid": mean}, {"part_fid": found})

    def facts(self) -> dict[str, Any]:
        """See `Metric.facts`."""
        cut = {"samples": self.limit, "min_area": MIN_AREA, "margin": MARGIN}
        return {"what": "parts", **cut, **self.extractor.facts()}


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
    from torchvision.transforms.v2 import InterpolationMode, functional

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
    from torchvision.ops import masks_to_boxes

    resolution = masks.shape[-1]
    boxes = masks_to_boxes(masks)  # x0, y0, x1, y1, both ends included
    first, last = boxes[:, [1, 0]], boxes[:, [3, 2]] + 1
    side = ((last - first).amax(1, keepdim=True) * (1 + 2 * margin)).round().clamp(max=resolution)
    corner = ((first + last - side) / 2).floor().clamp(min=0).minimum(resolution - side)
    return torch.cat((corner, side), dim=1).long()
