import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import RunConfig, load_config
from datasets.class_files import celebamask13
from datasets.lmdb_writer import LmdbWriter
from datasets.synthetic_faces import draw_face
from models import load_generator
from tests.datasets.folders import write_pairs
from tests.training.live import finish, start
from train import main
from training.data import split_batch
from training.previews import Previews
from training.training_config import TrainingConfig
from utils.cli import run
from utils.errors import ConfigError, DataError, MetricError


def contents(folder: Path, images: int) -> dict:
    return torch.load(folder / "checkpoints" / f"images_{images:09d}.pt", weights_only=True)


def assert_equal(a, b, path: str = "") -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_equal(*pair, f"{path}.{index}")
    else:
        assert a == b, path


def test_a_run_leaves_all_it_should(train):
    folder = train()
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        f"images_{images:09d}.pt" for images in (4, 8, 12)
    ]
    assert load_config(folder / "config.yaml").training.total_images == 12
    assert "torch" in json.loads((folder / "versions.json").read_text())
    assert Image.open(folder / "previews" / "images_000000012.png").size == (2 * (5 * 32 + 2) + 2, 2 * 34 + 2)
    generator = load_generator(folder / "checkpoints" / "images_000000012.pt")
    assert generator.synthesis(torch.randn(1, 16)).image.isfinite().all()


