import contextlib
import os
from pathlib import Path

import pytest

from editing import EditError, check_free, make_folder
from editing.files import replacing


def test_an_interrupted_file_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_complete_file_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"cannot write .*picture: No space"), replacing(tmp_path / "picture"):
        raise OSError(28, "No space left on device")


def test_existing_files_are_refused_unless_wanted(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "folder").mkdir()
    check_free(tmp_path, ["a"], overwrite=False)
    check_free(tmp_path, ["a", "b"], overwrite=True)
    with pytest.raises(EditError, match=r"b exists; .*--overwrite"):
        check_free(tmp_path, ["a", "b"], overwrite=False)
    with pytest.raises(EditError, match="is a folder"):
        check_free(tmp_path, ["folder"], overwrite=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EditError, match="cannot write to"):
            make_folder(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EditError, match="cannot write to"):
        make_folder(tmp_path)
