"""Weights and intervals of the losses (spec section 5)."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LossConfig:
    """The defaults are the paper's. An interval of 0 switches its penalty off.

    Raises:
        ValueError: if a value is negative, or the mixing probability above 1.
    """

    r1_image: float = 10.0  # weight of R1 / 2 on the image
    r1_segmentation: float = 1000.0  # weight of R1 / 2 on the segmentation
    r1_every: int = 16  # iterations between two penalties, which are scaled up by as much
    mask: float = 100.0
    path_length: float = 0.5
    path_length_every: int = 4
    path_length_batch_share: float = 0.5  # of the images of a pass, but one at least
    style_mixing: float = 0.3  # probability

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"losses.{field.name} = {getattr(self, field.name)}: choose 0 or more")
        if self.style_mixing > 1:
            raise ValueError(f"losses.style_mixing = {self.style_mixing}: a probability is at most 1")
        if not 0 < self.path_length_batch_share <= 1:
            raise ValueError(
                f"losses.path_length_batch_share = {self.path_length_batch_share}: choose above 0, at most 1"
            )
