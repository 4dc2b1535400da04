"""Files of images and masks in folders, and which belong together: by names that are equal but for a suffix.

Names are compared as NFC, so that it does not matter which system wrote them.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.decoding import SUFFIXES
from utils.errors import DataError
from utils.reading.checks import normalized

# What systems leave in folders: thumbnails, halves of archives, waste.
_SYSTEM_NAMES = frozenset(
    {
        "@eadir",
        "__macosx",
        "#recycle",
        "$recycle.bin",
        "lost+found",
        "system volume information",
        "desktop.ini",
        "ehthumbs.db",
        "thumbs.db",
    }
)
_JOINTS = ("_", "-", ".")
_MASK_SUFFIXES = tuple(
    f"{joint}{written}"
    for word in ("mask", "masks", "label", "labels", "seg", "segmentation", "gt", "annotation")
    for joint in _JOINTS
    for written in (word, word.capitalize(), word.upper())
)
_IMAGE_SUFFIXES = ("_image", "_img", "_rgb", "-image", "-img", ".image")


class Convention(NamedTuple):
    """Suffixes of image and mask names after the common part.

    Attributes:
        image: suffix of images, such as "_leftImg8bit"; without extension or with it.
        mask: suffix of masks, such as "_mask".
        whole: whether a mask is named by the image's whole name: a.jpg and a.jpg.png.
    """

    image: str = ""
    mask: str = ""
    whole: bool = False


_UNSAID = Convention()


class Listing(NamedTuple):
    """The images below a folder.

    Attributes:
        folder: where they lie.
        files: sorted by name.
        names: their relative paths without extension, in NFC.
        others: files that are no images.
    """

    folder: Path
    files: Sequence[Path]
    names: Sequence[str]
    others: Sequence[Path]

    @property
    def skipped(self) -> Counter[str]:
        """How many files are no images, by extension."""
        return Counter(path.suffix.lower() or "no extension" for path in self.others)

    def whole_names(self) -> list[str]:
        """Return the relative paths with extension, in NFC."""
        return [name + path.suffix for name, path in zip(self.names, self.files, strict=True)]

    def only(self, wanted: Sequence[bool]) -> "Listing":
        """Return those that are wanted."""
        files = [path for path, kept in zip(self.files, wanted, strict=True) if kept]
        names = [name for name, kept in zip(self.names, wanted, strict=True) if kept]
        return self._replace(files=files, names=names)


class Pairs(NamedTuple):
    """Images with their masks, and what has no partner.

    Attributes:
        pairs: by name.
        problems: names that several files have, one line each.
        images: paths without a mask, with the mask that would be theirs.
        masks: paths without an image.
        passed: how many files lack the given suffixes.
    """

    pairs: Sequence[tuple[Path, Path]]
    problems: Sequence[str]
    images: Sequence[tuple[Path, Path]]
    masks: Sequence[Path]
    passed: int


def list_images(folder: Path, without: Path | None = None) -> Listing:
    """List the images in a folder and below, but not below `without`.

    Raises:
        DataError: if it is no folder or cannot be listed.
    """
    found, others = [], []
    for path in (Path(parent, name) for parent, names in visible_files(folder, without) for name in names):
        if path.suffix.lower() in SUFFIXES:
            found.append((normalized(path.relative_to(folder).with_suffix("").as_posix()), path))
        else:
            others.append(path)
    found.sort()
    return Listing(folder, [path for _, path in found], [name for name, _ in found], others)


def no_images(folder: Path) -> str:
    """Return the message for a folder without images."""
    return f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}); give the folder that does"


def is_left_by_a_system(name: str) -> bool:
    """Return whether a name is hidden or a system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def ending_with(listing: Listing, suffix: str) -> Listing:
    """Return the images whose names end with a suffix, which may include the extension."""
    return listing.only(_has_suffix(listing, suffix))


def group(listing: Listing) -> dict[str, list[Path]]:
    """Return the images by relative path without extension, in NFC."""
    return _keys(listing, "", strict=False)


