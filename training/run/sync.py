"""Exchange of two flags after every iteration: whether a signal asks to stop, and how many steps were bad.

The host never waits for a GPU's current work. On a GPU the result is read one iteration late, from pinned memory, when
the next iteration is already queued. So a run stops after the iteration in which a signal arrived, or after the next.

A GPU that waits for a lost process raises no error on the host. The host notices because no result arrives.
"""

import time
from collections import deque
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from training.nonfinite_guard import IterationChecks

MARGIN = 10.0  # seconds by which the host gives up before NCCL's timeout
POLL = 0.001  # seconds between checks whether a result has arrived


class SyncResult(NamedTuple):
    """Result of one iteration. All fields except `checks` are the same in all processes."""

    stop: bool  # True if a signal has asked any process to stop
    bad_steps: int  # number of optimizer steps with bad gradients
    checks: IterationChecks  # the checks of this process


class _Pending(NamedTuple):
    flags: Tensor
    arrived: torch.cuda.Event | None
    sent: float  # seconds of the monotonic clock
    checks: IterationChecks


class IterationSync:
    """Exchange flags once per iteration; all processes read the same results in the same iterations.

    Args:
        device: device of this process.
        collective_minutes: timeout of the process group, in minutes.
    """

    def __init__(self, device: torch.device, collective_minutes: float) -> None:
        self._collective_minutes = collective_minutes
        self._device = device
        self._delay = int(device.type == "cuda")  # iterations
        self._pending: deque[_Pending] = deque()

    def exchange(self, stop: bool, bad_steps: Tensor, checks: IterationChecks) -> list[SyncResult]:
        """Exchange the flags. Return a list of one result: of this iteration, or on a GPU of the last (empty at first).

        Args:
            stop: True if a signal has asked this process to stop.
            bad_steps: scalar tensor, number of bad steps of the iteration.
            checks: checks of the iteration, returned with its result.

        Raises:
            DistBackendError: if a GPU's result does not arrive in time; see `report_lost_ranks`.
        """
        flags = torch.stack([torch.full_like(bad_steps, stop), bad_steps])
        if dist.is_initialized():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)  # gradients, and so bad steps, are the same everywhere
        self._pending.append(self._fetch(flags, checks))
        return self._read(len(self._pending) - self._delay)

    def flush(self) -> list[SyncResult]:
        """Return all results that have not been read yet. Waits for the device."""
        return self._read(len(self._pending))

    def _fetch(self, flags: Tensor, checks: IterationChecks) -> _Pending:
        if self._device.type != "cuda":
            return _Pending(flags, None, time.monotonic(), checks)
        pinned = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        pinned.copy_(flags, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Pending(pinned, arrived, time.monotonic(), checks)

    def _read(self, count: int) -> list[SyncResult]:
        results = []
        for _ in range(count):
            flags, arrived, sent, checks = self._pending.popleft()
            if arrived:
                self._wait(arrived, sent)
            stop, bad_steps = flags.tolist()
            results.append(SyncResult(stop > 0, int(bad_steps), checks))
        return results

    def _wait(self, arrived: torch.cuda.Event, sent: float) -> None:
        """Wait for a GPU's result; raise DistBackendError before NCCL would abort this process."""
        if not dist.is_initialized():
            arrived.synchronize()
            return
        # NCCL's watchdog aborts the process if a collective has not ended `collective_minutes` after its launch.
        # Therefore count from the launch, and give up a little earlier; but not much earlier, because the main process
        # may be busy with previews, checkpoints or metrics while the others wait here.
        allowed = 60 * self._collective_minutes
        timeout = max(allowed - MARGIN, allowed / 2)
        while not arrived.query():
            if time.monotonic() - sent > timeout:
                raise dist.DistBackendError(f"no answer in {timeout:g} seconds (limit: training.collective_minutes)")
            time.sleep(POLL)
