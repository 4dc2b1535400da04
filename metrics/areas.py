"""Areas of the classes in generated and in real images. Shapes: N samples, K classes, R resolution."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from metrics.registry import Metric, Number, Result, Samples, State, register


@register("areas", better={"area_distance": "lower", "classes_in_proportion": "higher"})
class Areas(Metric):
    """Total variation distance between generated and real class areas; number of classes within a factor of 2.

    A class counts if its generated area is within a factor of 2 of its real area.
    """

    needs = ("real",)
    reduce = "sum"

    def update(self, batch: Samples) -> State:
        return {"counts": pixel_counts(batch.labels, len(self.classes))}

    def compute(self, generated: State, real: State) -> Result:
        shares = {
            kind: state["counts"].double() / state["counts"].sum()
            for kind, state in (("drawn", generated), ("real", real))
        }
        distance = total_variation(shares["drawn"], shares["real"])
        areas = {kind: dict(zip(self.classes, share.tolist(), strict=True)) for kind, share in shares.items()}
        return Result(
            {
                "area_distance": Number(distance, "total variation distance of the classes' areas"),
                "classes_in_proportion": proportion(areas["drawn"], areas["real"]),
            },
            {f"area_{kind}": table for kind, table in areas.items()},
        )

    def facts(self) -> dict[str, Any]:
        return {"what": "areas"}


def class_areas(labels: Iterable[Tensor], num_classes: int) -> Tensor:
    """Return each class's share of all pixels, float64 [K], summing to 1.

    Args:
        labels: batches of class ids, uint8 [N, R, R], all below `num_classes`.
        num_classes: K.

    Raises:
        ValueError: if there is no pixel.
    """
    counts = torch.zeros(num_classes, dtype=torch.long)
    for batch in labels:
        counts += pixel_counts(batch, num_classes)
    if not counts.any():
        raise ValueError("class_areas: no labels to count")
    return counts.double() / counts.sum()


def pixel_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each class in ids [N, R, R], all below `num_classes`: long [K] on the CPU."""
    return torch.bincount(labels.flatten().long(), minlength=num_classes).cpu()


def total_variation(p: Tensor, q: Tensor) -> float:
    """Total variation distance of two distributions [K]: half the sum of |p - q|, 0 if equal, 1 if disjoint."""
    return (p - q).abs().sum().item() / 2


def proportion(generated: dict[str, float], real: dict[str, float]) -> Number:
    """Count the real classes whose generated area is half to twice the real area, and name those with less or more."""
    in_data = [name for name in real if real[name]]
    less = [name for name in in_data if generated[name] < real[name] / 2]
    more = [name for name in in_data if generated[name] > real[name] * 2]
    others = [f"{word}: {', '.join(names)}" for word, names in (("less", less), ("more", more)) if names]
    how = f"of {len(in_data)} classes have half to twice their area in the data"
    return Number(float(len(in_data) - len(less) - len(more)), "; ".join([how, *others]))
