import json
import math
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

import scripts.evaluate
import scripts.study
import train
from configs import ConfigError
from scripts.study import collect, main, measured, read_study
from tests.conftest import TINY_OPTIONS

STUDIES = Path(__file__).parents[2] / "configs" / "studies"
SIZES = [*TINY_OPTIONS, "training.batch_size=4", "training.device=cpu", "training.log_every_images=4", "data.workers=0"]


@pytest.fixture
def study(tmp_path, faces_32):
    """A file of two variants, with some keys replaced, or left out where they are None."""

    def study(**changes):
        base = tmp_path / "base.yaml"
        base.write_text("")
        values = {
            "config": str(base),
            "overrides": [f"data.path={faces_32}", *SIZES],
            "images": [8, 12],
            "seeds": [0, 1],
            "evaluate": ["--metrics", "areas", "--samples", "4", "--workers", "0"],
            "columns": ["area_distance", "area_drawn.eye"],
            "variants": {"paper": [], "No R1": ["losses.r1_every=0"]},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({k: x for k, x in (values | changes).items() if x is not None}, sort_keys=False))
        return path

    return study


@pytest.fixture
def commands(monkeypatch):
    """Run train.py and scripts.evaluate in this process; return the commands that were run."""
    ran = []

    def run(command, **_):
        ran.append(command[1:])
        code = train.main(command[2:]) if command[1] == "train.py" else scripts.evaluate.main(command[3:])
        return CompletedProcess(command, code or 0)

    monkeypatch.setattr(scripts.study, "subprocess", SimpleNamespace(run=run))
    return ran


def test_a_study(study, commands, tmp_path, capsys):
    out = tmp_path / "out"
    main([str(study(seeds=[0])), "--output", str(out)])
    assert [command[0] for command in commands] == ["train.py", "-m"] * 2
    assert "losses.r1_every=0" in commands[2]
    commands.clear()

    main([str(study()), "--output", str(out)])  # one seed more; what is complete is not repeated
    assert [command[0] for command in commands] == ["train.py", "-m"] * 2
    assert {word for command in commands for word in command if word.startswith("training.seed")} == {"training.seed=1"}
    assert "paper, seed 1" in capsys.readouterr().out
    lines = [line.strip("| ").split(" | ") for line in (out / "study.md").read_text().splitlines()]
    assert lines[0] == ["variant", "images seen", "seconds", "area_distance", "area_drawn.eye"]
    assert [line[:2] for line in lines[2:]] == [["paper", "8"], ["paper", "12"], ["No R1", "8"], ["No R1", "12"]]
    reports = [(out / f"paper-{seed}" / "evaluation" / "metrics.jsonl").read_text().splitlines() for seed in (0, 1)]
    last = [json.loads(run[1])["values"]["area_distance"] for run in reports]
    assert lines[3][3] == f"{sum(last) / 2:.3g} ({min(last):.3g} to {max(last):.3g})"
    assert 0 < float(lines[2][2].split()[0]) < float(lines[3][2].split()[0])  # seconds
    assert min(Image.open(out / "study.png").size) > 300


def test_a_stage_between_two_logs_has_its_seconds(study, commands, tmp_path):
    """A checkpoint logs the speed until then, whatever the interval of logs."""
    out, file = tmp_path / "out", study(seeds=[0], variants={"paper": ["training.log_every_images=16"]})
    main([str(file), "--output", str(out)])
    seconds = {images: numbers["seconds"] for (_, _, images), numbers in collect(read_study(file), out).items()}
    assert 0 < seconds[8] < seconds[12]


def test_undefined_numbers_are_left_out():
    runs = [{"locality": 0.2}, {"locality": math.nan}]
    assert measured(runs, "locality") == [0.2]
    assert math.isnan(*measured(runs[1:], "locality"))


def test_a_run_that_fails_ends_the_study(study, monkeypatch, tmp_path):
    failing = SimpleNamespace(run=lambda command, **_: CompletedProcess(command, 3))
    monkeypatch.setattr(scripts.study, "subprocess", failing)
    with pytest.raises(ConfigError, match=r"paper-0\.log: see there why exit code 3"):
        main([str(study()), "--output", str(tmp_path / "out")])


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_that_ship(path, monkeypatch):
    monkeypatch.chdir(STUDIES.parents[1])
    assert list(read_study(path).runs())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": None}, "give exactly the keys config, overrides, images, seeds"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": ["one"]}, "seeds = 'one': expected"),
        ({"images": [8, 10]}, "images: 10 is no multiple of paper's batch size, 4"),
        ({"variants": {}}, "variants: give a list of overrides for each name"),
        ({"variants": {"a b": [], "A-b": []}}, "two variants have the same name but for punctuation"),
        ({"variants": {"x": ["losses.r2=1"]}}, "unknown option losses.r2"),
    ],
)
def test_mistakes(study, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_study(study(**changes))


def test_a_column_that_was_not_measured(study, commands, tmp_path):
    with pytest.raises(ConfigError, match="columns: fd_efflite0 was not measured; there are area_distance"):
        main([str(study(columns=["fd_efflite0"], seeds=[0])), "--output", str(tmp_path / "out")])
    assert [command[0] for command in commands][:2] == ["train.py", "-m"]
    assert "No R1" not in str(commands)  # known after the first run, not after all


def test_damaged_measurements(study, tmp_path):
    path = tmp_path / "out" / "paper-0" / "evaluation" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ConfigError, match="is damaged: remove it to measure again"):
        main([str(study()), "--output", str(tmp_path / "out")])
