"""Distance between the areas that classes cover in generated and in real images."""

from typing import Any

from metrics.registry import Metric, Number, Result, Samples, State, register
from metrics.segmentation import pixel_counts, total_variation


@register("areas", better={"area_distance": "lower"})
class Areas(Metric):
    """Total variation distance of the classes' areas."""

    needs = ("real",)
    reduce = "sum"

    def update(self, batch: Samples) -> State:
        """Pixels of each class, [K]."""
        return {"counts": pixel_counts(batch.labels, len(self.classes))}

    def compute(self, generated: State, real: State) -> Result:
        """See `total_variation`; the tables have the share of each class."""
        shares = {
            kind: state["counts"].double() / state["counts"].sum()
            for kind, state in (("drawn", generated), ("real", real))
        }
        distance = total_variation(shares["drawn"], shares["real"])
        return Result(
            {"area_distance": Number(distance, "total variation of the classes' areas")},
            {f"area_{kind}": dict(zip(self.classes, share.tolist(), strict=True)) for kind, share in shares.items()},
        )

    def facts(self) -> dict[str, Any]:
        """See `Metric.facts`."""
        return {"what": "areas"}
