"""How well two label maps of the same pictures agree, class by class. Shapes: N samples, K classes, R resolution."""

import torch
from torch import Tensor

from metrics.registry import Metric, Number, Result, Samples, State, register
from metrics.report import by_class


@register("agreement", better={"agreement": "higher", "agreement_real": None})
class Agreement(Metric):
    """Mean IoU of a segmenter's labels with the generated masks, beside its mean IoU on held-out real pairs.

    The mean is over the classes of the real data. One that is never generated counts 0, so that leaving out what is
    hard gains nothing.
    """

    needs = ("segmenter",)
    reduce = "sum"

    def update(self, batch: Samples) -> State:
        """See `confusion`."""
        return {"confusion": confusion(self.segmenter(batch.images), batch.labels, len(self.classes))}

    def compute(self, generated: State, real: State) -> Result:
        """See `iou`."""
        scores, real_scores, facts = iou(generated["confusion"]), self.segmenter.iou, self.segmenter.facts
        in_data = ~real_scores.isnan()
        how = f"mean IoU of a segmenter's labels with the drawn masks, {int(in_data.sum())} classes of the data"
        how_real = f"the same segmenter ({facts.steps} steps, seed {facts.seed}) on real pairs held out from it"
        return Result(
            {
                "agreement": Number(scores[in_data].nan_to_num(0).mean().item(), how),
                "agreement_real": Number(facts.mean_iou, how_real),
            },
            {"iou_drawn": by_class(self.classes, scores), "iou_real": by_class(self.classes, real_scores)},
        )


def confusion(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Long [K, K]: how many pixels have the class of the row in `labels` and that of the column in `predicted`.

    Those of several batches add up.

    Args:
        predicted: class ids, uint8 [N, R, R], all below `num_classes`.
        labels: likewise.
        num_classes: K.

    Raises:
        ValueError: if the shapes differ or an id is too large.
    """
    if predicted.shape != labels.shape:
        raise ValueError(f"confusion: {list(predicted.shape)} predicted for labels {list(labels.shape)}")
    for ids in (predicted, labels):
        if ids.numel() and int(ids.max()) >= num_classes:
            raise ValueError(f"confusion: class {int(ids.max())} of {num_classes}")
    pairs = labels.flatten().long() * num_classes + predicted.flatten().long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def iou(confusion: Tensor) -> Tensor:
    """[K] float64: pixels of a class in both maps, over those in at least one; nan where a class is in neither."""
    both = confusion.diagonal().double()
    return both / (confusion.sum(0) + confusion.sum(1) - both)


def mean_iou(confusion: Tensor) -> float:
    """The mean IoU of the classes that occur in the labels; nan if there are no labels."""
    return iou(confusion)[confusion.sum(1) > 0].mean().item()
