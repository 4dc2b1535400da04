"""Weights and intervals of the losses."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LossConfig:
    """The defaults are the paper's. An interval of 0 switches its penalty off.

    Attributes:
        relativistic: judge each real pair against a drawn one, not by itself. What `augment.target` steers by is then
            the mean sign of these differences.
        r1_image, r1_segmentation: weights of R1 / 2, on the real pairs' images and segmentations.
        r2_image, r2_segmentation: likewise of R2 / 2, on drawn pairs, in the same step; 0 and 0 leave R2 out.
        r1_every: iterations between two such steps, whose penalties are scaled up by as much; 0 leaves out R1 and R2.
        r1_scale_with_resolution: read the weights of R1 and R2 as those for 512 pixels and batches of 32, and multiply
            them by (resolution / 512)^2 * 32 / batch_size. Weights that were chosen by hand for a smaller resolution
            are then reduced once more: give the 512 pixels' instead.
        path_length_batch_share: of the images of a pass, but one at least.
        style_mixing: probability.

    Raises:
        ValueError: if a value is negative, or the mixing probability above 1.
    """

    relativistic: bool = False
    r1_image: float = 10.0
    r1_segmentation: float = 1000.0
    r2_image: float = 0.0
    r2_segmentation: float = 0.0
    r1_every: int = 16
    r1_scale_with_resolution: bool = False
    mask: float = 100.0
    path_length: float = 0.5
    path_length_every: int = 4
    path_length_batch_share: float = 0.5
    style_mixing: float = 0.3

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(getattr(self, field.name), int | float) and getattr(self, field.name) < 0:
                raise ValueError(f"losses.{field.name} = {getattr(self, field.name)}: choose 0 or more")
        if self.style_mixing > 1:
            raise ValueError(f"losses.style_mixing = {self.style_mixing}: a probability is at most 1")
        if not 0 < self.path_length_batch_share <= 1:
            raise ValueError(
                f"losses.path_length_batch_share = {self.path_length_batch_share}: choose above 0, at most 1"
            )

    @property
    def has_r2(self) -> bool:
        """Whether drawn pairs are penalised too."""
        return self.r2_image > 0 or self.r2_segmentation > 0
