"""Our networks and losses against the released program's, number for number, in float64.

Bounds: 1e-10 relative to the largest value where the golden file holds float64, 1e-6 where it holds float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losses import discriminator_loss, generator_loss, mask_loss, path_length_loss, path_lengths, r1_penalties
from models import Discriminator, Generator, load_discriminator, load_generator
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


CASES = {case.name: case for case in golden_cases()}
# The discriminator has the released width whatever the case, and case a has four times the pixels of b.
SMALL_CASE = pytest.mark.parametrize("loaded", [pytest.param("a", marks=pytest.mark.long), "b"], indirect=True)


@pytest.fixture(scope="module", params=CASES)
def loaded(request, tmp_path_factory, device) -> Loaded:
    case = CASES[request.param]
    path = tmp_path_factory.mktemp("released") / "released.pt"
    torch.save(case.checkpoint(), path)
    return Loaded(case, load_generator(path, device), load_discriminator(path, device))


@pytest.fixture(scope="module")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def assert_close(ours: Tensor, golden: Tensor) -> None:
    bound = 1e-10 if golden.dtype == torch.float64 else 1e-6
    golden = golden.double()
    error = (ours.detach().cpu() - golden).abs().max() / golden.abs().max()
    assert ours.dtype == torch.float64
    assert error < bound, f"relative error {error:.2e}"


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
    assert torch.equal(loaded.g.layer_codes.cpu(), loaded.golden("layer_code_index"))


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
def test_logits(loaded):
    device = next(loaded.d.parameters()).device
    for samples, name in ((4, "real_logits"), (8, "real_logits_8"), (2, "real_logits_2")):
        image, segmentation = (x.to(device) for x in loaded.case.real_pair(samples))
        assert_close(loaded.d(image, segmentation), loaded.golden(name))
    assert_close(loaded.d(loaded.case.real_pair(4)[0].to(device)), loaded.golden("image_only_logits"))
    fake = loaded.g.synthesis(codes_of(loaded, "w"))
    assert_close(loaded.d(fake.image, fake.segmentation), loaded.golden("fake_logits"))


def close(value: Tensor, golden: float) -> bool:
    return value.item() == pytest.approx(golden, rel=1e-10)


@SMALL_CASE
def test_generator_step(loaded):
    g, d, scalars = loaded.g, loaded.d, loaded.case.scalars
    g.zero_grad(set_to_none=True)
    fake = g(codes_of(loaded, "z"), noise="const")
    adversarial = generator_loss(d(fake.image, fake.segmentation))
    mask = mask_loss(fake.coarse, fake.segmentation)
    assert close(adversarial, scalars["g_adversarial"])
    assert close(mask, scalars["g_mask"])
    (adversarial + 100 * mask).backward()
    check_gradients(g, generator_slots(g.config), scalars["g_grad_norms"])


@SMALL_CASE
def test_discriminator_step(loaded):
    g, d, scalars = loaded.g, loaded.d, loaded.case.scalars
    d.zero_grad(set_to_none=True)
    real = [x.to(codes_of(loaded, "w")) for x in loaded.case.real_pair(4)]
    with torch.no_grad():
        fake = g.synthesis(codes_of(loaded, "w"))
    loss = discriminator_loss(d(*real), d(fake.image, fake.segmentation))
    assert close(loss, scalars["d_logistic"])
    loss.backward()
    check_gradients(d, discriminator_slots(d.config), scalars["d_grad_norms"])


@SMALL_CASE
def test_r1_step(loaded):
    d, scalars = loaded.d, loaded.case.scalars
    d.zero_grad(set_to_none=True)
    real = [x.to(codes_of(loaded, "w")).requires_grad_() for x in loaded.case.real_pair(4)]
    image, segmentation = r1_penalties(d(*real), real)
    assert close(image, scalars["r1_image"])
    assert close(segmentation, scalars["r1_segmentation"])
    (16 * (5 * image + 500 * segmentation)).backward()
    check_gradients(d, discriminator_slots(d.config), scalars["r1_grad_norms"])


def test_path_length_step(loaded):
    g, scalars = loaded.g, loaded.case.scalars
    g.zero_grad(set_to_none=True)
    layer_codes = g.expand(codes_of(loaded, "w")[:2]).detach().requires_grad_()
    image = g.synthesis_from_layer_codes(layer_codes).image
    noise = loaded.case.input("pl_noise", tuple(image.shape)).to(image)
    lengths = path_lengths(image, layer_codes, noise)
    assert_close(lengths, loaded.golden("pl_lengths"))
    penalty = path_length_loss(lengths, lengths.new_tensor(0.7))
    assert close(penalty.loss, scalars["pl_penalty"])
    assert close(penalty.mean, scalars["pl_mean"])
    (2 * penalty.loss).backward()
    check_gradients(g, generator_slots(g.config), scalars["pl_grad_norms"])


def test_every_tensor_is_filled(loaded):
    for module in (loaded.g, loaded.d):
        assert all(not value.isnan().any() for value in module.state_dict().values())


def test_maps_are_stored_as_the_bounds_assume(loaded):
    assert {value.dtype for value in loaded.case.maps.values()} <= {
        np.dtype(t) for t in ("float32", "float64", "int64")
    }
