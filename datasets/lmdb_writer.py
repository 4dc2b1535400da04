"""Writing of LMDB data sets in the layouts of `datasets.lmdb_reading`."""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.labels import ClassTable
from datasets.lmdb_reading import META_FILE, META_VERSION, image_key, pair_keys
from datasets.resumable_writer import ResumableWriter, move, not_writable, refuse_existing
from utils.sizes import Resolution

_JPEG_QUALITY = 95


def describe(classes: ClassTable | None, resolution: Resolution, count: int, source: str) -> dict[str, Any]:
    """Return the description of a data set, stored as `meta`, as plain data; `classes` is None for images only."""
    return {
        "classes": None if classes is None else classes.to_dict(),
        "resolution": resolution,
        "count": count,
        "source": source,
        "version": META_VERSION,
        "tool": "semantic-stylegan 1.0",
    }


def encode_image(image: np.ndarray) -> bytes:
    """Return image uint8 [H, W, 3] as JPEG bytes."""
    jpeg = io.BytesIO()
    # 4:4:4, because subsampled colour would bleed over the edges of the parts, where the masks are exact to the pixel.
    Image.fromarray(image).save(jpeg, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return jpeg.getvalue()


def encode_pair(image: np.ndarray, label: np.ndarray) -> tuple[bytes, bytes]:
    """Return image uint8 [H, W, 3] as JPEG bytes and label uint8 [H, W] as PNG bytes."""
    png = io.BytesIO()
    Image.fromarray(label).save(png, format="PNG")
    return encode_image(image), png.getvalue()


def pair_items(index: int, jpeg: bytes, png: bytes) -> list[tuple[bytes, bytes]]:
    """Return (key, value) for the encoded image and for the encoded label of a pair."""
    image, label = pair_keys(index)
    return [(image.encode(), jpeg), (label.encode(), png)]


class LmdbWriter(ResumableWriter):
    """Context manager that writes a new data set of pairs, or of images only, and deletes it after an error.

    Args:
        path: folder to create.
        resolution: size H x W of every image and label.
        classes: class table stored with the data; None for images only.
        source: one line about the origin of the data.

    Raises:
        DataError: if `path` exists (it is never overwritten), is written by another process, or cannot be written.
    """

    def __init__(self, path: str | Path, resolution: Resolution, classes: ClassTable | None, source: str) -> None:
        super().__init__(path, plan="")
        self.resolution = resolution
        self.classes = classes
        self.source = source

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self.finish(describe(self.classes, self.resolution, self.count, self.source), {})
        finally:
            super().__exit__()
            shutil.rmtree(self.partial, ignore_errors=True)

    def add(self, image: np.ndarray, label: np.ndarray) -> None:
        """Append image uint8 [H, W, 3] and label uint8 [H, W]; a data set without classes stores only the image."""
        self.add_encoded(*encode_pair(image, label))

    def add_encoded(self, jpeg: bytes, png: bytes) -> None:
        """Append a pair encoded by `encode_pair`; a data set without classes stores only the image."""
        if self.classes is None:
            self.append([(image_key(self.resolution, self.count).encode(), jpeg)])
        else:
            self.append(pair_items(self.count, jpeg, png))


def link_lmdb(lmdb_file: Path, path: Path, meta: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Create the data set `path`: a link to an LMDB file, its description `meta`, and `files` (content by name).

    Raises:
        DataError: if `path` exists or cannot be written.
    """
    with new_folder(path) as partial:
        try:
            (partial / "data.mdb").symlink_to(os.path.realpath(lmdb_file))
            for name, content in {META_FILE: json.dumps(meta).encode(), **files}.items():
                (partial / name).write_bytes(content)
        except OSError as error:
            raise not_writable(path, error) from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; afterwards rename it to `path`, or after an error delete it.

    Raises:
        DataError: if `path` exists or cannot be written.
    """
    refuse_existing(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise not_writable(path, error) from None
    try:
        yield partial
        move(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
