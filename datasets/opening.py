"""From the options of a run to its data set: one LMDB, several as one, or a folder of files; images alone likewise."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import accumulate
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from datasets.data_loader import DataConfig
from datasets.find import Layout, find_source
from datasets.folder_dataset import SourceDataset
from datasets.image_mask import ImageMaskDataset
from datasets.images_alone import ImagesAlone
from datasets.labels import ClassTable
from datasets.sources import ImageLmdbSource, LmdbSource, Source, holds_pairs, is_lmdb
from utils.errors import DataError

Single = ImageMaskDataset | SourceDataset


class ShardedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Several data sets of the same classes and resolution, one after the other.

    Raises:
        DataError: if their classes differ; the message names two of them.
    """

    def __init__(self, shards: Sequence[Single], names: Sequence[str]) -> None:
        self.shards = shards
        self.classes = shards[0].classes
        self.resolution = shards[0].resolution
        self.ends = list(accumulate(map(len, shards)))
        self.provenance = [origin for shard in shards for origin in shard.provenance]
        for shard, name in zip(shards, names, strict=True):
            if _meaning(shard.classes) != _meaning(self.classes):
                raise DataError(
                    f"{name} has other classes than {names[0]}: "
                    f"{first_difference(shard.classes, self.classes)}; prepare both with one class table"
                )

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image uint8 [3, R, R] and label uint8 [R, R] of one record."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = bisect_right(self.ends, index)
        return self.shards[shard][index - self.ends[shard] + len(self.shards[shard])]


def open_dataset(
    config: DataConfig, resolution: int | None = None, num_classes: int | None = None
) -> Single | ShardedDataset:
    """The data set that a run trains on.

    Args:
        config: where it lies.
        resolution: side length R of images and labels; None: as stored, which folders of files cannot be.
        num_classes: K the networks expect; None: any.

    Raises:
        DataError: if no path is given, one cannot be used, the classes are not those of the networks or differ, or
            an option is for folders where there are none.
    """
    _check(config, "images and masks")
    if resolution is not None and resolution < 1:
        raise DataError(f"resolution = {resolution}: choose above 0")
    shards = [_open(path, config, resolution, num_classes) for path in config.path]
    return shards[0] if len(shards) == 1 else ShardedDataset(shards, config.path)


def open_images(config: DataConfig, resolution: int) -> ImagesAlone:
    """The images that a trained model is adapted to, of side R; masks beside them are ignored.

    Raises:
        DataError: if no path is given, one cannot be used or holds no images, or an option is for folders where there
            are none.
    """
    _check(config, "images")
    layout = replace(_layout(config), images_only=True)
    sources = [_image_source(Path(path), resolution, layout) for path in config.path]
    return ImagesAlone(sources, resolution, config.crop)


def _image_source(path: Path, resolution: int, layout: Layout) -> Source:
    if not os.path.exists(path) or not is_lmdb(path):
        return find_source(path, layout=layout)
    if not holds_pairs(path):
        return ImageLmdbSource(path, resolution)  # which may hold each image at several sizes
    return LmdbSource(path, None, images_only=True)


def _layout(config: DataConfig) -> Layout:
    return Layout(**{option.name: getattr(config, option.name) for option in fields(Layout)})


def _check(config: DataConfig, kind: str) -> None:
    if not all(config.path):
        raise DataError("data.path has an empty item; leave it out")
    if not config.path:
        raise DataError(f"data.path is not set; give an LMDB, several, or a folder of {kind}")
    _refuse_unused(config)


def _refuse_unused(config: DataConfig) -> None:
    options = ("images_folder", "masks", "image_suffix", "mask_suffix", "skip_unpaired", "read_by", "classes", "crop")
    default = DataConfig()
    for option in (f"data.{name}" for name in options if getattr(config, name) != getattr(default, name)):
        if option == "data.read_by" and config.read_by == "index":
            continue  # an LMDB may have palettes, too
        if all(map(_is_lmdb, config.path)):
            raise DataError(
                f"{option} is for folders of files, but {', '.join(config.path)} is prepared already;"
                " leave it out, or give it to scripts.prepare_data"
            )


def _is_lmdb(path: str) -> bool:
    """Also what does not exist: the message is the same."""
    return not os.path.exists(path) or is_lmdb(Path(path))


def _open(path: str, config: DataConfig, resolution: int | None, num_classes: int | None) -> Single:
    if _is_lmdb(path):
        # "color" is for the folders beside it.
        return ImageMaskDataset(path, resolution, num_classes, "index" if config.read_by == "index" else "auto")
    if resolution is None:
        raise DataError(f"{path} is a folder of files, of any size: give --resolution")
    masks = Path(config.masks) if config.masks else None
    layout = replace(_layout(config), images_only=False)
    source = find_source(Path(path), masks, config.classes, layout=layout)
    if num_classes is not None and source.classes is not None and source.classes.num_classes != num_classes:
        raise DataError(
            f"{path} has {source.classes.num_classes} classes, not {num_classes};"
            f" give another class table, or networks of as many (model.num_classes)"
        )
    return SourceDataset(source, resolution, config.crop)


def _meaning(table: ClassTable) -> tuple[object, ...]:
    """What labels mean: not the colours, nor which masks they were made of."""
    return table.names, table.transparent, table.partners


def first_difference(there: ClassTable, here: ClassTable) -> str:
    """What labels mean here and there, where that first differs: for the middle of a message."""
    for k, (a, b) in enumerate(zip(there.names, here.names, strict=False)):
        if a != b:
            return f"class {k} is {a} there, {b} here"
    if there.num_classes != here.num_classes:
        return f"{there.num_classes} classes there, {here.num_classes} here"
    return "they differ in transparency or left and right partners"
