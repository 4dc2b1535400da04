"""Locality of edits: how much of an image's change stays inside the part that was edited.

Shapes: N samples, K classes, R resolution. An edit of part p turns an image and its label map into others:

- The change of a pixel is the absolute difference of its byte values, summed over the channels. It is an integer, so
  float64 sums are exact in any order and for any number of processes. Shares do not depend on its scale.
- The region of the edited part is its mask before or after the edit: hair that shrinks must uncover what is behind it.
  Every other pixel belongs to the class that it had before.
- Samples without the part before and after, such as faces without glasses, are left out.
- Changes are added over all samples before they are divided. An edit that changes next to nothing has shares that are
  mostly noise; this way it hardly counts.

A large part contains a large share of any change. Report `Locality.chance`, the locality of an edit that changes all
pixels alike, alongside every locality.
"""

from typing import get_args

import torch
from torch import Tensor

from metrics.registry import CodeKind, Edit, Metric, Number, Result, State, register
from metrics.report import by_class, plain
from utils.errors import MetricError


@register("locality", better={"locality_shape": "higher", "locality_texture": "higher"})
class LocalityOfEdits(Metric):
    """Share of an image's change inside the part whose shape or texture was taken from another sample."""

    source = "edits"
    reduce = "sum"

    def update(self, batch: Edit) -> State:
        """Return the tensors of a `Locality`, [K, K] and [K], under the kind of code that was edited."""
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
    """Accumulates the edits of all parts into a table.

    The three tensors are the whole state; add those of several processes element by element.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.change = torch.zeros(num_classes, num_classes, dtype=torch.float64)  # [edited part, region]
        self.area = torch.zeros_like(self.change)
        self.samples = torch.zeros(num_classes, dtype=torch.long)  # samples with the part

    def update(self, part: int, before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor) -> None:
        """Add one batch of edits of a part.

        Args:
            part: class that was edited.
            before: images, uint8 [N, 3, R, R].
            after: the same samples after the edit.
            labels_before: class ids, [N, R, R].
            labels_after: class ids after the edit.

        Raises:
            MetricError: if shapes or types do not match.
        """
        _check(before, after, labels_before, labels_after)
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
        """Shares [K, K] of the change in each region (column) by edits of each part (row); rows sum to 1.

        Rows of parts that never appear, or whose edits change nothing, are nan.
        """
        return self.change / self.change.sum(1, keepdim=True)

    def chance(self) -> Tensor:
        """Diagonal [K] of `table` if every pixel changed alike: the part's share of the area."""
        return (self.area / self.area.sum(1, keepdim=True)).diagonal()

    def mean(self) -> float:
        """Mean of the table's diagonal over all K parts.

        A part without a row counts 0, so that a generator does not gain by omitting what is hard.
        """
        return self.table().diagonal().nan_to_num(0).mean().item()


def _check(before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor) -> None:
    n, _, height, width = before.shape
    is_bytes = before.dtype == after.dtype == torch.uint8
    same_labels = labels_before.shape == labels_after.shape == (n, height, width)
    if not is_bytes or before.shape != after.shape or not same_labels:
        shapes = ", ".join(f"{t.dtype} {list(t.shape)}" for t in (before, after, labels_before, labels_after))
        raise MetricError(f"locality: give two uint8 images [N, 3, R, R] and two label maps [N, R, R], not {shapes}")
