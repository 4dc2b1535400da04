"""The steps of an iteration: the paper's literally, and each option against its formula."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from configs import RunConfig
from datasets.augment import Augmentation
from datasets.class_files import celebamask13
from datasets.data_config import AugmentConfig
from datasets.transforms import images_to_float, labels_to_one_hot
from losses.gradient_penalty import gradient_penalties
from losses.loss_config import LossConfig
from losses.path_length import path_lengths
from models import ModelConfig
from models.latents import mix_styles
from training.discriminator_inputs import PairInputs
from training.state import TrainingState, build_state
from training.stats import Stats
from training.steps import TrainingSteps
from training.training_config import TrainingConfig
from utils.distributed import Process

Pair = tuple[Tensor, Tensor]
CPU = torch.device("cpu")
BATCH = 4
ALL_OPTIONS = LossConfig(
    relativistic=True, r2_image=5.0, r2_segmentation=500.0, r1_scale_with_resolution=True, depth_cross_entropy=0.3
)


def build(model: ModelConfig, losses: LossConfig | None = None, augment: Any = None, **training: Any) -> TrainingSteps:
    """New steps: always the same networks, always the same random stream from there on."""
    losses = losses or LossConfig()
    config = RunConfig(model=model, losses=losses, training=TrainingConfig(batch_size=BATCH, **training))
    state = build_state(config, Process(CPU))
    for layer in state.generator.render_net.layers:
        torch.nn.init.ones_(layer.noise_strength)
    augmentation = Augmentation(augment, celebamask13(), CPU) if augment else None
    return TrainingSteps(state, losses, config.training, Stats(CPU), PairInputs(celebamask13(), CPU, augmentation))


@pytest.fixture
def labelled() -> Pair:
    labels = torch.randint(13, (BATCH, 32, 32), dtype=torch.uint8)
    return torch.randint(256, (BATCH, 3, 32, 32), dtype=torch.uint8), labels


def real_pair(labelled: Pair) -> list[Tensor]:
    return [images_to_float(labelled[0]), labels_to_one_hot(labelled[1], 13)]


def codes(state: TrainingState, samples: int) -> Tensor:
    first, second = state.generator.mapping(torch.randn(2 * samples, state.generator.config.latent_dim)).chunk(2)
    return mix_styles(first, second, 0.3, state.generator.config)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def judge_and_deceive(state: TrainingState, labelled: Pair) -> None:
    """Both steps of the paper, and R1 between them."""
    generator, discriminator = state.generator, state.discriminator
    with torch.no_grad():
        fake = generator.synthesis(codes(state, BATCH), noise="random")
    both = [torch.cat(pair) for pair in zip(real_pair(labelled), (fake.image, fake.segmentation), strict=True)]
    real_logits, fake_logits = discriminator(*both, batches=2).chunk(2)
    update(state.discriminator_optimizer, F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean())
    if state.iteration % 16 == 0:
        pair = [x.requires_grad_() for x in real_pair(labelled)]
        image, segmentation = gradient_penalties(discriminator(*pair), pair)
        update(state.discriminator_optimizer, 16 * (10 / 2 * image + 1000 / 2 * segmentation))
    discriminator.requires_grad_(False)
    fake = generator.synthesis(codes(state, BATCH), noise="random")
    adversarial = F.softplus(-discriminator(fake.image, fake.segmentation)).mean()
    mask = F.mse_loss(fake.coarse, F.adaptive_avg_pool2d(fake.segmentation, fake.coarse.shape[-1]))
    update(state.generator_optimizer, adversarial + 100 * mask)
    discriminator.requires_grad_(True)


def regularize_paths(state: TrainingState) -> None:
    layer_codes = state.generator.expand(codes(state, BATCH // 2)).detach().requires_grad_()
    image = state.generator.synthesis_from_layer_codes(layer_codes, noise="random").image
    lengths = path_lengths(image, layer_codes, torch.randn_like(image))
    mean = state.path_mean + 0.01 * (lengths.mean() - state.path_mean)
    update(state.generator_optimizer, 4 * 0.5 * (lengths - mean).square().mean())
    state.path_mean.copy_(mean.detach())


@torch.no_grad()
def average(state: TrainingState) -> None:
    for ours, theirs in zip(state.generator_ema.parameters(), state.generator.parameters(), strict=True):
        ours.lerp_(theirs, 1 - 0.5 ** (BATCH / 10_000))
    for ours, theirs in zip(state.generator_ema.buffers(), state.generator.buffers(), strict=True):
        ours.copy_(theirs)


def weights(state: TrainingState) -> list[Tensor]:
    networks = (state.generator, state.discriminator, state.generator_ema)
    return [x for network in networks for x in network.state_dict().values()]


def gradients(network: torch.nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max() + 1e-12


def test_without_options_it_is_the_papers_iteration_bit_for_bit(tiny_config, labelled):
    steps = build(tiny_config)
    for _ in range(2):
        steps.iterate([labelled])
    literal = build(tiny_config).state
    for literal.iteration in range(2):
        judge_and_deceive(literal, labelled)
        if literal.iteration % 4 == 0:
            regularize_paths(literal)
        average(literal)
    assert all(torch.equal(a, b) for a, b in zip(weights(steps.state), weights(literal), strict=True))
    assert torch.equal(steps.state.path_mean, literal.path_mean)


@pytest.mark.parametrize("augment", [None, AugmentConfig(probability=0.5, target=0.6)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_options_train(tiny_config, labelled, augment, precision):
    steps = build(tiny_config, ALL_OPTIONS, augment, ema_rampup=0.05, precision=precision)
    before = copy.deepcopy(steps.state)
    steps.iterate([labelled])
    for name in ("generator", "discriminator", "generator_ema"):
        pairs = zip(getattr(before, name).parameters(), getattr(steps.state, name).parameters(), strict=True)
        changed = [not torch.equal(a, b) for a, b in pairs]
        assert sum(changed) > 0.9 * len(changed), name
    assert all(x.isfinite().all() for x in weights(steps.state))
    reports = steps.stats.tick()
    assert {f"losses/{name}_{of}" for name in ("r1", "r2") for of in ("image", "segmentation")} <= reports.keys()


def test_relativistic_steps(tiny_config, labelled):
    """Both losses by their formulas; the real pairs' logits carry no gradient when the generator learns."""
    steps = build(tiny_config, LossConfig(relativistic=True, mask=0))
    state = steps.state
    torch.manual_seed(3)
    with torch.no_grad():
        fake = state.generator.synthesis(codes(state, BATCH), noise="random")
    differences = state.discriminator(*real_pair(labelled)) - state.discriminator(fake.image, fake.segmentation)
    expected = torch.autograd.grad(F.softplus(-differences).mean(), list(state.discriminator.parameters()))
    torch.manual_seed(3)
    steps._discriminator_loss(labelled).backward()
    assert_close(
        gradients(state.discriminator)[:-1], list(expected)[:-1]
    )  # that of the last bias is 0 but for rounding

    state.discriminator.zero_grad()
    state.discriminator.requires_grad_(False)
    torch.manual_seed(3)
    fake = state.generator.synthesis(codes(state, BATCH), noise="random")
    differences = state.discriminator(fake.image, fake.segmentation) - state.discriminator(*real_pair(labelled))
    F.softplus(-differences).mean().backward()
    expected = gradients(state.generator)
    state.generator.zero_grad()
    torch.manual_seed(3)
    steps._generator_loss(labelled).backward()
    assert_close(gradients(state.generator), expected)
    assert gradients(state.discriminator) == []


