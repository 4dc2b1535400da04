"""Images with class masks in an LMDB: the layout of the released program (spec section 6).

Keys: `image-0000000` (JPEG bytes), `label-0000000` (PNG bytes, 8-bit class ids), `image-length` and `label-length`
(ASCII digits). Ours add `meta`, JSON with the class table and where the data come
from; other readers of the layout ignore it.

Shapes: R resolution. Everything stays uint8 here; see `datasets.transforms` for the rest of the
way, `datasets.lmdb_writer` for the writer.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datasets._lmdb import environment
from datasets.errors import DataError
from datasets.labels import ClassTable, celebamask13, default_table
from datasets.lmdb_writer import record_keys

_LABEL_MODES = ("L", "P")


class ImageMaskDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label map, decoded on demand.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: side length R of what is returned; default: as stored. Larger pictures are reduced (images
            by Lanczos, labels by nearest), smaller ones are refused.
        num_classes: K the user expects; default: that of the stored class table, or the 13 of CelebAMask-HQ.

    Attributes:
        classes: the class table stored with the data, or the default for K.

    Raises:
        DataError: missing or foreign LMDB, lengths that differ, another K than the stored table; and on access:
            an undecodable record, sizes that do not fit, ids outside 0..K-1. The message names the record.
    """

    def __init__(self, path: str | Path, resolution: int | None = None, num_classes: int | None = None) -> None:
        self.path = Path(path)
        self.length = self._read_length()
        self.classes = _class_table(self.path, self._read_meta(), num_classes)
        self.resolution = resolution or self._stored_resolution()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image uint8 [3, R, R] and label uint8 [R, R] of one record."""
        if not 0 <= index < self.length:
            raise IndexError(f"record {index} of {self.length} in {self.path}")
        image_key, label_key = record_keys(index)
        image, label = self._decode(image_key), self._decode(label_key)
        if image.size != label.size:
            raise DataError(
                f"{self.path}: {image_key} is {_size(image)} but {label_key} is {_size(label)}; store equal sizes"
            )
        pixels = np.array(self._fit(image.convert("RGB"), image_key, Image.Resampling.LANCZOS))
        ids = np.array(self._fit(label, label_key, Image.Resampling.NEAREST))
        self._check_ids(ids, label_key)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.from_numpy(ids)

    def _get(self, key: str) -> bytes | None:
        try:
            with environment(self.path).begin() as transaction:
                return transaction.get(key.encode())
        except lmdb.Error as error:
            raise DataError(f"{self.path}: cannot read {key} ({error}); the file is damaged, write it again") from None

    def _read_length(self) -> int:
        counts = [self._get(f"{kind}-length") for kind in ("image", "label")]
        if None in counts:
            raise DataError(
                f"{self.path} is an LMDB of another kind (no image-length and label-length keys);"
                " give one with images and masks, as scripts.make_faces writes"
            )
        images, labels = (_ascii_count(count or b"", self.path) for count in counts)
        if images != labels:
            raise DataError(f"{self.path}: {images} images but {labels} labels; write the data set again")
        if images < 1:
            raise DataError(f"{self.path} holds no records; write the data set again")
        return images

    def _read_meta(self) -> Mapping[str, Any]:
        stored = self._get("meta")
        if stored is None:
            return {}
        try:
            meta = json.loads(stored)
        except ValueError:
            meta = None
        if not isinstance(meta, dict):
            raise DataError(f"{self.path}: the meta key is not a JSON object; write the data set again")
        return meta

    def _stored_resolution(self) -> int:
        key = record_keys(0)[0]
        width, height = self._decode(key).size
        if width != height:
            raise DataError(
                f"{self.path}: {key} is {width} x {height}; only square images can be used, crop them first"
            )
        return width

    def _decode(self, key: str) -> Image.Image:
        stored = self._get(key)
        if stored is None:
            raise DataError(f"{self.path}: record {key} is missing; write the data set again")
        try:
            picture = Image.open(io.BytesIO(stored))
            picture.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise DataError(f"{self.path}: record {key} cannot be decoded; write the data set again") from None
        if key.startswith("label") and picture.mode not in _LABEL_MODES:
            raise DataError(
                f"{self.path}: {key} has mode {picture.mode}, not 8-bit class ids; store grey or palette PNGs"
            )
        return picture

    def _fit(self, picture: Image.Image, key: str, resampling: Image.Resampling) -> Image.Image:
        wanted = (self.resolution, self.resolution)
        if picture.size == wanted:
            return picture
        if picture.width != picture.height or picture.width < self.resolution:
            raise DataError(
                f"{self.path}: {key} is {_size(picture)}, which cannot become {wanted[0]} x {wanted[1]};"
                " only larger squares can be reduced, choose a lower resolution"
            )
        return picture.resize(wanted, resampling)

    def _check_ids(self, ids: np.ndarray, key: str) -> None:
        count = self.classes.num_classes
        if int(ids.max()) >= count:
            wrong = ", ".join(str(k) for k in np.unique(ids[ids >= count])[:8])
            raise DataError(
                f"{self.path}: {key} has ids {wrong} outside 0..{count - 1}; correct it or raise num_classes"
            )


def _class_table(path: Path, meta: Mapping[str, Any], num_classes: int | None) -> ClassTable:
    if "classes" not in meta:
        return celebamask13() if num_classes is None else default_table(num_classes)
    try:
        table = ClassTable.from_dict(meta["classes"])
    except DataError as error:
        raise DataError(f"{path}: meta key: {error}") from None
    if num_classes not in (None, table.num_classes):
        raise DataError(
            f"{path} has {table.num_classes} classes, not {num_classes}; set num_classes to {table.num_classes}"
        )
    return table


def _ascii_count(stored: bytes, path: Path) -> int:
    if not stored.isdigit():
        raise DataError(f"{path}: image-length and label-length must be decimal digits; write the data set again")
    return int(stored)


def _size(picture: Image.Image) -> str:
    return f"{picture.width} x {picture.height}"
