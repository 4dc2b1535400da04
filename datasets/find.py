"""Recognize the source at a user's path: one of the known layouts, or one the user describes."""

import os
import re
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from datasets.celebamask import IMAGES, MASKS, CelebAMaskSource, Split
from datasets.class_files import celebamask13, load_table
from datasets.labels import ClassTable, Code
from datasets.pairing import (
    Convention,
    Listing,
    doubles,
    ending_with,
    group,
    is_left_by_a_system,
    list_images,
    no_images,
    pair,
    recognize,
    split_by_each_suffix,
    split_by_suffix,
)
from datasets.palettes import ReadBy
from datasets.sources import FolderSource, ImageLmdbSource, LmdbSource, Source, holds_pairs, is_lmdb
from utils.errors import ContradictionError, DataError

CLASSES_FILE = "classes.yaml"
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "SegmentationClass")
_ALMOST_CLASSES_FILE = re.compile(r"class(es)?\.ya?ml(\.txt)?", re.IGNORECASE)
_HALVES = ("train", "training", "val", "valid", "validation", "test")  # names of parts of a data set
_SHOWN = 6
KNOWN_LAYOUTS = (
    f"CelebAMask-HQ ({IMAGES} and {MASKS}); a folder of images ({', '.join(_IMAGE_FOLDERS)}) beside one of masks"
    f" ({', '.join(_MASK_FOLDERS)}); masks named like their images or with a suffix (a.png and a_mask.png, a_label.png,"
    " a_seg.png, a.png.png), in one folder or two; LMDBs"
)


@dataclass(frozen=True)
class Layout:
    """Description of folders whose layout is not known, and how to read them.

    Attributes:
        images_folder: of the images: a path, or a name in the source's folder.
        image_suffix: end of the images' names, without extension or with it; others are ignored.
        mask_suffix: end of the masks' names, likewise.
        images_only: use the images alone, without masks.
        skip_unpaired: leave out images without a mask and masks without an image.
        read_by: what counts in masks that show an id and a colour, see `datasets.decoding.read_label`. "index" also
            lets a class table give the ids of an LMDB other names.
    """

    images_folder: str = ""
    image_suffix: str = ""
    mask_suffix: str = ""
    images_only: bool = False
    skip_unpaired: bool = False
    read_by: ReadBy = "auto"


_DEFAULT = Layout()


def find_source(
    path: Path,
    masks: Path | None = None,
    classes: str = "",
    split: Split | None = None,
    layout: Layout = _DEFAULT,
) -> Source:
    """Return the source at `path`, recognized from its content.

    Args:
        path: an LMDB of pairs or of images; a CelebAMask-HQ folder; or a folder of images and masks.
        masks: folder of the masks: a path, or a name in the folder `path`.
        classes: a YAML file, or the name of a table that ships with the program; default: `classes.yaml` in `path`
            if there is one, what an LMDB stores, or the 13 classes of CelebAMask-HQ.
        split: of CelebAMask-HQ; default: train.
        layout: of folders, where it is none of the known ones.

    Raises:
        DataError: if the layout is not known, nothing there can be used, or an argument does not fit what is there.
    """
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist; give a folder or an LMDB")
    named = masks is not None or layout.images_folder or layout.image_suffix or layout.mask_suffix
    if layout.images_only and (masks is not None or classes):
        raise DataError(f"{path}: images alone need neither masks nor classes; leave --masks-folder and --classes out")
    table = None if layout.images_only else _table(path, classes)
    if os.path.isdir(path / IMAGES) and os.path.isdir(path / MASKS) and not named:
        if layout.read_by != "auto":
            raise DataError(
                f"{path} is CelebAMask-HQ, whose masks are one file per part: --read-by does not apply; leave it out"
            )
        wanted = None if layout.images_only else table or celebamask13()
        return CelebAMaskSource(path, wanted, split or "train", skip_unpaired=layout.skip_unpaired)
    if split is not None:
        raise DataError(f"{path} is not CelebAMask-HQ ({IMAGES} and {MASKS}), so it has no split {split}")
    if is_lmdb(path):
        if named or layout.skip_unpaired:
            raise DataError(f"{path} is an LMDB: options for folders and suffixes do not apply to it; leave them out")
        return _lmdb(path, table, layout.read_by)
    return _folders(path, masks, table, layout)


def _lmdb(path: Path, table: ClassTable | None, read_by: ReadBy) -> Source:
    if not holds_pairs(path):
        return ImageLmdbSource(path)
    rules = [code for code in _codes(table) if isinstance(code, int) or code.startswith("#")]
    if rules:
        raise DataError(
            f"{path} is an LMDB, whose ids are not remapped; remove {rules[0]} from the class table, or prepare the"
            " original masks again"
        )
    if read_by == "color":
        raise DataError(
            f"{path} is an LMDB, which holds ids; drop --read-by color, or prepare the original masks again with it"
        )
    source = LmdbSource(path, table, read_by)
    stored, given = source.stored.names, source.classes.names
    if "classes" in source.meta and stored != given and read_by != "index":
        k = next(k for k, names in enumerate(zip(stored, given, strict=True)) if names[0] != names[1])
        raise ContradictionError(
            f"{path} stores class {k} as {stored[k]}, but --classes names it {given[k]}; drop --classes to use the"
            " stored names, or give --read-by index to use the table's names for these ids"
        )
    return source


