import json

import pytest
import torch

from configs import ConfigError, load_config
from datasets import DataError
from models import Generator
from scripts.benchmark import main
from scripts.benchmarks import train as subject
from scripts.benchmarks.trainers import drawn_data, literal_trainer, our_trainer
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator

CPU = torch.device("cpu")
QUICK = ["--device", "cpu", "--iterations", "2", "--rounds", "2", "training.preview_samples=4", "data.workers=0"]


@pytest.mark.usefixtures("_hasty_benchmark")
def test_tables_and_json(tiny_run, tmp_path, capsys):
    main(["train", "--config", str(tiny_run), "--json", str(tmp_path / "a.json"), *QUICK])
    printed = capsys.readouterr()
    for text in ("ms an iteration", "images/s", "R1 ms", "path length ms", "of bf16 rate", "checkpoint"):
        assert text in printed.out
    assert "training" not in printed.err  # the run's progress bar
    compared, others = json.loads((tmp_path / "a.json").read_text())["tables"]
    ours, literal = compared["rows"]
    assert (ours["version"], literal["version"]) == ("ours", "literal")
    for row in (ours, literal):
        assert row["images_per_second"]["median"] == pytest.approx(4000 / row["ms"]["median"], rel=0.5)
        assert all(row[f"{phase}_ms"] > 0 for phase in ("discriminator", "r1", "generator", "path_length", "ema"))
        rate = compared["facts"]["work"] / row["ms"]["median"] * 1000
        assert row["share_of_rate"] == pytest.approx(rate / compared["facts"]["rates"]["float32"])
    assert [row["what"] for row in others["rows"]] == [
        "waiting for data",
        "averaging weights",
        "log",
        "preview",
        "checkpoint",
        "together",
    ]
    assert others["rows"][-1]["share"] == pytest.approx(sum(row["share"] for row in others["rows"][:-1]))


@pytest.mark.usefixtures("_hasty_benchmark")
def test_further_rows(tiny_run, tmp_path):
    options = ["--ours-alone", "--also", "training.batch_size=8 training.precision=bfloat16"]
    main(["train", "--config", str(tiny_run), "--json", str(tmp_path / "a.json"), *QUICK, *options])
    compared, _ = json.loads((tmp_path / "a.json").read_text())["tables"]
    assert [(row["version"], row["batch"]) for row in compared["rows"]] == [("ours", 4), (options[2], 8)]
    for row in compared["rows"]:
        precision = "bfloat16" if row["batch"] == 8 else "float32"
        work = compared["facts"]["work"] * row["batch"] / 4 / row["ms"]["median"] * 1000
        assert row["share_of_rate"] == pytest.approx(work / compared["facts"]["rates"][precision])


@pytest.mark.usefixtures("_hasty_benchmark")
def test_given_data(tiny_run, faces_32, capsys, monkeypatch):
    monkeypatch.setattr(subject, "drawn_data", None)
    main(["train", "--config", str(tiny_run), "--data", str(faces_32), *QUICK])
    assert "together" in capsys.readouterr().out


def test_the_literal_loop_trains_literal_networks(tiny_run, faces_32):
    config = load_config(tiny_run, [f"data.path={faces_32}", "data.workers=0"])
    ours, literal = our_trainer(config, CPU), literal_trainer(config, CPU)
    assert isinstance(ours.state.generator, Generator)
    assert isinstance(literal.state.generator, LiteralGenerator)
    assert isinstance(literal.state.generator_ema, LiteralGenerator)
    assert isinstance(literal.state.discriminator, LiteralDiscriminator)
    networks = [literal.state.generator, literal.state.discriminator, literal.state.generator_ema]
    before = [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]
    subject.Runner(literal, 2).turn()
    for network, weights in zip(networks, before, strict=True):
        assert (torch.cat([p.flatten() for p in network.parameters()]) != weights).any()


def test_both_loops_have_the_same_losses(tiny_run, faces_32):
    """The same weights, data and random numbers: the first iteration differs by rounding only.

    Not so path lengths, whose noise is drawn in the order in which the image lies in memory.
    """
    config = load_config(tiny_run, [f"data.path={faces_32}", "data.workers=0", "losses.path_length_every=0"])
    losses = []
    for build in (our_trainer, literal_trainer):
        runner = subject.Runner(build(config, CPU), 1)
        torch.manual_seed(1)
        runner.turn()
        losses.append({name: value for name, value in runner.phases[0].items() if name.startswith("losses/")})
    assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-4)


def test_work_grows_with_the_batch(tiny_run, faces_32):
    overrides = [f"data.path={faces_32}", "data.workers=0"]
    work = {
        size: subject.work_per_iteration(load_config(tiny_run, [*overrides, f"training.batch_size={size}"]), CPU)
        for size in (4, 8)
    }
    assert work[8] == 2 * work[4] > 0


def test_penalties_count_by_their_share(tiny_run, faces_32):
    def work(*overrides: str) -> float:
        config = load_config(tiny_run, [f"data.path={faces_32}", "data.workers=0", *overrides])
        return subject.work_per_iteration(config, CPU)

    without_r1 = work("losses.r1_every=0")
    assert work("losses.r1_every=4") - without_r1 == pytest.approx((work() - without_r1) / 2)
    without_paths = work("losses.path_length_every=0")
    assert work("losses.path_length_every=4") - without_paths == pytest.approx((work() - without_paths) / 2)


@pytest.mark.parametrize("classes", [2, 13, 20])
def test_drawn_data_fit_the_model(tiny_run, classes, recwarn):
    config = load_config(tiny_run, [f"model.num_classes={classes}", "model.transparent_classes=[1]"])
    with drawn_data(config.model) as path:
        our_trainer(
            load_config(
                tiny_run, [f"data.path={path}", f"model.num_classes={classes}", "model.transparent_classes=[1]"]
            ),
            CPU,
        )
    assert not path.exists()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
        (["--iterations", "20"], "--iterations 20: give a multiple of 16, for a turn with all penalties"),
        (["--also", "model.latent_dim=16"], "changes the model: measure it in a run of its own"),
        (["training.batch_sise=4"], "did you mean training.batch_size"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--rounds", "1", "training.seed=1", "--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_found_before_anything_runs(arguments, message, capsys):
    with pytest.raises((ConfigError, DataError), match=message):
        main(["train", *arguments])
    assert capsys.readouterr().out == ""
