import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datasets.class_files import celebamask13
from datasets.synthetic_faces import draw_face
from metrics import parts
from metrics.listing import summaries
from metrics.registry import registered
from models import Generator
from models.checkpoint import Networks
from scripts import plot_metrics
from scripts.evaluate import main
from utils.cli import run
from utils.errors import ConfigError, EditError

QUICK = ["--metrics", "areas,locality", "--samples", "6", "--edit-samples", "2", "--batch-size", "4"]


@pytest.fixture
def evaluate(tiny_checkpoint, faces_32):
    return lambda *options: main(["--checkpoint", str(tiny_checkpoint), "--data", str(faces_32), *QUICK, *options])


def test_the_screen_shows_numbers_with_what_they_depend_on(evaluate, capsys):
    evaluate("--truncation", "0.7")
    out = capsys.readouterr().out
    for expected in (
        "area_distance",
        "locality_shape",
        "drawings 6",
        "seed 0",
        "truncation 0.7",
        "data_sha256",
        "skin",
    ):
        assert expected in out


def test_files(evaluate, tmp_path):
    evaluate("--output", str(tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "metrics.jsonl").read_text())
    assert report["checkpoint"].endswith("tiny.pt")
    assert report["images"] is None
    assert 0 <= report["values"]["area_distance"] <= 1
    assert min(Image.open(tmp_path / "out" / "locality_shape.png").size) > 300
    with pytest.raises(ValueError, match="exists; choose another --output, or replace files with --overwrite"):
        evaluate("--output", str(tmp_path / "out"))
    (tmp_path / "out" / "notes.txt").write_text("a user's")
    evaluate("--output", str(tmp_path / "out"), "--overwrite")
    assert (tmp_path / "out" / "notes.txt").exists()
    assert len(list((tmp_path / "out" / "tensorboard").iterdir())) == 1


def test_a_runs_folder_is_no_output(evaluate, tmp_path):
    (tmp_path / "out" / "tensorboard").mkdir(parents=True)
    curves = tmp_path / "out" / "tensorboard" / "events.out.tfevents.1"
    for file in (tmp_path / "out" / "config.yaml", curves):
        file.write_text("")
    with pytest.raises(ConfigError, match="is the folder of a run"):
        evaluate("--output", str(tmp_path / "out"), "--overwrite")
    assert curves.exists()


def test_scalars_of_others_are_kept(evaluate, tmp_path):
    scalars = tmp_path / "out" / "tensorboard" / "events.out.tfevents.1.other"
    scalars.parent.mkdir(parents=True)
    scalars.write_text("mine")
    with pytest.raises(EditError, match=r"events\.out\.tfevents\.1\.other exists; choose another --output"):
        evaluate("--output", str(tmp_path / "out"))
    assert scalars.read_text() == "mine"