def test_both_mask_losses_of_the_generator(tiny_config, labelled):
    steps = build(tiny_config, LossConfig(mask=7, depth_cross_entropy=3))
    state = steps.state
    state.discriminator.requires_grad_(False)
    torch.manual_seed(3)
    fake = state.generator.synthesis(codes(state, BATCH), noise="random")
    size = fake.depth.shape[2:]
    pooled = F.adaptive_avg_pool2d(fake.segmentation, size)
    cross_entropy = F.nll_loss(fake.depth.log_softmax(1), pooled.argmax(1))
    adversarial = F.softplus(-state.discriminator(fake.image, fake.segmentation)).mean()
    (adversarial + 7 * F.mse_loss(fake.coarse, pooled) + 3 * cross_entropy).backward()
    expected = gradients(state.generator)
    state.generator.zero_grad()
    torch.manual_seed(3)
    steps._generator_loss(labelled).backward()
    assert_close(gradients(state.generator), expected)
    assert steps.stats.tick()["losses/depth_cross_entropy"] == pytest.approx(cross_entropy.item(), rel=1e-5)


def test_r2_is_the_penalty_of_r1_on_drawn_pairs(tiny_config, labelled):
    steps = build(tiny_config, LossConfig(r1_image=0, r1_segmentation=0, r2_image=6, r2_segmentation=70, r1_every=2))
    state = steps.state
    torch.manual_seed(3)
    steps._r2_loss(steps.streams[0], labelled).backward()
    ours = [x for x in gradients(state.discriminator) if x.any()]
    assert gradients(state.generator) == []
    reports = steps.stats.tick()

    state.discriminator.zero_grad()
    torch.manual_seed(3)
    with torch.no_grad():
        fake = state.generator.synthesis(codes(state, BATCH), noise="random")
    pair = [x.requires_grad_() for x in (fake.image, fake.segmentation)]
    image, segmentation = gradient_penalties(state.discriminator(*pair), pair)
    (2 * (6 / 2 * image + 70 / 2 * segmentation)).backward()
    assert_close(ours, [x for x in gradients(state.discriminator) if x.any()])
    assert reports["losses/r2_image"] == pytest.approx(image.item(), rel=1e-5)
    assert reports["losses/r2_segmentation"] == pytest.approx(segmentation.item(), rel=1e-5)


