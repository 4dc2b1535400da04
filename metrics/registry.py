"""What can be measured, what each measurement needs, and how its results are called."""

from typing import Literal, NamedTuple, get_args

Extractor = Literal["efflite0", "inception"]
Better = Literal["lower", "higher"]


class Metric(NamedTuple):
    results: dict[str, Better | None]  # names of the numbers it gives, and which of two is better, if that is so
    from_features: bool = False  # so that its names tell the extractor


METRICS = {
    "fid": Metric({"fid": "lower"}, from_features=True),
    "kid": Metric({"kid": "lower", "kid_std": None}, from_features=True),
    "is": Metric({"is": "higher", "is_std": None}, from_features=True),
    "precision_recall": Metric({"precision": "higher", "recall": "higher"}, from_features=True),
    "ppl": Metric({"ppl": "lower", "ppl_efflite0": "lower"}),  # the first with the weights of LPIPS only
    "areas": Metric({"area_distance": "lower"}),
    "agreement": Metric({"agreement": "higher", "agreement_real": None}),
    "locality": Metric({"locality_shape": "higher", "locality_texture": "higher"}),
    "parts": Metric({"part_fid": None}, from_features=True),  # a mean over the parts that are drawn often enough
}
# Distances that are named after what they are usually taken with: with other features they are only like it.
_LIKE = {"fid": "fd", "kid": "kd", "kid_std": "kd_std", "part_fid": "part_fd"}


def result_name(result: str, extractor: Extractor) -> str:
    """What a number from an extractor's features is called: fid with Inception, fd_efflite0 with another."""
    return result if extractor == "inception" else f"{_LIKE.get(result, result)}_{extractor}"


def result_names(metric: str, extractor: Extractor) -> dict[str, Better | None]:
    """All numbers of a metric, and which of two is the better one."""
    found = METRICS[metric]
    return {
        result_name(name, extractor) if found.from_features else name: better for name, better in found.results.items()
    }


def best_direction(result: str) -> Better | None:
    """Whether lower or higher numbers of that name are better; None for an unknown name or one that cannot be."""
    for metric in METRICS:
        for extractor in get_args(Extractor):
            names = result_names(metric, extractor)
            if result in names:
                return names[result]
    return None
