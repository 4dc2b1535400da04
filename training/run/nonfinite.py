"""Guard against non-finite numbers: a step with bad gradients never changes the weights, and its cause is reported.

The check runs on the device. The host reads the result only after the iteration, and details only if a step was bad.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from training.discriminator_inputs import MicroBatch
from training.state import TrainingState, random_state, set_random_state
from training.training_config import TrainingConfig
from utils.distributed import Process, gather
from utils.errors import ExitCode, RunError

LOSS_SCALE = "losses/scale"
SKIPPED = "faults/skipped_steps"
MAX_GRADIENT = 1e18  # Adam squares gradients; if the second moment overflows, the weight stops updating
MAX_BAD_ITERATIONS = 20  # in a row: a run that skips more does not learn anymore
_MAX_WARNINGS = 10  # causes that are reported in full


class StepRecord(NamedTuple):
    """The check of one optimizer step."""

    step: str
    names: tuple[str, ...]  # of the parameters that have gradients
    values: Tensor  # the loss, then the largest gradient of each parameter [1 + parameters]
    bad: Tensor  # scalar: 1 if the step was skipped, else 0

    def bad_parameters(self) -> list[str]:
        """Return the names of parameters with bad gradients. Waits for the device."""
        gradients = self.values.tolist()[1:]
        return [name for name, value in zip(self.names, gradients, strict=True) if not value < MAX_GRADIENT]


class IterationRecord(NamedTuple):
    """The checks of one iteration, and what is needed to run it again."""

    iteration: int
    images: int  # seen before the iteration
    batch: Sequence[MicroBatch]
    random: Mapping[str, Tensor]  # random state before the iteration
    steps: tuple[StepRecord, ...]

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
        self._iteration = IterationRecord(iteration, images, batch, random_state(self._device), ())
        self._steps: list[StepRecord] = []

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
        self._steps.append(StepRecord(step, tuple(name for name, _ in named), values, bad))

    @contextmanager
    def recorded(self) -> Iterator[list[StepRecord]]:
        """Collect the checks inside the block in a list of their own."""
        before, self._steps = self._steps, []
        try:
            yield self._steps
        finally:
            self._steps = before

    def repeat(self, record: StepRecord) -> None:
        """Add the check of a replayed step; its tensors hold new values and will be overwritten by the next replay."""
        self._steps.append(record._replace(values=record.values.clone(), bad=record.bad.clone()))

    def collect(self) -> tuple[Tensor, IterationRecord]:
        """Return the number of bad steps in this iteration (scalar), and its record."""
        bad = [step.bad for step in self._steps]
        count = torch.stack(bad).sum() if bad else torch.zeros((), device=self._device)
        return count, self._iteration._replace(steps=tuple(self._steps))

    def first_bad_module(self, record: IterationRecord, replay: Callable[[str, Sequence[MicroBatch]], None]) -> str:
        """Run an iteration's losses again up to the bad step, and name the first module with non-finite outputs.

        The random state, which this changes, is that of the iteration. On a GPU the weights are one iteration newer.

        Args:
            record: of the iteration.
            replay: computes the losses of a step.
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
                *good_steps, bad_step = record.steps[: record.first_bad_step() + 1]
                set_random_state(record.random, self._device)
                for step in good_steps:
                    replay(step.step, record.batch)
                hook = register_module_forward_hook(watch)
                try:
                    replay(bad_step.step, record.batch)
                finally:
                    hook.remove()
        except Exception as error:  # such as lack of memory: report what is known without the module
            return f"the module was not found ({type(error).__name__})"
        return f"first in the output of {bad[0]}" if bad else "while the outputs of all modules are finite"


