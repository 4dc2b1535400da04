import errno
import multiprocessing
import os
import signal
from pathlib import Path

import lmdb
import pytest

from datasets import resumable_writer
from datasets.class_files import celebamask13
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_writer import describe, encode_pair, pair_items
from datasets.resumable_writer import ResumableWriter
from datasets.synthetic_faces import draw_face
from tests.processes import PATIENCE
from utils.errors import DataError

SIZE, COUNT = 32, 10


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.resumable_writer.BATCH", 3)


def append(writer: ResumableWriter, stop: int) -> None:
    for index in range(writer.count, stop):
        writer.append(pair_items(index, *encode_pair(*draw_face(0, index, SIZE))))


def write(path: Path, plan: str = "plan") -> int:
    """All records; what an earlier run had left."""
    with ResumableWriter(path, plan) as writer:
        taken_up = writer.count
        append(writer, COUNT)
        writer.finish(describe(celebamask13(), SIZE, COUNT, "tests"), {"report.txt": b"fine\n"})
    return taken_up


def interrupt(path: Path, after: int) -> None:
    with ResumableWriter(path, "plan") as writer:
        append(writer, after)
        raise KeyboardInterrupt


def content(path: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return dict(transaction.cursor())


def test_all_appears_at_once(tmp_path: Path) -> None:
    assert write(tmp_path / "data") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert (tmp_path / "data" / "report.txt").read_text() == "fine\n"
    assert len(ImageMaskDataset(tmp_path / "data")) == COUNT


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "data", after=8)
    assert not (tmp_path / "data").exists()
    assert write(tmp_path / "data") == 6  # two commits of three
    write(tmp_path / "whole")
    assert content(tmp_path / "data") == content(tmp_path / "whole")


def test_nothing_is_lost_where_only_the_name_is_missing(tmp_path: Path, monkeypatch) -> None:
    write_without_moving(tmp_path / "data", monkeypatch)
    assert write(tmp_path / "data") == COUNT
    write(tmp_path / "whole")
    assert content(tmp_path / "data") == content(tmp_path / "whole")


def test_nothing_is_lost_where_a_file_cannot_be_written(tmp_path: Path) -> None:
    with ResumableWriter(tmp_path / "data", "plan") as writer:
        append(writer, COUNT)
        in_the_way = tmp_path / ".data.partial" / "report.txt"
        in_the_way.mkdir()
        with pytest.raises(DataError, match=r"cannot write .*data: Is a directory"):
            writer.finish(describe(celebamask13(), SIZE, COUNT, "tests"), {"report.txt": b"fine\n"})
    in_the_way.rmdir()
    assert write(tmp_path / "data") == COUNT
    assert len(ImageMaskDataset(tmp_path / "data")) == COUNT


def test_a_finished_set_of_another_plan_starts_over(tmp_path: Path, monkeypatch) -> None:
    write_without_moving(tmp_path / "data", monkeypatch)
    assert write(tmp_path / "data", plan="another") == 0


def write_without_moving(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        with pytest.raises(DataError, match=r"cannot write .*data: No space left"):
            write(path)


def _write_and_die(path: Path) -> None:
    resumable_writer.BATCH = 3
    with ResumableWriter(path, "plan") as writer:
        append(writer, 8)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(tmp_path / "data",))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".data.partial"]
    assert write(tmp_path / "data") > 0
    assert len(ImageMaskDataset(tmp_path / "data")) == COUNT


def test_another_plan_starts_over(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "data", after=8)
    assert write(tmp_path / "data", plan="another") == 0
    assert ImageMaskDataset(tmp_path / "data")[COUNT - 1][1].shape == (SIZE, SIZE)


def test_two_at_a_time_refuse_each_other(tmp_path: Path) -> None:
    with ResumableWriter(tmp_path / "data", "plan"), pytest.raises(DataError, match="being written by another"):
        write(tmp_path / "data")


def test_what_exists_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        write(tmp_path / "data")
    assert (tmp_path / "data").read_text() == "mine"
