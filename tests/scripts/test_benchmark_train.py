"""Training and its overheads."""

import argparse
import json

import pytest
import torch
import torch.nn.functional as F

from configs import RunConfig, load_config
from models import Generator
from scripts.benchmark import main, parse
from scripts.benchmarks import trainers, training_speed
from scripts.benchmarks.trainers import FlopCounter, build_trainer
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator
from utils.errors import ConfigError, DataError

CPU = torch.device("cpu")
QUICK = ["--device", "cpu", "training.preview_samples=4", "data.workers=0", "ops=native"]


def measure(subject, tiny_run, faces, tmp_path, *options):
    """Return the facts and the rows of a table."""
    path = tmp_path / "a.jsonl"
    data = ["--data", str(faces)] if faces else []
    main([subject, "--config", str(tiny_run), *data, "--json", str(path), *QUICK, *options])
    _, facts, *rows = map(json.loads, path.read_text().splitlines())
    return facts["facts"], [line["row"] for line in rows]


@pytest.mark.usefixtures("_hasty_benchmark")
def test_versions_without_penalties_and_with(tiny_run, tmp_path, capsys):
    also = "model.num_classes=5 model.transparent_classes=[] training.batch_size=8 training.precision=bfloat16"
    facts, rows = measure(
        "train", tiny_run, None, tmp_path, "--iterations", "2", "--rounds", "2", "--also", also, "--literal", "all"
    )
    printed = capsys.readouterr().out
    for text in ("ms an iteration", "images/s", "time, ours / it", "of bf16 rate"):
        assert text in printed
    assert [(row["version"], row["penalties"]) for row in rows] == [
        (version, penalties) for version in ("ours", also, "literal") for penalties in ("none", "all")
    ]
    assert [(row["num_classes"], row["batch"]) for row in rows] == [(13, 4)] * 2 + [(5, 8)] * 2 + [(13, 4)] * 2
    for row in rows:
        assert row["images_per_second"] == pytest.approx(1000 * row["batch"] / row["ms"]["median"])
        assert len(row["rounds_ms"]) == len(row["ticks"]) == 2
        steps = {"discriminator", "generator", "ema"} | ({"r1", "path_length"} if row["penalties"] == "all" else set())
        assert {name for tick in row["ticks"] for name in tick if name.startswith("seconds/")} == {
            f"seconds/{step}" for step in steps
        }
        precision = "bfloat16" if row["batch"] == 8 else "float32"
        speed = row["gigaflop"] * 1e12 / row["ms"]["median"]
        assert row["share_of_rate"] == pytest.approx(speed / facts["rates"][precision])
        assert row["share_of_bfloat16_rate"] == pytest.approx(speed / facts["rates"]["bfloat16"])
    for ours, literal in zip(rows[:2], rows[4:], strict=True):
        assert "time_ratio" not in ours
        medians, low = ours["ms"]["median"] / literal["ms"]["median"], ours["ms"]["low"] / literal["ms"]["high"]
        assert (literal["time_ratio"]["median"], literal["time_ratio"]["low"]) == pytest.approx((medians, low))
        assert ours["gigaflop"] == literal["gigaflop"]
    assert rows[1]["gigaflop"] > rows[0]["gigaflop"]


@pytest.mark.usefixtures("_hasty_benchmark")
@pytest.mark.parametrize(("literal", "versions"), [("none", ["ours"]), ("plain", ["ours", "literal"])])
def test_no_rows_of_penalties_without_penalties(tiny_run, faces_32, tmp_path, literal, versions, monkeypatch):
    monkeypatch.setattr(trainers, "draw_face", None)  # with data that are given
    options = [
        "losses.r1_every=0",
        "losses.path_length_every=0",
        "--literal",
        literal,
        "--rounds",
        "1",
        "--iterations",
        "2",
    ]
    _, rows = measure("train", tiny_run, faces_32, tmp_path, *options)
    assert [(row["version"], row["penalties"]) for row in rows] == [(version, "none") for version in versions]


@pytest.mark.usefixtures("_hasty_benchmark")
def test_overheads(tiny_run, faces_32, tmp_path, capsys):
    _, rows = measure("overheads", tiny_run, faces_32, tmp_path, "--rounds", "2")
    costs = {row["what"]: row for row in rows}
    names = ["waiting for data", "averaging weights", "log", "preview", "checkpoint"]
    assert list(costs) == ["iteration", *names, "together"]
    iteration = costs["iteration"]["ms"]["median"] / 4
    for name in names:
        share = costs[name]["ms"]["median"] / costs[name]["every_images"] / iteration
        assert costs[name]["share"] == pytest.approx(share)
        assert share > 0
    assert costs["together"]["share"] == pytest.approx(sum(costs[name]["share"] for name in names))
    assert "training" not in capsys.readouterr().err  # the run's progress


