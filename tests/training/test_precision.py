"""Half types, compilation and recomputation: what changes is how, not what, training computes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from configs import RunConfig
from datasets.class_files import celebamask13
from datasets.image_mask import ImageMaskDataset
from losses.loss_config import LossConfig
from models import Generator, ModelConfig
from training import state
from training.discriminator_inputs import PairInputs
from training.precision import AdversarialNetworks, prepare_device
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from training.training_config import TrainingConfig
from utils.distributed import Process
from utils.errors import ConfigError

CPU = torch.device("cpu")
# The penalties' weights are for 512 pixels.
LOSSES = LossConfig(r1_image=0.5, r1_segmentation=30, r1_every=4, path_length_every=2)
WATCHED = ("losses/discriminator", "losses/generator", "losses/mask")


@pytest.fixture
def build(tiny_config) -> Callable[..., TrainingSteps]:
    """New steps with training options: always the same networks, always the same random stream from there on."""

    def build(model: ModelConfig = tiny_config, **options) -> TrainingSteps:
        config = RunConfig(model=model, losses=LOSSES, training=TrainingConfig(**options))
        state = build_state(config, Process(CPU))
        for layer in state.generator.render_net.layers:
            torch.nn.init.ones_(layer.noise_strength)
        return TrainingSteps(state, LOSSES, config.training, Stats(CPU), PairInputs(celebamask13(), CPU))

    return build


@pytest.fixture
def batches(faces_32) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    dataset = ImageMaskDataset(faces_32)
    pairs = [dataset[index] for index in range(48)]

    def batch(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = [pairs[(4 * index + offset) % 48] for offset in range(4)]
        images, labels = zip(*chosen, strict=True)
        return torch.stack([torch.as_tensor(x) for x in images]), torch.stack([torch.as_tensor(x) for x in labels])

    return batch


def train(steps: TrainingSteps, batches, iterations: int) -> dict[str, float]:
    """Mean losses of the last half."""
    for index in range(iterations):
        if index == iterations // 2:
            steps.stats.tick()
        steps.iterate([batches(index)])
    return steps.stats.tick()


def difference(one: TrainingSteps, other: TrainingSteps) -> float:
    """The largest difference of the generators' weights after the same steps."""
    pairs = zip(one.state.generator.parameters(), other.state.generator.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_stays_in_float32(build, tiny_config, precision):
    steps = build(precision=precision)
    seen: dict[str, set[torch.dtype]] = {}

    def watch(name: str, module: torch.nn.Module) -> None:
        module.register_forward_hook(lambda _, inputs, output: seen.setdefault(name, set()).add(output.dtype))

    generator, discriminator = steps.state.generator, steps.state.discriminator
    for name, module in {
        "mapping": generator.mapping,
        "layer": generator.render_net.layers[0],
        "block": discriminator.image_trunk[1],
        "final": discriminator.final_conv,
    }.items():
        watch(name, module)
    fake = steps.networks.generate(steps._codes(4))
    (logits,) = steps.networks.score((fake.image, fake.segmentation))
    half, full = {getattr(torch, precision)}, {torch.float32}
    assert seen == {"mapping": full, "layer": half, "block": half, "final": full}
    assert {x.dtype for x in (*fake, logits)} == full


def test_penalties_are_computed_in_float32(build, batches):
    """The same gradients whatever the precision of the other steps."""
    gradients = {}
    for precision in ("float32", "bfloat16"):
        steps = build(precision=precision)
        torch.manual_seed(3)
        steps.step("r1", [batches(0)])
        steps.step("path_length", [batches(0)])
        networks = steps.state.generator, steps.state.discriminator
        gradients[precision] = [p.grad for network in networks for p in network.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(*gradients.values(), strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_gradients_of_half_types(build, batches, precision):
    """Close to those of float32 in direction, for each parameter that matters."""
    gradients = {}
    for name in ("float32", precision):
        steps = build(precision=name)
        torch.manual_seed(3)
        (steps._generator_loss(batches(0)) + steps._discriminator_loss(batches(0))).backward()
        networks = {"g": steps.state.generator, "d": steps.state.discriminator}
        gradients[name] = {
            f"{which}.{key}": p.grad for which, network in networks.items() for key, p in network.named_parameters()
        }
    for key, exact in gradients["float32"].items():
        rounded = gradients[precision][key]
        assert (exact is None) == (rounded is None), key
        if exact is not None and exact.norm() > 0:
            assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.98, key


def test_a_step_that_overflows_is_left_out(build, batches):
    """Loss scaling: weights stay, the scale halves, and training goes on."""
    steps = build(precision="float16")
    steps.state.loss_scaler = torch.amp.GradScaler("cpu", init_scale=1e30)
    before = [p.clone() for p in steps.state.discriminator.parameters()]
    steps.step("discriminator", [batches(0)])
    assert all(map(torch.equal, before, steps.state.discriminator.parameters()))
    assert steps.state.loss_scaler.get_scale() == pytest.approx(5e29)


def test_losses_in_bfloat16_are_those_in_float32(build, batches):
    """At the start of a run; later, rounding makes another run of it."""
    exact, rounded = (train(build(precision=precision), batches, 12) for precision in ("float32", "bfloat16"))
    for loss in WATCHED:
        assert rounded[loss] == pytest.approx(exact[loss], rel=0.01), loss


@pytest.mark.long
def test_losses_in_bfloat16_stay_within_noise(build, batches):
    """No farther from any run in float32 than these are from each other."""
    runs = {}
    for name, options in {
        **{f"float32, seed {seed}": {"seed": seed} for seed in range(3)},
        "bfloat16": {"precision": "bfloat16"},
    }.items():
        runs[name] = train(build(**options), batches, 200)
    for loss in WATCHED:
        exact = [values[loss] for name, values in runs.items() if name != "bfloat16"]
        noise = max(exact) - min(exact)
        assert min(exact) - noise < runs["bfloat16"][loss] < max(exact) + noise, (loss, runs)


def test_recomputation_changes_nothing(build, batches, tiny_config):
    plain, saving = build(), build(recompute_local=True, recompute_from=8)
    discriminator = saving.state.discriminator
    assert saving.state.generator.local_generators.recompute
    for part in (saving.state.generator.render_net, discriminator.image_trunk, discriminator.segmentation_trunk):
        assert part.recompute_from == 8
    for steps in (plain, saving):
        torch.manual_seed(3)
        train(steps, batches, 4)
    assert difference(plain, saving) < 1e-5


def test_recomputation_keeps_less(tiny_config):
    """Bytes that the forward pass saves for the backward pass."""

    def saved(generator: Generator) -> int:
        kept: dict[int, int] = {}

        def keep(x: torch.Tensor) -> torch.Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            generator.synthesis(torch.randn(2, tiny_config.latent_dim), noise="random")
        return sum(kept.values())

    generator = Generator(replace(tiny_config, depth_layers=6, local_layers=10))
    whole = saved(generator)
    generator.local_generators.recompute = True
    without_local = saved(generator)
    generator.render_net.recompute_from = 16
    assert without_local < 0.7 * whole
    assert saved(generator) < 0.95 * without_local


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        pytest.param({}, 1e-4, marks=pytest.mark.long, id="plain"),
        pytest.param(
            {"precision": "bfloat16", "recompute_local": True, "recompute_from": 8}, 0.02, id="bfloat16, recomputing"
        ),
    ],
)
def test_compiled_networks(build, batches, tiny_config, monkeypatch, options, tolerance):
    """No graph breaks, which would be errors; the same results; and no recompilation after the first iterations."""
    small = replace(tiny_config, resolution=16, local_layers=4, base_layers=1, depth_layers=2)  # compiles faster
    plain = build(small, **options)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = build(small, compile=True, **options)

    def halved(index: int) -> tuple[torch.Tensor, ...]:
        return tuple(x[..., ::2, ::2] for x in batches(index))

    for steps in (plain, compiled):
        for layer in steps.state.generator.render_net.layers:
            torch.nn.init.zeros_(layer.noise_strength)  # compiled code draws other noise
        torch.manual_seed(3)
        train(steps, halved, 4)
    assert difference(plain, compiled) < tolerance
    torch.compiler.set_stance("fail_on_recompile")
    try:
        train(compiled, halved, 4)
    finally:
        torch.compiler.set_stance("default")


@pytest.mark.long
def test_networks_compiled_by_inductor(build):
    """The backend that training has: gradients of both steps as without it, and no recompilation."""
    plain, compiled = build(), build(compile=True)
    codes, image = plain._codes(4).detach(), torch.randn(4, 3, 32, 32)
    segmentation = torch.randn(4, 13, 32, 32)

    def gradients(steps: TrainingSteps) -> list[torch.Tensor]:
        for layer in steps.state.generator.render_net.layers:
            torch.nn.init.zeros_(layer.noise_strength)  # compiled code draws other noise
        fake = steps.networks.generate(codes)
        real_logits, fake_logits = steps.networks.score((image, segmentation), (fake.image, fake.segmentation))
        (fake_logits - real_logits).mean().backward()
        networks = steps.state.generator, steps.state.discriminator
        named = [(name, p) for network in networks for name, p in network.named_parameters() if p.grad is not None]
        found = [p.grad.clone() for name, p in named if not name.endswith("noise_strength")]
        for _, parameter in named:
            parameter.grad = None
        return found

    expected = gradients(plain)
    torch.testing.assert_close(gradients(compiled), expected, rtol=1e-3, atol=1e-5)
    torch.compiler.set_stance("fail_on_recompile")
    try:
        torch.testing.assert_close(gradients(compiled), expected, rtol=1e-3, atol=1e-5)
    finally:
        torch.compiler.set_stance("default")


def test_without_options_the_networks_run_as_they_are(tiny_config, build):
    steps = build()
    networks = AdversarialNetworks(steps.state.generator, steps.state.discriminator, TrainingConfig())
    codes = steps._codes(2)
    torch.manual_seed(1)
    ours = networks.generate(codes).image
    torch.manual_seed(1)
    assert torch.equal(ours, steps.state.generator.synthesis(codes, noise="random").image)


def test_the_loss_scale_survives_a_checkpoint(build, batches):
    steps, resumed = build(precision="float16"), build(precision="float16")
    train(steps, batches, 3)
    scaler = steps.state.loss_scaler.state_dict()
    assert scaler != resumed.state.loss_scaler.state_dict()
    networks = steps.state.networks({})
    resumed.state.restore(networks, steps.state.to_dict(), Process(CPU), "test")
    assert resumed.state.loss_scaler.state_dict() == scaler


def test_moments_are_laid_out_as_the_weights_are():
    """A GPU's weights are channels_last, a CPU's are not, and a fused optimizer takes no two layouts."""
    networks = [torch.nn.Conv2d(4, 8, 3) for _ in range(2)]
    state._order_channels_last(networks[1])
    optimizers = [torch.optim.Adam(network.parameters(), fused=True) for network in networks]
    for network, optimizer in zip(networks, optimizers, strict=True):
        network(torch.randn(1, 4, 5, 5)).sum().backward()
        optimizer.step()
    for saved, restored in (optimizers, reversed(optimizers)):
        expected = [saved.state[p]["exp_avg_sq"].clone() for p in saved.param_groups[0]["params"]]
        state._restore_optimizer(restored, saved.state_dict())
        for parameter, moment in zip(restored.param_groups[0]["params"], expected, strict=True):
            assert torch.equal(restored.state[parameter]["exp_avg_sq"], moment)
            assert restored.state[parameter]["exp_avg_sq"].stride() == parameter.stride()
        restored.step()


@pytest.mark.parametrize("tf32", [True, False])
def test_a_gpu_is_prepared(monkeypatch, tf32):
    """Without one: only what would be set."""
    chosen = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not tf32)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70"])
    prepare_device(torch.device("cuda"), RunConfig(training=TrainingConfig(tf32=tf32), ops="native"))
    assert chosen == ["high" if tf32 else "highest"]
    assert torch.backends.cudnn.allow_tf32 == tf32
    with pytest.raises(ConfigError, match="choose float16 or float32"):
        prepare_device(torch.device("cuda"), RunConfig(training=TrainingConfig(precision="bfloat16"), ops="native"))


@pytest.mark.parametrize(
    ("built", "capability", "works"),
    [
        (["sm_75", "sm_80", "sm_90"], (7, 0), False),
        (["sm_75", "sm_80", "sm_90"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80", "sm_90"], (12, 0), False),
        (["sm_80", "compute_80"], (12, 0), True),
        (["sm_90a"], (9, 0), True),
        ([], (7, 0), True),  # a build that does not say
    ],
)
def test_pytorch_may_lack_code_for_a_gpu(monkeypatch, built, capability, works):
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    if works:
        prepare_device(torch.device("cuda"), RunConfig(training=TrainingConfig(), ops="native"))
    else:
        remedy = "a newer CUDA" if capability == (12, 0) else "an older CUDA"
        with pytest.raises(ConfigError, match=rf"no code for this GPU, compute capability \d+\.\d .* {remedy}"):
            prepare_device(torch.device("cuda"), RunConfig(training=TrainingConfig(), ops="native"))
