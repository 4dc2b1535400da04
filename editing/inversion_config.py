"""Options of an inversion."""

from dataclasses import dataclass
from typing import Literal, get_args

from utils.errors import EditError

Space = Literal["w", "wplus", "wplus-noise"]
SPACES: tuple[Space, ...] = get_args(Space)


@dataclass(frozen=True)
class InversionConfig:
    """Options of an inversion."""

    space: Space = "wplus"  # optimize one vector ("w"), M vectors ("wplus"), or also noise maps ("wplus-noise")
    steps: int = 400  # number of Adam steps; 0 returns the initial codes
    rate: float = 0.2  # highest learning rate
    warmup: float = 0.05  # share of the steps in which the learning rate rises from 0
    rampdown: float = 0.25  # share of the steps in which the learning rate falls to 0, along a cosine
    mse: float = 30.0  # weight of the mean square error relative to the perceptual distance
    distance: float = 0.1  # weight of the mean square distance to the mean code, which keeps codes editable
    masks: float = 3.0  # weight of the cross-entropy between generated masks and labels
    balance: float = 0.5  # 0: all pixels of the masks count the same, 1: all classes; between, small parts still count
    noise: float = 1e5  # weight of `noise_penalty`

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise EditError(f"{self.steps} steps of inversion: give 0 or more")
