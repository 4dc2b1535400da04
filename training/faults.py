"""What follows on steps that went bad: the run stops with an exit code of its own, or counts and tells them."""

import math
import sys
from collections.abc import Mapping

from configs.errors import RunError
from training.batches import Batches
from training.config import TrainingConfig
from training.distributed import Process, gather
from training.guard import EXIT_CODE, Evidence, Guard, explain
from training.pulse import Beat

LOSS_SCALE = "losses/scale"
SKIPPED = "faults/skipped_steps"
IN_A_ROW = 20  # iterations: a run that skips so many learns nothing any more
_TOLD = 10  # causes in all: a log is no place for thousands


class Faults:
    """Judges every iteration by what all processes know of it.

    Args:
        batches: which know the records of an iteration.
        process: this one.
        config: what is to follow.
        guard: of the steps.
    """

    def __init__(self, batches: Batches, process: Process, config: TrainingConfig, guard: Guard) -> None:
        self._batches = batches
        self._process = process
        self._config = config
        self._guard = guard
        self._skipped = 0
        self._in_a_row = 0

    def judge(self, beat: Beat[Evidence]) -> None:
        """Every process calls it with the same beat.

        Raises:
            RunError: if a step went bad, and the run is to stop then, or too many iterations did in a row.
        """
        self._in_a_row = self._in_a_row + 1 if beat.bad_steps else 0
        if not beat.bad_steps:
            return
        self._skipped += beat.bad_steps
        cause = f"{explain(beat.evidence)}; {self._records(beat.evidence.images)}"
        if self._config.on_bad_numbers == "stop":
            raise RunError(
                f"{cause}; {self._guard.trace(beat.evidence)}. The step was left out; earlier checkpoints are good. "
                "To leave such steps out and go on: training.on_bad_numbers=skip",
                EXIT_CODE,
            )
        if self._in_a_row == IN_A_ROW:
            raise RunError(f"{cause}. That was so in {IN_A_ROW} iterations in a row", EXIT_CODE)
        if self._process.is_main and self._skipped <= _TOLD:
            print(f"warning: {cause}; the step was left out", file=sys.stderr)

    def judge_means(self, values: Mapping[str, float]) -> None:
        """Of a tick of the log: losses, and in float16 their scale, which falls as long as gradients are not finite.

        Raises:
            RunError: if a loss is not finite without a step that was, or gradients are not even where nothing is
                scaled up.
        """
        if values.get(LOSS_SCALE, 1.0) < 1:
            raise RunError(
                f"the scale of the loss has fallen to {values[LOSS_SCALE]:g}: gradients are not finite in float16 at "
                "any scale; earlier checkpoints may be good, and training.precision=bfloat16 may go on from them",
                EXIT_CODE,
            )
        bad = [name for name, value in values.items() if name.startswith("losses/") and not math.isfinite(value)]
        if bad and not self._skipped and LOSS_SCALE not in values:  # both leave their losses in the means
            raise RunError(
                f"the mean of {bad[0]} is {values[bad[0]]:g}, though all gradients were finite; the checkpoints are "
                "from before",
                EXIT_CODE,
            )

    def counted(self) -> dict[str, float]:
        """For the log, once there is something to count."""
        return {SKIPPED: float(self._skipped)} if self._skipped else {}

    def _records(self, images: int) -> str:
        """Which records the iteration after so many images saw, in all processes."""
        numbers = ", ".join(str(number) for share in gather(self._batches.numbers(images)) for number in share)
        return f"records {numbers} of the data"
