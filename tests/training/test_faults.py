"""Numbers that go bad are kept from the weights, told, and end the run or are counted."""

from itertools import islice

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.errors import RunError
from datasets import InfiniteSampler
from tests.training.test_trainer import contents
from training import phases
from training.config import TrainingConfig
from training.distributed import Process
from training.faults import IN_A_ROW, Faults
from training.pulse import Beat, Pulse
from training.watch import DUPLICATES, PATH_LENGTH, SCORE_GAP, Watch, duplicate_share


@pytest.fixture
def bad(monkeypatch):
    """Breaks a loss of chosen calls: what multiplies it, and calls counted from 1."""

    def break_(name: str, factor: float, calls: range) -> None:
        loss, seen = getattr(phases, name), []

        def broken(*arguments, **options):
            seen.append(0)
            value = loss(*arguments, **options)
            return value * factor if len(seen) in calls else value

        monkeypatch.setattr(phases, name, broken)

    return break_


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_run_stops_before_bad_numbers_reach_the_weights(train, tmp_path, bad, factor):
    bad("discriminator_loss", factor, range(3, 4))
    with pytest.raises(RunError) as raised:
        train("training.total_images=40")
    assert raised.value.exit_code == 70
    message = str(raised.value)
    for part in ("iteration 2, phase discriminator: the loss is", "tensors (image_trunk", "records ", "of the data"):
        assert part in message
    kept = contents(tmp_path / "run", 8)
    assert all(x.isfinite().all() for x in kept["discriminator"].values())
    assert not (tmp_path / "run" / "checkpoints" / "images_000000012.pt").exists()


def test_the_records_are_those_of_the_iteration(train, bad):
    bad("generator_loss", float("nan"), range(2, 3))
    with pytest.raises(RunError) as raised:
        train("training.total_images=40")
    expected = ", ".join(map(str, islice(InfiniteSampler(48, start=4), 4)))
    assert "phase generator: the loss is nan, and gradients are not finite in" in str(raised.value)
    assert f"records {expected} of the data" in str(raised.value)


def test_bad_steps_are_skipped_and_counted(train, bad, capsys):
    bad("mask_loss", float("nan"), range(2, 4))
    folder = train("training.total_images=24", "training.on_bad_numbers=skip")
    state = contents(folder, 24)
    assert all(x.isfinite().all() for name in ("generator", "generator_ema") for x in state[name].values())
    assert state["training"]["path_mean"].isfinite()
    steps = {s["step"].item() for s in state["training"]["generator_optimizer"]["state"].values()}
    assert max(steps) == 6 + 3 - 2  # generator steps, path length steps, skipped ones
    assert capsys.readouterr().err.count("phase generator: the loss is nan") == 2
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert events.Scalars("faults/skipped_steps")[-1].value == 2


def test_a_run_that_only_skips_stops(train, bad):
    bad("generator_loss", float("nan"), range(1, 1000))
    with pytest.raises(RunError, match=f"{IN_A_ROW} iterations in a row"):
        train("training.total_images=400", "training.on_bad_numbers=skip", "losses.path_length_every=0")


def test_paths_that_go_bad_leave_their_mean(train, bad):
    bad("path_lengths", float("nan"), range(2, 3))
    folder = train("training.on_bad_numbers=skip")
    assert contents(folder, 12)["training"]["path_mean"].isfinite()


def test_a_scale_that_falls_for_ever_ends_the_run():
    faults = Faults(range(8), 4, Process(torch.device("cpu")), TrainingConfig())
    faults.judge_scale(1.0)
    with pytest.raises(RunError, match=r"fallen to 0\.5") as raised:
        faults.judge_scale(0.5)
    assert raised.value.exit_code == 70


def test_a_pulse_tells_at_once_on_a_cpu():
    pulse = Pulse(torch.device("cpu"))
    assert pulse.send(False, torch.tensor(2.0), "x") == Beat(False, 2, "x")
    assert pulse.send(True, torch.tensor(0.0), "y") == Beat(True, 0, "y")
    assert pulse.rest() == []


def test_a_collapse_is_warned_of_once_and_again_after_it_was_over():
    watch = Watch()
    assert watch.warnings({SCORE_GAP: 3.0, PATH_LENGTH: 1.0, DUPLICATES: 0.0}, 1.0) == []
    assert ["30.0 above" in w for w in watch.warnings({SCORE_GAP: 30.0}, 1.0)] == [True]
    assert watch.warnings({SCORE_GAP: 31.0}, 1.0) == []
    assert len(watch.warnings({DUPLICATES: 0.5}, 1.0)) == 1
    assert watch.warnings({SCORE_GAP: 1.0, PATH_LENGTH: 1.0}, 1.0) == []
    assert len(watch.warnings({SCORE_GAP: 30.0, PATH_LENGTH: 1e-4}, 1.0)) == 2
    assert watch.warnings({PATH_LENGTH: 5.0}, 0.0) == []  # nothing to compare with yet


def test_duplicates_are_counted():
    images = torch.randint(256, (4, 8, 8, 3), dtype=torch.uint8).numpy()
    assert duplicate_share(images) == 0
    images[1] = images[0] ^ 1
    assert duplicate_share(images) == pytest.approx(1 / 6)
    assert duplicate_share(images[:1]) == 0
