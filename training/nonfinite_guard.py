"""Guard against bad gradients (not finite, or not below MAX_GRADIENT): the optimizer skips a step that has some.

The check runs on the device. The host reads the result only after the iteration, and details only if a step was bad.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from training.discriminator_inputs import MicroBatch
from training.state import random_state, set_random_state

MAX_GRADIENT = 1e18  # Adam squares gradients; if the second moment overflows, the weight stops updating


class StepCheck(NamedTuple):
    """The check of one optimizer step."""

    step: str
    names: tuple[str, ...]  # names of the parameters that have gradients
    values: Tensor  # [1 + parameters]: the loss, then the largest absolute gradient of each parameter
    bad: Tensor  # scalar: 1 if the step was skipped, else 0

    def bad_parameters(self) -> list[str]:
        """Return the names of the parameters with bad gradients; the host waits for the device."""
        gradients = self.values.tolist()[1:]
        return [name for name, value in zip(self.names, gradients, strict=True) if not value < MAX_GRADIENT]


class IterationChecks(NamedTuple):
    """The checks of one iteration, and what is needed to run it again."""

    iteration: int
    images: int  # number of images seen before the iteration
    batch: Sequence[MicroBatch]
    random: Mapping[str, Tensor]  # random state before the iteration
    steps: tuple[StepCheck, ...]

    def first_bad_step(self) -> int:
        """Return the index of the first step with bad gradients; the host waits for the device."""
        return next(index for index, step in enumerate(self.steps) if step.bad_parameters())


class NonfiniteGuard:
    """Check gradients before each optimizer step, and let the optimizer skip the step if one is bad.

    Args:
        networks: the network that each step trains, by the step's name.
        device: device of the networks.
        is_enabled: False in float16, where the loss scaler skips bad steps itself and lowers the loss scale.
    """

    def __init__(self, networks: Mapping[str, nn.Module], device: torch.device, *, is_enabled: bool) -> None:
        self._networks = networks
        self._device = device
        self._is_enabled = is_enabled
        self.begin(0, 0, [])

    def begin(self, iteration: int, images: int, batch: Sequence[MicroBatch]) -> None:
        """Start a new iteration; `images` is the number of images seen before it."""
        self._iteration = IterationChecks(iteration, images, batch, random_state(self._device), ())
        self._steps: list[StepCheck] = []

    def check(self, step: str, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Check the gradients on the device, and make the optimizer skip its next step if one is bad.

        The loss does not count: unlike gradients, which have been averaged, it differs between processes.
        """
        if not self._is_enabled:
            return
        named = [(name, p.grad) for name, p in self._networks[step].named_parameters() if p.grad is not None]
        largest = torch.stack(torch._foreach_norm([gradient for _, gradient in named], math.inf))
        bad = largest.lt(MAX_GRADIENT).all().logical_not().float()
        optimizer.found_inf = bad  # type: ignore[attr-defined]  # the interface that GradScaler and fused Adam use
        values = torch.cat([loss.to(largest.dtype).reshape(1), largest])
        self._steps.append(StepCheck(step, tuple(name for name, _ in named), values, bad))

    @contextmanager
    def captured(self) -> Iterator[list[StepCheck]]:
        """Yield a list of the checks made inside the block; they are not added to those of the iteration."""
        before, self._steps = self._steps, []
        try:
            yield self._steps
        finally:
            self._steps = before

    def add_replayed(self, check: StepCheck) -> None:
        """Add the check of a replayed CUDA graph; copy its tensors, because the next replay overwrites them."""
        self._steps.append(check._replace(values=check.values.clone(), bad=check.bad.clone()))

    def collect(self) -> tuple[Tensor, IterationChecks]:
        """Return the number of bad steps in this iteration, a scalar tensor, and the checks of the iteration."""
        bad = [step.bad for step in self._steps]
        count = torch.stack(bad).sum() if bad else torch.zeros((), device=self._device)
        return count, self._iteration._replace(steps=tuple(self._steps))

    def describe_origin(self, checks: IterationChecks, forward: Callable[[str, Sequence[MicroBatch]], None]) -> str:
        """Compute an iteration's losses again up to the bad step, and find the first module with non-finite outputs.

        The random state is set to that before the iteration. On a GPU, the weights are already one iteration newer.

        Args:
            checks: checks of the iteration.
            forward: computes the losses of a step, given its name and the batch.

        Returns:
            A clause that ends a message about the bad step.
        """
        networks = dict.fromkeys(self._networks.values())
        names = {module: f"{type(net).__name__}.{name}" for net in networks for name, module in net.named_modules()}
        bad: list[str] = []

        def watch(module: nn.Module, inputs: object, output: object) -> None:
            outputs = [x for x in (output if isinstance(output, tuple) else (output,)) if isinstance(x, Tensor)]
            if not bad and module in names and not all(x.isfinite().all() for x in outputs):
                bad.append(names[module])

        try:
            with torch.compiler.set_stance("force_eager"):  # hooks do not run in compiled modules
                *good_steps, bad_step = checks.steps[: checks.first_bad_step() + 1]
                set_random_state(checks.random, self._device)
                for step in good_steps:
                    forward(step.step, checks.batch)
                hook = register_module_forward_hook(watch)
                try:
                    forward(bad_step.step, checks.batch)
                finally:
                    hook.remove()
        except Exception as error:  # such as lack of memory: report what is known without the module
            return f"the search for the first non-finite output failed ({type(error).__name__})"
        return f"the first non-finite output is that of {bad[0]}" if bad else "the outputs of all modules are finite"
