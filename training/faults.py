"""What follows on steps that went bad: the run stops with an exit code of its own, or counts and tells them."""

import sys
from collections.abc import Sized
from itertools import islice

from configs.errors import RunError
from datasets import InfiniteSampler
from training.config import TrainingConfig
from training.distributed import Process, gather
from training.guard import EXIT_CODE, Evidence, explain
from training.pulse import Beat

SKIPPED = "faults/skipped_steps"
IN_A_ROW = 20  # iterations: a run that skips so many learns nothing any more
_TOLD = 10  # causes in all: a log is no place for thousands


class Faults:
    """Judges every iteration by what all processes know of it.

    Args:
        dataset: that records are numbered in.
        share: records of an iteration in each process.
        process: this one.
        config: what is to follow.
    """

    def __init__(self, dataset: Sized, share: int, process: Process, config: TrainingConfig) -> None:
        self._length = len(dataset)
        self._share = share
        self._process = process
        self._config = config
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
                f"{cause}. The step was left out; earlier checkpoints are good. To leave such steps out and go on: "
                "training.on_bad_numbers=skip",
                EXIT_CODE,
            )
        if self._in_a_row == IN_A_ROW:
            raise RunError(f"{cause}. That was so in {IN_A_ROW} iterations in a row", EXIT_CODE)
        if self._process.is_main and self._skipped <= _TOLD:
            print(f"warning: {cause}; the step was left out", file=sys.stderr)

    def judge_scale(self, scale: float) -> None:
        """In float16: the scaler lowers the scale as long as gradients are not finite.

        Raises:
            RunError: if they are not even where nothing is scaled up.
        """
        if scale < 1:
            raise RunError(
                f"the scale of the loss has fallen to {scale:g}: gradients are not finite in float16 at any scale; "
                "earlier checkpoints may be good, training.precision=bfloat16 or float32 may go on from them",
                EXIT_CODE,
            )

    def counted(self) -> dict[str, float]:
        """For the log, once there is something to count."""
        return {SKIPPED: float(self._skipped)} if self._skipped else {}

    def _records(self, images: int) -> str:
        """Which records the iteration after so many images saw, in all processes."""
        process = self._process
        order = InfiniteSampler(
            self._length, rank=process.rank, world_size=process.world_size, seed=self._config.seed, start=images
        )
        mine = list(islice(order, self._share))
        numbers = ", ".join(str(record) for of_process in gather(mine) for record in of_process)
        return f"records {numbers} of the data"
