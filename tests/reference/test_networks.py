"""The fast networks compute what the literal ones do: outputs, gradients, and gradients of gradients."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from losses.gradient_penalty import gradient_penalties
from losses.path_length import path_lengths
from models import Discriminator, Generator, ModelConfig
from models import local_generator as local_generators
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator

TOLERANCES = {torch.float64: 1e-10, torch.float32: 3e-3}  # of the largest value; the kinks of the activation show


@pytest.fixture(params=["cpu", "cuda"])
def device(request, monkeypatch) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # on by default
    return request.param


@pytest.fixture(scope="session", params=[32, (32, 64), (56, 32)], ids=str)
def tiny_config(request, tiny_config) -> ModelConfig:
    """Configuration with the local layers of the paper, for a square and for other shapes."""
    return replace(tiny_config, resolution=request.param, depth_layers=6, local_layers=10)


@pytest.fixture(params=TOLERANCES, ids=str)
def networks(request, tiny_config, device) -> tuple[Generator, Discriminator]:
    pair = Generator(tiny_config), Discriminator(tiny_config)
    for parameter in (parameter for network in pair for parameter in network.parameters() if parameter.ndim < 3):
        nn.init.normal_(parameter)  # biases and strengths start at 0 and would hide mistakes
    return tuple(network.to(device, request.param) for network in pair)


def assert_close(ours: Tensor | None, literal: Tensor | None, name: str = "") -> None:
    assert (ours is None) == (literal is None), name
    if ours is not None and literal is not None:
        scale = literal.abs().max()
        assert (ours - literal).abs().max() <= TOLERANCES[ours.dtype] * scale, name


def assert_same_gradients(fast: nn.Module, literal: LiteralGenerator | LiteralDiscriminator) -> None:
    parameters = dict(literal.named_parameters())
    for name, source, at in literal.counterparts():
        ours, theirs = fast.get_parameter(source).grad, parameters[name].grad
        if ours is not None and theirs is None:  # a slice of a stack, which always has a gradient
            theirs = torch.zeros_like(parameters[name])
        assert_close(ours if ours is None else ours[at].reshape(theirs.shape), theirs, name)


def codes(config: ModelConfig, like: Tensor) -> Tensor:
    return torch.randn(4, config.num_codes, config.latent_dim).to(like)


@pytest.mark.parametrize("maps", [1, 3, 1000])
@pytest.mark.parametrize("recompute", [False, True])
def test_generator(networks, maps, recompute, monkeypatch):
    """In groups of one map, of some, and of all."""
    fast, _ = networks
    config = fast.config
    monkeypatch.setattr(
        local_generators, "CACHED_ELEMENTS", maps * config.local_channels * math.prod(config.coarse_size)
    )
    fast.local_generators.recompute = recompute
    literal, w = LiteralGenerator(fast), codes(config, fast.positions.weight)
    ours, theirs = fast.synthesis(w), literal.synthesis(w)
    weights = [torch.randn_like(output) for output in theirs]
    for outputs in (ours, theirs):
        sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True)).backward()
    for output, expected in zip(ours, theirs, strict=True):
        assert_close(output, expected)
    assert_same_gradients(fast, literal)


@pytest.mark.parametrize("maps", [1, 1000])
def test_path_lengths(networks, maps, monkeypatch):
    fast, _ = networks
    config = fast.config
    monkeypatch.setattr(
        local_generators, "CACHED_ELEMENTS", maps * config.local_channels * math.prod(config.coarse_size)
    )
    literal, w = LiteralGenerator(fast), codes(config, fast.positions.weight)
    lengths = []
    noise = None
    for network in (fast, literal):
        layer_codes = network.expand(w).detach().requires_grad_()
        image = network.synthesis_from_layer_codes(layer_codes).image
        noise = torch.randn_like(image) if noise is None else noise
        lengths.append(path_lengths(image, layer_codes, noise))
        (lengths[-1] - 0.7).square().mean().backward()
    assert_close(*lengths)
    assert_same_gradients(fast, literal)


def pair_of(config: ModelConfig, like: Tensor) -> Sequence[Tensor]:
    return [
        torch.randn(4, channels, *config.image_size).to(like).requires_grad_() for channels in (3, config.num_classes)
    ]


def test_discriminator(networks):
    _, fast = networks
    literal, pair = LiteralDiscriminator(fast), pair_of(fast.config, fast.logits.weight)
    logits = [network(*pair) for network in (fast, literal)]
    assert_close(*logits)
    for output in logits:
        output.sum().backward()
    assert_same_gradients(fast, literal)


def test_r1(networks):
    _, fast = networks
    literal, pair = LiteralDiscriminator(fast), pair_of(fast.config, fast.logits.weight)
    penalties = [sum(gradient_penalties(network(*pair), pair)) for network in (fast, literal)]
    assert_close(*penalties)
    for penalty in penalties:
        penalty.backward()
    assert_same_gradients(fast, literal)
