"""Handling of non-finite numbers: stop the run, or skip the step, and report the cause."""

import math
from collections.abc import Callable, Mapping

from training.nonfinite_guard import MAX_GRADIENT, IterationChecks
from training.state import TrainingState
from training.training_config import TrainingConfig
from utils.distributed import Process, gather
from utils.errors import ExitCode, RunError

LOSS_SCALE = "losses/scale"
SKIPPED = "faults/skipped_steps"
MAX_BAD_ITERATIONS = 20  # in a row; a run with this many no longer learns
_MAX_WARNINGS = 10  # after these, skipped steps are only counted


class NonfinitePolicy:
    """Stop the run at a step with bad gradients, or count and report it, as `training.on_bad_numbers` says.

    Args:
        state: counts skipped steps, also across resumed runs.
        process: this process.
        config: the option `on_bad_numbers`.
        describe_origin: function that repeats an iteration and describes where non-finite numbers first occurred.
        record_indices: function from images seen to the indices of the data records that this process reads next.
        warn: function that prints and logs a warning.
    """

    def __init__(
        self,
        state: TrainingState,
        process: Process,
        config: TrainingConfig,
        describe_origin: Callable[[IterationChecks], str],
        record_indices: Callable[[int], list[int]],
        warn: Callable[[str], None],
    ) -> None:
        self._state = state
        self._process = process
        self._config = config
        self._describe_origin = describe_origin
        self._record_indices = record_indices
        self._warn = warn
        self._warnings = 0
        self._since_tick = 0

    def handle(self, bad_steps: int, checks: IterationChecks) -> None:
        """Handle the bad steps of an iteration. Every process passes the same `bad_steps`, and its own `checks`.

        Raises:
            RunError: if a step was bad and `on_bad_numbers` is "stop", or MAX_BAD_ITERATIONS in a row had bad steps.
        """
        state = self._state
        state.bad_iterations = state.bad_iterations + 1 if bad_steps else 0
        if not bad_steps:
            return
        state.skipped_steps += bad_steps
        self._since_tick += bad_steps
        if self._config.on_bad_numbers == "stop":
            raise RunError(
                f"{self._cause(checks, find_origin=True)}. The step was skipped, so the checkpoints are "
                "good: rerun the same command, perhaps with a lower training.learning_rate, or with "
                "training.on_bad_numbers=skip to skip such steps and continue",
                ExitCode.BAD_NUMBERS,
            )
        if state.bad_iterations >= MAX_BAD_ITERATIONS:
            raise RunError(
                f"{self._cause(checks, find_origin=True)}. Gradients were bad in {MAX_BAD_ITERATIONS} iterations "
                "in a row: rerun the command with a lower training.learning_rate",
                ExitCode.BAD_NUMBERS,
            )
        if self._warnings < _MAX_WARNINGS:
            self._warnings += 1
            self._warn(f"{self._cause(checks, find_origin=False)}; the step was skipped")

    def check_means(self, values: Mapping[str, float]) -> dict[str, float]:
        """Check the means of a log tick. Return {SKIPPED: number of steps skipped so far}, or {} if there are none.

        In float16 only the loss scale is checked: the loss scaler skips bad steps, and halves the scale each time.

        Raises:
            RunError: if a mean loss is not finite although no step was bad, or the loss scale has fallen below 1.
        """
        if values.get(LOSS_SCALE, 1.0) < 1:
            raise RunError(
                f"the loss scale has fallen to {values[LOSS_SCALE]:g}: gradients are not finite in float16 at any "
                "scale; rerun with training.precision=bfloat16 or float32",
                ExitCode.BAD_NUMBERS,
            )
        bad = [name for name, value in values.items() if name.startswith("losses/") and not math.isfinite(value)]
        if bad and not self._since_tick and LOSS_SCALE not in values:  # losses of skipped steps are part of the means
            raise RunError(
                f"the mean of {bad[0]} is {values[bad[0]]:g}, although no gradient was bad; the checkpoints "
                "are good: rerun the same command, perhaps with a lower training.learning_rate",
                ExitCode.BAD_NUMBERS,
            )
        self._since_tick = 0
        return {SKIPPED: float(self._state.skipped_steps)} if self._state.skipped_steps else {}

    def _cause(self, checks: IterationChecks, *, find_origin: bool) -> str:
        """Describe the bad step (in a process with a bad loss, if any), and list the data records of all processes."""
        is_here, text = describe(checks)
        origin = f"; {self._describe_origin(checks)}" if find_origin else ""
        descriptions = gather((is_here, f"{text}{origin}"))
        rank = next((rank for rank, (is_there, _) in enumerate(descriptions) if is_there), 0)
        where = f"rank {rank} of {self._process.world_size}: " if self._process.world_size > 1 else ""
        indices = ", ".join(str(index) for share in gather(self._record_indices(checks.images)) for index in share)
        return f"{where}{descriptions[rank][1]}; records {indices} of the data"


def describe(checks: IterationChecks) -> tuple[bool, str]:
    """Return whether this process's loss is not finite, and a description of the first bad step. Waits for the device.

    Gradients are bad in all processes, because they are averaged; the loss only in a process where the fault began.
    """
    step = checks.steps[checks.first_bad_step()]
    bad, loss = step.bad_parameters(), step.values[0].item()
    where = bad[0] if len(bad) == 1 else f"{bad[0]} to {bad[-1]}"
    cause = f"the loss is finite ({loss:g})" if math.isfinite(loss) else f"the loss is {loss:g}"
    text = (
        f"iteration {checks.iteration}, phase {step.step}: {cause}, and gradients are not finite, or above "
        f"{MAX_GRADIENT:g}, in {len(bad)} of {len(step.names)} tensors ({where})"
    )
    return not math.isfinite(loss), text
