"""Areas that the classes cover in generated and in real images."""

from typing import Any

from metrics.registry import Metric, Number, Result, Samples, State, register
from metrics.segmentation import pixel_counts, total_variation


@register("areas", better={"area_distance": "lower", "classes_in_proportion": "higher"})
class Areas(Metric):
    """Total variation distance of the classes' areas, and the classes with half to twice their area in the data."""

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
        areas = {kind: dict(zip(self.classes, share.tolist(), strict=True)) for kind, share in shares.items()}
        return Result(
            {
                "area_distance": Number(distance, "total variation of the classes' areas"),
                "classes_in_proportion": proportion(areas["drawn"], areas["real"]),
            },
            {f"area_{kind}": shares for kind, shares in areas.items()},
        )

    def facts(self) -> dict[str, Any]:
        """See `Metric.facts`."""
        return {"what": "areas"}


def proportion(generated: dict[str, float], real: dict[str, float]) -> Number:
    """Return how many classes of the data have half to twice their area in it, and which have less or more."""
    in_data = [name for name in real if real[name]]
    less = [name for name in in_data if generated[name] < real[name] / 2]
    more = [name for name in in_data if generated[name] > real[name] * 2]
    others = [f"{word}: {', '.join(names)}" for word, names in (("less", less), ("more", more)) if names]
    how = f"of {len(in_data)} classes have half to twice their area in the data"
    return Number(float(len(in_data) - len(less) - len(more)), "; ".join([how, *others]))