def test_the_literal_loop_trains_literal_networks(tiny_run, faces_32):
    config = load_config(tiny_run, [f"data.path={faces_32}", "data.workers=0"])
    ours, literal = build_trainer(config, CPU), build_trainer(config, CPU, literal=True)
    assert isinstance(ours.state.generator, Generator)
    assert isinstance(literal.state.generator, LiteralGenerator)
    assert isinstance(literal.state.generator_ema, LiteralGenerator)
    assert isinstance(literal.state.discriminator, LiteralDiscriminator)
    networks = [literal.state.generator, literal.state.discriminator, literal.state.generator_ema]
    before = [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]
    literal.steps.iterate(next(literal.data.batches(0)))
    for network, weights in zip(networks, before, strict=True):
        assert (torch.cat([p.flatten() for p in network.parameters()]) != weights).any()


def test_both_loops_have_the_same_losses(tiny_run, faces_32):
    """The same weights, data and random numbers: the first iteration differs by rounding only.

    Not so path lengths, whose noise is drawn in the order in which the image lies in memory.
    """
    config = load_config(tiny_run, [f"data.path={faces_32}", "data.workers=0", "losses.path_length_every=0"])
    losses = []
    for literal in (False, True):
        trainer = build_trainer(config, CPU, literal)
        batch = next(trainer.data.batches(0))
        torch.manual_seed(1)
        trainer.steps.iterate(batch)
        losses.append({name: x for name, x in trainer.stats.tick().items() if name.startswith("losses/")})
    assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-4)


def test_work_of_known_calls():
    def flops(call):
        with FlopCounter() as counter:
            call()
        return counter.flops

    x, weight = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(5, 3, 3, 3, requires_grad=True)
    forward = 2 * (2 * 8 * 8) * (5 * 3 * 3 * 3)
    assert flops(lambda: F.conv2d(x, weight, padding=1)) == forward
    assert flops(lambda: F.conv2d(x, weight, padding=1).sum().backward()) == 3 * forward
    assert flops(lambda: torch.randn(4, 6) @ torch.randn(6, 7)) == 2 * 4 * 6 * 7
    assert flops(lambda: torch.randn(4).sum()) == 0


def test_work_is_that_of_the_literal_loop(tiny_run, faces_32):
    """Counted without computing, the same as in a real iteration of one image."""
    config = load_config(tiny_run, [f"data.path={faces_32}", "data.workers=0", "training.batch_size=1"])
    trainer = build_trainer(config, CPU, literal=True)
    batch = next(trainer.data.batches(0))
    with FlopCounter() as counter:
        trainer.steps.iterate(batch)
    work = trainers.work_per_sample(RunConfig(model=config.model, losses=config.losses))
    assert work.keys() == {"discriminator", "r1", "generator", "path_length"}
    assert sum(work.values()) == counter.flops


def test_work_grows_with_the_batch_and_penalties_count_by_their_share(tiny_run):
    def work(*overrides):
        return trainers.work_per_iteration(load_config(tiny_run, overrides))

    assert work("training.batch_size=8", "training.max_batch_per_device=8") == 2 * work() > 0
    for every in ("losses.r1_every", "losses.path_length_every"):
        without = work(f"{every}=0")
        assert work(f"{every}=4") - without == pytest.approx((work() - without) / 2)


@pytest.mark.parametrize("classes", [2, 13, 20])
def test_generated_data_fit_the_model(tiny_run, tmp_path, classes, recwarn):
    options = [f"model.num_classes={classes}", "model.transparent_classes=[1]"]
    args = parse(["overheads", "--config", str(tiny_run), *options])
    config = trainers.with_data(trainers.load_run(args), tmp_path)
    assert build_trainer(config, CPU).data.classes.num_classes == classes
    assert trainers.with_data(trainers.load_run(args), tmp_path) == config
    assert not recwarn.list


@pytest.mark.parametrize("subject", ["train", "overheads"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
        (["training.batch_sise=4"], "did you mean training.batch_size"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["training.seed=1", "--data", "nowhere"], "nowhere"),
        (["data.path=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_found_before_anything_runs(subject, arguments, message, capsys):
    with pytest.raises((ConfigError, DataError), match=message):
        main([subject, *arguments])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--iterations", "20"], "--iterations 20: give a multiple of 16, to include all penalties"),
        (["--also", "training.precision=bfloat16", "--also", "model.num_clases=2"], "did you mean model.num_classes"),
        (["--also", "losses.r1_every=3"], "--iterations 16: give a multiple of 3"),
        (["--also", "training.tf32=false"], "changes training.tf32"),
        (["--literal", "some"], "invalid choice: 'some'"),
    ],
)
def test_mistakes_in_options_of_training(arguments, message):
    with pytest.raises(ConfigError, match=message):
        main(["train", *arguments])


class Loop:
    """In a trainer's place, whose steps are CUDA graphs."""

    def __init__(self, config, device):
        self.config, self.counts, self.graphs = config, [0], True
        self.steps = self.data = self.stats = self

    def batches(self, images):
        yield from range(1000)

    def iterate(self, batch):
        self.counts[-1] += 1

    def tick(self):
        self.counts.append(0)
        return {}


def test_all_graphs_are_recorded_before_the_clock_starts(tiny_run):
    config = load_config(tiny_run, ["losses.r1_every=16", "losses.path_length_every=4"])
    loops = []

    def build(config, device):
        loops.append(Loop(config, device))
        return loops[-1]

    training_speed.time_training(build, config, CPU, argparse.Namespace(iterations=32, rounds=2))
    assert loops[0].counts == [18, 32, 32, 0]
