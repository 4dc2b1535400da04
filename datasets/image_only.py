"""Data set of images without masks in an LMDB (layouts: `datasets.lmdb_reading`), for domain adaptation.

Shapes: R resolution; everything stays uint8.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datasets.lmdb_reading import count_records, decode, image_key, read, read_meta, resize
from utils.errors import DataError

_SIZES = tuple(2**exponent for exponent in range(2, 14))


class ImageDataset(Dataset[Tensor]):
    """Images, decoded on access.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: side length R of the images; default: the largest stored size. Larger images are reduced by
            Lanczos, smaller ones are refused.

    Attributes:
        provenance: origin of the images (source, count, tool) as plain data.

    Raises:
        DataError: if the LMDB is missing, has another layout or no size of at least R; and on access: if a record is
            missing, cannot be decoded, or is smaller than R. The message names the record.
    """

    def __init__(self, path: str | Path, resolution: int | None = None) -> None:
        self.path = Path(path)
        if read(self.path, "length") is None:
            raise DataError(f"{self.path} is no LMDB of images without masks (no length key); give one")
        meta = read_meta(self.path)
        self.length = count_records(self.path, "length", meta)
        self.stored_size = self._choose_size(meta.get("resolution"), resolution)
        self.resolution = resolution or self.stored_size
        self.provenance = [
            {"source": meta.get("source", str(path)), "count": self.length, "tool": meta.get("tool", "")}
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        """Return image uint8 [3, R, R] of a record."""
        if not 0 <= index < self.length:
            raise IndexError(f"record {index} of {self.length} in {self.path}")
        key = image_key(self.stored_size, index)
        image = decode(self.path, key).convert("RGB")
        pixels = np.array(resize(image, self.resolution, Image.Resampling.LANCZOS, self.path, key))
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _choose_size(self, described: int | None, resolution: int | None) -> int:
        """Return the smallest sufficient size: such LMDBs may store each image at several sizes."""
        candidates = sorted({*_SIZES, described or 0})
        sizes = [size for size in candidates if read(self.path, image_key(size, 0)) is not None]
        if not sizes:
            raise DataError(f"{self.path} has no first image of any size (such as {image_key(256, 0)}); write it again")
        if resolution is None:
            return max(sizes)
        if max(sizes) < resolution:
            raise DataError(
                f"{self.path} holds images of sizes {sizes}, none of at least {resolution}; choose a lower resolution"
            )
        return min(size for size in sizes if size >= resolution)
