"""Find the data source at a user's path, in one of the known layouts or in one that the user describes."""

import os
import re
from collections import Counter
from collections.abc import Set
from pathlib import Path

from datasets.celebamask import IMAGES, MASKS, CelebAMaskSource, Split
from datasets.class_files import CLASSES_FILE, celebamask13, load_table
from datasets.data_config import FolderOptions, ReadBy, is_lmdb
from datasets.decoding import SUFFIXES
from datasets.labels import ClassTable
from datasets.pairing import (
    Convention,
    Listing,
    by_stem,
    duplicates,
    is_system_file,
    list_images,
    pair,
    recognize,
    select_by_suffix,
    split_by_each_suffix,
    split_by_suffix,
)
from datasets.sources import FolderSource, LmdbSource, Source
from utils.errors import ContradictionError, DataError

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "SegmentationClass")
_SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "test")
_ALMOST_CLASSES_FILE = re.compile(r"class(es)?\.ya?ml(\.txt)?", re.IGNORECASE)
_SHOWN = 6  # files or folders in a message
_KNOWN_LAYOUTS = (
    f"CelebAMask-HQ ({IMAGES} and {MASKS}); a folder of images ({', '.join(_IMAGE_FOLDERS)}) beside one of masks"
    f" ({', '.join(_MASK_FOLDERS)}); masks named like their images or with a suffix (a.png and a_mask.png, a_label.png,"
    " a_seg.png, a.png.png), in one folder or two; LMDBs"
)
_DEFAULT = FolderOptions()


def find_source(path: Path, options: FolderOptions = _DEFAULT, split: Split | None = None) -> Source:
    """Return the source at `path`; its layout is recognized from its content, or described by the options.

    Args:
        path: an LMDB of pairs or of images, a CelebAMask-HQ folder, or a folder of images and masks.
        options: layout of a folder if it is not recognized, and how to read the data.
        split: split of CelebAMask-HQ; default: train.

    Raises:
        DataError: if the path is missing, the layout is unknown, no file can be used, or an option does not apply.
    """
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist; give a folder or an LMDB")
    is_described = options.masks or options.images_folder or options.image_suffix or options.mask_suffix
    if options.images_only and (options.masks or options.classes):
        raise DataError(f"{path}: --images-only uses neither masks nor classes; drop --masks-folder and --classes")
    table = None if options.images_only else _table(path, options.classes)
    if os.path.isdir(path / IMAGES) and os.path.isdir(path / MASKS) and not is_described:
        if options.read_by != "auto":
            raise DataError(f"{path} is CelebAMask-HQ with one mask per part; drop --read-by (in a run: data.read_by)")
        classes = None if options.images_only else table or celebamask13()
        return CelebAMaskSource(path, classes, split or "train", skip_unpaired=options.skip_unpaired)
    if split is not None:
        raise DataError(f"{path} is not read as CelebAMask-HQ ({IMAGES}, {MASKS}) and has no splits; drop --split")
    if is_lmdb(path):
        if is_described or options.skip_unpaired:
            raise DataError(
                f"{path} is an LMDB: drop the options for folders of files (--images-folder, --masks-folder,"
                " --image-suffix, --mask-suffix, --skip-unpaired; in a run: data.images_folder, data.masks, ...)"
            )
        return _lmdb_source(path, table, options.read_by)
    return _folder_source(path, table or celebamask13(), options)


def _table(path: Path, classes: str) -> ClassTable | None:
    """Return the class table that the user gave or put into the folder, or None; refuse a table in the wrong place."""
    if classes:
        return load_table(classes)
    if os.path.isdir(path) and os.path.exists(path / CLASSES_FILE):
        return load_table(path / CLASSES_FILE)
    if is_lmdb(path):
        return None
    # Refuse a table that is almost in the right place, which would otherwise be ignored.
    remedy = "or give it, or celebamask13 for the classes of CelebAMask-HQ, with --classes (in a run: data.classes)"
    for entry in _entries(path):
        if _ALMOST_CLASSES_FILE.fullmatch(entry.name) and os.path.isfile(entry):
            raise DataError(f"{entry} is not read: rename it to {CLASSES_FILE}, {remedy}")
    folder = Path(os.path.abspath(path))
    is_part = folder.name.lower() in map(str.lower, (*_IMAGE_FOLDERS, *_SPLIT_FOLDERS))
    if is_part and os.path.exists(above := folder.parent / CLASSES_FILE):
        raise DataError(f"{above} is not read for {path}: move it there, {remedy}")
    return None


