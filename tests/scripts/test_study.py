import asyncio
import functools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

import scripts.study
import train
from configs import load_config, to_yaml
from metrics.report import Report
from scripts.study import collect, is_complete, main, read_study
from tests.conftest import TINY_OPTIONS
from tests.processes import ROOT, exit_code, wait_for
from utils.errors import ConfigError, MetricError

STUDIES = ROOT / "configs" / "studies"
SIZES = [
    *TINY_OPTIONS,
    "training.batch_size=4",
    "training.device=cpu",
    "training.log_every_images=4",
    "data.workers=0",
    "ops=native",
]
METRICS = ["metrics.names=[areas]", "metrics.samples=4"]


@pytest.fixture
def study(tmp_path, faces_32):
    """A file of two variants, with some keys replaced, or left out where they are None."""

    def study(**changes):
        base = tmp_path / "base.yaml"
        base.write_text("")
        values = {
            "config": str(base),
            "overrides": [f"data.path={faces_32}", *SIZES, *METRICS],
            "images": [8, 12],
            "seeds": [0, 1],
            "columns": ["area_distance", "area_drawn.eye"],
            "variants": {"paper": [], "No R1": ["losses.r1_every=0"]},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({k: x for k, x in (values | changes).items() if x is not None}, sort_keys=False))
        return path

    return study


@pytest.fixture
def commands(monkeypatch):
    """Run train.py in this process; return its command lines."""
    ran = []

    async def run(_python, _unbuffered, _script, *arguments, stdout, stderr):
        ran.append(arguments)
        code = train.main(arguments)
        return SimpleNamespace(wait=functools.partial(asyncio.sleep, 0, code))

    monkeypatch.setattr(scripts.study.asyncio, "create_subprocess_exec", run)
    return ran


def replace_train(monkeypatch, tmp_path, source):
    """Let another program run in place of train.py."""
    program = tmp_path / "train.py"
    program.write_text(source)
    original = asyncio.create_subprocess_exec

    async def run(python, unbuffered, _script, *arguments, **options):
        return await original(python, unbuffered, str(program), *arguments, **options)

    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setattr(scripts.study.asyncio, "create_subprocess_exec", run)


def test_a_study(study, commands, tmp_path, capsys):
    out = tmp_path / "out"
    main([str(study(seeds=[0])), "--output", str(out)])
    assert ["losses.r1_every=0" in command for command in commands] == [False, True]
    commands.clear()

    main([str(study()), "--output", str(out)])  # one seed more; what is complete is not repeated
    seeds = [word for command in commands for word in command if word.startswith("training.seed")]
    assert seeds == ["training.seed=1"] * 2
    assert "paper, seed 1" in capsys.readouterr().out
    lines = [line.strip("| ").split(" | ") for line in (out / "study.md").read_text().splitlines()]
    assert lines[0] == ["variant", "images seen", "seconds", "area_distance", "area_drawn.eye"]
    assert [line[:2] for line in lines[2:]] == [["paper", "8"], ["paper", "12"], ["No R1", "8"], ["No R1", "12"]]
    reports = [(out / f"paper-{seed}" / "metrics.jsonl").read_text().splitlines() for seed in (0, 1)]
    last = [json.loads(run[-1])["values"]["area_distance"] for run in reports]
    assert lines[3][3] == f"{sum(last) / 2:.3g} ({min(last):.3g} to {max(last):.3g})"
    assert 0 < float(lines[2][2].split()[0]) < float(lines[3][2].split()[0])  # seconds
    assert min(Image.open(out / "study.png").size) > 300


def test_a_stage_between_two_logs_has_its_seconds(study, commands, tmp_path):
    """A checkpoint logs the speed until then, whatever the interval of logs."""
    out, file = tmp_path / "out", study(seeds=[0], variants={"paper": ["training.log_every_images=16"]})
    main([str(file), "--output", str(out)])
    results = collect(read_study(file), out)
    assert 0 < results["paper", 8]["seconds"][0] < results["paper", 12]["seconds"][0]


def measured(folder: Path, **areas: float | None) -> None:
    """Write measurements of one stage, 8 images, as a run does."""
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(8, {}, tables={"area_drawn": areas})
    report.add("area_distance", areas["eye"], "too few samples")
    (folder / "metrics.jsonl").write_text(json.dumps(report.to_dict()) + "\n")


def test_undefined_and_missing_numbers_are_left_out(study, monkeypatch, tmp_path):
    monkeypatch.setattr(scripts.study, "training_seconds", lambda *_: 4.0)
    measured(tmp_path / "paper-0", eye=0.5)
    measured(tmp_path / "paper-1", eye=None)
    file = read_study(study())
    assert not is_complete(file, tmp_path, "paper", 1)  # stage 12 is missing; no number of stage 8 is
    results = collect(file, tmp_path)
    assert results["paper", 8] == {"seconds": [4.0, 4.0], "area_distance": [0.5], "area_drawn.eye": [0.5]}
    assert all(math.isnan(number) for numbers in results["No R1", 12].values() for number in numbers)


