"""Images without masks, trained on together with the pairs (`data.unlabelled`); imported only by such runs."""

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from datasets.data_config import DataConfig, FolderOptions, is_lmdb
from datasets.data_loader import PairDataset
from datasets.opening import ImagesOnlyDataset, folder_sources, open_images
from utils.errors import DataError
from utils.sizes import Resolution


def open_unlabelled(config: DataConfig, pairs: PairDataset, resolution: Resolution) -> ImagesOnlyDataset:
    """Open the images without masks in `config.unlabelled`, resized to the resolution.

    Args:
        config: options of the data.
        pairs: the data set that `open_dataset` opened with these options.
        resolution: size H x W of the images.

    Raises:
        DataError: if a path cannot be used, holds masks, is given twice, or shares a folder with the pairs.
    """
    if not all(config.unlabelled):
        raise DataError("data.unlabelled has an empty item; remove it")
    labelled = [*config.path, *_folders(pairs)]
    earlier: list[str] = []
    datasets: list[ImagesOnlyDataset] = []
    for path in config.unlabelled:
        if not os.path.exists(path):
            raise DataError(f"data.unlabelled: {path} does not exist; give a folder of images, or an LMDB")
        _refuse_overlap([path], labelled, "data.path", "give images that are not among the pairs")
        if masks := _masks_in(path):
            raise DataError(
                f"data.unlabelled: {path} holds {masks}; add it to data.path, or give a folder of the images alone"
            )
        crop = "error" if is_lmdb(path) else config.crop
        dataset = open_images(DataConfig(path=(path,), crop=crop, images_only=True), resolution)
        # The folder of images that was recognized may lie elsewhere, for example behind a link.
        folders = _folders(dataset)
        _refuse_overlap(folders, labelled, "data.path", "give images that are not among the pairs")
        _refuse_overlap([path, *folders], earlier, "data.unlabelled", "name each image once")
        earlier += [path, *folders]
        datasets.append(dataset)
    return ImagesOnlyDataset([shard for dataset in datasets for shard in dataset.shards])


def _folders(dataset: PairDataset | ImagesOnlyDataset) -> list[str]:
    """Return the folders of files that a data set reads."""
    return [str(folder) for source in folder_sources(dataset) for folder in source.folders]


def _refuse_overlap(paths: Sequence[str], others: Sequence[str], place: str, remedy: str) -> None:
    """Raise a DataError if a path in data.unlabelled is one of the others, in one of them, or holds one of them."""
    for path, other in product(paths, others):
        first, second = (Path(os.path.realpath(each)) for each in (path, other))
        if first == second:
            raise DataError(f"data.unlabelled: {path} is also in {place}; {remedy}")
        if first.is_relative_to(second):
            raise DataError(f"data.unlabelled: {path} is inside {other}, which is read for {place}; {remedy}")
        if second.is_relative_to(first):
            raise DataError(f"data.unlabelled: {path} contains {other}, which is read for {place}; {remedy}")


def _masks_in(path: str) -> str:
    """Describe the masks in an LMDB, or in a folder in a known layout (some may be missing); "" if there are none."""
    if is_lmdb(path):
        from datasets.lmdb_reading import holds_pairs

        return "masks" if holds_pairs(Path(path)) else ""
    from datasets.find import find_source
    from datasets.pairing import list_images, split_by_each_suffix

    try:
        # With a built-in class table, no mistake in the folder's own one hides the masks.
        source = find_source(Path(path), FolderOptions(classes="celebamask13", skip_unpaired=True))
    except DataError:  # no image has a mask, or some have masks of several kinds
        kinds = split_by_each_suffix(list_images(Path(path)))
        names = " and ".join(masks.files[0].name for _, masks, _ in kinds)
        return f"masks of several kinds, such as {names}" if kinds else ""
    has_files = len(source) > 0 and source.mask_name(0) != source.name(0)
    return f"masks, such as {source.mask_name(0)}" if has_files else "masks"
