"""What training asks of the networks, one step at a time, without data, optimisers and augmentation.

Shapes: N batch, M codes, D latent width, K classes, R resolution.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from losses import path_lengths, r1_penalties
from models import Discriminator, Generator, ModelConfig
from scripts.benchmarks.work import flops
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator


class Networks(NamedTuple):
    """Generator and discriminator, ours or literal."""

    generator: Generator | LiteralGenerator
    discriminator: Discriminator | LiteralDiscriminator

    def literal(self) -> "Networks":
        """Copies in the literal form."""
        assert isinstance(self.generator, Generator)
        assert isinstance(self.discriminator, Discriminator)
        return Networks(LiteralGenerator(self.generator), LiteralDiscriminator(self.discriminator))


class Inputs(NamedTuple):
    """Codes [N, M, D], image [N, 3, R, R] and segmentation [N, K, R, R]."""

    codes: Tensor
    image: Tensor
    segmentation: Tensor


class Step(NamedTuple):
    """A part of an iteration.

    Attributes:
        name: shown in the table.
        run: does it.
        share: of the batch that it takes, one sample at least.
    """

    name: str
    run: Callable[[Networks, Inputs], None]
    share: float = 1.0

    def samples(self, batch: int) -> int:
        """How many samples of a batch the step takes."""
        return max(1, round(batch * self.share))


def build_networks(config: ModelConfig, device: torch.device) -> Networks:
    """Ours, with the initial weights."""
    return Networks(Generator(config).to(device), Discriminator(config).to(device))


def random_inputs(config: ModelConfig, samples: int, device: torch.device) -> Inputs:
    """Normally distributed, each sample with codes of its own."""
    side = (config.resolution,) * 2
    shapes = ((config.num_codes, config.latent_dim), (3, *side), (config.num_classes, *side))
    return Inputs(*(torch.randn(samples, *shape, device=device) for shape in shapes))


@torch.no_grad()
def draw(networks: Networks, inputs: Inputs) -> None:
    """The generator alone, as the discriminator's step needs it."""
    networks.generator.synthesis(inputs.codes, noise="random")


def train_generator(networks: Networks, inputs: Inputs) -> None:
    """All outputs that training looks at, and the gradients of parameters and codes."""
    codes = inputs.codes.detach().requires_grad_()
    image, segmentation, coarse, _ = networks.generator.synthesis(codes, noise="random")
    torch.stack([x.square().mean() for x in (image, segmentation, coarse)]).sum().backward()


def train_discriminator(networks: Networks, inputs: Inputs) -> None:
    """The gradients of the parameters, not of the inputs."""
    networks.discriminator(inputs.image, inputs.segmentation).square().mean().backward()


def regularize_paths(networks: Networks, inputs: Inputs) -> None:
    """The penalty's double backward pass through the generator."""
    layer_codes = networks.generator.expand(inputs.codes).detach().requires_grad_()
    image = networks.generator.synthesis_from_layer_codes(layer_codes, noise="random").image
    path_lengths(image, layer_codes, torch.randn_like(image)).square().mean().backward()


def penalize_gradients(networks: Networks, inputs: Inputs) -> None:
    """The double backward pass of R1 through the discriminator."""
    pair = [x.detach().requires_grad_() for x in (inputs.image, inputs.segmentation)]
    torch.stack(r1_penalties(networks.discriminator(*pair), pair)).sum().backward()


STEPS = (
    Step("G forward", draw),
    Step("G forward, backward", train_generator),
    Step("D forward, backward", train_discriminator),
    Step("path length", regularize_paths, share=0.5),
    Step("R1", penalize_gradients),
)


def work_per_sample(config: ModelConfig) -> dict[str, int]:
    """Floating-point operations of each step of the literal networks; nothing is calculated."""
    meta = torch.device("meta")
    with meta:  # the weights of large networks would only be drawn to be thrown away
        networks = build_networks(config, meta).literal()
    inputs = random_inputs(config, 1, meta)
    return {step.name: flops(partial(step.run, networks, inputs)) for step in STEPS}
