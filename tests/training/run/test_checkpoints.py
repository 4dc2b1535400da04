"""Checkpoints that are damaged, cannot be written, or need not be kept."""

import fcntl
import os
import resource
import zipfile
from itertools import islice
from pathlib import Path

import pytest
import torch

from datasets import image_mask
from datasets.data_loader import InfiniteSampler
from tests.processes import wait_for
from tests.training.live import finish, leftovers, newest, start, text
from tests.training.test_trainer import MEASURED, assert_equal, contents
from training.run import run_folder
from training.run.checkpoints import Checkpoints, WriteError, find_damage, first_bad_tensor, write
from utils.errors import ConfigError, DataError, RunError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def flip(path: Path) -> None:
    """One bit of a weight."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def foreign(path: Path) -> None:
    path.write_bytes(b"not a checkpoint" * 100)


def other(path: Path) -> None:
    torch.save({"x": torch.ones(2)}, path)


def untrained(path: Path) -> None:
    kept = torch.load(path, weights_only=True)
    torch.save({name: kept[name] for name in kept.keys() - {"training"}}, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flip, cut, foreign, other, untrained, empty])
def test_a_damaged_newest_checkpoint_is_passed_by(train, capsys, harm):
    folder = train()
    whole = contents(folder, 12)
    harm(folder / "checkpoints" / "images_000000012.pt")
    train()
    told = capsys.readouterr()
    assert "cannot use" in told.err
    assert f"resuming {folder / 'checkpoints' / 'images_000000008.pt'} at 8 images" in told.out
    assert_equal(contents(folder, 12), whole)
    assert "images_000000012.pt.damaged" in names(folder)


def test_damaged_checkpoints_alone_are_no_new_start(train):
    folder = train("training.total_images=4")
    flip(folder / "checkpoints" / "images_000000004.pt")
    with pytest.raises(ConfigError, match=r"no checkpoint in .* can be used \(images_000000004\.pt: "):
        train()
    with pytest.raises(ConfigError, match="can be used"):  # nor the next time
        train()


def test_a_run_without_its_checkpoints_is_no_new_start(train):
    folder = train(*MEASURED)
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    before = (folder / "metrics.jsonl").read_text()
    with pytest.raises(ConfigError, match=r"holds a metrics\.jsonl, but no checkpoint"):
        train(*MEASURED)
    assert (folder / "metrics.jsonl").read_text() == before


def test_a_full_disk_locks_nobody_out(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with run_folder.locked(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_record_that_cannot_be_read_costs_no_work(train, tmp_path, monkeypatch):
    whole = image_mask.decode
    bad = f"{list(islice(InfiniteSampler(48), 12))[9]:07d}"  # of the third iteration

    def rotten(path, key):
        if key.endswith(bad):
            raise DataError(f"{key} cannot be decoded")
        return whole(path, key)

    monkeypatch.setattr(image_mask, "decode", rotten)
    with pytest.raises(DataError, match="cannot be decoded"):
        train("training.checkpoint_every_images=1000", output="rotten")
    assert Checkpoints(tmp_path / "rotten" / "checkpoints").paths()[-1].stem == "images_000000008"


def test_files_that_cannot_be_read_are_not_damaged(train, monkeypatch):
    folder = train()
    before = names(folder)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "testzip", lambda archive: os.stat("/proc/self/fd/99999"))
        with pytest.raises(ConfigError, match=r"cannot read .*images_000000012"):
            train()
    assert names(folder) == before


def test_a_damaged_file_is_not_resumed(train):
    path = train() / "checkpoints" / "images_000000012.pt"
    flip(path)
    with pytest.raises(ConfigError, match=r"--resume .*images_000000012\.pt: it was altered"):
        train("--resume", str(path), output="other")


def test_an_old_one_that_disappears_or_stays_ends_no_run(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    for images in (4, 8):
        checkpoints.save({"x": torch.zeros(1)}, images, keep=2)
    monkeypatch.setattr(
        "training.run.checkpoints.find_damage", lambda path: (tmp_path / "images_000000004.pt").unlink()
    )
    assert checkpoints.save({"x": torch.zeros(1)}, 12, keep=2) == []
    monkeypatch.setattr("training.run.checkpoints.find_damage", lambda path: None)
    (tmp_path / "images_000000008.pt").unlink()
    (tmp_path / "images_000000008.pt").mkdir()  # which unlink does not remove
    [told] = checkpoints.save({"x": torch.zeros(1)}, 16, keep=2)
    assert "images_000000008.pt (Is a directory): remove it yourself" in told


def test_errors_that_are_none_of_the_disk_are_not_told_as_such(tmp_path, monkeypatch):
    def broken(*_):
        raise torch.OutOfMemoryError("a GPU's")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(torch.OutOfMemoryError):
        write({"x": torch.zeros(1)}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_taken_away_and_made_again_is_another(tmp_path, monkeypatch):
    """A user who ends between another's opening and locking takes the file with it."""
    folder, lock, locked = tmp_path / "run", fcntl.lockf, []

    def late(file, how):
        if not locked:
            (folder / run_folder.LOCK).unlink()
        locked.append(file)
        lock(file, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    with run_folder.locked(folder):
        assert os.fstat(locked[-1].fileno()).st_ino == (folder / run_folder.LOCK).stat().st_ino
        (folder / "something").touch()
    assert len(locked) == 2
    assert folder.exists()


@pytest.mark.parametrize("at", range(0, 1000, 37))
def test_a_bit_anywhere_in_the_weights_is_seen(tmp_path, at):
    path = tmp_path / "x.pt"
    write({"weights": torch.arange(2000.0)}, path)
    assert find_damage(path) is None
    data = bytearray(path.read_bytes())
    data[data.index(torch.arange(2000.0).numpy().tobytes()) + 8 * at] ^= 1 << at % 8
    path.write_bytes(data)
    assert "altered" in find_damage(path)


@pytest.fixture
def small_files():
    """No file of this process can grow beyond 100 kB: writing fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_failed_write_leaves_the_earlier_ones(tmp_path, small_files):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"x": torch.zeros(10)}, 4, keep=1)
    with pytest.raises(WriteError, match="earlier checkpoints are unchanged"):
        checkpoints.save({"x": torch.zeros(10**6)}, 8, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["images_000000004.pt"]


def test_a_full_disk_fails_the_run_in_the_end_or_at_once(train, capsys, small_files):
    with pytest.raises(WriteError, match="images_000000012"):
        train(output="on")
    told = capsys.readouterr().err
    assert told.count("training continues (training.on_failed_checkpoint=continue)") == 3
    with pytest.raises(WriteError, match="images_000000004"):
        train("training.on_failed_checkpoint=stop", output="stop")


def test_space_that_comes_back_mends_a_run(train, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = train("training.total_images=4")
    checkpoint = Checkpoints.save
    failed = []

    def save(self, contents, images, *options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if not failed else limits[0], limits[1]))
        failed.append(images)
        try:
            return checkpoint(self, contents, images, *options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        train()
    assert failed == [8, 12]
    assert names(folder) == ["images_000000004.pt", "images_000000012.pt"]


def test_milestones_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for images in (4, 8, 12, 14, 16, 20, 24, 28):
        checkpoints.save({"x": torch.zeros(1)}, images, keep=2, milestone_every=10)
    assert [int(path.stem[7:]) for path in checkpoints.paths()] == [12, 20, 24, 28]


def test_a_damaged_new_one_never_costs_the_good_one(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"x": torch.zeros(1)}, 4, keep=1)
    monkeypatch.setattr("training.run.checkpoints.find_damage", lambda path: "it was altered")
    with pytest.raises(WriteError, match="images_000000008"):
        checkpoints.save({"x": torch.zeros(1)}, 8, keep=1)
    assert len(checkpoints.paths()) == 2


def test_bad_weights_are_not_saved(train, monkeypatch):
    monkeypatch.setattr("training.run.checkpoints.first_bad_tensor", lambda networks: "generator.x")
    with pytest.raises(RunError, match=r"generator\.x is not finite after 4 images") as raised:
        train()
    assert raised.value.exit_code == 70
    assert (
        first_bad_tensor({"a": {"x": torch.ones(2)}, "b": {"y": torch.ones(2), "z": torch.tensor([float("nan")])}})
        == "b.z"
    )
    assert first_bad_tensor({"a": {"x": torch.ones(2), "n": torch.ones(2, dtype=torch.long)}}) is None


def test_a_folder_in_use_is_refused(tmp_path, faces_32):
    folder = tmp_path / "run"
    first = start(folder, faces_32, "training.total_images=4000")
    wait_for(lambda: newest(folder), first)
    second = start(folder, faces_32, "training.total_images=4000")
    assert finish(second) == [2]
    assert f"{folder} is in use by process {first[0].pid} on" in text(folder)
    assert first[0].is_alive()
    first[0].kill()
    finish(first)
    left = folder / "checkpoints" / ".images_000000099.pt.1.partial"
    left.write_text("of a killed run")
    mine = folder / ".notes.txt.1.partial"
    mine.write_text("the user's")
    assert finish(start(folder, faces_32, f"training.total_images={newest(folder) + 4}")) == [0]
    assert leftovers(folder) == [mine.name]
