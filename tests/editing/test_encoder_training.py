from itertools import islice
from typing import Literal

import pytest
import torch

from datasets.transforms import float_to_images
from editing.encoder import Encoder
from editing.encoder_training import (
    EncoderData,
    EncoderTrainer,
    EncoderTraining,
    generated_batch,
    generated_batches,
    held_out_batches,
)
from models import Generator
from tests.editing.test_encoder import SMALL
from tests.editing.test_inversion import drawn, toward
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def pairs(generator: Generator) -> EncoderData:
    target = drawn(generator, *range(20))
    return list(zip(float_to_images(target.images), target.labels, strict=True))


def trainer(generator: Generator, config: EncoderTraining, pairs: EncoderData | None = None) -> EncoderTrainer:
    torch.manual_seed(0)
    encoder = Encoder(SMALL, CONFIG)
    encoder.set_code_statistics(generator)
    return EncoderTrainer(encoder, generator, toward, config, pairs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns(generator: Generator, pairs: EncoderData, precision: Literal["float32", "bfloat16"]) -> None:
    training = trainer(generator, EncoderTraining(steps=60, rate=0.01, precision=precision), pairs)
    types = set[torch.dtype]()
    training.encoder.correction.register_forward_hook(lambda _, inputs, output: types.add(output.dtype))
    errors = list(training.run())
    assert types == {getattr(torch, precision)}
    assert all(parameter.dtype == torch.float32 for parameter in training.encoder.parameters())
    assert len(errors) == 60
    assert sum(errors[-10:]) < 0.7 * sum(errors[:10])


def test_the_generator_stays_as_it_is(generator: Generator) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    list(trainer(generator, EncoderTraining(steps=2)).run())
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_an_interrupted_training_goes_on_as_if_it_were_not(generator: Generator, pairs: EncoderData) -> None:
    config = EncoderTraining(steps=5, batch_size=4)
    whole = trainer(generator, config, pairs)
    list(whole.run())
    first = trainer(generator, config, pairs)
    list(islice(first.run(), 2))
    second = trainer(generator, config, pairs)
    second.load_state_dict(first.state_dict())
    torch.rand(3)  # what else draws random numbers does not matter
    assert len(list(second.run())) == 3
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, second.encoder.state_dict()[name]), name


def test_gradients_that_are_not_finite_end_it(generator: Generator) -> None:
    training = trainer(generator, EncoderTraining(steps=6, checkpoint_every=3))
    steps = training.run()
    next(steps)
    training.distance_to = lambda target: lambda images: images.sum((1, 2, 3)) * torch.nan
    next(steps)
    with pytest.raises(EditError, match=r"gradients are not finite by step 3; choose a lower training\.rate"):
        next(steps)


def test_seeds_tell(generator: Generator) -> None:
    weights = []
    for seed in (1, 1, 2):
        training = trainer(generator, EncoderTraining(steps=2, seed=seed))
        list(training.run())
        weights.append(training.encoder.correction.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_samples_mix_parts_of_two(generator: Generator) -> None:
    torch.manual_seed(0)
    codes, target = generated_batch(generator, 16)
    mixed = (codes != codes[:, :1]).any(2).any(1)
    assert 0 < mixed.sum() < 16
    assert target.images.abs().max() <= 1
    assert target.labels.dtype == torch.uint8


def test_the_last_tenth_is_held_out(generator: Generator, pairs: EncoderData) -> None:
    training = trainer(generator, EncoderTraining(), pairs)
    assert len(training.data) == 18
    (target,) = held_out_batches(pairs)
    assert torch.equal(target.labels, torch.stack([pairs[18][1], pairs[19][1]]))
    assert [len(batch.images) for batch in generated_batches(generator)] == [8] * 25


@pytest.mark.parametrize(
    ("option", "value"),
    [("steps", 0), ("batch_size", 1), ("rate", 0.0), ("guided", 1.5), ("masks", -1.0), ("checkpoint_every", 0)],
)
def test_numbers_that_make_no_sense(option: str, value: float) -> None:
    with pytest.raises(EditError, match=rf"training\.{option} = "):
        EncoderTraining(**{option: value})


def test_too_few_pairs(generator: Generator, pairs: EncoderData) -> None:
    with pytest.raises(EditError, match="9 real pairs: give 10 or more"):
        trainer(generator, EncoderTraining(), pairs[:9])
