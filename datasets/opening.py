"""Data sets opened from the options of a run: LMDBs or folders of files, with or without masks, single or joined.

The modules that read LMDBs and those that read folders are imported only when such data are opened.

Shapes: H x W resolution. Images and labels stay uint8 here; see `datasets.transforms`.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from datasets.data_config import Crop, DataConfig, FolderOptions, is_lmdb
from datasets.data_loader import PairDataset
from datasets.labels import ClassTable
from utils.errors import DataError
from utils.progress import progress
from utils.sizes import Resolution, format_resolution, image_size

if TYPE_CHECKING:
    from datasets.image_mask import ImageDataset, ImageMaskDataset
    from datasets.sources import FileSource

_NO_PATHS: Mapping[str, Sequence[str]] = {}
_FOR_FOLDERS = ("images_folder", "masks", "image_suffix", "mask_suffix", "skip_unpaired", "read_by", "classes", "crop")


class FolderDataset(PairDataset):
    """Pairs of image and mask files, decoded, cropped and resized on access: for small data sets.

    Args:
        source: the files; if they have no masks, only `image` can be used.
        resolution: size H x W of images and labels.
        crop: what to do with images of another aspect ratio, see `datasets.crop_and_resize.crop_and_resize`.

    Raises:
        DataError: if the files have problems; and on access, if a file cannot be used. The message names the file.
    """

    def __init__(self, source: "FileSource", resolution: Resolution, crop: Crop) -> None:
        source.refuse_problems()
        self.source = source
        self.resolution = resolution
        self.crop = crop
        self.provenance = [{"source": str(source.path), "count": len(source), "tool": ""}]
        if source.classes is not None:
            self.classes = source.classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 [3, H, W] and label uint8 [H, W] of a record."""
        image, label = self.source.read_resized(index, self.resolution, self.crop)
        return torch.tensor(image).permute(2, 0, 1).contiguous(), torch.tensor(label)

    def image(self, index: int) -> Tensor:
        """Return image uint8 [3, H, W] of a record."""
        image = self.source.read_resized(index, self.resolution, self.crop).image
        return torch.tensor(image).permute(2, 0, 1).contiguous()


class ShardedDataset(ConcatDataset[tuple[Tensor, Tensor]], PairDataset):
    """Several data sets of images and masks with the same classes and resolution, joined one after the other.

    Args:
        shards: the data sets.
        names: paths of the data sets, for messages.

    Raises:
        DataError: if their classes or resolutions differ; the message names two of the data sets.
    """

    def __init__(self, shards: Sequence[PairDataset], names: Sequence[str]) -> None:
        super().__init__(shards)
        self.shards = shards
        self.classes = shards[0].classes
        self.resolution = shards[0].resolution
        self.provenance = [origin for shard in shards for origin in shard.provenance]
        for shard, name in zip(shards, names, strict=True):
            if shard.resolution != self.resolution:
                sizes = [format_resolution(data.resolution) for data in (shard, shards[0])]
                raise DataError(
                    f"{name} has images of {sizes[0]} pixels, but {names[0]} of {sizes[1]}; prepare both with the same"
                    " resolution"
                )
            if difference := first_difference(shard.classes, self.classes):
                raise DataError(
                    f"{name} has other classes than {names[0]}: {difference}; prepare both with the same class table"
                )