def test_an_output_that_cannot_be_written_is_reported_before_measuring(evaluate, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(EditError, match="cannot write to"):
        evaluate("--output", str(tmp_path / "out"))
    assert "area_distance" not in capsys.readouterr().out


def test_several_checkpoints_make_a_curve(evaluate, tiny_checkpoint, faces_32, tmp_path):
    contents = torch.load(tiny_checkpoint, weights_only=True)
    paths = [tmp_path / f"{images}.pt" for images in (9, 200)]
    for path in paths:
        torch.save({**contents, "images": int(path.stem)}, path)
    out = tmp_path / "out"
    main(["--checkpoint", *map(str, reversed(paths)), "--data", str(faces_32), *QUICK, "--output", str(out)])
    assert [json.loads(line)["images"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [9, 200]
    plot_metrics.main([str(out), "--metric", "area_distance", "--output", str(tmp_path / "curves.png")])
    assert Image.open(tmp_path / "curves.png").width > 300
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("metrics/area_distance")] == [9, 200]


def test_by_default_what_cannot_be_measured_is_left_out(tiny_checkpoint, faces_32, capsys, monkeypatch):
    monkeypatch.setattr("scripts.evaluate.registered", lambda: dict.fromkeys(("areas", "is", "agreement")))
    main(["--checkpoint", str(tiny_checkpoint), "--data", str(faces_32), "--samples", "4", "--batch-size", "4"])
    out = capsys.readouterr().out
    assert "area_distance" in out
    assert "not measured: is needs 10 or more images" in out
    assert f"python -m scripts.train_segmenter --data {faces_32} --resolution 32" in out


def test_a_named_metric_without_a_number_is_reported_after_the_others(
    tiny_checkpoint, faces_32, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(parts, "MINIMUM", 60)
    monkeypatch.setattr(parts.PartQuality, "minimum", 1)
    monkeypatch.setattr("scripts.evaluate.registered", lambda: dict.fromkeys(("areas", "parts")))
    why = "no part has 60 generated and 60 real crops in 8 samples"
    command = ["--checkpoint", str(tiny_checkpoint), "--data", str(faces_32), "--output", str(tmp_path / "out")]
    for metrics, code in ((["--metrics", "areas,parts"], 2), ([], 0)):
        with pytest.raises(SystemExit) as exit_:
            run(lambda metrics=metrics: main([*command, "--overwrite", "--ops", "native", "--samples", "8", *metrics]))
        assert exit_.value.code == code
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("error")]
        assert errors == ([f"error: part_fd_efflite0 was not measured: {why}"] if code else [])
        assert "area_distance" in out
        report = json.loads((tmp_path / "out" / "metrics.jsonl").read_text())
        assert report["left_out"] == {"part_fd_efflite0": why}


def test_help_lists_all_metrics(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for name, metric in registered().items():
        assert re.search(rf"^  {name} +{re.escape(metric.__doc__.splitlines()[0])}$", out, re.MULTILINE)


def test_help_has_no_empty_entry_for_a_metric_without_a_docstring(capsys, monkeypatch):
    monkeypatch.setattr("scripts.evaluate.summaries", lambda: {**summaries(), "bare": ""})
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert ", bare" in " ".join(out.split())
    assert not re.search(r"^  bare *$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--samples", "0"], "samples = 0"),
        (["--batch-size", "-3"], "batch_size = -3"),
        (["--device", "tpu9"], "--device tpu9"),
        (["--seeds", "1"], "--seeds"),
        (["--metrics", "ssim"], "unknown metric ssim: choose from agreement, areas, fid"),
        (["--metrics", "fid", "--extractor", "inception"], "Inception's weights are missing: fetch pt_inception"),
        (["--weights", "pt.pth"], "weights = pt.pth is a file for Inception"),
        (["--workers", "-1"], "data.workers = -1"),
        (["--truncation", "nan"], "truncation = nan"),
        (["--metrics", "agreement"], "scripts.train_segmenter"),
        (["--metrics", "is", "--samples", "3"], "is needs 10 or more images"),
    ],
)
def test_mistakes_are_one_line(evaluate, options, expected, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: evaluate(*options))
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("model", "names", "expected"),
    [
        ({"resolution": 64}, None, "32"),
        ({"num_classes": 12}, None, "13 classes"),
        ({}, ["sky", *celebamask13().names[1:]], "class 0 is sky in the former, background in the latter"),
    ],
)
def test_data_of_other_classes_or_size_are_refused(tiny_config, faces_32, tmp_path, capsys, model, names, expected):
    config = replace(tiny_config, transparent_classes=(), **model)
    classes = names and {**celebamask13().to_dict(), "names": names}
    state = Generator(config).state_dict()
    torch.save(Networks(config, state, state, None, classes).to_dict(), tmp_path / "other.pt")
    with pytest.raises(SystemExit) as exit_:
        run(lambda: main(["--checkpoint", str(tmp_path / "other.pt"), "--data", str(faces_32), *QUICK]))
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_data_may_be_folders_of_files(tiny_checkpoint, tmp_path, capsys):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(4):
        image, label = draw_face(0, index, 32)
        Image.fromarray(image).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(label).save(tmp_path / "masks" / f"{index}.png")
    options = ["--masks", str(tmp_path / "masks"), "--classes", "celebamask13", *QUICK]
    main(["--checkpoint", str(tiny_checkpoint), "--data", str(tmp_path / "images"), *options])
    assert "records 4" in capsys.readouterr().out


def test_a_full_gpu_is_reported_in_one_line(capsys):
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(SystemExit) as exit_:
        run(full)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: CUDA out of memory. Tried to allocate 2.00 GiB. Choose smaller batches\n"