def _codes(table: ClassTable | None) -> list[Code]:
    return [*(code for code, _ in table.remap), *table.ignore] if table else []


def _folders(path: Path, masks: Path | None, table: ClassTable | None, layout: Layout) -> FolderSource:
    """Decide which files are images and which masks."""
    classes = table or celebamask13()
    named = _named(path, Path(layout.images_folder), "--images-folder") if layout.images_folder else None
    image_folder = named or _known(path, _IMAGE_FOLDERS, "--images-folder")
    if masks is not None:
        mask_folder = _named(path, masks, "--masks-folder")
        is_mirrored = named is None and image_folder is not None and os.path.isdir(mask_folder / image_folder.name)
        root = path if image_folder is None or is_mirrored else image_folder
        return _two_folders(root, mask_folder, classes, layout)
    known_masks = _known(path, _MASK_FOLDERS, "--masks-folder")
    if image_folder and known_masks:
        return _two_folders(image_folder, known_masks, classes, layout)
    if named is None:
        _refuse_other_folders(path, image_folder or known_masks, layout)
    root = image_folder or path
    listing = list_images(root)
    if not listing.files:
        raise DataError(no_images(root))
    suffixes = Convention(layout.image_suffix, layout.mask_suffix)
    if layout.images_only:
        return _images_alone(
            listing, layout, {path for _, masks, _ in split_by_each_suffix(listing, suffixes) for path in masks.files}
        )
    parts = split_by_suffix(listing, suffixes)
    if parts is None:
        raise DataError(_unknown(path, layout))
    images, mask_files, convention = parts
    return _pairs(images, mask_files, convention, classes, layout)


def _two_folders(images: Path, masks: Path, classes: ClassTable, layout: Layout) -> FolderSource:
    if layout.images_only:
        return _images_alone(list_images(images), layout)
    inner = None if os.path.realpath(images) == os.path.realpath(masks) else masks
    found = list_images(images, without=inner)
    others = list_images(masks)
    for listing in (found, others):
        if not listing.files:
            raise DataError(no_images(listing.folder))
    given = Convention(layout.image_suffix, layout.mask_suffix)
    if inner is None:
        parts = split_by_suffix(found, given)
        if parts is None:
            raise DataError(_unknown(images, layout))
        return _pairs(*parts, classes, layout)
    convention = given if given.mask else recognize(found, others, given.image)
    return _pairs(found, others, convention, classes, layout)


def _pairs(
    images: Listing, masks: Listing, convention: Convention | None, classes: ClassTable, layout: Layout
) -> FolderSource:
    strict = bool(layout.image_suffix or layout.mask_suffix)
    found = pair(images, masks, convention or Convention(layout.image_suffix), strict=strict)
    if not found.pairs and not found.problems:
        differ_in_case = not {name.lower() for name in images.names}.isdisjoint(name.lower() for name in masks.names)
        remedy = (
            "upper and lower case count: rename one of the two"
            if differ_in_case
            else "give the suffixes of their names with --image-suffix and --mask-suffix (in a run: data.image_suffix,"
            " data.mask_suffix)"
        )
        raise DataError(
            f"no image in {images.folder} has a mask in {masks.folder} by its name (such as {images.files[0]} and"
            f" {masks.files[0]}); {remedy}"
        )
    problems, notes, unpaired = list(found.problems), [], 0
    if layout.skip_unpaired:
        if left := len(found.images) + len(found.masks):
            notes = [f"left out without a partner: {left} (images {len(found.images)}, masks {len(found.masks)})"]
    else:
        unpaired = len(found.images) + len(found.masks)
        problems += [f"{path}: has no mask {mask}; add it" for path, mask in found.images]
        problems += [f"{path}: has no image; add it or take it away" for path in found.masks]
    if found.passed:
        notes.append(f"files without the given suffixes, ignored: {found.passed}")
    parts = [code for code in _codes(classes) if isinstance(code, str) and not code.startswith("#")]
    if parts and classes != celebamask13():
        notes.append(f"class table rules for parts of CelebAMask-HQ are not used for this data set: {', '.join(parts)}")
    kind = f"images in {images.folder}, masks in {masks.folder}"
    skipped = images.skipped + masks.skipped
    folders = (images.folder, masks.folder)
    return FolderSource(folders, kind, found.pairs, classes, problems, skipped, notes, layout.read_by, unpaired)


