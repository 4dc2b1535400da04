"""Output folders and files: existing files are replaced only with --overwrite, and always atomically."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from utils.errors import EditError


def reason_not_writable(folder: Path) -> str:
    """Return why no files can be created in a folder, which need not exist yet; "" if they can be."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        tempfile.TemporaryFile(dir=existing).close()  # permissions do not tell for /proc and read-only disks
    except OSError as error:
        return f"{existing}: {error.strerror}"
    return ""


def check_free(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Check that files can be written to a folder, which need not exist yet.

    Raise EditError if a file exists and `overwrite` is False, a name is taken by a folder, or `folder` is not writable.
    """
    for path in (folder / name for name in names):
        if path.is_dir():
            raise EditError(f"{path} is a folder; choose another --output")
        if path.exists() and not overwrite:
            raise EditError(f"{path} exists; choose another --output, or replace files with --overwrite")
    _check_writable(folder)


def check_free_file(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written; raise EditError like `check_free`, or if its folder does not exist."""
    if not os.path.isdir(path.parent):
        raise EditError(f"cannot write {path}: {path.parent} is not a folder; choose another --output")
    check_free(path.parent, [path.name], overwrite=overwrite)


def make_folder(folder: Path) -> None:
    """Create a folder unless it exists; raise EditError if it cannot be created or written to."""
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
    """Yield the path of a temporary file beside `path`; after the block it replaces `path`.

    Raise EditError if the file cannot be written; `path` is then unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise EditError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
