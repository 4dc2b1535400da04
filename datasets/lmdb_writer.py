"""Writing data sets in the layout that `datasets.image_mask` reads."""

import io
import json
import os
import shutil
from pathlib import Path
from types import TracebackType

import lmdb
import numpy as np
from PIL import Image

from datasets.errors import DataError
from datasets.labels import ClassTable

META_VERSION = 1
_JPEG_QUALITY = 95
_BATCH = 256
_INITIAL_MAP_BYTES = 64 * 2**20


class LmdbWriter:
    """Writes a new data set in that layout; it appears at `path` only when all of it is written.

    A context manager. Records are written into a folder beside the target, which takes its final name at the end;
    after an error nothing is left.

    Args:
        path: folder to create.
        resolution: side length of every image and label.
        classes: the class table stored with the data.
        source: one line saying where the data come from.

    Raises:
        DataError: if `path` exists (it is never overwritten) or cannot be written.
    """

    def __init__(self, path: str | Path, resolution: int, classes: ClassTable, source: str) -> None:
        self.path = Path(path)
        self.resolution = resolution
        self.classes = classes
        self.source = source
        self.count = 0
        self._pending: list[tuple[bytes, bytes]] = []
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")

    def __enter__(self) -> "LmdbWriter":
        if os.path.lexists(self.path):
            raise DataError(f"{self.path} exists already; choose another name or remove it yourself")
        try:
            self._partial.mkdir(parents=True)
            self._environment = lmdb.open(str(self._partial), map_size=_INITIAL_MAP_BYTES, lock=False)
        except (OSError, lmdb.Error) as error:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise DataError(f"cannot write {self.path}: {error}; choose a writable folder") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._environment.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, image: np.ndarray, label: np.ndarray) -> None:
        """Appends image uint8 [R, R, 3] and label uint8 [R, R]."""
        self.add_encoded(*encode_pair(image, label))

    def add_encoded(self, jpeg: bytes, png: bytes) -> None:
        """Appends what `encode_pair` made, perhaps in another process."""
        image_key, label_key = record_keys(self.count)
        self._pending += [(image_key.encode(), jpeg), (label_key.encode(), png)]
        self.count += 1
        if len(self._pending) >= 2 * _BATCH:
            self._flush()

    def _finish(self) -> None:
        meta = {
            "classes": self.classes.to_dict(),
            "resolution": self.resolution,
            "count": self.count,
            "source": self.source,
            "version": META_VERSION,
        }
        length = str(self.count).encode()
        self._pending += [(b"image-length", length), (b"label-length", length), (b"meta", json.dumps(meta).encode())]
        self._flush()
        self._environment.sync(True)
        self._environment.close()
        if os.path.lexists(self.path):
            raise DataError(f"{self.path} has appeared meanwhile; choose another name or remove it yourself")
        os.replace(self._partial, self.path)

    def _flush(self) -> None:
        while not self._try_commit():
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        self._pending.clear()

    def _try_commit(self) -> bool:
        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in self._pending:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            return False
        except lmdb.Error as error:
            raise DataError(f"cannot write {self.path}: {error}; free some space or choose another disk") from None
        return True


def record_keys(index: int) -> tuple[str, str]:
    """Keys of the image and the label of one record."""
    return f"image-{index:07d}", f"label-{index:07d}"


def encode_pair(image: np.ndarray, label: np.ndarray) -> tuple[bytes, bytes]:
    """JPEG bytes of image uint8 [R, R, 3] and PNG bytes of label uint8 [R, R]."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    # 4:4:4: halved colour would bleed over the edges of the parts, which the masks draw to the pixel.
    Image.fromarray(image).save(jpeg, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    Image.fromarray(label).save(png, format="PNG")
    return jpeg.getvalue(), png.getvalue()
