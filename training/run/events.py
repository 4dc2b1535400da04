"""TensorBoard event files of a run, without gaps or duplicates after the disk was full for a while."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from utils.errors import NOT_UTF8, ConfigError

_MIN_FREE = 2**16  # bytes that must be free before a new file is started


def check_name(folder: Path) -> None:
    """Check that TensorBoard can write to a folder of this name.

    Raises:
        ConfigError: if the name has bytes that are not valid UTF-8.
    """
    if any(ord(character) in NOT_UTF8 for character in str(folder)):
        raise ConfigError(f"--output {folder}: TensorBoard needs names in UTF-8; choose another folder")


class Events:
    """Keep events until they are on the disk. TensorBoard's writer dies with its first error; a new one takes over.

    Args:
        folder: folder of the event files.
        last: last valid step of earlier files; TensorBoard hides events after it.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self._folder = folder
        self._last = last
        self._writer: SummaryWriter | None = None
        self._pending: list[tuple[int, Callable[[SummaryWriter], None]]] = []

    def add(self, step: int, write: Callable[[SummaryWriter], None]) -> None:
        """Add one or more events at a step."""
        self._pending.append((step, write))

    def flush(self) -> None:
        """Write all events to the disk.

        Raises:
            OSError: if that fails; the next call tries again.
        """
        try:
            writer = self._writer = self._writer or self._new_writer()
            for _, write in self._pending:
                write(writer)
            writer.flush()
        except OSError:
            self._close_writer()
            raise
        self._last = max([self._last, *(step for step, _ in self._pending)])
        self._pending.clear()

    def close(self) -> None:
        """Flush and close the file.

        Raises:
            OSError: if something could not be written.
        """
        self.flush()
        self._close_writer()

    def _new_writer(self) -> SummaryWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as trial:  # otherwise each attempt would leave an empty file
            trial.write(bytes(_MIN_FREE))
            trial.flush()
        # Pending events that a dead writer has partly written are hidden and written again.
        return SummaryWriter(str(self._folder), purge_step=self._last + 1)

    def _close_writer(self) -> None:
        if self._writer:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._writer = None