def _lmdb_source(path: Path, table: ClassTable | None, read_by: ReadBy) -> Source:
    source = LmdbSource(path, table, read_by)
    if source.classes is None or source.stored_classes is None:
        return source
    rules = [code for code, _ in table.rules if isinstance(code, int) or code.startswith("#")] if table else []
    if rules:
        raise DataError(
            f"{path} is an LMDB, and its ids are not remapped; remove the rule for {rules[0]} from the class table, or"
            " prepare the original masks again with this table"
        )
    if read_by == "color":
        raise DataError(
            f"{path} is an LMDB, which is read by ids; drop --read-by color (in a run: data.read_by), or use it to"
            " prepare the original masks again"
        )
    for k, (stored, given) in enumerate(zip(source.stored_classes.names, source.classes.names, strict=True)):
        if "classes" in source.meta and stored != given and read_by != "index":
            raise ContradictionError(
                f"{path} stores class {k} as {stored}, but --classes names it {given}; drop --classes to use the"
                " stored names, or give --read-by index to use the table's names for these ids"
            )
    return source


def _folder_source(path: Path, classes: ClassTable, options: FolderOptions) -> FolderSource:
    """Return the source of a folder, after deciding which files are images and which are masks."""
    named = _named(path, Path(options.images_folder), "--images-folder") if options.images_folder else None
    image_folder = named or _known(path, _IMAGE_FOLDERS, "--images-folder")
    # A folder of masks that the user named. It may repeat the folder of images: images/a.jpg and pixels/images/a.png.
    if options.masks:
        mask_folder = _named(path, Path(options.masks), "--masks-folder")
        is_mirrored = named is None and image_folder is not None and os.path.isdir(mask_folder / image_folder.name)
        root = path if image_folder is None or is_mirrored else image_folder
        return _two_folders(root, mask_folder, classes, options)
    # A known folder of images beside a known folder of masks.
    known_masks = _known(path, _MASK_FOLDERS, "--masks-folder")
    if image_folder and known_masks:
        return _two_folders(image_folder, known_masks, classes, options)
    # One folder of images and masks, or of images only.
    if named is None:
        _refuse_other_folders(path, image_folder or known_masks, options)
    listing = _list_some_images(image_folder or path)
    if options.images_only:
        suffixes = Convention(options.image_suffix, options.mask_suffix)
        masks = {file for _, masks, _ in split_by_each_suffix(listing, suffixes) for file in masks.files}
        return _images_only(listing, options, masks)
    return _one_folder(path, listing, classes, options)


def _two_folders(images: Path, masks: Path, classes: ClassTable, options: FolderOptions) -> FolderSource:
    if options.images_only:
        return _images_only(_list_some_images(images), options)
    if os.path.realpath(images) == os.path.realpath(masks):
        return _one_folder(images, _list_some_images(images), classes, options)
    image_listing, mask_listing = _list_some_images(images, without=masks), _list_some_images(masks)
    convention: Convention | None = Convention(options.image_suffix, options.mask_suffix)
    if not options.mask_suffix:
        convention = recognize(image_listing, mask_listing, options.image_suffix)
    return _pairs(image_listing, mask_listing, convention, classes, options)


def _one_folder(path: Path, listing: Listing, classes: ClassTable, options: FolderOptions) -> FolderSource:
    parts = split_by_suffix(listing, Convention(options.image_suffix, options.mask_suffix))
    if parts is None:
        raise DataError(_unknown(path, options))
    return _pairs(*parts, classes, options)


def _pairs(
    images: Listing, masks: Listing, convention: Convention | None, classes: ClassTable, options: FolderOptions
) -> FolderSource:
    strict = bool(options.image_suffix or options.mask_suffix)
    paired = pair(images, masks, convention or Convention(options.image_suffix), strict=strict)
    if not paired.pairs and not paired.problems:
        remedy = (
            "give the suffixes of their names with --image-suffix and --mask-suffix (in a run: data.image_suffix,"
            " data.mask_suffix)"
        )
        if {name.lower() for name in images.names} & {name.lower() for name in masks.names}:
            remedy = "names must agree in upper and lower case: rename one of the two"
        raise DataError(
            f"no image in {images.folder} has a mask with a matching name in {masks.folder} (files such as"
            f" {images.files[0]} and {masks.files[0]}); {remedy}"
        )
    problems, notes, unpaired = list(paired.problems), [], len(paired.images) + len(paired.masks)
    if not options.skip_unpaired:
        problems += [f"{path}: has no mask {mask}; add it" for path, mask in paired.images]
        problems += [f"{path}: has no image; add it or remove the mask" for path in paired.masks]
    elif unpaired:
        notes = [f"left out without a partner: {unpaired} (images {len(paired.images)}, masks {len(paired.masks)})"]
        unpaired = 0
    if paired.ignored:
        notes.append(f"files without the given suffixes, ignored: {paired.ignored}")
    parts = [code for code, _ in classes.rules if isinstance(code, str) and not code.startswith("#")]
    if parts and classes != celebamask13():
        notes.append(f"class table rules for parts of CelebAMask-HQ are not used for this data set: {', '.join(parts)}")
    kind = f"images in {images.folder}, masks in {masks.folder}"
    skipped = images.skipped + masks.skipped
    folders = (images.folder, masks.folder)
    return FolderSource(folders, kind, paired.pairs, classes, problems, skipped, notes, options.read_by, unpaired)


