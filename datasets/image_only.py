"""Images without masks in an LMDB of the common StyleGAN2 layout (`datasets.layouts`), for domain adaptation.

Shapes: R resolution; everything stays uint8.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datasets.layouts import image_key
from datasets.lmdb_reading import count_records, decode, read, read_meta, reduce_picture
from utils.errors import DataError

_SIZES = tuple(2**exponent for exponent in range(2, 14))


class ImageDataset(Dataset[Tensor]):
    """Images, decoded on demand.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: side length R of what is returned; default: the largest size stored. Larger pictures are reduced
            by Lanczos, smaller ones are refused.

    Raises:
        DataError: missing or foreign LMDB, no size of R or more; and on access: a record that is missing, cannot be
            decoded, or is smaller than R. The message names the record.
    """

    def __init__(self, path: str | Path, resolution: int | None = None) -> None:
        self.path = Path(path)
        if read(self.path, "length") is None:
            raise DataError(f"{self.path} is no LMDB of images alone (no length key); give one")
        meta = read_meta(self.path)
        self.length = count_records(self.path, "length", meta)
        self.stored_size = self._choose_size(meta.get("resolution"), resolution)
        self.resolution = resolution or self.stored_size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        """Image uint8 [3, R, R] of one record."""
        if not 0 <= index < self.length:
            raise IndexError(f"record {index} of {self.length} in {self.path}")
        key = image_key(self.stored_size, index)
        picture = decode(self.path, key).convert("RGB")
        picture = reduce_picture(picture, self.resolution, Image.Resampling.LANCZOS, self.path, key)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()

    def _choose_size(self, described: int | None, resolution: int | None) -> int:
        """The smallest stored size that will do: such LMDBs may hold each image at several."""
        candidates = sorted({*_SIZES, described or 0})
        sizes = [size for size in candidates if read(self.path, image_key(size, 0)) is not None]
        fitting = [size for size in sizes if resolution is None or size >= resolution]
        if not fitting:
            raise DataError(f"{self.path} holds images at {sizes or 'no size'}, none for {resolution}; choose another")
        return max(fitting) if resolution is None else min(fitting)
