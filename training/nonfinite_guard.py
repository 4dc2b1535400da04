"""Guard against bad gradients, which are not finite or above MAX_GRADIENT: optimizers skip a step that has some.

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
    names: tuple[str, ...]  # of the parameters that have gradients
    values: Tensor  # the loss, then the largest gradient of each parameter [1 + parameters]
    bad: Tensor  # scalar: 1 if the step was skipped, else 0

    def bad_parameters(self) -> list[str]:
        """Return the names of the parameters with bad gradients. Waits for the device."""
        gradients = self.values.tolist()[1:]
        return [name for name, value in zip(self.names, gradients, strict=True) if not value < MAX_GRADIENT]


class IterationChecks(NamedTuple):
    """The checks of one iteration, and what is needed to run it again."""

    iteration: int
    images: int  # seen before the iteration
    batch: Sequence[MicroBatch]
    random: Mapping[str, Tensor]  # random state before the iteration
    steps: tuple[StepCheck, ...]

    def first_bad_step(self) -> int:
        """Return the index of the first step with bad gradients. Waits for the device."""
        return next(index for index, step in enumerate(self.steps) if step.bad_parameters())


class NonfiniteGuard:
    """Check gradients before each optimizer step, and let the optimizer skip the step if one is bad.

    Args:
        networks: the network that each step trains.
        device: of the networks.
        is_enabled: False in float16, where the loss scaler does the same and lowers its scale.
    """

    def __init__(self, networks: Mapping[str, nn.Module], device: torch.device, *, is_enabled: bool) -> None:
        self._networks = networks
        self._device = device
        self._is_enabled = is_enabled
        self.begin(0, 0, [])

    def begin(self, iteration: int, images: int, batch: Sequence[MicroBatch]) -> None:
        """Start a new iteration; `images` were seen before it."""
        self._iteration = IterationChecks(iteration, images, batch, random_state(self._device), ())
        self._steps: list[StepCheck] = []

    def check(self, step: str, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimizer skip its next step, on the device, if a gradient is not finite or above MAX_GRADIENT.

        Only gradients decide: unlike losses they are the same in all processes, because they have been averaged.
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
        """Collect the checks inside the block in a list of their own."""
        before, self._steps = self._steps, []
        try:
            yield self._steps
        finally:
            self._steps = before

    def add_replayed(self, check: StepCheck) -> None:
        """Add the check of a replayed step; its tensors hold new values and will be overwritten by the next replay."""
        self._steps.append(check._replace(values=check.values.clone(), bad=check.bad.clone()))

    def collect(self) -> tuple[Tensor, IterationChecks]:
        """Return the number of bad steps in this iteration (scalar), and its checks."""
        bad = [step.bad for step in self._steps]
        count = torch.stack(bad).sum() if bad else torch.zeros((), device=self._device)
        return count, self._iteration._replace(steps=tuple(self._steps))

    def describe_origin(self, checks: IterationChecks, forward: Callable[[str, Sequence[MicroBatch]], None]) -> str:
        """Compute an iteration's losses again up to the bad step, and find the first module with non-finite outputs.

        The random state is set to that of the iteration. On a GPU the weights are one iteration newer.

        Args:
            checks: the iteration's checks.
            forward: computes the losses of a step.

        Returns:
            The end of a message about the bad step.
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
            return f"the module was not found ({type(error).__name__})"
        return f"the first non-finite output is that of {bad[0]}" if bad else "the outputs of all modules are finite"
