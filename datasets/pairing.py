"""Lists of image and mask files in folders, and pairs of files whose names are equal apart from a suffix.

Names are compared in Unicode NFC, because operating systems store accented letters differently.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import NamedTuple

from datasets.decoding import SUFFIXES
from utils.errors import DataError
from utils.reading.checks import normalized

# Files and folders that operating systems and NAS devices create: thumbnails, metadata, trash.
_SYSTEM_FOLDERS = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information"}
_SYSTEM_FILES = {"desktop.ini", "ehthumbs.db", "thumbs.db"}
_SEPARATORS = ("_", "-", ".")
_MASK_SUFFIXES = tuple(
    f"{separator}{written}"
    for word in ("mask", "masks", "label", "labels", "seg", "segmentation", "gt", "annotation")
    for separator in _SEPARATORS
    for written in (word, word.capitalize(), word.upper())
)
_IMAGE_SUFFIXES = ("_image", "_img", "_rgb", "-image", "-img", ".image")


class Convention(NamedTuple):
    """Suffixes that follow the common part of image and mask names; they may include the extension."""

    image: str = ""  # such as "_leftImg8bit"
    mask: str = ""  # such as "_mask"
    whole: bool = False  # the common part includes the image's extension: a.jpg and a.jpg.png


_UNKNOWN = Convention()


class Listing(NamedTuple):
    """The image files, masks among them, in a folder and its subfolders."""

    folder: Path
    files: Sequence[Path]  # sorted by name
    names: Sequence[str]  # their relative paths without extension, in NFC
    others: Sequence[Path]  # files that are not images

    @property
    def skipped(self) -> Counter[str]:
        """Return the number of files that are not images, by extension."""
        return Counter(path.suffix.lower() or "no extension" for path in self.others)

    def whole_names(self) -> list[str]:
        """Return the relative paths of the image files, including their extensions, in NFC."""
        return [name + path.suffix for name, path in zip(self.names, self.files, strict=True)]

    def select(self, kept: Sequence[bool]) -> "Listing":
        """Return a listing with only the image files for which `kept` is True."""
        return self._replace(files=list(compress(self.files, kept)), names=list(compress(self.names, kept)))


class FilePairs(NamedTuple):
    """Images with their masks, and files without a partner."""

    pairs: Sequence[tuple[Path, Path]]  # sorted by name
    problems: Sequence[str]  # one message for each further file with the same name
    images: Sequence[tuple[Path, Path]]  # images without a mask, with the path that their mask would have
    masks: Sequence[Path]  # masks without an image
    ignored: int  # number of files without the given suffixes


def visible_files(folder: Path, without: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield (path, names of the files in it) for `folder` and for each of its subfolders, at any depth.

    Hidden files, files and folders that operating systems create, and everything below `without` are left out.

    Raises:
        DataError: if `folder` is not a folder, or a folder cannot be listed or is reached twice through a link.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; give the folder that holds the files")

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from None

    seen = set[tuple[int, int]]()  # a symbolic link may lead back to a parent folder
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if without is not None and os.path.samefile(parent, without):
            folders.clear()
            continue
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            raise DataError(f"{parent}: is reached twice through a symbolic link; remove the link")
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_system_file(name))
        yield parent, sorted(name for name in files if not is_system_file(name))


def is_system_file(name: str) -> bool:
    """Return True if this is the name of a hidden file or folder, or of one that operating systems create."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS | _SYSTEM_FILES


def list_images(folder: Path, without: Path | None = None) -> Listing:
    """List the image files in a folder and its subfolders, except in the folder `without`.

    Raises:
        DataError: if `folder` is no folder, or a folder cannot be listed or is reached twice through a link.
    """
    images, others = [], []
    for path in (Path(parent, name) for parent, names in visible_files(folder, without) for name in names):
        if path.suffix.lower() in SUFFIXES:
            images.append((normalized(path.relative_to(folder).with_suffix("").as_posix()), path))
        else:
            others.append(path)
    images.sort()
    return Listing(folder, [path for _, path in images], [name for name, _ in images], others)


def select_by_suffix(listing: Listing, suffix: str) -> Listing:
    """Return a listing of the image files whose names end with a suffix, which may include the extension."""
    return listing.select(_has_suffix(listing, suffix))


def by_stem(listing: Listing, suffix: str = "", *, strict: bool = False) -> dict[str, list[Path]]:
    """Return the image files by stem: the relative path without extension and suffix, in NFC.

    The stem of a file without the suffix is its whole name; if `strict`, such files are left out.
    """
    groups = defaultdict(list)
    for stem, name, path in zip(_stems(listing, suffix), listing.names, listing.files, strict=True):
        if stem is not None or not strict:
            groups[name if stem is None else stem].append(path)
    return dict(groups)


