"""Output folders and files: nothing is overwritten unasked, and a file appears under its name only when complete."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from utils.errors import EditError


def reason_not_writable(folder: Path) -> str:
    """Return why files cannot be created in a folder, which need not exist yet; "" if they can."""
    existing = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    try:
        tempfile.TemporaryFile(dir=existing).close()  # permissions alone do not tell: /proc, read-only disks
    except OSError as error:
        return f"{existing}: {error.strerror}"
    return ""


def check_free(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Make sure that files may be written to a folder, which need not exist yet.

    Raises:
        EditError: if a file exists and `overwrite` is off, a folder has a file's name, or the folder cannot be written.
    """
    for path in (folder / name for name in names):
        if path.is_dir():
            raise EditError(f"{path} is a folder; choose another --output")
        if path.exists() and not overwrite:
            raise EditError(f"{path} exists; choose another --output, or replace files with --overwrite")
    if reason := reason_not_writable(folder):
        raise EditError(f"cannot write to {folder} ({reason}); choose another --output")


def check_free_file(path: Path, *, overwrite: bool) -> None:
    """Make sure that a file may be written.

    Raises:
        EditError: as `check_free`, or if its folder does not exist.
    """
    if not os.path.isdir(path.parent):
        raise EditError(f"cannot write {path}: {path.parent} is not a folder; choose another --output")
    check_free(path.parent, [path.name], overwrite=overwrite)


def make_folder(folder: Path) -> None:
    """Make a folder, if need be, in which files can be made.

    Raises:
        EditError: if that is impossible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"cannot write to {folder}: {error.strerror}; choose another --output") from None
    if reason := reason_not_writable(folder):
        raise EditError(f"cannot write to {folder} ({reason}); choose another --output")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file takes the place of `path` once it is complete.

    Raises:
        EditError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise EditError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
