import pytest
import torch
from torch import Tensor

from datasets.data_config import AugmentConfig
from tests.training.test_trainer import assert_equal, contents
from training.ada import adapt

CONFIG = AugmentConfig(target=0.6, ramp_images=1000)


def state(probability: float, mean_sign: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(probability), torch.tensor([mean_sign * 32, 32.0])


@pytest.mark.parametrize(
    ("mean_sign", "before", "after"), [(0.9, 0.2, 0.3), (0.3, 0.2, 0.1), (0.3, 0.05, 0.0), (0.9, 0.75, 0.8)]
)
def test_the_probability_follows_the_sign(mean_sign: float, before: float, after: float) -> None:
    probability, signs = state(before, mean_sign)
    assert adapt(probability, signs, 100, CONFIG).item() == pytest.approx(mean_sign)
    assert probability.item() == pytest.approx(after)
    assert signs.tolist() == [0, 0]


STEERED = ["augment.target=0.5", "augment.ramp_images=100", "data.mirror=true", "training.total_images=32"]


def test_the_probability_is_saved_and_resumed_exactly(train, tmp_path) -> None:
    options = [*STEERED, "augment.probability=0.5"]
    whole = contents(train(*options, output="whole"), 32)
    train(*options, "training.total_images=20", output="parts")
    # Adapted once, after four iterations of four images, by 16 / 100: neither the configuration's nor 0.
    between = contents(tmp_path / "parts", 20)["training"]["augment_probability"].item()
    assert between in (pytest.approx(0.34), pytest.approx(0.66))
    assert_equal(contents(train(*options, output="parts"), 32), whole)
    assert whole["training"]["augment_probability"].item() in [pytest.approx(x) for x in (0.18, 0.5, 0.8)]


def test_a_fixed_probability_is_the_configurations(train) -> None:
    train("augment.probability=0.5", "training.total_images=4")
    folder = train("augment.probability=0.25", "training.total_images=8")
    assert contents(folder, 8)["training"]["augment_probability"].item() == 0.25


def test_steering_is_reported(train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(train(*STEERED) / "tensorboard"))
    events.Reload()
    assert {"augment/probability", "augment/mean_sign"} < set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("augment/mean_sign")] == [16, 32]


def test_checkpoints_from_before_there_was_augmentation(train) -> None:
    folder = train("training.total_images=4")
    path = folder / "checkpoints" / "images_000000004.pt"
    old = torch.load(path, weights_only=True)
    del old["training"]["augment_probability"], old["training"]["augment_signs"]
    torch.save(old, path)
    assert contents(train("training.total_images=8"), 8)["training"]["images"] == 8
