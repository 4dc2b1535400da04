"""Training on files as they lie, without preparing them: for small sets.

Shapes: R resolution.
"""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.crop_and_resize import Crop, crop_and_resize
from datasets.sources import Source, refuse_problems
from utils.errors import DataError


class SourceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a source, decoded and fitted on demand, as `datasets.image_mask.ImageMaskDataset` gives them.

    Args:
        source: files with masks.
        resolution: side length R of what is returned.
        crop: what becomes of pictures that are not square, see `datasets.crop_and_resize.crop_and_resize`.

    Raises:
        DataError: if the source has no masks, or problems in its list of files; and on access: a file that cannot be
            used. The message names it.
    """

    def __init__(self, source: Source, resolution: int, crop: Crop) -> None:
        if source.classes is None:
            raise DataError(
                f"{source.path} holds images alone; training needs masks, give data.masks"
                " (configs/adapt.yaml adapts a trained model to images alone)"
            )
        refuse_problems(source)
        self.source = source
        self.classes = source.classes
        self.resolution = resolution
        self.crop = crop
        self.provenance = [{"source": str(source.path), "count": len(source), "tool": ""}]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image uint8 [3, R, R] and label uint8 [R, R] of one record."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)} in {self.source.path}")
        record = self.source.read(index)
        try:
            image, label = crop_and_resize(record, self.resolution, self.crop)
        except DataError as error:
            raise DataError(f"{self.source.name(index)}: {error}") from None
        return torch.tensor(image).permute(2, 0, 1).contiguous(), torch.tensor(label)
