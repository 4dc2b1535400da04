"""Non-finite numbers never reach the weights; they are reported, and stop the run or are counted."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datasets.data_loader import InfiniteSampler
from models.discriminator import DownBlock
from tests.training.test_trainer import contents
from training import steps
from training.nonfinite_guard import NonfiniteGuard
from training.previews import duplicate_share
from training.run import run
from training.run.collapse import DUPLICATES, PATH_LENGTH, SCORE_GAP, CollapseWatch
from training.run.nonfinite import LOSS_SCALE, MAX_BAD_ITERATIONS, NonfinitePolicy
from training.run.sync import IterationSync, SyncResult
from training.state import TrainingState
from training.training_config import TrainingConfig
from utils.distributed import Process
from utils.errors import RunError


def scalars(folder: Path, name: str) -> dict[int, float]:
    """By images seen."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


@pytest.fixture
def bad(monkeypatch):
    """Breaks a loss of chosen calls: what multiplies it, and calls counted from 1."""

    def break_(name: str, factor: float, calls: range) -> None:
        loss, seen = getattr(steps, name), []

        def broken(*arguments, **options):
            seen.append(0)
            value = loss(*arguments, **options)
            return value * factor if len(seen) in calls else value

        monkeypatch.setattr(steps, name, broken)

    return break_


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_run_stops_before_bad_numbers_reach_the_weights(train, tmp_path, bad, factor):
    bad("discriminator_loss", factor, range(3, 4))
    with pytest.raises(RunError) as raised:
        train("training.total_images=40")
    assert raised.value.exit_code == 70
    message = str(raised.value)
    for part in (
        "iteration 2, phase discriminator: the loss is",
        "tensors (image_trunk",
        "finite; records ",
        "of the data. ",
    ):
        assert part in message
    kept = contents(tmp_path / "run", 8)
    assert all(x.isfinite().all() for x in kept["discriminator"].values())
    assert not (tmp_path / "run" / "checkpoints" / "images_000000012.pt").exists()


@pytest.mark.parametrize("late", [0, 1])
def test_a_step_that_goes_bad_where_a_tick_is_due(train, bad, monkeypatch, late):
    """Also when results arrive an iteration late, as from a GPU."""

    class LateSync(IterationSync):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._delay = late

    monkeypatch.setattr(run, "IterationSync", LateSync)
    bad("mask_loss", float("nan"), range(2, 3))
    folder = train("training.on_bad_numbers=skip")
    assert scalars(folder, "faults/skipped_steps") == {8: 1, 12: 1}
    bad("mask_loss", float("nan"), range(1, 2))
    with pytest.raises(RunError, match="iteration 0, phase generator"):
        train(output="other")


def test_gradients_that_adam_cannot_square_are_bad(train, bad):
    bad("discriminator_loss", 1e28, range(2, 3))
    with pytest.raises(
        RunError, match=r"phase discriminator: the loss is finite .* gradients are not finite, or above"
    ):
        train()


def test_counts_go_on_where_a_run_does(train, bad):
    bad("mask_loss", float("nan"), range(2, 3))
    train("training.on_bad_numbers=skip", "training.total_images=8")
    folder = train("training.on_bad_numbers=skip", "training.total_images=16")
    assert scalars(folder, "faults/skipped_steps") == {8: 1, 12: 1, 16: 1}


def test_bad_losses_are_noticed_after_a_step_was_skipped(train, bad, monkeypatch):
    bad("generator_loss", float("nan"), range(1, 2))
    loss, seen = steps.mask_loss, []

    def later(*masks):
        seen.append(0)
        return loss(*masks) + (float("nan") if len(seen) > 1 else 0)

    monkeypatch.setattr(steps, "mask_loss", later)
    with pytest.raises(RunError, match="the mean of losses/mask is nan"):
        train("training.on_bad_numbers=skip")


def test_the_cause_is_told_where_the_module_is_not_found(train, monkeypatch):
    whole = DownBlock.forward

    def broken(block, x):
        if not torch.is_grad_enabled():
            raise torch.OutOfMemoryError
        return whole(block, x) / 0

    monkeypatch.setattr(DownBlock, "forward", broken)
    monkeypatch.setattr(NonfiniteGuard, "describe_origin", torch.no_grad()(NonfiniteGuard.describe_origin))
    with pytest.raises(RunError, match=r"the loss is nan, .*; the search for .* failed \(OutOfMemoryError\); records"):
        train()


