"""Output folders and files: early checks that they can be written, and atomic replacement of files."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from utils.errors import EditError


def reason_not_writable(folder: Path) -> str:
    """Return why files cannot be created in a folder, or "" if they can. The folder need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        tempfile.TemporaryFile(dir=existing).close()  # permissions alone do not reveal /proc and read-only disks
    except OSError as error:
        return f"{existing}: {error.strerror}"
    return ""


def check_free(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Check that files of these names can be written to a folder, which need not exist yet.

    Raise EditError if a folder has such a name, a file exists and `overwrite` is False, or `folder` is not writable.
    """
    for path in (folder / name for name in names):
        if path.is_dir():
            raise EditError(f"{path} is a folder; choose another --output")
        if path.exists() and not overwrite:
            raise EditError(f"{path} exists; choose another --output, or replace files with --overwrite")
    _check_writable(folder)


def check_free_file(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written; raise EditError as `check_free` does, and if the folder does not exist."""
    if not os.path.isdir(path.parent):
        raise EditError(f"cannot write {path}: {path.parent} is not a folder; choose another --output")
    check_free(path.parent, [path.name], overwrite=overwrite)


def make_folder(folder: Path) -> None:
    """Create a folder unless it exists; raise EditError if the folder cannot be created or is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"cannot write to {folder}: {error.strerror}; choose another --output") from None
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    if reason := reason_not_writable(folder):
        raise EditError(f"cannot write to {folder} ({reason}); choose another --output")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; after the block, the file written there replaces `path`.

    If the block fails, `path` is unchanged and the temporary file is removed. Raise EditError for an OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise EditError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