def duplicates(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return a message for each further file with the same name; `files` holds the paths by name."""
    same = ((first, second) for first, *others in files.values() for second in others)
    return [f"{second}: {same_name(first, second)}; rename one" for first, second in same]


def same_name(first: Path, second: Path) -> str:
    """Return a message on how two files with the same name differ; callers put the path of the second before it."""
    same = first.suffix == second.suffix and normalized(str(first)) == normalized(str(second))
    return f"has the same name as {first} with a different {'Unicode form (NFC, NFD)' if same else 'extension'}"


def pair(images: Listing, masks: Listing, convention: Convention, *, strict: bool = False) -> FilePairs:
    """Find the mask of each image.

    Args:
        images: all images.
        masks: all masks.
        convention: suffixes of their names.
        strict: ignore files without these suffixes; otherwise such files are paired by their whole names.
    """
    if convention.whole:
        kept = select_by_suffix(images, convention.image) if strict else images
        image_files = by_stem(kept._replace(names=kept.whole_names()))
    else:
        image_files = by_stem(images, convention.image, strict=strict)
    mask_files = by_stem(masks, convention.mask, strict=strict)
    extension = "" if Path(convention.mask).suffix in SUFFIXES else ".png"
    kept_count = sum(map(len, image_files.values())) + sum(map(len, mask_files.values()))
    both = [(image_files[stem], mask_files[stem]) for stem in sorted(image_files) if stem in mask_files]
    without_mask = [
        (stem, masks.folder / f"{stem}{convention.mask}{extension}") for stem in sorted(image_files.keys() - mask_files)
    ]
    return FilePairs(
        [(image[0], mask[0]) for image, mask in both if len(image) == len(mask) == 1],
        [*duplicates(image_files), *duplicates(mask_files)],
        [(path, expected) for stem, expected in without_mask for path in image_files[stem]],
        [path for stem in sorted(mask_files.keys() - image_files) for path in mask_files[stem]],
        len(images.files) + len(masks.files) - kept_count,
    )


def recognize(images: Listing, masks: Listing, image_suffix: str = "") -> Convention | None:
    """Return the known convention that pairs the most images with a mask; None if no convention pairs any.

    Args:
        images: all images.
        masks: all masks, in another folder.
        image_suffix: suffix of the image names, if the user gave one.

    Raises:
        DataError: if another convention pairs masks that the returned one does not.
    """
    known = _known_conventions(images, masks, image_suffix)
    candidates = [Convention(image_suffix), Convention(image_suffix, whole=True), *known]
    results = [(pair(images, masks, each, strict=bool(image_suffix)).pairs, each) for each in candidates]
    best, convention = max(results, key=lambda result: len(result[0]))
    if not best:
        return None
    paired = {mask for _, mask in best}
    for pairs, _ in results:
        if other := next((mask for _, mask in pairs if mask not in paired), None):
            raise DataError(_several_kinds(masks.folder, [best[0][1], other]))
    return convention


def split_by_each_suffix(
    listing: Listing, convention: Convention = _UNKNOWN
) -> list[tuple[Listing, Listing, Convention]]:
    """Separate images from masks in one folder, once for each kind (suffix) of mask that some image has.

    Args:
        listing: all image files, masks among them.
        convention: suffixes given by the user; without a mask suffix, all known ones are tried.

    Returns:
        For each kind: the images, the masks, and the convention that pairs the most of them.
    """
    if convention.mask:
        candidates = [([convention], _has_suffix(listing, convention.mask))]
    else:
        whole = set(listing.whole_names())
        candidates = [([Convention(convention.image, whole=True)], [name in whole for name in listing.names])]
        known = _known_conventions(listing, listing, convention.image)
        for suffix in dict.fromkeys(each.mask for each in known):
            candidates.append(([each for each in known if each.mask == suffix], _has_suffix(listing, suffix)))
    results = []
    for conventions, is_mask in candidates:
        images, masks = listing.select([not each for each in is_mask]), listing.select(is_mask)
        count = {each: len(pair(images, masks, each, strict=convention != _UNKNOWN).pairs) for each in conventions}
        best = max(conventions, key=count.__getitem__)
        if count[best]:
            results.append((images, masks._replace(others=()), best))
    return results


def split_by_suffix(listing: Listing, convention: Convention = _UNKNOWN) -> tuple[Listing, Listing, Convention] | None:
    """Return images, masks and convention of one folder, like `split_by_each_suffix`; None if no image has a mask.

    Raises:
        DataError: if there are several kinds of masks.
    """
    results = split_by_each_suffix(listing, convention)
    if len(results) > 1:
        raise DataError(_several_kinds(listing.folder, [masks.files[0] for _, masks, _ in results]))
    return results[0] if results else None


def _known_conventions(images: Listing, masks: Listing, image_suffix: str) -> list[Convention]:
    """Combine each known mask suffix in use with `image_suffix`, or if that is "", with each known one in use."""
    image_suffixes = [image_suffix] if image_suffix else ["", *_present(images, _IMAGE_SUFFIXES)]
    return [Convention(image, mask) for mask in _present(masks, _MASK_SUFFIXES) for image in image_suffixes]


def _present(listing: Listing, suffixes: Sequence[str]) -> list[str]:
    """Return the suffixes that at least one name ends with; one pass over the names, which may be many."""
    ends = {name[max(map(name.rfind, _SEPARATORS)) :] for name in listing.names if name.endswith(tuple(suffixes))}
    return [suffix for suffix in suffixes if suffix in ends]


def _several_kinds(folder: Path, examples: Sequence[Path]) -> str:
    shown = ", ".join(path.name for path in examples)
    return (
        f"{folder} holds masks of several kinds ({shown}); choose one with --mask-suffix (in a run: data.mask_suffix)"
    )


def _has_suffix(listing: Listing, suffix: str) -> list[bool]:
    return [stem is not None for stem in _stems(listing, suffix)]


def _stems(listing: Listing, suffix: str) -> list[str | None]:
    """Return each name with the suffix removed, or None if it lacks the suffix, which may include the extension."""
    if not suffix:
        return list(listing.names)
    suffix = normalized(suffix)
    return [
        _remove(suffix, name) or _remove(suffix, name + path.suffix)
        for name, path in zip(listing.names, listing.files, strict=True)
    ]


def _remove(suffix: str, name: str) -> str | None:
    stem = name.removesuffix(suffix)
    return stem if stem != name and stem and not stem.endswith("/") else None