def test_a_run_that_fails_leaves_the_others_alone(study, monkeypatch, tmp_path):
    source = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import train\n"
        "if 'losses.r1_every=0' in sys.argv: print('resuming'); sys.exit('error: out of memory')\n"
        "train.main()"
    )
    replace_train(monkeypatch, tmp_path, source)
    out = tmp_path / "out"
    with pytest.raises(
        ConfigError, match=r"^1 of 2 runs failed; the first: \S*/no_r1-0.log \(exit code 1\): error: out of memory$"
    ):
        main([str(study(seeds=[0])), "--output", str(out), "--processes", "2"])
    lines = (out / "study.md").read_text().splitlines()
    assert lines[-1] == "| No R1 | 12 | - | - | - |"
    assert "| - |" not in lines[3]
    assert (out / "study.png").exists()


def test_a_run_that_ends_early(study, monkeypatch, tmp_path):
    replace_train(monkeypatch, tmp_path, "print('masks drifted too far')")
    with pytest.raises(
        ConfigError, match=r"^4 of 4 runs failed.*/paper-0\.log \(exit code 0\): masks drifted too far$"
    ):
        main([str(study()), "--output", str(tmp_path / "out")])


def test_seconds_of_runs_without_logs(study, tmp_path):
    measured(tmp_path / "paper-0", eye=0.5)
    for _ in range(2):
        results = collect(read_study(study()), tmp_path)
        assert math.isnan(*results["paper", 8]["seconds"])
        assert results["paper", 8]["area_distance"] == [0.5]
        (tmp_path / "paper-0" / "tensorboard").mkdir(exist_ok=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_study_with_its_runs(study, tmp_path, number):
    file = study(images=[800_000])  # one run at a time, the others wait
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-m", "scripts.study", str(file), "--output", str(out)], cwd=ROOT)
    log = out / "paper-0.log"
    wait_for(lambda: log.exists() and "images/s" in log.read_text(), [process])
    process.send_signal(number)
    assert exit_code(process) == 130
    assert "stopped by a signal" in log.read_text().splitlines()[-1]  # the run has ended before the study
    assert list((out / "paper-0" / "checkpoints").iterdir())


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_that_ship(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert read_study(path).variants


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": None}, "give the keys config, overrides, images, seeds"),
        ({"seeds": []}, r"seeds = \[\]: give at least one"),
        ({"seeds": ["one"]}, r"study\.yaml: seeds = 'one': expected"),
        ({"seeds": [1, 1]}, r"seeds = \[1, 1\]: give at least one, in ascending order, each once"),
        ({"images": [12, 8]}, r"images = \[12, 8\]: give at least one, in ascending order"),
        ({"images": [8, 10]}, "images: 10 is not a multiple of 4, the batch size of paper"),
        ({"images": [0, 8]}, "images: 0 is not a multiple"),
        ({"columns": []}, r"at least one of the columns \(python -m scripts\.study --help explains all keys\)"),
        ({"variants": {}}, "variants: give each name a list of overrides"),
        ({"variants": {"a b": [], "A-b": []}}, "two variants have the same name except for punctuation"),
        ({"variants": {"x": ["losses.r2=1"]}}, r"study\.yaml: variants\.x: unknown option losses\.r2"),
        ({"overrides": ["metrics.names=[fidd]"]}, "metrics.names: unknown metric fidd"),
    ],
)
def test_mistakes(study, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_study(study(**changes))


def test_a_column_that_was_not_measured(study, commands, tmp_path):
    with pytest.raises(ConfigError, match=r"columns: .* has no fd_efflite0: choose from area_distance"):
        main([str(study(columns=["fd_efflite0"])), "--output", str(tmp_path / "out")])
    assert len(commands) < 4  # known after the first run, not after all


def test_runs_of_another_recipe_are_not_taken_for_the_study_s(study, commands, tmp_path):
    file, out = study(), tmp_path / "out"
    config = load_config(tmp_path / "base.yaml", read_study(file).overrides_of("paper", 1))
    folder = out / "paper-1"
    measured(folder, eye=0.5)
    (folder / "config.yaml").write_text(to_yaml(config))
    changed = study(variants={"paper": ["losses.mask=50"]})
    with pytest.raises(
        ConfigError, match=r"paper-1 was trained with other values of losses.mask than the study's: rename the variant"
    ):
        main([str(changed), "--output", str(out)])
    (folder / "config.yaml").write_text("losses: {r9: 1}")
    with pytest.raises(ConfigError, match=r"paper-1/config.yaml: .*losses.r9"):
        main([str(file), "--output", str(out)])
    assert not commands


def test_a_stage_that_runs_are_past(study, commands, tmp_path):
    out = tmp_path / "out"
    variants = {"paper": []}
    main([str(study(images=[8, 16], seeds=[0], variants=variants)), "--output", str(out)])
    with pytest.raises(ConfigError, match=r"paper-0 has no metrics at 12 images: remove that number"):
        main([str(study(images=[8, 12, 16], seeds=[0], variants=variants)), "--output", str(out)])
    main([str(study(images=[8, 16, 24], seeds=[0], variants=variants)), "--output", str(out)])
    assert (out / "study.md").read_text().count("| paper |") == 3


def test_damaged_measurements(study, tmp_path):
    path = tmp_path / "out" / "paper-0" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(MetricError, match=r"paper-0/metrics\.jsonl.*another folder"):
        main([str(study()), "--output", str(tmp_path / "out")])
