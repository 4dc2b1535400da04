"""How much of an image's change stays inside the part that was edited.

Shapes: N samples, K classes, R resolution. An edit of part p turns an image and its label map into others:

- The change of a pixel is the absolute difference of its grey levels, summed over the channels: a whole number, so that
  float64 sums are exact, in any order and over any number of processes. Shares do not depend on its scale.
- The region of the edited part is its mask before or after: hair that shrinks uncovers what is behind it, and that is
  no fault. Every other pixel belongs to the class that it had before.
- Samples in which the part has no pixel before or after, such as faces without glasses, cannot change locally: they
  are left out.
- Changes are added over all samples before they are divided, so that an edit which hardly changes anything, whose
  shares are mostly chance, counts for as little as it changes.

A large part gets a large share of whatever happens. `Locality.chance` says what an edit would score which changes all
pixels alike, and belongs beside every locality.
"""

from typing import NamedTuple, get_args

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
        """The tensors of a `Locality`, each [K, K] or [K]."""
        found = Locality(len(self.classes))
        found.update(batch.part, batch.before.images, batch.after.images, batch.before.labels, batch.after.labels)
        return {f"{batch.kind}_{name}": value for name, value in vars(found).items()}

    def compute(self, generated: State, real: State) -> Result:
        """See `Locality`."""
        result = Result({})
        for kind in get_args(CodeKind):
            locality = Locality(len(self.classes))
            vars(locality).update({name: generated[f"{kind}_{name}"] for name in vars(locality)})
            counts = f"mean of {len(self.classes)} parts, {self.config.edit_samples} drawn"
            how = f"share of the change inside the part, {counts}; parts never drawn count 0"
            result.numbers[f"locality_{kind}"] = Number(locality.mean(), how)
            result.tables |= {
                f"edited_{kind}": dict(zip(self.classes, locality.samples.tolist(), strict=True)),
                f"locality_{kind}": by_class(self.classes, locality.table().diagonal()),
                f"chance_{kind}": by_class(self.classes, locality.chance()),
            }
            result.matrices[f"locality_{kind}"] = [plain(row) for row in locality.table()]
        return result


class Change(NamedTuple):
    change: Tensor  # [K] float64: change by region, with the edited part's own entry inside its old or new mask
    area: Tensor  # [K] float64: pixels of the same regions
    samples: int  # samples that have the part before or after; the others are not in the sums


def change_shares(
    before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor, part: int, num_classes: int
) -> Change:
    """Where one edit of a part changes images. Sums, not shares, so that batches add up.

    Args:
        before: images, uint8 [N, 3, R, R].
        after: the same samples after the edit.
        labels_before: class ids, [N, R, R].
        labels_after: the same samples after the edit.
        part: the class that was edited.
        num_classes: K.

    Raises:
        MetricError: if shapes or types do not fit.
    """
    _check(before, after, labels_before, labels_after)
    edited = (labels_before == part) | (labels_after == part)
    has_part = edited.flatten(1).any(1)
    regions = labels_before.long().masked_fill(edited, part)[has_part].flatten()
    change = (after[has_part].int() - before[has_part].int()).abs().sum(1).flatten()
    sums = torch.zeros(num_classes, dtype=torch.long, device=before.device).index_add_(0, regions, change.long())
    area = torch.bincount(regions, minlength=num_classes)
    return Change(sums.double().cpu(), area.double().cpu(), int(has_part.sum()))


class Locality:
    """Adds up edits of all parts into a table.

    The three tensors are the whole state: those of several processes are added element by element.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.change = torch.zeros(num_classes, num_classes, dtype=torch.float64)  # [edited part, region]
        self.area = torch.zeros_like(self.change)
        self.samples = torch.zeros(num_classes, dtype=torch.long)  # those that have the part

    def update(self, part: int, before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor) -> None:
        """Add one batch of edits of a part; arguments as of `change_shares`."""
        edit = change_shares(before, after, labels_before, labels_after, part, len(self.samples))
        self.change[part] += edit.change
        self.area[part] += edit.area
        self.samples[part] += edit.samples

    def table(self) -> Tensor:
        """[K, K]: row p says how the change by edits of part p spreads over the regions, summing to 1.

        Rows of parts that never appear, or whose edits change nothing, are nan.
        """
        return self.change / self.change.sum(1, keepdim=True)

    def chance(self) -> Tensor:
        """[K]: what `table`'s diagonal would be if every pixel changed alike: the share of the part's own area."""
        return (self.area / self.area.sum(1, keepdim=True)).diagonal()

    def mean(self) -> float:
        """The table's diagonal, averaged over all K parts.

        One without a row counts 0, so that a generator which never draws what is hard does not gain by it.
        """
        return self.table().diagonal().nan_to_num(0).mean().item()


def _check(before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor) -> None:
    n, _, height, width = before.shape
    is_bytes = before.dtype == after.dtype == torch.uint8
    same_labels = labels_before.shape == labels_after.shape == (n, height, width)
    if not is_bytes or before.shape != after.shape or not same_labels:
        given = ", ".join(f"{t.dtype} {list(t.shape)}" for t in (before, after, labels_before, labels_after))
        raise MetricError(f"locality: {given}: give two uint8 images [N, 3, R, R] and two label maps [N, R, R]")
