"""Agreement between two label maps of the same images. Shapes: N samples, K classes, H x W images."""

import torch
from torch import Tensor

from metrics.registry import Metric, Number, Result, Samples, State, register
from metrics.report import by_class


@register("agreement", better={"agreement": "higher", "agreement_real": None})
class Agreement(Metric):
    """Mean IoU of a segmenter's labels with the generated masks and, for comparison, with the masks of held-out images.

    Both means are over the classes that occur in the held-out masks. A class that is never generated counts 0, so that
    omitting a difficult class does not improve the mean.
    """

    needs = ("segmenter",)
    reduce = "sum"

    def update(self, batch: Samples) -> State:
        return {"confusion": confusion(self.segmenter(batch.images), batch.labels, len(self.classes))}

    def compute(self, generated: State, real: State) -> Result:
        scores, facts = iou(generated["confusion"]), self.segmenter.facts
        real_scores = torch.tensor(facts.iou, dtype=torch.float64)
        in_data = ~real_scores.isnan()
        how = f"mean IoU of a segmenter's labels with the generated masks, {int(in_data.sum())} classes of the data"
        how_real = f"the same segmenter ({facts.steps} steps, seed {facts.seed}) on real pairs held out from it"
        return Result(
            {
                "agreement": Number(scores[in_data].nan_to_num(0).mean().item(), how),
                "agreement_real": Number(facts.mean_iou, how_real),
            },
            {"iou_drawn": by_class(self.classes, scores), "iou_real": by_class(self.classes, real_scores)},
        )


def confusion(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the confusion matrix of label maps uint8 [N, H, W]: numbers of pixels, long [K, K].

    Rows are classes in `labels`, columns are classes in `predicted`. Add the matrices of several batches to get their
    joint matrix. Raise ValueError if the shapes differ or a class id is K or more.
    """
    if predicted.shape != labels.shape:
        raise ValueError(f"predicted has shape {list(predicted.shape)}, labels {list(labels.shape)}: make them equal")
    for ids in (predicted, labels):
        if ids.numel() and int(ids.max()) >= num_classes:
            raise ValueError(f"class id {int(ids.max())} in a label map, but there are only {num_classes} classes")
    pairs = labels.flatten().long() * num_classes + predicted.flatten().long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def iou(confusion: Tensor) -> Tensor:
    """Return the IoU of each class, float64 [K], from a confusion matrix [K, K]; nan for a class in neither map."""
    both = confusion.diagonal().double()
    return both / (confusion.sum(0) + confusion.sum(1) - both)


def mean_iou(confusion: Tensor) -> float:
    """Return the mean IoU, from a confusion matrix, of the classes that occur in the labels; nan if there are none."""
    return iou(confusion)[confusion.sum(1) > 0].mean().item()
