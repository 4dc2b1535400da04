"""What the processes tell each other after every iteration: that one is to end, or that numbers went bad.

The host never waits for a GPU's current work: there the answer is read one iteration late, from pinned memory, when
the next iteration is queued already. So the run ends with the iteration in which a signal came, or with the next one.

A GPU that waits for a lost process raises nothing on the host: there an answer that does not arrive is the sign of it.
"""

import time
from collections import deque
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

MARGIN = 10.0  # seconds between the end of the wait and that of NCCL's
POLL = 0.001  # seconds


class Beat(NamedTuple, Generic[T]):
    """What all processes know of one iteration, and know at the same time."""

    stop: bool
    bad_steps: int
    evidence: T  # what was sent along, which stayed in this process


class _Pending(NamedTuple, Generic[T]):
    answer: Tensor
    arrived: torch.cuda.Event | None
    sent: float  # seconds of the monotonic clock
    evidence: T


class Pulse(Generic[T]):
    """Every process sends once an iteration, and reads the same answers in the same iterations.

    Args:
        device: of this process.
        collective_minutes: after which a collective of the processes gives up.
    """

    def __init__(self, device: torch.device, collective_minutes: float) -> None:
        self._collective_minutes = collective_minutes
        self._device = device
        self._late = int(device.type == "cuda")  # iterations
        self._pending: deque[_Pending[T]] = deque()

    def send(self, stop: bool, bad_steps: Tensor, evidence: T) -> list[Beat[T]]:
        """Tells that this process is to end, and how many steps went bad (scalar); gives the answers that are there.

        In a GPU's first iteration there is none yet.

        Raises:
            DistBackendError: if a GPU's answer does not arrive in time; see `report_lost_ranks`.
        """
        flags = torch.stack([torch.full_like(bad_steps, stop), bad_steps])
        if dist.is_initialized():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)  # all have the same gradients, and so the same bad steps
        self._pending.append(self._fetch(flags, evidence))
        return self._read(len(self._pending) - self._late)

    def rest(self) -> list[Beat[T]]:
        """The answers that have not been read yet. Waits for a GPU."""
        return self._read(len(self._pending))

    def _fetch(self, flags: Tensor, evidence: T) -> _Pending[T]:
        if self._device.type != "cuda":
            return _Pending(flags, None, time.monotonic(), evidence)
        answer = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        answer.copy_(flags, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Pending(answer, arrived, time.monotonic(), evidence)

    def _read(self, count: int) -> list[Beat[T]]:
        beats = []
        for _ in range(count):
            answer, arrived, sent, evidence = self._pending.popleft()
            if arrived:
                self._wait(arrived, sent)
            stop, bad_steps = answer.tolist()
            beats.append(Beat(stop > 0, int(bad_steps), evidence))
        return beats

    def _wait(self, arrived: torch.cuda.Event, sent: float) -> None:
        """Wait for a GPU's answer; one that depends on other processes is given up before NCCL aborts this one."""
        if not dist.is_initialized():
            arrived.synchronize()
            return
        # NCCL's watchdog aborts the process when a collective has not ended `collective_minutes` after its launch. So
        # the wait is counted from the sending, and ends before the watchdog's; but not long before, because the main
        # process may be busy with previews, checkpoints or measurements for as long, while the others wait here.
        allowed = 60 * self._collective_minutes
        patience = max(allowed - MARGIN, allowed / 2)
        while not arrived.query():
            if time.monotonic() - sent > patience:
                raise dist.DistBackendError(f"no answer in {patience:g} seconds (training.collective_minutes)")
            time.sleep(POLL)
