"""Holes and specks in generated and in real masks. Shapes: N samples, H x W images."""

from typing import Any

import torch

from metrics.registry import Metric, Number, Result, Samples, State, register
from utils.components import SPECK_SHARE, components, find_holes, find_specks


@register("specks", better={"holes": "lower", "specks": "lower", "holes_real": None, "specks_real": None})
class Specks(Metric):
    """Share of the masks in which other classes enclose background, and mean number of specks in a mask."""

    needs = ("real",)

    def update(self, batch: Samples) -> State:
        found = [components(labels) for labels in batch.labels.cpu().numpy()]
        holes = torch.tensor([bool(find_holes(each).any()) for each in found])
        return {"holes": holes, "specks": torch.tensor([int(find_specks(each).sum()) for each in found])}

    def compute(self, generated: State, real: State) -> Result:
        how = {
            "holes": "share of the masks in which other classes enclose background",
            "specks": f"mean number of specks, components of at most {SPECK_SHARE:.1%} of the pixels",
        }
        return Result(
            {
                f"{name}{suffix}": Number(state[name].double().mean().item(), text)
                for suffix, state in (("", generated), ("_real", real))
                for name, text in how.items()
            }
        )

    def facts(self) -> dict[str, Any]:
        return {"what": "specks", "share": SPECK_SHARE}
