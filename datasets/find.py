"""Which source a user's path is."""

import os
from pathlib import Path

from datasets.celebamask import IMAGES, MASKS, CelebAMaskSource, Split
from datasets.class_files import celebamask13, load_table
from datasets.errors import DataError
from datasets.labels import ClassTable, Code
from datasets.sources import FolderSource, ImageLmdbSource, LmdbSource, Source, holds_pairs, is_lmdb

CLASSES_FILE = "classes.yaml"
_IMAGE_FOLDERS = ("images", "image", "imgs", "img")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations")


def find_source(path: Path, masks: Path | None = None, classes: str = "", split: Split | None = None) -> Source:
    """The source at `path`, recognised by what lies there.

    Args:
        path: an LMDB of pairs or of images; a CelebAMask-HQ folder; a folder with `images` and `masks` (or `labels`)
            in it; or a folder of images.
        masks: folder of the masks, where `path` is a folder of images, or holds `images` beside masks of another name.
        classes: a YAML file, or the name of a table that ships with the program; default: `classes.yaml` in `path`
            if there is one, what an LMDB stores, or the 13 classes of CelebAMask-HQ.
        split: of CelebAMask-HQ; default: train.

    Raises:
        DataError: if nothing there can be used, or an argument does not fit what is there.
    """
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist; give a folder or an LMDB")
    table = _table(path, classes)
    if os.path.isdir(path / IMAGES) and os.path.isdir(path / MASKS) and masks is None:
        return CelebAMaskSource(path, table or celebamask13(), split or "train")
    if split is not None:
        raise DataError(f"{path} is not CelebAMask-HQ ({IMAGES} and {MASKS}), so it has no split {split}")
    if is_lmdb(path):
        return _lmdb(path, masks, table)
    images, found_masks = _folder_of(path, _IMAGE_FOLDERS), _folder_of(path, _MASK_FOLDERS)
    if masks is not None:
        inner = images is not None and not os.path.isdir(masks / images.name)
        return FolderSource(images if images and inner else path, masks, table or celebamask13())
    if images and found_masks:
        return FolderSource(images, found_masks, table or celebamask13())
    _refuse_unknown_masks(path, images or found_masks, table)
    return FolderSource(path, None, None)


def _lmdb(path: Path, masks: Path | None, table: ClassTable | None) -> Source:
    if masks is not None:
        raise DataError(f"{path} is an LMDB, to which no folder of masks can be added; give a folder of images")
    if not holds_pairs(path):
        return ImageLmdbSource(path)
    rules = [code for code in _codes(table) if isinstance(code, int) or code.startswith("#")]
    if rules:
        raise DataError(
            f"{path} is an LMDB, whose ids stay as they are, but the class table remaps or ignores {rules[0]};"
            " take such rules out, or prepare the masks that the LMDB was made of"
        )
    return LmdbSource(path, table)


def _codes(table: ClassTable | None) -> list[Code]:
    return [*(code for code, _ in table.remap), *table.ignore] if table else []


def _refuse_unknown_masks(path: Path, known: Path | None, table: ClassTable | None) -> None:
    """Masks in a folder of any name must not be taken for pictures."""
    if table:
        raise DataError(
            f"{path} has a class table but no masks that are known by name; give --masks, or leave the class table out"
        )
    if known:
        folders = (folder for folder in _entries(path) if os.path.isdir(folder) and not folder.name.startswith("."))
        others = sorted(folder.name for folder in folders if folder.name != known.name)
        if others:
            raise DataError(
                f"{path} holds {known.name} and {', '.join(others)}: if these are images and masks, give --masks,"
                " if all are images, give them another folder or one at a time"
            )


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror}); make it readable") from None


def _folder_of(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((path / name for name in names if os.path.isdir(path / name)), None)


def _table(path: Path, classes: str) -> ClassTable | None:
    if classes:
        return load_table(classes)
    beside = path / CLASSES_FILE
    return load_table(beside) if os.path.isdir(path) and os.path.exists(beside) else None