def doubles(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return a line for each file that has the name of another: which of them is meant cannot be known."""
    return [
        f"{second}: {same_name(first, second)}; rename one" for first, *others in files.values() for second in others
    ]


def same_name(first: Path, second: Path) -> str:
    """Return how the name of a second file is that of the first, for after the second's name."""
    same = first.suffix == second.suffix and normalized(str(first)) == normalized(str(second))
    return f"has the same name as {first} with a different {'Unicode form (NFC, NFD)' if same else 'extension'}"


def pair(images: Listing, masks: Listing, convention: Convention, *, strict: bool = False) -> Pairs:
    """Find the mask of each image.

    Args:
        images: all images.
        masks: all masks.
        convention: suffixes of their names.
        strict: ignore files without these suffixes; otherwise each is a file without a partner.
    """
    if convention.whole:
        kept = ending_with(images, convention.image) if strict else images
        image_keys = _grouped(zip(kept.whole_names(), kept.files, strict=True))
    else:
        image_keys = _keys(images, convention.image, strict=strict)
    mask_keys = _keys(masks, convention.mask, strict=strict)
    extension = "" if Path(convention.mask).suffix in SUFFIXES else ".png"
    found = sum(map(len, image_keys.values())) + sum(map(len, mask_keys.values()))
    both = [(image_keys[key], mask_keys[key]) for key in sorted(image_keys) if key in mask_keys]
    alone = [
        (key, masks.folder / f"{key}{convention.mask}{extension}") for key in sorted(image_keys.keys() - mask_keys)
    ]
    return Pairs(
        [(image[0], mask[0]) for image, mask in both if len(image) == len(mask) == 1],
        [*doubles(image_keys), *doubles(mask_keys)],
        [(path, expected) for key, expected in alone for path in image_keys[key]],
        [path for key in sorted(mask_keys.keys() - image_keys) for path in mask_keys[key]],
        len(images.files) + len(masks.files) - found,
    )


def recognize(images: Listing, masks: Listing, image_suffix: str = "") -> Convention | None:
    """Return the known convention that pairs most images with a mask; None if none pairs any.

    Args:
        images: all images.
        masks: all masks, in another folder.
        image_suffix: suffix of the images' names, if the user gave it.

    Raises:
        DataError: if another convention pairs masks that this one does not.
    """
    known = _known_conventions(images, masks, image_suffix)
    tried = [Convention(image_suffix), Convention(image_suffix, whole=True), *known]
    found = [(pair(images, masks, each, strict=bool(image_suffix)).pairs, each) for each in tried]
    best, convention = max(found, key=lambda each: len(each[0]))
    if not best:
        return None
    chosen = {mask for _, mask in best}
    for pairs, _ in found:
        if other := next((mask for _, mask in pairs if mask not in chosen), None):
            raise DataError(_several_kinds(masks.folder, [best[0][1], other]))
    return convention


def split_by_each_suffix(
    listing: Listing, convention: Convention = _UNSAID
) -> list[tuple[Listing, Listing, Convention]]:
    """Separate images from masks in one folder, for each kind of mask that any image has.

    Args:
        listing: all of them.
        convention: their suffixes, as far as the user gave them; known ones are tried for a mask suffix not given.

    Returns:
        images, masks and the convention that pairs most of them.
    """
    if convention.mask:
        tried = [[convention]]
        is_mask = [_has_suffix(listing, convention.mask)]
    else:
        whole = set(listing.whole_names())
        tried = [[Convention(convention.image, whole=True)]]
        is_mask = [[name in whole for name in listing.names]]
        known = _known_conventions(listing, listing, convention.image)
        for suffix in dict.fromkeys(each.mask for each in known):
            tried.append([each for each in known if each.mask == suffix])
            is_mask.append(_has_suffix(listing, suffix))
    found = []
    for candidates, mask in zip(tried, is_mask, strict=True):
        images, masks = listing.only([not each for each in mask]), listing.only(mask)
        count = {each: len(pair(images, masks, each, strict=convention != _UNSAID).pairs) for each in candidates}
        best = max(candidates, key=count.__getitem__)
        if count[best]:
            found.append((images, masks._replace(others=()), best))
    return found


def split_by_suffix(listing: Listing, convention: Convention = _UNSAID) -> tuple[Listing, Listing, Convention] | None:
    """Separate images from masks in one folder, as `split_by_each_suffix` does; None if no image has a mask.

    Raises:
        DataError: if there are masks of several kinds.
    """
    found = split_by_each_suffix(listing, convention)
    if len(found) > 1:
        raise DataError(_several_kinds(listing.folder, [masks.files[0] for _, masks, _ in found]))
    return found[0] if found else None


def _known_conventions(images: Listing, masks: Listing, image_suffix: str) -> list[Convention]:
    """Return the conventions with a known mask suffix that occurs, and the given or a known image suffix."""
    image_suffixes = [image_suffix] if image_suffix else ["", *_present(images, _IMAGE_SUFFIXES)]
    return [Convention(image, mask) for mask in _present(masks, _MASK_SUFFIXES) for image in image_suffixes]


def _present(listing: Listing, suffixes: Sequence[str]) -> list[str]:
    """Return those known suffixes that any name ends with, in one pass over the names."""
    ends = {name[max(map(name.rfind, _JOINTS)) :] for name in listing.names if name.endswith(tuple(suffixes))}
    return [suffix for suffix in suffixes if suffix in ends]


def _has_suffix(listing: Listing, suffix: str) -> list[bool]:
    return [key is not None for key in _stripped(listing, suffix)]


def _several_kinds(folder: Path, examples: Sequence[Path]) -> str:
    shown = ", ".join(path.name for path in examples)
    return (
        f"{folder} holds masks of several kinds ({shown}); say which count with --mask-suffix"
        " (in a run: data.mask_suffix)"
    )


def _keys(listing: Listing, suffix: str, *, strict: bool) -> dict[str, list[Path]]:
    """The files by name without suffix; by their whole name, or not at all if strict, where they do not end so."""
    keys = zip(_stripped(listing, suffix), listing.names, listing.files, strict=True)
    return _grouped((name if key is None else key, path) for key, name, path in keys if key is not None or not strict)


def _grouped(files: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for key, path in files:
        groups[key].append(path)
    return dict(groups)


def _stripped(listing: Listing, suffix: str) -> list[str | None]:
    """Names without the suffix, which may include the extension; None for those without it."""
    if not suffix:
        return list(listing.names)
    suffix = normalized(suffix)
    return [
        _before(name, suffix) or _before(name + path.suffix, suffix)
        for name, path in zip(listing.names, listing.files, strict=True)
    ]


def _before(text: str, suffix: str) -> str | None:
    key = text.removesuffix(suffix)
    return key if key != text and key and not key.endswith("/") else None


def visible_files(folder: Path, without: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder, from `folder` on, with the names of its files; not those that systems leave.

    Raises:
        DataError: if it is no folder, or one cannot be listed or is reached twice.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; give the one that holds the files")

    def complain(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from None

    seen = set[tuple[int, int]]()  # a link may lead back to a folder that holds it
    for parent, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        if without is not None and os.path.samefile(parent, without):
            folders.clear()
            continue
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            raise DataError(f"{parent}: is reached twice through a symbolic link; remove the link")
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_left_by_a_system(name))
        yield parent, sorted(name for name in files if not is_left_by_a_system(name))
