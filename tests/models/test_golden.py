"""Our networks and losses against the released program's, number for number, in float64.

Bounds: 1e-10 relative to the largest value where the golden file holds float64, 1e-6 where it holds float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losses.adversarial import discriminator_loss, generator_loss
from losses.gradient_penalty import gradient_penalties
from losses.mask import mask_loss
from losses.path_length import path_length_loss, path_lengths
from models import Discriminator, Generator
from models.checkpoint import parse_networks
from models.generator import GeneratorOutput
from models.latents import truncate
from models.released import Slot, discriminator_slots, generator_slots
from tests.golden_cases import GoldenCase, golden_cases


@dataclass
class Loaded:
    case: GoldenCase
    g: Generator
    d: Discriminator

    def golden(self, name: str) -> Tensor:
        return torch.from_numpy(self.case.maps[name])

    def real(self, samples: int) -> list[Tensor]:
        return [x.to(codes_of(self, "w")) for x in self.case.real_pair(samples)]

    # Forward passes of the released width take seconds: the steps share them, and keep their graphs.

    @cached_property
    def fake(self) -> GeneratorOutput:
        return self.g(codes_of(self, "z"), noise="const")

    @cached_property
    def fake_logits(self) -> Tensor:
        return self.d(self.fake.image, self.fake.segmentation)

    @cached_property
    def real_inputs(self) -> list[Tensor]:
        return [x.requires_grad_() for x in self.real(4)]

    @cached_property
    def real_logits(self) -> Tensor:
        return self.d(*self.real_inputs)


CASES = {case.name: case for case in golden_cases()}
# Networks have the released width at high resolutions whatever the case, and case a has four times the pixels of b.
SMALL_CASE = pytest.mark.parametrize("loaded", [pytest.param("a", marks=pytest.mark.long), "b"], indirect=True)


@pytest.fixture(scope="module", params=CASES)
def loaded(request, device) -> Loaded:
    case = CASES[request.param]
    networks = parse_networks(case.checkpoint(), case.name)
    return Loaded(case, networks.build_generator().to(device), networks.build_discriminator().to(device))


@pytest.fixture(scope="module")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def assert_close(ours: Tensor, golden: Tensor) -> None:
    bound = 1e-10 if golden.dtype == torch.float64 else 1e-6
    golden = golden.double()
    error = (ours.detach().cpu() - golden).abs().max() / golden.abs().max()
    assert ours.dtype == torch.float64
    assert error < bound, f"relative error {error:.2e}"


def differentiate(loss: Tensor, module: nn.Module) -> None:
    """Set the gradients of a module's parameters, and keep the graph for the next step."""
    module.zero_grad(set_to_none=True)
    loss.backward(inputs=list(module.parameters()), retain_graph=True)


def check_gradients(module: nn.Module, slots: Iterator[Slot], norms: dict[str, float | None]) -> None:
    """Gradient norms by released name; None: no gradient reaches the tensor."""
    parameters = dict(module.named_parameters())
    slots = [slot for slot in slots if slot.ours in parameters]
    assert {slot.released for slot in slots} == norms.keys()
    for slot in slots:
        gradient, golden = parameters[slot.ours].grad, norms[slot.released]
        if golden is None:
            assert gradient is None, slot.released
            continue
        assert gradient is not None, slot.released
        assert gradient[slot.at].norm().item() == pytest.approx(golden, rel=1e-10, abs=1e-13), slot.released


def codes_of(loaded: Loaded, kind: str) -> Tensor:
    return loaded.golden(kind).to(next(loaded.g.parameters()))


def test_inputs_follow_the_rule(loaded):
    for name in ("z", "wplus"):
        golden = loaded.golden(name)
        assert torch.equal(loaded.case.input(name, tuple(golden.shape)), golden)


def test_mapping(loaded):
    assert_close(loaded.g.mapping(codes_of(loaded, "z")), loaded.golden("w"))


def test_code_layout(loaded):
    assert torch.equal(loaded.g.code_index.cpu(), loaded.golden("layer_code_index"))