def _images_alone(listing: Listing, layout: Layout, masks: Set[Path] = frozenset()) -> FolderSource:
    if layout.mask_suffix:
        masks = masks | set(ending_with(listing, layout.mask_suffix).files)
    listing = listing.only([path not in masks for path in listing.files])
    notes = []
    if masks:
        examples = [path.name for path in sorted(masks)[:_SHOWN]] + ["..."] * (len(masks) > _SHOWN)
        notes.append(f"left out as masks: {len(masks)} ({', '.join(examples)})")
    if layout.image_suffix:
        count = len(listing.files)
        listing = ending_with(listing, layout.image_suffix)
        if left := count - len(listing.files):
            notes.append(f"files without the given suffixes, ignored: {left}")
    if not listing.files:
        raise DataError(no_images(listing.folder))
    folders = Counter(path.relative_to(listing.folder).parent.as_posix() for path in listing.files)
    if len(folders) > 1:
        most = [f"{folder} ({count})" for folder, count in folders.most_common(_SHOWN)]
        notes.append(f"images by folder: {', '.join([*most, *(['...'] if len(folders) > _SHOWN else [])])}")
    found = group(listing)
    pairs = [(files[0], None) for files in found.values() if len(files) == 1]
    kind = f"images alone in {listing.folder}"
    return FolderSource((listing.folder,), kind, pairs, None, doubles(found), listing.skipped, notes)


def _refuse_other_folders(path: Path, known: Path | None, layout: Layout) -> None:
    """Masks in a folder of any name must not be taken for images, even if the user says that all are images."""
    if known is None:
        return
    others = sorted(folder.name for folder in _folders_in(path) if folder.name != known.name)
    if others or known.name.lower() in map(str.lower, _MASK_FOLDERS):
        holds = ", ".join([known.name, *others])
        if not layout.images_only:
            raise DataError(_unknown(path, layout))
        raise DataError(
            f"{path} holds {holds}: which of these are images? Give --images-folder (in a run: data.images_folder), or"
            " a folder of images alone"
        )


def _unknown(path: Path, layout: Layout) -> str:
    folders = [f"{folder.name}/" for folder in _folders_in(path)]
    extensions = Counter(file.suffix.lower() or "no extension" for file in _entries(path) if os.path.isfile(file))
    files = [f"files {extension} ({count})" for extension, count in extensions.most_common(_SHOWN)]
    seen = ", ".join([*folders[:_SHOWN], *(["..."] if len(folders) > _SHOWN else []), *files]) or "nothing"
    asked = f" with masks ending in {layout.mask_suffix}" if layout.mask_suffix else ""
    return (
        f"{path} is no known layout of images and masks{asked}: it holds {seen}. Known are {KNOWN_LAYOUTS}."
        " Name another one with --images-folder, --masks-folder (--masks), --image-suffix, --mask-suffix (in a run:"
        " data.images_folder, data.masks, ...); if all are images and there are no masks, give --images-only"
        " (data.images_only)"
    )


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if not is_left_by_a_system(entry.name))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror}); make it readable") from None


def _folders_in(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if os.path.isdir(entry)]


def _known(path: Path, names: tuple[str, ...], option: str) -> Path | None:
    """The folder of one of these names, in whatever case; those that hold no images count only if no other does."""
    lower = [name.lower() for name in names]
    found = [folder for folder in _folders_in(path) if folder.name.lower() in lower]
    if len(found) > 1:
        found = [folder for folder in found if list_images(folder).files] or found[:1]
    if len(found) > 1:
        raise DataError(f"{path} holds {' and '.join(folder.name for folder in found)}; say which one with {option}")
    return found[0] if found else None


def _named(path: Path, folder: Path, option: str) -> Path:
    """A folder as the user names it: by its path, or as it is called in `path`."""
    found = [place for place in (folder, path / folder) if os.path.isdir(place)]
    if len({os.path.realpath(place) for place in found}) > 1:
        raise DataError(f"{option} {folder}: there are {found[0]} and {found[1]}; give an absolute path")
    if not found:
        raise DataError(f"{folder} is not a folder, nor is {path / folder}; give {option} a folder that is there")
    return found[0]


def _table(path: Path, classes: str) -> ClassTable | None:
    if classes:
        return load_table(classes)
    beside = path / CLASSES_FILE
    if not os.path.isdir(path) or os.path.exists(beside):
        return load_table(beside) if os.path.isdir(path) else None
    remedy = "or give it, or celebamask13 for the classes of CelebAMask-HQ, with --classes (in a run: data.classes)"
    if is_lmdb(path):
        return None
    for file in _entries(path):
        if _ALMOST_CLASSES_FILE.fullmatch(file.name) and os.path.isfile(file):
            raise DataError(f"{file} is not read: rename it to {CLASSES_FILE}, {remedy}")
    here = Path(os.path.abspath(path))
    is_part = here.name.lower() in map(str.lower, (*_IMAGE_FOLDERS, *_HALVES))
    if is_part and os.path.exists(above := here.parent / CLASSES_FILE):
        raise DataError(f"{above} is not read for {path}: move it there, {remedy}")
    return None
