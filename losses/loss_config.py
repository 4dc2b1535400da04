"""Configuration of the losses."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LossConfig:
    """Weights and intervals of the losses; the defaults are the paper's. Raise ValueError if a number is out of range.

    Attributes:
        relativistic: use `relativistic_loss`, which compares real and fake logits in pairs. ADA then compares
            `augment.target` with the mean sign of real minus fake logits.
        r1_image, r1_segmentation: gamma in gamma/2 * R1, for real images and segmentations.
        r2_image, r2_segmentation: gamma in gamma/2 * R2, for fake images and segmentations, in the same step as R1;
            if both are 0, R2 is off.
        r1_every: interval n: apply R1 and R2 in every n-th iteration, multiplied by n; 0: never.
        r1_scale_with_resolution: multiply the weights of R1 and R2 by (resolution / 512)^2 * 32 / batch_size, because
            they were chosen at 512 pixels and batches of 32. Leave it off for weights that were tuned at the run's own
            resolution and batch size.
        mask: weight of the mask regularization (paper, section 3.5).
        depth_cross_entropy: weight of a cross-entropy that also regularizes masks, see losses/mask.py; 0: off.
        path_length: weight of the path length regularization.
        path_length_every: interval n: apply this regularization in every n-th iteration, multiplied by n; 0: never.
        path_length_batch_share: fraction of each micro-batch for this regularization, at least one sample.
        style_mixing: probability that a sample mixes the styles of two codes.
        locality: weight of the penalty on changes outside a part whose shape or texture code is exchanged.
        locality_every: interval n: apply this penalty in every n-th iteration, multiplied by n; 0: never.
        unlabelled: weight of the adversarial losses, R1 and R2 on images without masks; a value other than 0 and
            the default requires `data.unlabelled`.
    """

    relativistic: bool = False
    r1_image: float = 10.0
    r1_segmentation: float = 1000.0
    r2_image: float = 0.0
    r2_segmentation: float = 0.0
    r1_every: int = 16
    r1_scale_with_resolution: bool = False
    mask: float = 100.0
    depth_cross_entropy: float = 0.0
    path_length: float = 0.5
    path_length_every: int = 4
    path_length_batch_share: float = 0.5
    style_mixing: float = 0.3
    locality: float = 0.0
    locality_every: int = 0
    unlabelled: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(getattr(self, field.name), int | float) and getattr(self, field.name) < 0:
                raise ValueError(f"losses.{field.name} = {getattr(self, field.name)}: choose 0 or more")
        if self.style_mixing > 1:
            raise ValueError(f"losses.style_mixing = {self.style_mixing}: choose a probability from 0 to 1")
        if not 0 < self.path_length_batch_share <= 1:
            raise ValueError(
                f"losses.path_length_batch_share = {self.path_length_batch_share}: choose a value above 0, at most 1"
            )
        if (self.locality > 0) != (self.locality_every > 0):
            raise ValueError(
                f"losses.locality = {self.locality:g} and losses.locality_every = {self.locality_every}: set both, "
                "such as losses.locality=0.2 losses.locality_every=4, or none"
            )

    @property
    def has_r2(self) -> bool:
        """True if R2, the penalty on fake samples, has a weight above 0."""
        return self.r2_image > 0 or self.r2_segmentation > 0
