"""Data sets in LMDBs (layouts: `datasets.lmdb_reading`): images with class masks, and images alone.

Shapes: K classes, H x W resolution. All tensors are uint8; `datasets.transforms` converts them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.data_config import ReadBy, aspect_ratio, larger_images, not_of_ratio
from datasets.data_loader import PairDataset
from datasets.labels import ClassTable
from datasets.lmdb_reading import count_records, decode, image_key, pair_keys, read, read_meta, resize
from utils.errors import ContradictionError, DataError
from utils.sizes import Resolution, format_resolution, format_size, image_size, to_resolution

if TYPE_CHECKING:
    from datasets.mask_codes import Palette

_SIZES = tuple(2**exponent for exponent in range(2, 14))  # sizes that images without masks may be stored in


class _LmdbImages:
    """The images of an LMDB, decoded on access.

    Args:
        path: folder (or single file) of the LMDB.
        length_key: key that stores the number of records.

    Attributes:
        meta: stored description, see `datasets.lmdb_reading.read_meta`.
        provenance: origin of the records (source, count, tool) as plain data.
    """

    resolution: Resolution

    def __init__(self, path: Path, length_key: str) -> None:
        self.path = path
        self.meta = read_meta(path)
        self.length = count_records(path, length_key, self.meta)
        source, tool = self.meta.get("source", str(path)), self.meta.get("tool", "")
        self.provenance = [{"source": source, "count": self.length, "tool": tool}]

    def __len__(self) -> int:
        return self.length

    def image_key(self, index: int) -> str:
        raise NotImplementedError

    def image(self, index: int) -> Tensor:
        """Return the image of a record, uint8 [3, H, W], without reading its label."""
        self._check_index(index)
        key = self.image_key(index)
        return self._pixels(decode(self.path, key), key)

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self.length:
            raise IndexError(f"{self.path} has {self.length} records, no record {index}")

    def _pixels(self, image: Image.Image, key: str) -> Tensor:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        pixels = np.array(resize(rgb, self.resolution, Image.Resampling.LANCZOS, self.path, key))
        return torch.from_numpy(pixels).permute(2, 0, 1)  # a view: copied only once, into the batch


class ImageDataset(_LmdbImages):
    """Images without masks, for domain adaptation; read them with `image`.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: size H x W of the images; default: the largest stored size. Larger images of the same aspect ratio
            are reduced by Lanczos, others are refused.

    Attributes:
        stored_size: resolution of the stored images that are read.

    Raises:
        DataError: if the LMDB is missing, has another layout, or stores no size of at least H x W with this aspect
            ratio. On access: if a record is missing, cannot be decoded, or is smaller than H x W; the message names it.
    """

    def __init__(self, path: str | Path, resolution: Resolution | None = None) -> None:
        if read(Path(path), "length") is None:
            raise DataError(f"{path} is not an LMDB of images without masks (it has no key `length`); give one")
        super().__init__(Path(path), "length")
        self.stored_size = self._choose_size(resolution)
        self.resolution = resolution or self.stored_size

    def image_key(self, index: int) -> str:
        return image_key(self.stored_size, index)

    def _choose_size(self, resolution: Resolution | None) -> Resolution:
        """Return the smallest stored size that is at least `resolution`, or the largest one if `resolution` is None."""
        candidates = sorted({*_SIZES, self.meta.get("resolution", _SIZES[0])}, key=image_size)
        sizes = [size for size in candidates if read(self.path, image_key(size, 0)) is not None]
        if not sizes:
            raise DataError(f"{self.path} has no key of image 0, such as {image_key(256, 0)}; write the data set again")
        if resolution is None:
            return sizes[-1]
        fitting = [size for size in sizes if aspect_ratio(size) == aspect_ratio(resolution)]
        if not fitting:
            raise _other_ratio(self.path, sizes[-1], resolution)
        if (largest := image_size(fitting[-1])) < image_size(resolution):
            shown = ", ".join(map(format_resolution, fitting))
            raise DataError(
                f"{self.path} holds images of sizes [{shown}], none of at least {format_resolution(resolution)};"
                f" {larger_images(largest, resolution)}"
            )
        return next(size for size in fitting if image_size(size) >= image_size(resolution))


class ImageMaskDataset(_LmdbImages, PairDataset):
    """Pairs of image and label map.

    Args:
        path: folder (or single file) of the LMDB.
        resolution: size H x W of images and labels; default: as stored. Larger ones of the same aspect ratio are
            reduced (images by Lanczos, labels by nearest), others are refused.
        num_classes: expected K; default: that of the stored class table or, without one, 13 (CelebAMask-HQ).
        read_by: "auto" refuses labels if their palettes contradict the class table, unless the stored description says
            "index"; "index" reads the ids and ignores palettes.
        classes: class table that replaces the stored or default one.

    Attributes:
        stored_classes: the class table stored with the data, or the default one for K.

    Raises:
        DataError: if the LMDB is missing or has another layout or K, if its numbers of images and labels differ, or if
            its first image has another aspect ratio, is smaller than H x W, or does not have the described size. On
            access: if a record cannot be decoded, is smaller than H x W, its image and label differ in size, or its ids
            lie outside 0..K-1; the message names it.
    """

    def __init__(
        self,
        path: str | Path,
        resolution: Resolution | None = None,
        num_classes: int | None = None,
        read_by: ReadBy = "auto",
        classes: ClassTable | None = None,
    ) -> None:
        _check_lengths(Path(path))
        super().__init__(Path(path), "image-length")
        self.stored_classes = self._class_table(classes.num_classes if classes else num_classes)
        self.classes = classes or self.stored_classes
        self._checks_palettes = read_by == "auto" and self.meta.get("read_by") != "index"
        image = decode(self.path, first := self.image_key(0))
        stored = to_resolution(image.height, image.width)
        if (described := self.meta.get("resolution", stored)) != stored:
            raise DataError(
                f"{self.path}: its description says {format_resolution(described)}, but {first} has"
                f" {format_resolution(stored)}; write the data set again"
            )
        if resolution is not None and aspect_ratio(stored) != aspect_ratio(resolution):
            raise _other_ratio(self.path, stored, resolution)
        self.resolution = resolution or stored
        resize(image, self.resolution, Image.Resampling.NEAREST, self.path, first)  # refuses an image that is too small

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 [3, H, W] and label uint8 [H, W] of a record."""
        return self.record(index)[:2]

    def image_key(self, index: int) -> str:
        return pair_keys(index)[0]

    def record(self, index: int) -> tuple[Tensor, Tensor, "Palette"]:
        """Return image uint8 [3, H, W], label uint8 [H, W], and the palette of the label (empty if unchecked)."""
        self._check_index(index)
        image_key, label_key = pair_keys(index)
        image, (label, palette) = decode(self.path, image_key), self._decode_label(label_key)
        if image.size != label.size:
            raise DataError(
                f"{self.path}: {image_key} is {image.height}x{image.width} but {label_key} is"
                f" {label.height}x{label.width} (height x width); store both in the same size"
            )
        pixels = self._pixels(image, image_key)
        ids = np.array(resize(label, self.resolution, Image.Resampling.NEAREST, self.path, label_key))
        count = self.classes.num_classes
        if int(ids.max()) >= count:
            wrong = ", ".join(str(k) for k in np.unique(ids[ids >= count])[:8])
            raise DataError(
                f"{self.path}: {label_key} has ids {wrong} outside 0..{count - 1};"
                " correct the label, or give a class table with these ids"
            )
        return pixels, torch.from_numpy(ids), palette

    def content(self, index: int) -> list[bytes]:
        """Return the image and the label of a record as stored, without decoding them."""
        return [read(self.path, key) or b"" for key in pair_keys(index)]

    def _decode_label(self, key: str) -> tuple[Image.Image, "Palette"]:
        label = decode(self.path, key)
        if label.format == "JPEG" or label.mode not in ("L", "P"):
            kind = "is a JPEG, which is lossy and changes ids" if label.format == "JPEG" else f"has mode {label.mode}"
            raise DataError(f"{self.path}: {key} {kind}; store 8-bit class ids as grey or palette PNGs")
        if not self._checks_palettes or label.mode != "P":
            return label, ()
        from datasets.mask_codes import LMDB_REMEDY, check_palette, used_palette

        try:
            return label, check_palette(used_palette(label), self.classes, LMDB_REMEDY)
        except ContradictionError as error:
            raise ContradictionError(f"{self.path}: {key}: {error}") from None

    def _class_table(self, num_classes: int | None) -> ClassTable:
        """Return the stored class table, or the default one for this number of classes if none is stored."""
        if "classes" not in self.meta:
            from datasets.class_files import celebamask13, default_table

            return celebamask13() if num_classes is None else default_table(num_classes)
        try:
            table = ClassTable.from_dict(self.meta["classes"])
        except DataError as error:
            raise DataError(f"{self.path}: meta key: {error}; write the data set again") from None
        if num_classes not in (None, table.num_classes):
            counts = f"{table.num_classes} classes, not {num_classes}"
            raise DataError(f"{self.path} has {counts}: for a new run set model.num_classes={table.num_classes}")
        return table


def _check_lengths(path: Path) -> None:
    """Raise a DataError unless the LMDB holds pairs, with as many labels as images."""
    if read(path, "length") is not None:
        raise DataError(
            f"{path} holds images without masks; give a data set with masks"
            " (configs/adapt.yaml adapts a trained model to images without masks)"
        )
    if None in (read(path, "image-length"), read(path, "label-length")):
        raise DataError(
            f"{path} is an LMDB of another kind (it lacks the key image-length or label-length);"
            " give one with images and masks, as scripts.prepare_data writes"
        )
    images, labels = (count_records(path, key, {}) for key in ("image-length", "label-length"))
    if images != labels:
        raise DataError(f"{path}: {images} images but {labels} labels; write the data set again")


def _other_ratio(path: Path, stored: Resolution, resolution: Resolution) -> DataError:
    """Return the error that an LMDB holds images of another aspect ratio than the resolution."""
    size, option = format_size(image_size(stored)), format_resolution(resolution)
    remedy = f"prepare the original files with --resolution {option} --crop center, or use a model of {size} pixels"
    return DataError(f"{path} holds images of {size} pixels (height x width), {not_of_ratio(resolution)}; {remedy}")