def test_tensorboard_tells_all(train):
    events = EventAccumulator(str(train() / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    losses = ("discriminator", "generator", "mask", "score_real", "score_fake", "r1_image", "r1_segmentation")
    expected = {f"losses/{name}" for name in (*losses, "path_length", "path_length_penalty")}
    expected |= {"watch/score_gap", "watch/duplicates"}
    expected |= {f"seconds/{name}" for name in ("discriminator", "r1", "generator", "path_length", "ema")}
    assert expected | {"speed/images_per_second", "memory/peak_gib"} == scalars
    assert [event.step for event in events.Scalars("losses/generator")] == [4, 8, 12]
    assert events.Tags()["images"] == ["samples"]


def test_resuming_equals_never_stopping(train):
    whole = train(output="whole")
    train("training.total_images=4", output="parts")
    parts = train(output="parts")
    assert (parts / "config_from_000000004_images.yaml").exists()
    assert_equal(contents(parts, 12), contents(whole, 12))


MEASURED = [
    "metrics.every_images=8",
    "metrics.names=[areas, locality]",
    "metrics.samples=6",
    "metrics.edit_samples=2",
    "metrics.batch_size=4",
    "metrics.best=area_distance",
]


def test_a_run_that_measures_is_the_same_run(train):
    plain, measured = train(output="plain"), train(*MEASURED, output="measured")
    for part in ("training", "generator", "generator_ema", "discriminator"):
        assert_equal(contents(measured, 12)[part], contents(plain, 12)[part])
    lines = [json.loads(line) for line in (measured / "metrics.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 12]
    best = min(lines, key=lambda line: line["values"]["area_distance"])
    kept = torch.load(measured / "best.pt", weights_only=True)
    assert kept["metrics"] == best
    assert_equal(kept["generator_ema"], contents(measured, best["images"])["generator_ema"])
    assert load_generator(measured / "best.pt").config.resolution == 32
    events = EventAccumulator(str(measured / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("metrics/area_distance")] == [8, 12]
    assert not (plain / "metrics.jsonl").exists()
    assert not (plain / "best.pt").exists()


def test_resuming_measures_nothing_twice(train):
    whole = train(*MEASURED, output="whole")
    train(*MEASURED, "training.total_images=8", output="parts")
    parts = train(*MEASURED, output="parts")
    assert (parts / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_a_run_stopped_while_it_measures_measures_when_it_goes_on(train):
    whole = train(*MEASURED, output="whole")
    train(*MEASURED, "training.total_images=8", output="parts")
    for name in ("metrics.jsonl", "best.pt"):
        (whole.parent / "parts" / name).unlink()
    parts = train(*MEASURED, output="parts")
    assert (parts / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert (parts / "best.pt").exists()
    (parts / "metrics.jsonl").write_text((whole / "metrics.jsonl").read_text().splitlines(keepends=True)[0])
    train(*MEASURED, output="parts")
    assert (parts / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_runs_measure_distances_of_features(train):
    folder = train(*MEASURED[:1], *MEASURED[2:5], "metrics.names=[fid]", "metrics.best=fd_efflite0", "data.workers=1")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["values"].keys() for line in lines] == [{"fd_efflite0"}] * 2
    assert (folder / "best.pt").exists()


def test_metrics_that_cannot_be_measured_are_told_before_the_run(train, tmp_path):
    with pytest.raises(MetricError, match=r"is needs 10 or more images"):
        train(*MEASURED[:1], "metrics.names=[is]", "metrics.samples=5")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_stays_as_it_is(train):
    before = contents(train(), 12)
    assert_equal(contents(train(), 12), before)


def test_only_the_newest_checkpoints_are_kept(train):
    folder = train("training.keep_checkpoints=2")
    assert sorted(path.stem for path in (folder / "checkpoints").iterdir()) == ["images_000000008", "images_000000012"]


def test_accumulation_runs(train):
    train("training.max_batch_per_device=2", "training.total_images=4")


def test_penalties_can_be_off(train):
    train("losses.r1_every=0", "losses.path_length_every=0", "training.total_images=4")


def test_previews_show_the_same_samples(tiny_generator):
    for layer in tiny_generator.render_net.layers:
        torch.nn.init.ones_(layer.noise_strength)
    first, second = (Previews(3, 16, celebamask13(), batch_size).generate(tiny_generator)[0] for batch_size in (2, 3))
    assert np.abs(first.astype(int) - second).max() <= 1


def test_dry_run_writes_nothing(train, tmp_path, capsys):
    train("--dry-run", "training.max_batch_per_device=2")
    assert not (tmp_path / "run").exists()
    report = capsys.readouterr().out
    for word in ("r1", "path_length", "peak memory"):
        assert word in report
    assert "; processes: 1, micro-batches per process: 2, images in each: 2; " in report


def test_a_run_begins_with_device_data_and_limits(train, capfd, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (4.5, 4.0, 1.0))
    train("training.max_minutes=90")
    first, out = "training on cpu (2 threads), data set of 48 images; ends at 12 images seen", capfd.readouterr()
    assert out.out.splitlines()[0] == f"{first} or after 90 minutes; progress every 4 images"
    assert out.err.splitlines()[0] == (
        "warning: load average 4.0 on 4 cores: if other jobs are running, training is faster with fewer threads; "
        "set OMP_NUM_THREADS=1"
    )

    monkeypatch.setattr("os.getloadavg", lambda: (4.5, 3.9, 1.0))
    train("training.total_images=16")
    out = capfd.readouterr()
    assert out.out.splitlines()[1] == f"{first.replace('12', '16')}; progress every 4 images"
    assert "load average" not in out.err

    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 9.0, 9.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    train("training.total_images=20")
    out = capfd.readouterr()
    assert "training on cpu (1 thread), " in out.out
    assert "load average" not in out.err

    train("training.total_images=20")
    assert "training on" not in capfd.readouterr().out  # nothing is left to train


def test_dry_run_checks_every_file(train, tmp_path):
    folder = tmp_path / "pairs"
    write_pairs(folder)
    last = sorted((folder / "images").rglob("*.jpg"))[-1]
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(DataError, match=re.escape(last.name)):
        train("--dry-run", f"data.path={folder}")


def test_two_processes(tmp_path, faces_32):
    """The run goes on with one."""
    options = ["training.batch_size=8", "augment.target=0.5", "data.mirror=true"]
    assert finish(start(tmp_path / "run", faces_32, *options, "training.total_images=16", processes=2)) == [0, 0]
    training = contents(tmp_path / "run", 16)["training"]
    assert len(training["random"]) == 2
    assert [signs[1] for signs in training["augment_signs"]] == [8, 8]  # two iterations, four images in each process
    assert finish(start(tmp_path / "run", faces_32, *options, "training.total_images=24")) == [0]
    assert contents(tmp_path / "run", 24)["training"]["iteration"] == 3


def test_batches_split_evenly():
    def split(batch: int, limit: int, world_size: int = 1) -> tuple[int, int]:
        return split_batch(
            replace(RunConfig(), training=TrainingConfig(batch_size=batch, max_batch_per_device=limit)), world_size
        )

    assert split(32, 32) == (1, 32)
    assert split(32, 4, 8) == (1, 4)
    assert split(32, 10) == (4, 8)
    assert split(24, 7) == (6, 4)
    assert split(6, 6) == (2, 3)
    with pytest.raises(ConfigError, match="must be a multiple of 3, the number of processes"):
        split(32, 4, 3)


def test_the_stored_configuration_of_a_run_needs_a_folder(train, tmp_path, monkeypatch, capsys):
    folder = train("training.total_images=4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        run(lambda: main(["--config", str(folder / "config.yaml")]))
    assert exit_.value.code == 2
    message = f"config.yaml is the stored configuration of a run: add --output {folder} to resume it"
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model.resolution=50"],
            "model.resolution = 50: for this size, both sides must be multiples of 8",
        ),
        (["model.num_classes=5", "model.transparent_classes=[]"], "13 classes, not 5"),
        (
            ["model.resolution=64"],
            "image-0000000 is 32x32 (height x width), too small for 64; use images of at least 64x64",
        ),
        (["data.path=absent"], "absent"),
        (["trainning.seed=1"], "unknown option trainning: did you mean training?"),
        (["--resume", "absent.pt"], "--resume absent.pt is not a file"),
        (["--output", "/proc/run"], "--output /proc/run"),
        (["--dry-rum"], "unknown option --dry-rum; did you mean --dry-run?"),
        (["data.workers=-1"], "data.workers = -1: choose 0 or more"),
        (["ops=compild"], "ops = 'compild'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(train, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: train(*arguments))
    assert exit_.value.code == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert message in errors[-1]
    assert errors[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_record_is_named_in_one_line(train, tmp_path, capsys, workers):
    bad = np.zeros((32, 32), np.uint8)
    bad[0, :2] = 13, 99
    with LmdbWriter(tmp_path / "bad", 32, celebamask13(), "tests") as writer:
        for index in range(8):
            image, label = draw_face(0, index, 32)
            writer.add(image, bad if index == 5 else label)
    with pytest.raises(SystemExit) as exit_:
        run(lambda: train(f"data.path={tmp_path / 'bad'}", f"data.workers={workers}"))
    assert exit_.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'bad'}: label-0000005 has ids 13, 99 outside 0..12")


def test_resuming_from_a_file_into_another_folder(train):
    folder = train("training.total_images=4")
    branch = train("--resume", str(folder / "checkpoints" / "images_000000004.pt"), output="branch")
    assert sorted(path.stem for path in (branch / "checkpoints").iterdir()) == ["images_000000008", "images_000000012"]


def test_resuming_into_the_middle_of_a_run_is_refused(train):
    folder = train()
    with pytest.raises(ConfigError, match="is not the newest checkpoint of"):
        train("--resume", str(folder / "checkpoints" / "images_000000004.pt"))
    assert len(list((folder / "checkpoints").iterdir())) == 3


def test_changed_options_hold_after_resuming(train, capsys):
    train("training.total_images=4")
    capsys.readouterr()
    folder = train("training.learning_rate=0.5", "losses.path_length_every=0")
    told = capsys.readouterr().out
    for option in ("training.learning_rate", "training.total_images", "losses.path_length_every"):
        assert option in told
    assert "model" not in told
    groups = contents(folder, 12)["training"]["generator_optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == [0.5]


def test_notes_are_added_only_when_something_changed(train):
    train("training.total_images=4")
    train()
    folder = train()
    assert len(list(folder.glob("config*"))) == 2
    assert len(list(folder.glob("versions*"))) == 1


def test_time_is_up(train, capsys):
    folder = train("training.max_minutes=1e-9")
    assert (
        "reached training.max_minutes at 4 of 12 images; rerun the same command to continue" in capsys.readouterr().out
    )
    assert [path.stem for path in (folder / "checkpoints").iterdir()] == ["images_000000004"]
    assert (folder / "previews" / "images_000000004.png").exists()


def test_resumed_logs_have_neither_gaps_nor_doubles(train):
    train("training.total_images=8")
    for _ in range(2):
        folder = train()
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("losses/generator")] == [4, 8, 12]


def test_networks_alone_cannot_be_resumed(train, tiny_checkpoint):
    with pytest.raises(ConfigError, match="no training state"):
        train("--resume", str(tiny_checkpoint))


def test_a_foreign_folder_is_left_alone(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    for resume in ("auto", "none"):
        with pytest.raises(ConfigError, match="choose another --output"):
            train("--resume", resume)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]
    with pytest.raises(ConfigError, match="is the name of a file, but the output is a folder"):
        train(output="run/thesis.txt")


def test_a_checkpoint_of_another_architecture(train):
    train("training.total_images=4")
    for option, stored, value in (("local_channels", 8, 4), ("latent_dim", 16, 24), ("local_layers", 5, 6)):
        with pytest.raises(ValueError, match=f"model.{option} = {stored} in the checkpoint, {value} in"):
            train(f"model.{option}={value}")


def test_a_checkpoint_of_another_resolution_or_number_of_classes(train):
    path = train("training.total_images=4") / "checkpoints" / "images_000000004.pt"
    contents = torch.load(path, weights_only=True)
    contents["model"] |= {"resolution": 64, "num_classes": 5, "transparent_classes": ()}
    contents["classes"] = {"names": list("abcde"), "colors": [[i] * 3 for i in range(5)], "transparent": []}
    torch.save(contents, path)
    for option, stored, own in (("resolution", 64, 32), ("num_classes", 5, 13)):
        with pytest.raises(ValueError, match=f"model.{option} = {stored} in the checkpoint, {own} in this run"):
            train("--resume", str(path), output="other")


def test_resuming_on_data_of_other_classes(train, tmp_path):
    names = celebamask13().names
    other = replace(celebamask13(), names=(names[0], names[2], names[1], *names[3:]))
    with LmdbWriter(tmp_path / "other", 32, other, "tests") as writer:
        writer.add(*draw_face(0, 0, 32))
    folder = train("training.total_images=4")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}
    with pytest.raises(
        ConfigError, match=f"other classes than .*other: class 1 is {names[1]} in the former, {names[2]} in the latter"
    ):
        train(f"data.path={tmp_path / 'other'}")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"} == before


def test_checkpoints_say_where_the_data_come_from(train):
    [origin] = contents(train("training.total_images=4"), 4)["data"]
    assert (origin["source"], origin["count"]) == ("tests", 48)


def test_training_on_several_sets_and_on_a_folder(train, tmp_path, faces_32):
    train(f"data.path=[{faces_32},{faces_32}]", "training.total_images=4", output="shards")
    train(f"data.path={write_pairs(tmp_path / 'set', count=4)}", "training.total_images=4", output="folder")
    assert contents(tmp_path / "folder", 4)["classes"] == celebamask13().to_dict()
