"""Fréchet distance of crops of single parts. Shapes: N samples, n crops, F features, H x W images."""

from typing import Any

import torch
from torch import Tensor

from metrics.image_quality import frechet_distance
from metrics.registry import Metric, Number, Result, Samples, State, register

MARGIN = 0.25  # on each side of a part, relative to the longer side of its bounding box
MIN_AREA = 0.001  # smallest share of the image that a part must cover to be cut out: 5 pixels at 64 px, 263 at 512 px
MINIMUM = 50  # generated crops, and real crops, that a part needs: the distance between fewer is meaningless


@register("parts", better={"part_fid": None})  # not comparable: the mean is over the parts with enough crops
class PartQuality(Metric):
    """Fréchet distance between the generated and the real crops of each part, and its mean over the parts."""

    needs = ("extractor", "real")
    packages = ("torch_fidelity",)
    minimum = MINIMUM

    @property
    def limit(self) -> int:
        return min(self.config.part_samples, self.config.samples, self.real_count)

    def update(self, batch: Samples) -> State:
        """Return the features [n, F] of each part's crops, by class id as text; parts without crops are left out."""
        # Resizing rounds differently on a CPU and on a GPU, and real samples are on the CPU.
        images, labels = (x.to(self.extractor.device) for x in batch)
        crops = [part_crops(images, labels, part, self.extractor.size) for part in range(len(self.classes))]
        return {str(part): self.extractor.features(crop).pooled for part, crop in enumerate(crops) if len(crop)}

    def compute(self, generated: State, real: State) -> Result:
        distances: dict[str, float | None] = {}
        for part, name in enumerate(self.classes):
            pair = [state.get(str(part), torch.empty(0)) for state in (real, generated)]
            distances[name] = frechet_distance(*pair) if min(map(len, pair)) >= MINIMUM else None
        values = [value for value in distances.values() if value is not None]
        mean = Number(None, f"no part has {MINIMUM} generated and {MINIMUM} real crops in {self.limit} samples")
        if values:
            counts = f"mean of {len(values)} of {len(distances)} parts; {self.limit} generated, {self.limit} real"
            mean = Number(sum(values) / len(values), counts)
        return Result({"part_fid": mean}, {"part_fid": distances})

    def facts(self) -> dict[str, Any]:
        crops = {"samples": self.limit, "min_area": MIN_AREA, "margin": MARGIN}
        return {"what": "parts", **crops, **self.extractor.facts()}


def part_crops(
    images: Tensor, labels: Tensor, part: int, size: int, margin: float = MARGIN, min_area: float = MIN_AREA
) -> Tensor:
    """Cut a square around one part out of each image, and resize it: uint8 [n, 3, size, size].

    Images are uint8 [N, 3, H, W], labels are class ids [N, H, W]. The square is centred on the part's bounding box; if
    it does not fit, it is shifted inward and, if necessary, shrunk to the image's size. Resizing is bicubic with
    antialiasing. Samples without the part, or where its share of the image is below `min_area`, are left out.
    """
    from torchvision.transforms.v2 import InterpolationMode, functional

    masks = labels == part
    areas = masks.flatten(1).sum(1)
    large_enough = areas >= max(1, min_area * masks[0].numel()) if len(masks) else areas.bool()
    squares = _squares(masks[large_enough], margin).tolist()
    crops = [
        functional.resized_crop(image, top, left, side, side, [size, size], InterpolationMode.BICUBIC, antialias=True)
        for image, (top, left, side) in zip(images[large_enough], squares, strict=True)
    ]
    return torch.stack(crops) if crops else images.new_empty(0, 3, size, size)


def _squares(masks: Tensor, margin: float) -> Tensor:
    """Return a square (top, left, side) around each mask, long [n, 3]; the margin is a fraction of the mask's size."""
    from torchvision.ops import masks_to_boxes

    size = torch.tensor(masks.shape[1:], device=masks.device)
    boxes = masks_to_boxes(masks)  # x0, y0, x1, y1, both ends included
    first, last = boxes[:, [1, 0]], boxes[:, [3, 2]] + 1
    side = ((last - first).amax(1, keepdim=True) * (1 + 2 * margin)).round().clamp(max=min(masks.shape[1:]))
    corner = ((first + last - side) / 2).floor().clamp(min=0).minimum(size - side)
    return torch.cat((corner, side), dim=1).long()
