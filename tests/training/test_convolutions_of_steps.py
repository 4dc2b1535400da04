"""Kernels of the convolutions that an iteration starts on a GPU; the device "meta" stands in for one."""

import pytest
import torch

from configs import RunConfig
from datasets.class_files import celebamask13
from losses.loss_config import LossConfig
from tests.ops.test_convolution import Convolutions
from training.discriminator_inputs import PairInputs
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from training.training_config import TrainingConfig
from utils.distributed import Process

META = torch.device("meta")


@pytest.fixture
def steps(tiny_config):
    training, losses = TrainingConfig(batch_size=8), LossConfig()
    state = build_state(RunConfig(model=tiny_config, losses=losses, training=training), Process(META))
    return TrainingSteps(state, losses, training, Stats(META), PairInputs(celebamask13(), META))


@pytest.fixture
def records():
    images = torch.empty(8, 3, 32, 32, dtype=torch.uint8, device=META)
    return images, torch.empty(8, 32, 32, dtype=torch.uint8, device=META)


def loss(steps, records, name):
    (term,) = steps.schedule[name].terms
    return term(records)


@pytest.mark.parametrize("name", ["discriminator", "r1", "generator", "path_length"])
def test_no_kernel_is_larger_than_3x3(steps, records, name):
    with Convolutions() as seen:
        loss(steps, records, name).backward()
    assert seen.kernels == {(1, 1), (3, 3)}


@pytest.mark.parametrize("name", ["r1", "path_length"])
def test_penalties_compute_no_gradient_of_weights_to_throw_it_away(steps, records, name):
    """None when they differentiate with respect to images or codes, all in the backward pass."""
    with Convolutions() as seen:
        penalty = loss(steps, records, name)
    assert seen.weight_gradients == 0
    with Convolutions() as seen:
        penalty.backward()
    assert seen.weight_gradients > 0
