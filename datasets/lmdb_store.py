"""An LMDB that is being written: batches go in whole, and the map grows with them."""

import os
from collections.abc import Iterable
from pathlib import Path

from datasets.lmdb_reading import library
from utils.errors import DataError

_INITIAL_MAP_BYTES = 64 * 2**20

Pairs = Iterable[tuple[bytes, bytes]]


class Store:
    """The one writer of a new LMDB in an existing folder.

    Args:
        folder: where the LMDB lies while it is written.
        shown: the path that messages name, which it will have in the end.

    Raises:
        DataError: if it cannot be created or written, as on a full disk.
    """

    def __init__(self, folder: Path, shown: Path) -> None:
        self._shown = shown
        lmdb = library()
        try:
            self._environment = lmdb.open(os.fsencode(folder), map_size=_INITIAL_MAP_BYTES, lock=False)
        except (OSError, lmdb.Error) as error:
            raise DataError(f"cannot write {shown}: {error}; choose a writable folder") from None

    def get(self, key: bytes) -> bytes | None:
        """What is stored under a key."""
        with self._environment.begin() as transaction:
            return transaction.get(key)

    def put(self, pairs: Pairs, remove: Iterable[bytes] = ()) -> None:
        """Writes pairs and removes keys in one transaction: all of it or, after a failure, nothing."""
        batch = list(pairs)
        while not self._try_put(batch, remove):
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])

    def _try_put(self, batch: Pairs, remove: Iterable[bytes]) -> bool:
        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
                for key in remove:
                    transaction.delete(key)
        except library().MapFullError:
            return False
        except library().Error as error:
            raise DataError(f"cannot write {self._shown}: {error}; free some space or choose another disk") from None
        return True

    def sync(self) -> None:
        """Waits until all is on the disk."""
        try:
            self._environment.sync(True)
        except library().Error as error:
            raise DataError(f"cannot write {self._shown}: {error}; free some space or choose another disk") from None

    def close(self) -> None:
        """No more reading or writing; may be called twice."""
        self._environment.close()
