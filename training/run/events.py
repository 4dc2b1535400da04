"""TensorBoard's files of a run, without gaps or doubles where a disk was full for a while."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from utils.errors import NOT_UTF8, ConfigError

_ROOM = 2**16  # bytes that must be free before a new file is begun


def check_name(folder: Path) -> None:
    """Check that TensorBoard can write in a folder of this name.

    Raises:
        ConfigError: if the name has bytes that are not valid UTF-8.
    """
    if any(ord(character) in NOT_UTF8 for character in str(folder)):
        raise ConfigError(f"--output {folder}: TensorBoard needs names in UTF-8; choose another folder")


class Events:
    """Keeps what is added until it is on the disk: TensorBoard's writer dies with its first error; another follows.

    Args:
        folder: of the files.
        last: step up to which what an earlier run wrote counts; what it wrote after that does not.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self._folder = folder
        self._last = last
        self._writer: SummaryWriter | None = None
        self._pending: list[tuple[int, Callable[[SummaryWriter], None]]] = []

    def add(self, step: int, write: Callable[[SummaryWriter], None]) -> None:
        """Adds an event at a step, or several."""
        self._pending.append((step, write))

    def flush(self) -> None:
        """Puts all of them onto the disk.

        Raises:
            OSError: if that fails; the next call tries again.
        """
        try:
            writer = self._writer = self._writer or self._open()
            for _, write in self._pending:
                write(writer)
            writer.flush()
        except OSError:
            self._give_up()
            raise
        self._last = max([self._last, *(step for step, _ in self._pending)])
        self._pending.clear()

    def close(self) -> None:
        """Ends the file.

        Raises:
            OSError: if something could not be written.
        """
        self.flush()
        self._give_up()

    def _open(self) -> SummaryWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as room:  # or each attempt would leave an empty file
            room.write(bytes(_ROOM))
            room.flush()
        # What a writer that died has left of the pending ones is superseded with them.
        return SummaryWriter(str(self._folder), purge_step=self._last + 1)

    def _give_up(self) -> None:
        if self._writer:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._writer = None