def _images_only(listing: Listing, options: FolderOptions, masks: Set[Path] = frozenset()) -> FolderSource:
    """Return a source of the images only; its notes list which masks and how many other files are left out."""
    if options.mask_suffix:
        masks = masks | set(select_by_suffix(listing, options.mask_suffix).files)
    listing = listing.select([path not in masks for path in listing.files])
    notes = []
    if masks:
        examples = [path.name for path in sorted(masks)[:_SHOWN]] + ["..."] * (len(masks) > _SHOWN)
        notes.append(f"left out as masks: {len(masks)} ({', '.join(examples)})")
    if options.image_suffix:
        count = len(listing.files)
        listing = select_by_suffix(listing, options.image_suffix)
        if left := count - len(listing.files):
            notes.append(f"files without the given suffixes, ignored: {left}")
    _refuse_empty(listing)
    folders = Counter(path.relative_to(listing.folder).parent.as_posix() for path in listing.files)
    if len(folders) > 1:
        most = [f"{folder} ({count})" for folder, count in folders.most_common(_SHOWN)]
        notes.append(f"images by folder: {', '.join([*most, *(['...'] if len(folders) > _SHOWN else [])])}")
    files = by_stem(listing)
    pairs = [(same[0], None) for same in files.values() if len(same) == 1]
    kind = f"images without masks in {listing.folder}"
    return FolderSource((listing.folder,), kind, pairs, None, duplicates(files), listing.skipped, notes)


def _refuse_other_folders(path: Path, known: Path | None, options: FolderOptions) -> None:
    """Raise a DataError if `known` is a folder of masks or has other folders beside it, which may hold masks."""
    others = sorted(folder.name for folder in _folders_in(path) if known and folder.name != known.name)
    if known and (others or known.name.lower() in map(str.lower, _MASK_FOLDERS)):
        if not options.images_only:
            raise DataError(_unknown(path, options))
        raise DataError(
            f"{path} holds {', '.join([known.name, *others])}; name the folder of images with --images-folder (in a"
            " run: data.images_folder), or give a folder of only images"
        )


def _unknown(path: Path, options: FolderOptions) -> str:
    folders = [f"{folder.name}/" for folder in _folders_in(path)]
    extensions = Counter(file.suffix.lower() or "no extension" for file in _entries(path) if os.path.isfile(file))
    files = [f"files {extension} ({count})" for extension, count in extensions.most_common(_SHOWN)]
    content = ", ".join([*folders[:_SHOWN], *(["..."] if len(folders) > _SHOWN else []), *files]) or "nothing"
    asked = f" with masks ending in {options.mask_suffix}" if options.mask_suffix else ""
    return (
        f"{path} is no known layout of images and masks{asked}: it holds {content}. Known are {_KNOWN_LAYOUTS}."
        " Describe another one with --images-folder, --masks-folder (--masks), --image-suffix, --mask-suffix (in a run:"
        " data.images_folder, data.masks, ...); if all are images and there are no masks, give --images-only"
        " (data.images_only)"
    )


def _list_some_images(folder: Path, without: Path | None = None) -> Listing:
    return _refuse_empty(list_images(folder, without))


def _refuse_empty(listing: Listing) -> Listing:
    if not listing.files:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{listing.folder} holds no images ({suffixes}); give the folder that does")
    return listing


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if not is_system_file(entry.name))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror}); make it readable") from None


def _folders_in(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if os.path.isdir(entry)]


def _known(path: Path, names: tuple[str, ...], option: str) -> Path | None:
    """Return the folder in `path` with one of the names, ignoring case; of several, the one that holds images."""
    lower = [name.lower() for name in names]
    folders = [folder for folder in _folders_in(path) if folder.name.lower() in lower]
    if len(folders) > 1:
        folders = [folder for folder in folders if list_images(folder).files] or folders[:1]
    if len(folders) > 1:
        raise DataError(f"{path} holds {' and '.join(folder.name for folder in folders)}; choose one with {option}")
    return folders[0] if folders else None


def _named(path: Path, folder: Path, option: str) -> Path:
    """Return the folder that the user gave as a path, or as a name in `path`."""
    existing = [place for place in (folder, path / folder) if os.path.isdir(place)]
    if len({os.path.realpath(place) for place in existing}) > 1:
        raise DataError(f"{option} {folder}: this can be {existing[0]} or {existing[1]}; give an absolute path")
    if not existing:
        raise DataError(f"neither {folder} nor {path / folder} is a folder; give an existing one with {option}")
    return existing[0]
