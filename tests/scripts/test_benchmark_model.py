import json

import pytest
import torch
import torch.nn.functional as F

from scripts.benchmark import main
from scripts.benchmarks import model as subject
from scripts.benchmarks.networks import STEPS, build_networks, random_inputs, work_per_sample
from scripts.benchmarks.work import flops

CPU = torch.device("cpu")


@pytest.mark.usefixtures("_hasty_benchmark")
def test_tables_and_json(tiny_run, tmp_path, capsys):
    main(["model", "--device", "cpu", "--config", str(tiny_run), "--rounds", "2", "--json", str(tmp_path / "a.json")])
    printed = capsys.readouterr().out
    for text in ("targets on a CPU: time at most 0.65", "ours, recomputing", "path length", "of matrix rate"):
        assert text in printed
    fusion, steps = json.loads((tmp_path / "a.json").read_text())["tables"]
    assert [row["version"] for row in fusion["rows"]] == ["ours", "ours, recomputing", "literal"]
    assert fusion["rows"][2]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert all(len(row["rounds_ms"]) == 2 for row in fusion["rows"])
    assert [row["samples"] for row in steps["rows"]] == [2, 2, 2, 1, 2]
    for row in steps["rows"]:
        rate = row["gigaflop"] / row["literal_ms"]["median"] * 1e12
        assert row["literal_share_of_matrix_rate"] == pytest.approx(rate / steps["facts"]["matrix_rate"])


def test_growth(tiny_run, capsys, tmp_path):
    options = ["--growth", "--parts", "2", "5", "--resolutions", "32", "64", "--json", str(tmp_path / "a.json")]
    main(["model", "--device", "cpu", "--config", str(tiny_run), *options])
    assert "at most 1.5 from K = 2 to K = 26" in capsys.readouterr().out
    parts, resolutions = (table["rows"] for table in json.loads((tmp_path / "a.json").read_text())["tables"])
    assert [row["parts"] for row in parts] == [2, 5]
    assert [row["resolution"] for row in resolutions] == [32, 64]
    assert resolutions[1]["pixel_ratio"]["median"] == pytest.approx(resolutions[1]["ratio"]["median"] / 4)


def test_fused_features_agree(tiny_config):
    """What is compared computes the same, with recomputation."""
    ours = build_networks(tiny_config, CPU)
    literal = ours.literal()
    codes = ours.generator.expand(random_inputs(tiny_config, 2, CPU).codes)
    planes = literal.generator.local_drawing(codes)[2]
    for recompute in (False, True):
        features = subject._fuse(ours.generator, codes, recompute=recompute)
        torch.testing.assert_close(features, planes, rtol=0, atol=1e-4)


@pytest.mark.parametrize("step", STEPS[1:], ids=lambda step: step.name)
def test_steps_give_gradients(step, tiny_config):
    ours = build_networks(tiny_config, CPU)
    for networks in (ours, ours.literal()):
        step.run(networks, random_inputs(tiny_config, step.samples(4), CPU))
        trained = networks.discriminator if step.name[0] in "DR" else networks.generator
        gradients = [parameter.grad for name, parameter in trained.named_parameters() if "mapping" not in name]
        assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


def test_work_of_known_calls():
    x, weight = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(5, 3, 3, 3, requires_grad=True)
    forward = 2 * (2 * 8 * 8) * (5 * 3 * 3 * 3)
    assert flops(lambda: F.conv2d(x, weight, padding=1)) == forward
    assert flops(lambda: F.conv2d(x, weight, padding=1).sum().backward()) == 3 * forward
    assert flops(lambda: torch.randn(4, 6) @ torch.randn(6, 7)) == 2 * 4 * 6 * 7
    assert flops(lambda: torch.randn(4).sum()) == 0


def test_work_is_that_of_the_literal_networks(tiny_config):
    """Counted without calculating, the same as with; and one sample is so much of several."""
    work = work_per_sample(tiny_config)
    literal = build_networks(tiny_config, CPU).literal()
    for step in STEPS:
        inputs = random_inputs(tiny_config, 1, CPU)
        assert work[step.name] == flops(lambda step=step, inputs=inputs: step.run(literal, inputs)), step.name
    forward = flops(lambda: STEPS[0].run(literal, random_inputs(tiny_config, 4, CPU)))
    assert 4 * work["G forward"] == pytest.approx(forward, rel=0.02)  # the positions are the same for all
    assert work["G forward, backward"] > 2.5 * work["G forward"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
        (["--batch", "0"], "--batch 0: give 1 to 4 or a multiple of 4"),
        (["--batch", "6"], "--batch 6: give 1 to 4 or a multiple of 4"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--parts", "1"], "model.num_classes = 1: choose 2 to 64"),
        (["--resolutions", "100"], "model.resolution = 100"),
    ],
)
def test_mistakes_are_found_before_anything_runs(arguments, message, capsys):
    with pytest.raises(ValueError, match=message):
        main(["model", *arguments])
    assert capsys.readouterr().out == ""
