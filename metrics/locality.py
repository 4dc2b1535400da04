"""Locality of edits: the share of an image's change that lies inside the edited part.

Shapes: N samples, K classes, H x W images. An edit of one part changes the image and the label map:

- The change of a pixel is the absolute difference of its byte values, summed over the channels. It is an integer, so
  float64 sums are exact in any order and for any number of processes.
- Pixels that belong to the edited part before or after the edit form this part's region: hair that shrinks must uncover
  what is behind it. Every other pixel belongs to the region of the class that it had before the edit.
- Samples that contain the part neither before nor after the edit, such as faces without glasses, are left out.
- Shares are computed from sums over all samples. Edits with almost no change, whose own shares would be mostly noise,
  therefore hardly count.

A large part contains a large share of any change, so every locality is reported alongside `Locality.chance`, the
locality of an edit that changes all pixels alike.
"""

from typing import get_args

import torch
from torch import Tensor

from metrics.registry import CodeKind, Edit, Metric, Number, Result, State, register
from metrics.report import by_class, plain


@register("locality", better={"locality_shape": "higher", "locality_texture": "higher"})
class LocalityOfEdits(Metric):
    """Share of an image's change inside the edited part, which takes its shape or texture code from another sample."""

    source = "edits"
    reduce = "sum"

    def update(self, batch: Edit) -> State:
        """Return the tensors of a `Locality` of one batch; names begin with the edited code's kind, as "shape_area"."""
        locality = Locality(len(self.classes))
        locality.update(batch.part, batch.before.images, batch.after.images, batch.before.labels, batch.after.labels)
        return {f"{batch.kind}_{name}": value for name, value in vars(locality).items()}

    def compute(self, generated: State, real: State) -> Result:
        result = Result({})
        for kind in get_args(CodeKind):
            locality = Locality(len(self.classes))
            vars(locality).update({name: generated[f"{kind}_{name}"] for name in vars(locality)})
            counts = f"mean of {len(self.classes)} parts, {self.config.edit_samples} generated"
            how = f"share of the change inside the part, {counts}; parts never generated count 0"
            result.numbers[f"locality_{kind}"] = Number(locality.mean(), how)
            result.tables |= {
                f"edited_{kind}": dict(zip(self.classes, locality.samples.tolist(), strict=True)),
                f"locality_{kind}": by_class(self.classes, locality.table().diagonal()),
                f"chance_{kind}": by_class(self.classes, locality.chance()),
            }
            result.matrices[f"locality_{kind}"] = [plain(row) for row in locality.table()]
        return result


class Locality:
    """Sums over edits, by edited part and region. To merge the sums of two batches, add each of the three tensors."""

    def __init__(self, num_classes: int) -> None:
        self.change = torch.zeros(num_classes, num_classes, dtype=torch.float64)  # [edited part, region]
        self.area = torch.zeros_like(self.change)  # number of pixels
        self.samples = torch.zeros(num_classes, dtype=torch.long)  # [edited part]: number of samples that contain it

    def update(self, part: int, before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor) -> None:
        """Add edits of one part: images uint8 [N, 3, H, W] and class ids [N, H, W], before and after the edit."""
        num_classes = len(self.samples)
        edited = (labels_before == part) | (labels_after == part)
        has_part = edited.flatten(1).any(1)
        regions = labels_before.long().masked_fill(edited, part)[has_part].flatten()
        change = (after[has_part].int() - before[has_part].int()).abs().sum(1).flatten().long()
        sums = torch.zeros(num_classes, dtype=torch.long, device=before.device).index_add_(0, regions, change)
        self.change[part] += sums.double().cpu()
        self.area[part] += torch.bincount(regions, minlength=num_classes).double().cpu()
        self.samples[part] += int(has_part.sum())

    def table(self) -> Tensor:
        """Return each region's share of the change, [K, K]: edited parts in rows, regions in columns; rows sum to 1.

        Rows of parts that never appear, or whose edits change nothing, are nan.
        """
        return self.change / self.change.sum(1, keepdim=True)

    def chance(self) -> Tensor:
        """Return each part's share of the area, [K]: the diagonal of `table` for edits that change all pixels alike."""
        return (self.area / self.area.sum(1, keepdim=True)).diagonal()

    def mean(self) -> float:
        """Return the mean of the table's diagonal. nan counts 0, so that omitting a difficult part does not help."""
        return self.table().diagonal().nan_to_num(0).mean().item()