@pytest.mark.parametrize(("samples", "parts"), [(4, [4]), (8, [4, 4]), (12, [4, 4, 4]), (16, [8, 8])])
def test_penalties_of_parts_are_those_of_the_whole(tiny_config, monkeypatch, samples, parts):
    """Groups of the minibatch standard deviation included."""
    steps = build(tiny_config)
    records = (
        torch.randint(256, (samples, 3, 32, 32), dtype=torch.uint8),
        torch.randint(13, (samples, 32, 32), dtype=torch.uint8),
    )
    discriminator = steps.state.discriminator
    expected = torch.autograd.grad(
        steps._r1_loss(steps.streams[0], records), list(discriminator.parameters()), allow_unused=True
    )
    sizes, forward = [], discriminator.forward
    monkeypatch.setattr(
        discriminator, "forward", lambda image, *rest: sizes.append(len(image)) or forward(image, *rest)
    )
    steps.step("r1", [records])
    assert sizes == parts
    for (name, parameter), gradient in zip(discriminator.named_parameters(), expected, strict=True):
        scale = 1e-30 if gradient is None else gradient.abs().max()
        found, gradient = (torch.zeros(()) if x is None else x for x in (parameter.grad, gradient))
        assert (found - gradient).abs().max() <= 1e-4 * scale, name


def test_bad_penalties_are_searched_for_in_the_same_parts(tiny_config, monkeypatch):
    steps = build(tiny_config, replace(LossConfig(), r2_image=1.0, r2_segmentation=1.0))
    seen = []
    weights = next(steps.state.discriminator.parameters())
    steps.schedule["r1"].terms = [
        lambda part, term=term: seen.append((term, part)) or weights.sum() for term in ("_r1_loss", "_r2_loss")
    ]
    batch = [(torch.arange(8), torch.arange(8, 16))]
    steps.step("r1", batch)
    trained = list(seen)
    seen.clear()
    steps.forward("r1", batch)
    assert [(term, [x.tolist() for x in part]) for term, part in seen] == [
        (term, [x.tolist() for x in part]) for term, part in trained
    ]
    assert len(trained) == 4