def test_position_embedding(loaded):
    golden = loaded.golden("position_embedding")
    features, projection = loaded.g.positions(), loaded.g.positions.projection()
    assert_close(torch.einsum("cj,jyx->cyx", projection, features[0, 0]).view(golden.shape), golden)


@pytest.mark.parametrize("kind", ["from_w", "from_wplus", "truncated", "without_last_part"])
def test_synthesis(loaded, kind):
    codes = codes_of(loaded, "wplus" if kind == "from_wplus" else "w")[:2]
    part_mask = None
    if kind == "truncated":
        codes = truncate(codes, codes_of(loaded, "mean"), 0.7)
    if kind == "without_last_part":
        codes = codes[:1]
        part_mask = torch.arange(loaded.g.config.num_classes, device=codes.device) < loaded.g.config.num_classes - 1
    output = loaded.g.synthesis(codes, part_mask=part_mask)
    for field, ours in output._asdict().items():
        assert_close(ours, loaded.golden(f"{kind}.{field}"))


@SMALL_CASE
@torch.no_grad()
def test_logits(loaded):
    for samples in (8, 2):
        assert_close(loaded.d(*loaded.real(samples)), loaded.golden(f"real_logits_{samples}"))
    assert_close(loaded.d(loaded.real(4)[0]), loaded.golden("image_only_logits"))


def close(value: Tensor, golden: float) -> bool:
    return value.item() == pytest.approx(golden, rel=1e-10)


@SMALL_CASE
def test_generator_step(loaded):
    g, fake, scalars = loaded.g, loaded.fake, loaded.case.scalars
    assert_close(loaded.fake_logits, loaded.golden("fake_logits"))
    adversarial = generator_loss(loaded.fake_logits)
    mask = mask_loss(fake.coarse, fake.segmentation)
    assert close(adversarial, scalars["g_adversarial"])
    assert close(mask, scalars["g_mask"])
    differentiate(adversarial + 100 * mask, g)
    check_gradients(g, generator_slots(g.config), scalars["g_grad_norms"])


@SMALL_CASE
def test_discriminator_step(loaded):
    d, scalars = loaded.d, loaded.case.scalars
    assert_close(loaded.real_logits, loaded.golden("real_logits"))
    loss = discriminator_loss(loaded.real_logits, loaded.fake_logits)
    assert close(loss, scalars["d_logistic"])
    differentiate(loss, d)
    check_gradients(d, discriminator_slots(d.config), scalars["d_grad_norms"])


@SMALL_CASE
def test_r1_step(loaded):
    d, scalars = loaded.d, loaded.case.scalars
    image, segmentation = gradient_penalties(loaded.real_logits, loaded.real_inputs)
    assert close(image, scalars["r1_image"])
    assert close(segmentation, scalars["r1_segmentation"])
    differentiate(16 * (5 * image + 500 * segmentation), d)
    check_gradients(d, discriminator_slots(d.config), scalars["r1_grad_norms"])


@SMALL_CASE
def test_path_length_step(loaded):
    g, scalars = loaded.g, loaded.case.scalars
    layer_codes = g.expand(codes_of(loaded, "w")[:2]).detach().requires_grad_()
    image = g.synthesis_from_layer_codes(layer_codes).image
    noise = loaded.case.input("pl_noise", tuple(image.shape)).to(image)
    lengths = path_lengths(image, layer_codes, noise)
    assert_close(lengths, loaded.golden("pl_lengths"))
    penalty = path_length_loss(lengths, lengths.new_tensor(0.7))
    assert close(penalty.loss, scalars["pl_penalty"])
    assert close(penalty.mean, scalars["pl_mean"])
    differentiate(2 * penalty.loss, g)
    check_gradients(g, generator_slots(g.config), scalars["pl_grad_norms"])


def test_every_tensor_is_filled(loaded):
    for module in (loaded.g, loaded.d):
        assert all(not value.isnan().any() for value in module.state_dict().values())


def test_maps_are_stored_as_the_bounds_assume(loaded):
    assert {value.dtype for value in loaded.case.maps.values()} <= {
        np.dtype(t) for t in ("float32", "float64", "int64")
    }
