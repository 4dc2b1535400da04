"""Locality of edits: the share of an image's change that lies inside the part that was edited.

Shapes: N samples, K classes, R resolution. An edit of part p turns an image and its label map into others:

- The change of a pixel is the absolute difference of its byte values, summed over the channels. It is an integer, so
  float64 sums are exact in any order and for any number of processes.
- The region of the edited part is its mask before or after the edit: hair that shrinks must uncover what is behind it.
  Every other pixel belongs to the class that it had before.
- Samples that contain the part neither before nor after, such as faces without glasses, are left out.
- Changes are added over all samples before they are divided, so that edits with almost no change, whose shares are
  mostly noise, hardly count.

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
    """Share of an image's change inside the part whose shape or texture was taken from another sample."""

    source = "edits"
    reduce = "sum"

    def update(self, batch: Edit) -> State:
        """Return the tensors of a `Locality` of one batch, with the kind of the edited code in their names."""
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
    """Changes by edits, summed by edited part and region. To merge the sums of two batches, add the three tensors."""

    def __init__(self, num_classes: int) -> None:
        self.change = torch.zeros(num_classes, num_classes, dtype=torch.float64)  # [edited part, region]
        self.area = torch.zeros_like(self.change)  # pixels
        self.samples = torch.zeros(num_classes, dtype=torch.long)  # samples that contain the part

    def update(self, part: int, before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor) -> None:
        """Add edits of one part: images uint8 [N, 3, R, R] and class ids [N, R, R], before and after."""
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
        """Return the share of the change in each region (column) for edits of each part (row): [K, K], rows sum to 1.

        Rows of parts that never appear, or whose edits change nothing, are nan.
        """
        return self.change / self.change.sum(1, keepdim=True)

    def chance(self) -> Tensor:
        """Return the diagonal [K] of `table` if all pixels changed alike: each part's share of the area."""
        return (self.area / self.area.sum(1, keepdim=True)).diagonal()

    def mean(self) -> float:
        """Return the mean of the table's diagonal, with 0 for nan, so that omitting a difficult part does not help."""
        return self.table().diagonal().nan_to_num(0).mean().item()
