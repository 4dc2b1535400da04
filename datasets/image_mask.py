"""Data set of images with class masks in an LMDB (layouts: `datasets.lmdb_reading`).

Shapes: R resolution. Everything stays uint8 here; see `datasets.transforms`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datasets.data_config import ReadBy
from datasets.labels import ClassTable
from datasets.lmdb_reading import count_records, decode, pair_keys, read, read_meta, resize
from utils.errors import ContradictionError, DataError

if TYPE_CHECKING:
    from datasets.mask_codes import Palette


class ImageMaskDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label map, decoded on access.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: side length R of images and labels; default: as stored. Larger ones are reduced (images by
            Lanczos, labels by nearest), smaller ones are refused.
        num_classes: expected K; default: that of the stored class table, or the 13 of CelebAMask-HQ.
        read_by: "auto" refuses labels whose palettes contradict the class table, unless the stored description says
            "index"; "index" reads their ids.
        classes: class table that replaces the stored or default one.

    Attributes:
        stored_classes: the class table stored with the data, or the default one for K.
        classes: the class table in use.
        provenance: origin of the records (source, count, tool) as plain data.

    Raises:
        DataError: if the LMDB is missing, has another layout, lengths that differ or another K, or its first record
            is not square or not of the described size; and on access: if a record cannot be decoded, its sizes differ,
            or its ids lie outside 0..K-1. The message names the record.
    """

    def __init__(
        self,
        path: str | Path,
        resolution: int | None = None,
        num_classes: int | None = None,
        read_by: ReadBy = "auto",
        classes: ClassTable | None = None,
    ) -> None:
        self.path = Path(path)
        meta = read_meta(self.path)
        self.length = _count_pairs(self.path, meta)
        self.stored_classes = _class_table(self.path, meta, classes.num_classes if classes else num_classes)
        self.classes = classes or self.stored_classes
        self._checks_palettes = read_by == "auto" and meta.get("read_by") != "index"
        stored = self._stored_resolution()
        if meta.get("resolution", stored) != stored:
            raise DataError(
                f"{self.path}: meta says {meta['resolution']} pixels, but {pair_keys(0)[0]} has {stored};"
                " write the data set again"
            )
        self.resolution = resolution or stored
        self.provenance = [
            {"source": meta.get("source", str(path)), "count": self.length, "tool": meta.get("tool", "")}
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 [3, R, R] and label uint8 [R, R] of a record."""
        return self.record(index)[:2]

    def record(self, index: int) -> tuple[Tensor, Tensor, "Palette"]:
        """Return image uint8 [3, R, R], label uint8 [R, R] and the checked palette of the label."""
        image_key, label_key = self._keys(index)
        image, (label, palette) = decode(self.path, image_key), self._decode_label(label_key)
        if image.size != label.size:
            raise DataError(
                f"{self.path}: {image_key} is {image.width} x {image.height} but {label_key} is"
                f" {label.width} x {label.height}; store equal sizes"
            )
        pixels = self._pixels(image, image_key)
        ids = np.array(resize(label, self.resolution, Image.Resampling.NEAREST, self.path, label_key))
        self._check_ids(ids, label_key)
        return pixels, torch.from_numpy(ids), palette

    def image(self, index: int) -> Tensor:
        """Return image uint8 [3, R, R] of a record without reading its label."""
        key = self._keys(index)[0]
        return self._pixels(decode(self.path, key), key)

    def _keys(self, index: int) -> tuple[str, str]:
        if not 0 <= index < self.length:
            raise IndexError(f"record {index} of {self.length} in {self.path}")
        return pair_keys(index)

    def _pixels(self, image: Image.Image, key: str) -> Tensor:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        pixels = np.array(resize(rgb, self.resolution, Image.Resampling.LANCZOS, self.path, key))
        return torch.from_numpy(pixels).permute(2, 0, 1)  # a view: copied only once, into the batch

    def _stored_resolution(self) -> int:
        key = pair_keys(0)[0]
        width, height = decode(self.path, key).size
        if width != height:
            raise DataError(
                f"{self.path}: {key} is {width} x {height}; only square images can be used, crop them first"
            )
        return width

    def _decode_label(self, key: str) -> tuple[Image.Image, "Palette"]:
        label = decode(self.path, key)
        if label.format == "JPEG":
            raise DataError(f"{self.path}: {key} is a JPEG, which is lossy and changes ids; store grey or palette PNGs")
        if label.mode not in ("L", "P"):
            raise DataError(
                f"{self.path}: {key} has mode {label.mode}, not 8-bit class ids; store grey or palette PNGs"
            )
        if not self._checks_palettes or label.mode != "P":
            return label, ()
        from datasets.mask_codes import LMDB_REMEDY, check_palette, used_palette

        try:
            return label, check_palette(used_palette(label), self.classes, LMDB_REMEDY)
        except ContradictionError as error:
            raise ContradictionError(f"{self.path}: {key}: {error}") from None

    def _check_ids(self, ids: np.ndarray, key: str) -> None:
        count = self.classes.num_classes
        if int(ids.max()) >= count:
            wrong = ", ".join(str(k) for k in np.unique(ids[ids >= count])[:8])
            raise DataError(
                f"{self.path}: {key} has ids {wrong} outside 0..{count - 1}; correct it, or give a table with these ids"
            )


def _count_pairs(path: Path, meta: Mapping[str, Any]) -> int:
    if read(path, "length") is not None:
        raise DataError(
            f"{path} holds images without masks; give a data set with masks"
            " (configs/adapt.yaml adapts a trained model to images without masks)"
        )
    if None in (read(path, "image-length"), read(path, "label-length")):
        raise DataError(
            f"{path} is an LMDB of another kind (no image-length and label-length keys);"
            " give one with images and masks, as scripts.prepare_data writes"
        )
    images, labels = (count_records(path, key, {}) for key in ("image-length", "label-length"))
    if images != labels:
        raise DataError(f"{path}: {images} images but {labels} labels; write the data set again")
    return count_records(path, "image-length", meta)


def _class_table(path: Path, meta: Mapping[str, Any], num_classes: int | None) -> ClassTable:
    if "classes" not in meta:
        from datasets.class_files import celebamask13, default_table  # only for LMDBs of other programs

        return celebamask13() if num_classes is None else default_table(num_classes)
    try:
        table = ClassTable.from_dict(meta["classes"])
    except DataError as error:
        raise DataError(f"{path}: meta key: {error}") from None
    if num_classes not in (None, table.num_classes):
        raise DataError(
            f"{path} has {table.num_classes} classes, not {num_classes}; give other data, or set model.num_classes to"
            f" {table.num_classes} for a new training run"
        )
    return table
