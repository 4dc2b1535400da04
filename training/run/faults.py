"""What follows on steps that went bad: the run stops with an exit code of its own, or counts and tells them."""

import math
from collections.abc import Callable, Mapping

from training.batches import Batches
from training.run.nonfinite import Evidence, StepGuard, explain
from training.run.sync import Beat
from training.state import TrainingState
from training.training_config import TrainingConfig
from utils.distributed import Process, gather
from utils.errors import ExitCode, RunError

LOSS_SCALE = "losses/scale"
SKIPPED = "faults/skipped_steps"
IN_A_ROW = 20  # iterations: a run that skips so many learns nothing any more
_TOLD = 10  # causes in all: a log is no place for thousands


class Faults:
    """Judges every iteration by what all processes know of it.

    Args:
        state: which counts them, also for the run that goes on.
        batches: which know the records of an iteration.
        process: this one.
        config: what is to follow.
        guard: of the steps.
        warn: tells the user.
    """

    def __init__(
        self,
        state: TrainingState,
        batches: Batches,
        process: Process,
        config: TrainingConfig,
        guard: StepGuard,
        warn: Callable[[str], None],
    ) -> None:
        self._state = state
        self._batches = batches
        self._process = process
        self._config = config
        self._guard = guard
        self._warn = warn
        self._told = 0
        self._since_tick = 0

    def judge(self, beat: Beat[Evidence]) -> None:
        """Every process calls it with the same beat.

        Raises:
            RunError: if a step went bad, and the run is to stop then, or too many iterations did in a row.
        """
        state = self._state
        state.bad_iterations = state.bad_iterations + 1 if beat.bad_steps else 0
        if not beat.bad_steps:
            return
        state.skipped_steps += beat.bad_steps
        self._since_tick += beat.bad_steps
        if self._config.on_bad_numbers == "stop":
            raise RunError(
                f"{self._cause(beat.evidence, traced=True)}. The step was left out; checkpoints are from before. To "
                "leave such steps out and go on: training.on_bad_numbers=skip",
                ExitCode.BAD_NUMBERS,
            )
        if state.bad_iterations >= IN_A_ROW:
            cause = self._cause(beat.evidence, traced=True)
            raise RunError(f"{cause}. That was so in {IN_A_ROW} iterations in a row", ExitCode.BAD_NUMBERS)
        if self._told < _TOLD:
            self._told += 1
            self._warn(f"{self._cause(beat.evidence, traced=False)}; the step was left out")

    def tick(self, values: Mapping[str, float]) -> dict[str, float]:
        """Looks at the means of a tick, and adds its own count once there is something to count.

        In float16 steps are left out by the scaler, whose scale falls as long as gradients are not finite.

        Raises:
            RunError: if a loss is not finite without a step that was bad, or the scale has fallen below 1.
        """
        if values.get(LOSS_SCALE, 1.0) < 1:
            raise RunError(
                f"the scale of the loss has fallen to {values[LOSS_SCALE]:g}: gradients are not finite in float16 at "
                "any scale; earlier checkpoints may be good, and training.precision=bfloat16 may go on from them",
                ExitCode.BAD_NUMBERS,
            )
        bad = [name for name, value in values.items() if name.startswith("losses/") and not math.isfinite(value)]
        if bad and not self._since_tick and LOSS_SCALE not in values:  # both leave their losses in the means
            raise RunError(
                f"the mean of {bad[0]} is {values[bad[0]]:g}, though all gradients were finite; the checkpoints are "
                "from before",
                ExitCode.BAD_NUMBERS,
            )
        self._since_tick = 0
        return {SKIPPED: float(self._state.skipped_steps)} if self._state.skipped_steps else {}

    def _cause(self, evidence: Evidence, *, traced: bool) -> str:
        """As the process tells it where the loss is bad, too, and the records of all."""
        mine = explain(evidence)
        module = f", {self._guard.trace(evidence)}" if traced else ""
        told = gather((mine.is_here, f"{mine.text}{module}"))
        rank = next((rank for rank, (is_here, _) in enumerate(told) if is_here), 0)
        where = f"process {rank} of {self._process.world_size}: " if self._process.world_size > 1 else ""
        numbers = ", ".join(str(number) for share in gather(self._batches.numbers(evidence.images)) for number in share)
        return f"{where}{told[rank][1]}; records {numbers} of the data"
