"""Writing of LMDB data sets in the layouts of `datasets.lmdb_reading`."""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from datasets.labels import ClassTable
from datasets.lmdb_reading import META_FILE, META_KEY, META_VERSION, image_key, library, pair_keys
from utils.errors import DataError

BATCH = 256  # records per transaction
_JPEG_QUALITY = 95
_INITIAL_MAP_BYTES = 64 * 2**20


def describe(classes: ClassTable | None, resolution: int, count: int, source: str) -> dict[str, Any]:
    """Return the `meta` of a data set as plain data; `classes` is None for images only."""
    return {
        "classes": None if classes is None else classes.to_dict(),
        "resolution": resolution,
        "count": count,
        "source": source,
        "version": META_VERSION,
        "tool": "semantic-stylegan 1.0",
    }


def encode_image(image: np.ndarray) -> bytes:
    """Return image uint8 [R, R, 3] as JPEG bytes."""
    jpeg = io.BytesIO()
    # 4:4:4, because subsampled colour would bleed over the edges of the parts, where the masks are exact to the pixel.
    Image.fromarray(image).save(jpeg, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return jpeg.getvalue()


def encode_pair(image: np.ndarray, label: np.ndarray) -> tuple[bytes, bytes]:
    """Return image uint8 [R, R, 3] as JPEG bytes and label uint8 [R, R] as PNG bytes."""
    png = io.BytesIO()
    Image.fromarray(label).save(png, format="PNG")
    return encode_image(image), png.getvalue()


def pair_items(index: int, jpeg: bytes, png: bytes) -> list[tuple[bytes, bytes]]:
    """Return the keys and values of one pair."""
    image, label = pair_keys(index)
    return [(image.encode(), jpeg), (label.encode(), png)]


def closing_items(meta: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the keys and values that complete an LMDB: the number of its records and its description."""
    length = str(meta["count"]).encode()
    keys = ("length",) if meta["classes"] is None else ("image-length", "label-length")
    return [*((key.encode(), length) for key in keys), (META_KEY.encode(), json.dumps(meta).encode())]


class Store:
    """A new LMDB in an existing folder; its map grows as needed.

    Args:
        folder: folder of the LMDB while it is written.
        shown: path for messages, the final one.

    Raises:
        DataError: if it cannot be created or written, for example on a full disk.
    """

    def __init__(self, folder: Path, shown: Path) -> None:
        self._shown = shown
        lmdb = library()
        try:
            self._environment = lmdb.open(os.fsencode(folder), map_size=_INITIAL_MAP_BYTES, lock=False)
        except (OSError, lmdb.Error) as error:
            raise DataError(f"cannot write {shown}: {error}; choose a writable folder") from None

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        with self._environment.begin() as transaction:
            return transaction.get(key)

    def put(self, items: Sequence[tuple[bytes, bytes]], remove: Sequence[bytes] = ()) -> None:
        """Write items and remove keys in one transaction, which is applied whole or not at all."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in items:
                        transaction.put(key, value)
                    for key in remove:
                        transaction.delete(key)
                return
            except library().MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            except library().Error as error:
                raise self._failure(error) from None

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        try:
            self._environment.sync(True)
        except library().Error as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> DataError:
        return DataError(f"cannot write {self._shown}: {error}; free some space or choose another disk")

    def close(self) -> None:
        """Close the LMDB; may be called twice."""
        self._environment.close()


class LmdbWriter:
    """Context manager that writes a new data set of pairs, or of images only.

    It is written to a folder beside the target, which gets its final name when complete; nothing is left after an
    error.

    Args:
        path: folder to create.
        resolution: side length R of every image and label.
        classes: class table stored with the data; None for images only.
        source: one line about the origin of the data.

    Raises:
        DataError: if `path` exists (it is never overwritten) or cannot be written.
    """

    def __init__(self, path: str | Path, resolution: int, classes: ClassTable | None, source: str) -> None:
        self.path = Path(path)
        self.resolution = resolution
        self.classes = classes
        self.source = source
        self.count = 0
        self._pending: list[tuple[bytes, bytes]] = []

    def __enter__(self) -> "LmdbWriter":
        self._context = self._open()
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    @contextmanager
    def _open(self) -> Iterator[None]:
        with new_folder(self.path) as folder, closing(Store(folder, self.path)) as self._store:
            yield
            meta = describe(self.classes, self.resolution, self.count, self.source)
            self._store.put(self._pending)
            self._store.put(closing_items(meta))
            self._store.sync()

    def add(self, image: np.ndarray, label: np.ndarray) -> None:
        """Append image uint8 [R, R, 3] and label uint8 [R, R]."""
        self.add_encoded(*encode_pair(image, label))

    def add_encoded(self, jpeg: bytes, png: bytes) -> None:
        """Append a pair encoded by `encode_pair`; data sets without classes store only the image."""
        if self.classes is None:
            self._pending.append((image_key(self.resolution, self.count).encode(), jpeg))
        else:
            self._pending += pair_items(self.count, jpeg, png)
        self.count += 1
        if len(self._pending) >= 2 * BATCH:
            self._store.put(self._pending)
            self._pending.clear()


def link_lmdb(lmdb_file: Path, path: Path, meta: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Create a data set that links to an existing LMDB file and has a description beside it.

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
    """Yield a folder beside `path` to write to, which is renamed to `path` when complete.

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


def refuse_existing(path: Path) -> None:
    """Raise a DataError if `path` exists."""
    if os.path.lexists(path):
        raise DataError(f"{path} exists already; choose another name or remove it yourself")


def move(partial: Path, path: Path) -> None:
    """Give a complete folder its final name.

    Raises:
        DataError: if `path` exists by now, or the folder cannot be renamed.
    """
    if os.path.lexists(path):
        raise DataError(f"{path} was created by another program during the run; choose another name or remove it")
    try:
        os.replace(partial, path)
    except OSError as error:
        raise not_writable(path, error) from None


def not_writable(path: Path, error: OSError) -> DataError:
    """Return the error for a path that cannot be written."""
    return DataError(f"cannot write {path}: {error.strerror}; choose a writable folder")
