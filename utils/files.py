"""Checks of folders given by the user."""

import os
import tempfile
from pathlib import Path


def reason_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder, or in one that would have to be made; "" if one can."""
    existing = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    try:
        tempfile.TemporaryFile(dir=existing).close()  # permissions alone do not tell: /proc, read-only disks
    except OSError as error:
        return f"{existing}: {error.strerror}"
    return ""
