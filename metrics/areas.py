"""Class areas in generated and in real masks. Shapes: N samples, K classes, H x W images."""

from typing import Any

import torch
from torch import Tensor

from metrics.registry import Metric, Number, Result, Samples, State, register


@register("areas", better={"area_distance": "lower", "classes_in_proportion": "higher"})
class Areas(Metric):
    """Distance between generated and real class areas, and the number of classes with half to twice their real area."""

    needs = ("real",)
    reduce = "sum"

    def update(self, batch: Samples) -> State:
        return {"counts": pixel_counts(batch.labels, len(self.classes))}

    def compute(self, generated: State, real: State) -> Result:
        shares = {
            kind: state["counts"].double() / state["counts"].sum()
            for kind, state in (("drawn", generated), ("real", real))
        }
        distance = (shares["drawn"] - shares["real"]).abs().sum().item() / 2
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


def pixel_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Return the number of pixels of each class, long [K] on the CPU, in label maps of any shape with ids below K."""
    return torch.bincount(labels.flatten().long(), minlength=num_classes).cpu()


def proportion(generated: dict[str, float], real: dict[str, float]) -> Number:
    """Count the classes with half to twice their real area; the result's `how` lists the others. Areas are shares."""
    in_data = [name for name in real if real[name]]
    less = [name for name in in_data if generated[name] < real[name] / 2]
    more = [name for name in in_data if generated[name] > real[name] * 2]
    others = [f"{word}: {', '.join(names)}" for word, names in (("less", less), ("more", more)) if names]
    how = f"of {len(in_data)} classes have half to twice their area in the data"
    return Number(float(len(in_data) - len(less) - len(more)), "; ".join([how, *others]))
