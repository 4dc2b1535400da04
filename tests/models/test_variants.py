"""Variants of networks: the declared choices are the tables' names, and the tables say what is built."""

from typing import get_args, get_type_hints

import pytest
import torch

from models import Discriminator, Generator, ModelConfig, local_generator, render_net
from models import discriminator as discriminator_module
from utils.errors import ModelError

TABLES = {
    "local_generator": local_generator.LOCAL_GENERATORS,
    "render_net": render_net.RENDER_NETS,
    "discriminator_branch": discriminator_module.BRANCHES,
}


@pytest.mark.parametrize("option", TABLES)
def test_choices_are_the_names_in_the_table(option):
    assert list(get_args(get_type_hints(ModelConfig)[option])) == list(TABLES[option])
    assert getattr(ModelConfig(), option) == next(iter(TABLES[option]))


@pytest.mark.parametrize("option", TABLES)
def test_an_unknown_variant_is_one_line(option):
    with pytest.raises(ModelError, match=rf"model\.{option} = 'sinus': choose from {next(iter(TABLES[option]))}$"):
        ModelConfig(**{option: "sinus"})


@pytest.mark.parametrize("option", TABLES)
def test_the_table_says_what_is_built(option, tiny_config, monkeypatch):
    (name, original), *_ = TABLES[option].items()
    variant = type("Variant", (original,), {})
    monkeypatch.setitem(TABLES[option], name, variant)
    modules = [*Generator(tiny_config).modules(), *Discriminator(tiny_config).modules()]
    assert sum(type(module) is variant for module in modules) == (2 if option == "discriminator_branch" else 1)


def test_variants_run_in_place_of_the_original(tiny_config, monkeypatch):
    class Bounded(local_generator.LocalGenerators):
        def forward(self, *inputs):
            output = super().forward(*inputs)
            return output._replace(depth=output.depth.clamp(-0.01, 0.01))

    monkeypatch.setitem(local_generator.LOCAL_GENERATORS, "modulated", Bounded)
    assert Generator(tiny_config)(torch.randn(1, tiny_config.latent_dim)).depth.abs().max() <= 0.01
