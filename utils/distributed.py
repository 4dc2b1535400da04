"""One training process among one or many: who it is, and the few collectives training needs.

Without `torchrun` there is one process and every collective returns its input.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# If it is first imported once there is a process group, which building an optimiser does, this module keeps the group:
# gloo's threads then outlive it and, now and then, abort the process at its end.
import torch.distributed.nn.functional
from torch import Tensor

from utils.errors import ConfigError, ExitCode, RunError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # after which a process gives up waiting for the others
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds and their period; PyTorch counts cores without it


@dataclass(frozen=True)
class Process:
    """This process's place among all of the run."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def session(device: str = "auto", timeout: timedelta = TIMEOUT) -> Iterator[Process]:
    """Join the processes that `torchrun` started, if it did: NCCL on GPUs, gloo on CPUs.

    If an exception ends the session, a group of NCCL is left as it is, for `utils.cli.run` to end the process with.

    Args:
        device: "cuda", "cpu", or "auto" for a GPU where there is one.
        timeout: of collectives.

    Raises:
        ConfigError: if a GPU is asked for and there is none, or the environment is not that of a launcher.
        RunError: as `report_lost_ranks`.
    """
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if "WORLD_SIZE" in os.environ and missing:
        raise ConfigError(f"WORLD_SIZE is set, but {missing[0]} is not: start the processes with torchrun, or unset it")
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        if not (value := os.environ.get(name, "0")).isdecimal():
            raise ConfigError(f"{name} = {value!r} is no number: start the processes with torchrun, or unset it")
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device = cuda, but PyTorch sees no GPU: choose cpu or auto")
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if use_cuda:
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(f"{local_rank + 1} processes on {torch.cuda.device_count()} GPUs: start one for each GPU")
        torch.cuda.set_device(local_rank)
    else:
        _limit_threads(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    here = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if world_size == 1:
        yield Process(here)
        return
    process = Process(here, int(os.environ["RANK"]), world_size)
    with report_lost_ranks(process, lambda: "the start"):
        store, rank, _ = next(dist.rendezvous("env://", timeout=timeout))
        store = _of_this_start(store)
        dist.init_process_group(
            "nccl" if use_cuda else "gloo", store=store, rank=rank, world_size=world_size, timeout=timeout
        )
        try:
            yield process
        except BaseException:
            # NCCL's group waits for collectives in which other processes may be without this one, so that the
            # exception would never be shown. Gloo's must go: its threads would abort the process at its end.
            if dist.get_backend() == "gloo":
                destroy_group()
            raise
        destroy_group()


def destroy_group() -> None:
    """Destroy the process group, after a pause in which Gloo's threads can finish.

    PyTorch 2.6 waits for them with the GIL held, which they may need to free the tensors of the last collective.
    """
    if dist.get_backend() == "gloo":
        time.sleep(0.1)  # releases the GIL
    dist.destroy_process_group()


def _of_this_start(store: dist.Store) -> dist.Store:
    """Without what earlier processes wrote, whom torchrun has replaced: their addresses lead nowhere.

    With several nodes the counts can differ, and nothing is done.
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return store
    return dist.PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)


def _limit_threads(local_processes: int) -> None:
    """Leaves this process no more threads than its share of the cores, as more of them wait for each other.

    OMP_NUM_THREADS is the user's choice. It can also be torchrun's, which sets 1 for several processes, with a
    warning; as the two cannot be told apart, that 1 stays.
    """
    share = max(1, usable_cores() // local_processes)
    if "OMP_NUM_THREADS" not in os.environ and share < torch.get_num_threads():
        torch.set_num_threads(share)


def usable_cores() -> int:
    """Cores that this process may run on, and no more than a container's quota is worth."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, CPU_QUOTA.read_text().split())
    except (OSError, ValueError):  # none, or "max"
        return cores
    return max(1, min(cores, quota // period))


class _AllReduceMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce_mean(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Each process's x has a share of 1 / world_size in every process's result.
        return _all_reduce_mean(gradients[0])


def _all_reduce_mean(x: Tensor) -> Tensor:
    mean = x.clone()
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def mean_over_processes(x: Tensor) -> Tensor:
    """Mean of a tensor over all processes, differentiable."""
    if not dist.is_initialized():
        return x
    result: Tensor = _AllReduceMean.apply(x)
    return result


def gather(value: Any) -> list[Any]:
    """The values of all processes, by rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_on_main(value: Any) -> list[Any]:
    """The values of all processes, by rank; none on other processes than the main one."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values)
    return values or []


def from_main(process: Process, compute: Callable[[], T]) -> T:
    """What the main process computes, which no other does. If it fails, its exception is raised by all of them."""
    error: Exception | None = None
    value: Any = None
    if process.is_main:
        try:
            value = compute()
        except Exception as caught:  # the others must not wait for a process that has given up
            error = caught
    outcome = [(value, error)]
    if dist.is_initialized():
        dist.broadcast_object_list(outcome, src=0)
    value, error = outcome[0]
    if error is not None:
        raise error
    result: T = value
    return result


def any_process(says: bool, device: torch.device) -> bool:
    """Whether one of the processes says so. The host waits for all."""
    return mean_over_processes(torch.tensor(float(says), device=device)).item() > 0


@contextmanager
def report_lost_ranks(process: Process, place: Callable[[], str]) -> Iterator[None]:
    """What a collective fails of, another process's death or silence, is told with the rank and the place.

    Raises:
        RunError: in place of PyTorch's own error, which is its cause.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"process {process.rank} of {process.world_size} lost the others in {place()}: {reason}", ExitCode.LOST
        ) from error


def own_share(count: int, process: Process) -> range:
    """Of the numbers 0 to count - 1 those that this process takes: every so many-th, from its rank on."""
    return range(process.rank, count, process.world_size)
