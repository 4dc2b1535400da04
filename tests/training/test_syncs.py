"""Iterations never make the host wait for the device: no value is read from it, none is copied to it from Python.

Without a GPU, PyTorch's device "meta" stands in for one: its tensors have shapes but no values, so that nothing can be
read from them, and all that mixes them with the CPU's is seen. With a GPU, PyTorch itself watches.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from configs import ModelOptions, RunConfig
from datasets.augment import Augmentation
from datasets.class_files import celebamask13
from datasets.data_config import AugmentConfig
from datasets.transforms import mirror_half
from losses.loss_config import LossConfig
from models import ModelConfig
from ops.bias_act import reference as bias_act
from ops.bias_act import reference_backward as bias_act_backward
from ops.upfirdn2d import reference as upfirdn2d
from training.ada import ADAPT_EVERY
from training.discriminator_inputs import DiscriminatorInputs, ImageInputs, PairInputs
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from training.training_config import TrainingConfig
from utils.distributed import Process

META = torch.device("meta")
AUGMENT = AugmentConfig(probability=0.5, target=0.6, quarter_turns=True)
LOSSES = LossConfig(r1_every=2, path_length_every=2)
ALL_LOSSES = replace(LOSSES, relativistic=True, r2_image=1.0, r2_segmentation=1.0, r1_scale_with_resolution=True)


class Descent(torch.optim.SGD):
    """In Adam's place, whose kernel leaves steps out on the device."""

    def step(self) -> None:
        assert self.found_inf.device == META
        self.found_inf = None
        super().step()


class SyncError(Exception):
    """Something that would make the host wait for a GPU."""


class Watch(TorchDispatchMode):
    """Raises SyncError where an operator reads a value, or values go from one device to the other."""

    aten = torch.ops.aten
    READS = (
        *(aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten._unique2),
        aten.lift_fresh,  # reads from Python, as torch.tensor does
    )
    INDEXING = (aten.index, aten.index_put, aten.index_put_)  # by booleans it is nonzero

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        devices = {x.device for x in tensors} | {x for x in leaves if isinstance(x, torch.device)}
        masks = [x for x in tensors if x.dtype == torch.bool]
        operator = func.overloadpacket
        if META in devices and (len(devices) > 1 or operator in self.READS or (operator in self.INDEXING and masks)):
            raise SyncError(f"{func} on {', '.join(map(str, devices))}")
        return func(*args, **kwargs)


def build(
    config: ModelConfig,
    device: torch.device,
    augment: AugmentConfig | None = AUGMENT,
    losses: LossConfig = LOSSES,
    inputs: DiscriminatorInputs | None = None,
    **options: Any,
) -> TrainingSteps:
    training = TrainingConfig(**options)
    model = ModelOptions(**asdict(config), init_from="a checkpoint")
    state = build_state(RunConfig(model=model, augment=augment or AugmentConfig(), training=training), Process(device))
    augmentation = Augmentation(augment, celebamask13(), device) if augment else None
    inputs = inputs or PairInputs(celebamask13(), device, augmentation, soft_masks=True)
    return TrainingSteps(state, losses, training, Stats(device), inputs)