class NonfinitePolicy:
    """Stop the run at a bad step, or count and report it, as `training.on_bad_numbers` says.

    Args:
        state: counts skipped steps, also across resumed runs.
        process: this process.
        config: `on_bad_numbers`.
        guard: checks the steps.
        replay: computes the losses of a step, to find the module.
        record_numbers: returns the indices of the records that this process reads after a given number of images.
        warn: prints and logs a warning.
    """

    def __init__(
        self,
        state: TrainingState,
        process: Process,
        config: TrainingConfig,
        guard: NonfiniteGuard,
        replay: Callable[[str, Sequence[MicroBatch]], None],
        record_numbers: Callable[[int], list[int]],
        warn: Callable[[str], None],
    ) -> None:
        self._state = state
        self._process = process
        self._config = config
        self._guard = guard
        self._replay = replay
        self._record_numbers = record_numbers
        self._warn = warn
        self._warnings = 0
        self._since_tick = 0

    def handle(self, bad_steps: int, record: IterationRecord) -> None:
        """Handle the result of an iteration, which is the same in all processes. Every process must call it.

        Raises:
            RunError: if a step was bad and the run is to stop then, or too many iterations in a row were bad.
        """
        state = self._state
        state.bad_iterations = state.bad_iterations + 1 if bad_steps else 0
        if not bad_steps:
            return
        state.skipped_steps += bad_steps
        self._since_tick += bad_steps
        if self._config.on_bad_numbers == "stop":
            raise RunError(
                f"{self._cause(record, find_module=True)}. The step was skipped; the checkpoints are from before. To "
                "skip such steps and continue: training.on_bad_numbers=skip",
                ExitCode.BAD_NUMBERS,
            )
        if state.bad_iterations >= MAX_BAD_ITERATIONS:
            raise RunError(
                f"{self._cause(record, find_module=True)}. This happened in {MAX_BAD_ITERATIONS} iterations in a row",
                ExitCode.BAD_NUMBERS,
            )
        if self._warnings < _MAX_WARNINGS:
            self._warnings += 1
            self._warn(f"{self._cause(record, find_module=False)}; the step was skipped")

    def check_means(self, values: Mapping[str, float]) -> dict[str, float]:
        """Check the means of a log tick; return the number of skipped steps to log, if there are any.

        In float16 the loss scaler skips steps and lowers its scale as long as gradients are not finite.

        Raises:
            RunError: if a loss is not finite although no step was bad, or the loss scale has fallen below 1.
        """
        if values.get(LOSS_SCALE, 1.0) < 1:
            raise RunError(
                f"the loss scale has fallen to {values[LOSS_SCALE]:g}: gradients are not finite in float16 at any "
                "scale; resume an earlier checkpoint, with training.precision=bfloat16 or float32",
                ExitCode.BAD_NUMBERS,
            )
        bad = [name for name, value in values.items() if name.startswith("losses/") and not math.isfinite(value)]
        if bad and not self._since_tick and LOSS_SCALE not in values:  # losses of skipped steps are part of the means
            raise RunError(
                f"the mean of {bad[0]} is {values[bad[0]]:g}, although all gradients were finite; the checkpoints are "
                "from before",
                ExitCode.BAD_NUMBERS,
            )
        self._since_tick = 0
        return {SKIPPED: float(self._state.skipped_steps)} if self._state.skipped_steps else {}

    def _cause(self, record: IterationRecord, *, find_module: bool) -> str:
        """Describe the bad step as seen by the process whose loss is bad, with the record numbers of all processes."""
        is_here, text = describe(record)
        module = f", {self._guard.first_bad_module(record, self._replay)}" if find_module else ""
        descriptions = gather((is_here, f"{text}{module}"))
        rank = next((rank for rank, (is_there, _) in enumerate(descriptions) if is_there), 0)
        where = f"process {rank} of {self._process.world_size}: " if self._process.world_size > 1 else ""
        numbers = ", ".join(str(number) for share in gather(self._record_numbers(record.images)) for number in share)
        return f"{where}{descriptions[rank][1]}; records {numbers} of the data"


def describe(record: IterationRecord) -> tuple[bool, str]:
    """Return True if the loss itself is bad in this process, and a description of the bad step. Waits for the device.

    Gradients are bad in all processes, because they are averaged; losses only in the process where it started.
    """
    step = record.steps[record.first_bad_step()]
    bad, loss = step.bad_parameters(), step.values[0].item()
    where = bad[0] if len(bad) == 1 else f"{bad[0]} to {bad[-1]}"
    cause = f"the loss is finite ({loss:g})" if math.isfinite(loss) else f"the loss is {loss:g}"
    text = (
        f"iteration {record.iteration}, phase {step.step}: {cause}, and gradients are not finite, or above "
        f"{MAX_GRADIENT:g}, in {len(bad)} of {len(step.names)} tensors ({where})"
    )
    return not math.isfinite(loss), text


def first_bad_tensor(states: Mapping[str, Any]) -> str | None:
    """Return the dotted name of the first tensor in nested dicts that is not finite, None if all are.

    Synchronizes with the device once per top-level entry.
    """
    for name, state in states.items():
        floats = {place: x for place, x in _tensors(state, name) if x.is_floating_point() and x.dim()}
        largest = torch.stack([x.float() for x in torch._foreach_norm(list(floats.values()), math.inf)]).tolist()
        for place, value in zip(floats, largest, strict=True):
            if not math.isfinite(value):
                return place
    return None


def _tensors(state: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield place, state
    elif isinstance(state, Mapping):
        for name, part in state.items():
            yield from _tensors(part, f"{place}.{name}")