def test_the_module_is_named_in_which_numbers_went_bad(train, monkeypatch):
    whole = DownBlock.forward
    monkeypatch.setattr(DownBlock, "forward", lambda block, x: whole(block, x) / 0)
    with pytest.raises(
        RunError,
        match=r"first non-finite output is that of Discriminator\.image_trunk\.1; records .*\. The step was skipped",
    ):
        train()


def test_a_step_is_traced_as_it_was(train, monkeypatch):
    """The same codes and noise, though the random streams have gone on."""
    seen: list[torch.Tensor] = []
    whole = steps.TrainingSteps._generate

    def draw(self, samples):
        output = whole(self, samples)
        seen.append(output.image)
        return output._replace(image=output.image / 0) if len(seen) == 4 else output  # the second iteration's

    monkeypatch.setattr(steps.TrainingSteps, "_generate", draw)
    with pytest.raises(RunError, match=r"phase generator: .*; the outputs of all modules are finite"):
        train("losses.path_length_every=0", "losses.r1_every=0")
    assert torch.equal(seen[3], seen[5])  # seen[4] is the discriminator step's


def test_the_records_are_those_of_the_iteration(train, bad):
    bad("generator_loss", float("nan"), range(2, 3))
    with pytest.raises(RunError) as raised:
        train("training.total_images=40")
    expected = ", ".join(map(str, islice(InfiniteSampler(48, start=4), 4)))
    assert "phase generator: the loss is nan, and gradients are not finite, or above 1e+18, in" in str(raised.value)
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
    assert scalars(folder, "faults/skipped_steps")[24] == 2


def test_a_run_that_only_skips_stops(train, bad):
    bad("generator_loss", float("nan"), range(1, 1000))
    with pytest.raises(RunError, match=f"{MAX_BAD_ITERATIONS} iterations in a row"):
        train("training.total_images=400", "training.on_bad_numbers=skip", "losses.path_length_every=0")


def test_paths_that_go_bad_leave_their_mean(train, bad):
    bad("path_lengths", float("nan"), range(2, 3))
    folder = train("training.on_bad_numbers=skip")
    assert contents(folder, 12)["training"]["path_mean"].isfinite()


def test_a_scale_that_falls_for_ever_ends_the_run():
    state = TrainingState(*[None] * 9)
    policy = NonfinitePolicy(state, Process(torch.device("cpu")), TrainingConfig(), None, None, print)
    policy.check_means({LOSS_SCALE: 1.0, "losses/generator": float("nan")})  # a skipped step
    with pytest.raises(RunError, match=r"fallen to 0\.5") as raised:
        policy.check_means({LOSS_SCALE: 0.5})
    assert raised.value.exit_code == 70


def test_a_loss_that_is_bad_without_its_gradients_ends_the_run(train, monkeypatch):
    loss = steps.mask_loss
    monkeypatch.setattr(steps, "mask_loss", lambda *masks: loss(*masks) + float("nan"))
    with pytest.raises(RunError, match="the mean of losses/mask is nan, although no gradient was bad"):
        train()


def test_results_arrive_at_once_on_a_cpu_and_an_iteration_late_on_a_gpu():
    sync = IterationSync(torch.device("cpu"), collective_minutes=30)
    assert sync.exchange(False, torch.tensor(2.0), "x") == [SyncResult(False, 2, "x")]
    assert sync.exchange(True, torch.tensor(0.0), "y") == [SyncResult(True, 0, "y")]
    assert sync.flush() == []
    sync._delay = 1
    assert sync.exchange(False, torch.tensor(2.0), "x") == []
    assert sync.exchange(True, torch.tensor(0.0), "y") == [SyncResult(False, 2, "x")]
    assert sync.flush() == [SyncResult(True, 0, "y")]


def test_a_collapse_is_warned_of_once_and_again_after_it_was_over():
    watch = CollapseWatch()
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
