"""Images with class masks in an LMDB of the layout of the released program (`datasets.layouts`).

Shapes: R resolution. Everything stays uint8 here; see `datasets.transforms` for the rest of the
way, `datasets.lmdb_writer` for the writer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datasets.class_files import celebamask13, default_table
from datasets.labels import ClassTable
from datasets.layouts import record_keys
from datasets.lmdb_reading import count_records, decode, read, read_meta, reduce_picture
from datasets.palettes import LMDB_REMEDY, Palette, ReadBy, check_palette, used_palette
from utils.errors import ContradictionError, DataError

_LABEL_MODES = ("L", "P")


class ImageMaskDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label map, decoded on demand.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: side length R of what is returned; default: as stored. Larger pictures are reduced (images
            by Lanczos, labels by nearest), smaller ones are refused.
        num_classes: K the user expects; default: that of the stored class table, or the 13 of CelebAMask-HQ.
        read_by: "auto" refuses labels whose palettes contradict the class table, unless the description says "index";
            "index" takes their ids.
        classes: a class table in place of the stored or the default one.

    Attributes:
        classes: the class table given, the one stored with the data, or the default for K.
        provenance: where the records come from (source, count, tool), plain data.

    Raises:
        DataError: missing or foreign LMDB, lengths that differ, another K than the stored table, a first record that
            is not square or not of the size described; and on access:
            an undecodable record, sizes that do not fit, ids outside 0..K-1. The message names the record.
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
        self._compares = read_by == "auto" and meta.get("read_by") != "index"
        stored = self._stored_resolution()
        if meta.get("resolution", stored) != stored:
            raise DataError(
                f"{self.path}: meta says {meta['resolution']} pixels, but {record_keys(0)[0]} has {stored};"
                " write the data set again"
            )
        self.resolution = resolution or stored
        self.provenance = [
            {"source": meta.get("source", str(path)), "count": self.length, "tool": meta.get("tool", "")}
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image uint8 [3, R, R] and label uint8 [R, R] of one record."""
        return self.record(index)[:2]

    def record(self, index: int) -> tuple[Tensor, Tensor, Palette]:
        """Image uint8 [3, R, R], label uint8 [R, R] and the palette's colours of its ids, to be compared."""
        image_key, label_key = self._keys(index)
        image, (label, palette) = decode(self.path, image_key), self._decode_label(label_key)
        if image.size != label.size:
            raise DataError(
                f"{self.path}: {image_key} is {_size(image)} but {label_key} is {_size(label)}; store equal sizes"
            )
        pixels = self._pixels(image, image_key)
        ids = np.array(self._fit(label, label_key, Image.Resampling.NEAREST))
        self._check_ids(ids, label_key)
        return pixels, torch.from_numpy(ids), palette

    def image(self, index: int) -> Tensor:
        """Image uint8 [3, R, R] of one record, whose label is not read."""
        key = self._keys(index)[0]
        return self._pixels(decode(self.path, key), key)

    def _keys(self, index: int) -> tuple[str, str]:
        if not 0 <= index < self.length:
            raise IndexError(f"record {index} of {self.length} in {self.path}")
        return record_keys(index)

    def _pixels(self, image: Image.Image, key: str) -> Tensor:
        colors = image if image.mode == "RGB" else image.convert("RGB")
        pixels = np.array(self._fit(colors, key, Image.Resampling.LANCZOS))
        return torch.from_numpy(pixels).permute(2, 0, 1)  # a view: the pixels are put in order once, in the batch

    def _stored_resolution(self) -> int:
        key = record_keys(0)[0]
        width, height = decode(self.path, key).size
        if width != height:
            raise DataError(
                f"{self.path}: {key} is {width} x {height}; only square images can be used, crop them first"
            )
        return width

    def _decode_label(self, key: str) -> tuple[Image.Image, Palette]:
        picture = decode(self.path, key)
        if picture.format == "JPEG":
            raise DataError(f"{self.path}: {key} is a JPEG, whose losses change ids; store grey or palette PNGs")
        if picture.mode not in _LABEL_MODES:
            raise DataError(
                f"{self.path}: {key} has mode {picture.mode}, not 8-bit class ids; store grey or palette PNGs"
            )
        if not self._compares or picture.mode != "P":
            return picture, ()
        try:
            return picture, check_palette(used_palette(picture), self.classes, LMDB_REMEDY)
        except ContradictionError as error:
            raise ContradictionError(f"{self.path}: {key}: {error}") from None

    def _fit(self, picture: Image.Image, key: str, resampling: Image.Resampling) -> Image.Image:
        return reduce_picture(picture, self.resolution, resampling, self.path, key)

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
            f"{path} holds images alone; give a data set with masks"
            " (configs/adapt.yaml adapts a trained model to images alone)"
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
        return celebamask13() if num_classes is None else default_table(num_classes)
    try:
        table = ClassTable.from_dict(meta["classes"])
    except DataError as error:
        raise DataError(f"{path}: meta key: {error}") from None
    if num_classes not in (None, table.num_classes):
        raise DataError(
            f"{path} has {table.num_classes} classes, not {num_classes}; give other data, or set model.num_classes to"
            f" {table.num_classes} for a new training"
        )
    return table


def _size(picture: Image.Image) -> str:
    return f"{picture.width} x {picture.height}"