def batch(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Two passes of four images."""
    images = torch.randint(256, (8, 3, 32, 32), device=device, dtype=torch.uint8)
    labels = torch.randint(13, (8, 32, 32), device=device, dtype=torch.uint8)
    return [(images[i::2], labels[i::2]) for i in range(2)]


def iterate(steps: TrainingSteps, whole: list[tuple[Tensor, Tensor]], mirrored: Tensor) -> None:
    """Run an iteration that adapts the augmentation's probability, and one with each penalty."""
    steps.state.iteration = ADAPT_EVERY - 1
    for _ in range(2):
        steps.iterate([mirror_half(*labelled, mirrored) for labelled in whole])


@pytest.mark.parametrize("losses", [LOSSES, ALL_LOSSES])
@pytest.mark.parametrize("augment", [AUGMENT, None])
def test_an_iteration_reads_nothing(tiny_config, augment, losses):
    steps = build(tiny_config, META, augment, losses, ema_rampup=0.05)
    for name in ("generator", "discriminator"):  # Adam, PyTorch's own, knows no such device
        optimizer = Descent(getattr(steps.state, name).parameters(), foreach=True)
        for step in steps.schedule.values():
            step.optimizer = optimizer if step.network is getattr(steps.state, name) else step.optimizer
    whole, mirrored = batch(META), torch.empty(13, dtype=torch.uint8, device=META)
    with Watch():
        iterate(steps, whole, mirrored)


def test_an_adapting_iteration_reads_nothing(tiny_config):
    inputs = ImageInputs(Augmentation(AUGMENT, celebamask13(), META))
    steps = build(tiny_config, META, inputs=inputs, freeze=("local",))
    for name in ("generator", "discriminator"):
        optimizer = Descent(getattr(steps.state, name).parameters(), foreach=True)
        for step in steps.schedule.values():
            step.optimizer = optimizer if step.network is getattr(steps.state, name) else step.optimizer
    steps.state.iteration = ADAPT_EVERY - 1  # as above
    with Watch():
        for _ in range(2):
            steps.iterate([inputs.mirror((images,)) for images, _ in batch(META)])


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("taps", [(4,), (4, 4)])
def test_the_plain_operators_read_nothing(up, down, taps):
    """The iteration above sees only their shapes."""
    x, filter = torch.empty(2, 3, 8, 8, device=META), torch.empty(taps, device=META)
    with Watch():
        upfirdn2d(x, filter, [up, up], [down, down], [2, 1, 2, 1], False, 1.0)
        bias_act_backward(x, bias_act(x, x[0, :, 0, 0], x[:, :1], x[0, 0, 0, :1], 1, 0.2, 1.0), 0.2, 1.0)


def values_from_python_are_seen() -> bool:
    try:
        with Watch():
            torch.tensor([1.0], device=META)
    except SyncError:
        return True
    return False


SHOWN = pytest.mark.skipif(
    not values_from_python_are_seen(), reason=f"PyTorch {torch.__version__} hides them from dispatch modes"
)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: 1 if x[0] > 0 else 0,
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x),
        pytest.param(lambda x: x[[0, 1]], marks=SHOWN),
        pytest.param(lambda x: torch.tensor([1.0, 2.0], device=x.device), marks=SHOWN),
        lambda x: torch.ones(2).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: torch.where(x > 0, x, torch.zeros(())),
    ],
)
def test_what_would_wait_is_seen(read: Callable[[Tensor], object]):
    x = torch.ones(3, device=META)
    with Watch(), pytest.raises(SyncError):
        read(x)


def test_a_read_within_an_iteration_is_seen(tiny_config, monkeypatch):
    steps = build(tiny_config, META, None)
    monkeypatch.setattr(steps.stats, "report", lambda name, value: value.mean().item())
    with Watch(), pytest.raises(SyncError, match="_local_scalar_dense"):
        steps.iterate(batch(META))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; the device meta stood in for it above")
@pytest.mark.parametrize("augment", [AUGMENT, None])
@pytest.mark.parametrize("losses", [LOSSES, ALL_LOSSES])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_is_never_waited_for(tiny_config, augment, losses, precision):
    device = torch.device("cuda")
    steps = build(tiny_config, device, augment, losses, precision=precision)
    whole, mirrored = batch(device), torch.arange(13, dtype=torch.uint8).to(device)
    iterate(steps, whole, mirrored)  # libraries and optimizers start
    torch.cuda.set_sync_debug_mode("error")
    try:
        iterate(steps, whole, mirrored)
        with pytest.raises(RuntimeError, match="synchroniz"):
            steps.state.path_mean.item()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value == value for value in steps.stats.tick().values())