def test_both_penalties_add_up(tiny_config, labelled):
    def step(*names: str) -> list[Tensor]:
        steps = build(tiny_config, LossConfig(r2_image=6, r2_segmentation=70))
        torch.manual_seed(3)
        steps.schedule["r1"].terms = [partial(getattr(steps, name), steps.streams[0]) for name in names]
        steps.step("r1", [labelled])
        return [p.grad for p in steps.state.discriminator.parameters() if p.grad is not None]

    alone = [step("_r1_loss"), step("_r2_loss")]
    assert_close(step("_r1_loss", "_r2_loss"), [a + b for a, b in zip(*alone, strict=True)])


def test_the_scale_holds_for_both_penalties(tiny_config, labelled):
    losses = LossConfig(r2_image=6, r2_segmentation=70)
    scaled = LossConfig(r2_image=6, r2_segmentation=70, r1_scale_with_resolution=True)
    values = []
    for options in (losses, scaled):
        steps = build(tiny_config, options)
        torch.manual_seed(3)
        values.append(
            [steps._r1_loss(steps.streams[0], labelled).item(), steps._r2_loss(steps.streams[0], labelled).item()]
        )
    assert values[1] == pytest.approx([value * (32 / 512) ** 2 * (32 / BATCH) for value in values[0]], rel=1e-5)


def test_the_discriminator_sees_augmented_pairs_only(tiny_config, labelled, monkeypatch):
    steps = build(tiny_config, ALL_OPTIONS, AugmentConfig(probability=0.5))
    changed: list[tuple[Tensor, ...]] = []
    for name in ("real", "fake"):
        method = getattr(steps.inputs.augmentation, name)

        def watched(*arguments: Tensor, method: Any = method) -> tuple[Tensor, ...]:
            changed.append(method(*arguments))
            return changed[-1]

        monkeypatch.setattr(steps.inputs.augmentation, name, watched)
    seen: list[tuple[Tensor, ...]] = []
    steps.state.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    steps.iterate([labelled])
    assert len(seen) == 5  # real and drawn: judged together, penalized, compared
    assert len(changed) == 6
    for together, *apart in zip(seen[0], *changed[:2], strict=True):
        assert torch.equal(together, torch.cat(apart))
    assert {id(pair[0]) for pair in seen[1:]} == {id(pair[0]) for pair in changed[2:]}


@pytest.mark.parametrize("relativistic", [False, True])
def test_what_steers_the_augmentation(tiny_config, labelled, monkeypatch, relativistic):
    """Signs of the real logits; of real minus fake logits if the loss is relativistic."""
    augment = AugmentConfig(probability=0.5, target=0.6)
    steps = build(tiny_config, LossConfig(relativistic=relativistic), augment)
    logits = torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[2.0], [4.0], [3.0]])
    monkeypatch.setattr(steps.networks, "score", lambda *inputs: logits)
    steps._discriminator_loss(labelled)
    assert steps.state.augment_signs.tolist() == [-1 if relativistic else 3, 3]


def test_the_average_ramps_up_with_the_images_seen_before(tiny_config, labelled):
    steps = build(tiny_config, ema_rampup=1.0)
    tracked = [state.mapping.layers[0].weight for state in (steps.state.generator_ema, steps.state.generator)]
    steps.iterate([labelled])
    first = tracked[1].detach().clone()
    assert torch.equal(tracked[0], first)  # none had been seen: a copy
    steps.iterate([labelled])
    assert torch.allclose(tracked[0], (first + tracked[1]) / 2)  # one batch: half of it is left after another
