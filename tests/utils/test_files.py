import contextlib
import os
from pathlib import Path

import pytest

from utils.errors import EditError
from utils.files import check_free, check_free_file, make_folder, replacing


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


def test_a_file_needs_a_folder_and_a_free_name(tmp_path: Path) -> None:
    check_free_file(tmp_path / "new", overwrite=False)
    with pytest.raises(EditError, match=r"cannot write .*absent/new: .*absent is not a folder"):
        check_free_file(tmp_path / "absent" / "new", overwrite=True)
    (tmp_path / "old").touch()
    with pytest.raises(EditError, match="old exists"):
        check_free_file(tmp_path / "old", overwrite=False)
    check_free_file(tmp_path / "old", overwrite=True)
    with pytest.raises(EditError, match=r"cannot write to /proc \("):
        check_free_file(Path("/proc/new"), overwrite=True)