class ImagesOnlyDataset(Dataset[tuple[Tensor]]):
    """Images of one or several data sets, joined one after the other, without masks, for domain adaptation."""

    def __init__(self, shards: Sequence["ImageMaskDataset | ImageDataset | FolderDataset"]) -> None:
        self.shards = shards
        self.provenance = [origin for shard in shards for origin in shard.provenance]
        self._ends = list(accumulate(map(len, shards)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor]:
        """Return a tuple that holds only the image of a record, uint8 [3, H, W]."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} is outside 0..{len(self) - 1}")
        shard = bisect_right(self._ends, index)
        return (self.shards[shard].image(index - (self._ends[shard - 1] if shard else 0)),)


def open_dataset(
    config: DataConfig,
    resolution: Resolution | None = None,
    num_classes: int | None = None,
    others: Mapping[str, Sequence[str]] = _NO_PATHS,
) -> PairDataset:
    """Open the images with masks in `config.path` as one data set.

    Args:
        config: options of the data.
        resolution: size H x W of images and labels; None: as stored, only for LMDBs.
        num_classes: required number of classes; None: any.
        others: other paths that are opened with these options, by the name of their option; an option for folders is
            accepted if any path is a folder.

    Raises:
        DataError: if no path is given or one cannot be used, the data sets have different classes or not
            `num_classes`, or an option for folders is given without a folder.
    """
    _check(config, "images and masks", others)
    if resolution is not None and min(image_size(resolution)) < 1:
        raise DataError(f"resolution = {format_resolution(resolution)}: choose a value above 0")
    shards = [_open_pairs(path, config, resolution, num_classes) for path in config.path]
    dataset = shards[0] if len(shards) == 1 else ShardedDataset(shards, config.path)
    dataset.paths = config.path
    return dataset


def open_images(config: DataConfig, resolution: Resolution) -> ImagesOnlyDataset:
    """Open the images in `config.path`, resized to the resolution, for domain adaptation; masks are ignored.

    Raises:
        DataError: if no path is given, one cannot be used or holds no images, or an option for folders is given without
            a folder.
    """
    _check(config, "images")
    return ImagesOnlyDataset([_open_images(path, config, resolution) for path in config.path])


def folder_sources(dataset: PairDataset | ImagesOnlyDataset) -> list["FileSource"]:
    """Return the sources of those parts of a data set that are folders of files."""
    shards = dataset.shards if isinstance(dataset, ShardedDataset | ImagesOnlyDataset) else [dataset]
    return [shard.source for shard in shards if isinstance(shard, FolderDataset)]


def _open_pairs(path: str, config: DataConfig, resolution: Resolution | None, num_classes: int | None) -> PairDataset:
    if is_lmdb(path):
        from datasets.image_mask import ImageMaskDataset

        # "color" can only be meant for a folder that is opened with this LMDB.
        return ImageMaskDataset(path, resolution, num_classes, "index" if config.read_by == "index" else "auto")
    if resolution is None:
        raise DataError(f"{path} is a folder of images, which may have any size: give --resolution")
    source = _find_files(path, replace(config, images_only=False))
    if num_classes is not None and source.classes is not None and source.classes.num_classes != num_classes:
        raise DataError(
            f"{path} has {source.classes.num_classes} classes, not {num_classes}; give a class table with"
            f" {num_classes} classes, or set model.num_classes={source.classes.num_classes} for a new training run"
        )
    return FolderDataset(source, resolution, config.crop)


def _open_images(
    path: str, config: DataConfig, resolution: Resolution
) -> "ImageMaskDataset | ImageDataset | FolderDataset":
    if not is_lmdb(path):
        return FolderDataset(_find_files(path, replace(config, images_only=True)), resolution, config.crop)
    from datasets.image_mask import ImageDataset, ImageMaskDataset
    from datasets.lmdb_reading import holds_pairs

    return ImageMaskDataset(path, resolution) if holds_pairs(Path(path)) else ImageDataset(path, resolution)


def _find_files(path: str, options: FolderOptions) -> "FileSource":
    from datasets.find import find_source
    from datasets.sources import FileSource

    source = find_source(Path(path), options)
    assert isinstance(source, FileSource), "find_source returns other sources for LMDBs only"
    return source


def _check(config: DataConfig, kind: str, others: Mapping[str, Sequence[str]] = _NO_PATHS) -> None:
    if not all(config.path):
        raise DataError("data.path has an empty item; remove it")
    if not config.path:
        raise DataError(f"data.path is not set; give an LMDB, several, or a folder of {kind}")
    for name in _FOR_FOLDERS:
        value = getattr(config, name)
        # "index" also applies to LMDBs, whose labels may have palettes.
        if value == getattr(DataConfig, name) or (name, value) == ("read_by", "index"):
            continue
        places = {"data.path": config.path, **others}
        if name == "crop":  # the only one of these options that images without masks are read with
            places["data.unlabelled"] = config.unlabelled
        paths = [path for place in places.values() for path in place]
        if all(map(is_lmdb, paths)):
            used = [place for place in places if places[place]]
            raise DataError(
                f"data.{name} is for folders of files, but {' and '.join(used)} {'has' if len(used) == 1 else 'have'}"
                f" none ({', '.join(paths)}); remove data.{name}, or prepare the original files again with this option"
                " of scripts.prepare_data"
            )


def first_difference(table: ClassTable, other: ClassTable) -> str:
    """Return text on the first difference between the classes of two tables; "" if there is none.

    The text calls `table` the former and `other` the latter. Colours and codes in original masks are not compared.
    """
    for k, (first, second) in enumerate(zip(table.names, other.names, strict=False)):
        if first != second:
            return f"class {k} is {first} in the former, {second} in the latter"
    if table.num_classes != other.num_classes:
        return f"the former has {table.num_classes} classes, the latter {other.num_classes}"
    is_same = (table.transparent, table.partners) == (other.transparent, other.partners)
    return "" if is_same else "they differ in their transparent classes or in their left and right partners"


def content_digest(dataset: PairDataset) -> str:
    """Return the sha256, in hex, of all records in their order, the classes and the resolution.

    Results computed from a data set are cached under this digest, which does not depend on the path of the data set.
    Records of an LMDB are hashed as stored, records of a folder after decoding and resizing.
    """
    digest = hashlib.sha256()
    if isinstance(dataset, ShardedDataset):
        for shard in dataset.shards:
            digest.update(content_digest(shard).encode())
        return digest.hexdigest()
    digest.update(json.dumps([dataset.classes.to_dict(), dataset.resolution, len(dataset)]).encode())
    for index in progress(range(len(dataset)), desc="reading all data", unit="pair", delay=1):
        for part in dataset.content(index):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
