"""Which source a user's path is."""

from pathlib import Path

from datasets.celebamask import IMAGES, MASKS, CelebAMaskSource, Split
from datasets.class_files import celebamask13, load_table
from datasets.errors import DataError
from datasets.labels import ClassTable
from datasets.sources import FolderSource, ImageLmdbSource, LmdbSource, Source, holds_pairs, is_lmdb

CLASSES_FILE = "classes.yaml"
_IMAGE_FOLDERS = ("images", "image", "imgs", "img")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations")


def find_source(path: Path, masks: Path | None = None, classes: str = "", split: Split | None = None) -> Source:
    """The source at `path`, recognised by what lies there.

    Args:
        path: an LMDB of pairs or of images; a CelebAMask-HQ folder; a folder with `images` and `masks` (or `labels`)
            in it; or a folder of images.
        masks: folder of the masks, where `path` is a folder of images.
        classes: a YAML file, or the name of a table that ships with the program; default: `classes.yaml` in `path`
            if there is one, what an LMDB stores, or the 13 classes of CelebAMask-HQ.
        split: of CelebAMask-HQ; default: train.

    Raises:
        DataError: if nothing there can be used, or an argument does not fit what is there.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder or an LMDB")
    table = _table(path, classes)
    if (path / IMAGES).is_dir() and (path / MASKS).is_dir() and masks is None:
        return CelebAMaskSource(path, table or celebamask13(), split or "train")
    if split is not None:
        raise DataError(f"{path} is not CelebAMask-HQ ({IMAGES} and {MASKS}), so it has no split {split}")
    if is_lmdb(path):
        return _lmdb(path, masks, table)
    if masks is None and (pair := _pair_of_folders(path)):
        return FolderSource(*pair, table or celebamask13())
    if masks is None and classes:
        raise DataError(f"{path} holds no masks, so it needs no classes; give --masks, or leave the class table out")
    return FolderSource(path, masks, table or celebamask13())


def _lmdb(path: Path, masks: Path | None, table: ClassTable | None) -> Source:
    if masks is not None:
        raise DataError(f"{path} is an LMDB, to which no folder of masks can be added; give a folder of images")
    return LmdbSource(path, table) if holds_pairs(path) else ImageLmdbSource(path)


def _pair_of_folders(path: Path) -> tuple[Path, Path] | None:
    images, masks = (
        next((path / name for name in names if (path / name).is_dir()), None)
        for names in (_IMAGE_FOLDERS, _MASK_FOLDERS)
    )
    return (images, masks) if images and masks else None


def _table(path: Path, classes: str) -> ClassTable | None:
    if classes:
        return load_table(classes)
    beside = path / CLASSES_FILE
    return load_table(beside) if path.is_dir() and beside.exists() else None
