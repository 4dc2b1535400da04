"""The process group of `torchrun`, and the collectives that training needs.

Without `torchrun` there is one process, and each collective returns the value that it was given.
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

# Imported here, before a process group exists. Otherwise an optimizer imports the module later; the module then keeps
# the group alive, and gloo's threads may abort the process when it exits.
import torch.distributed.nn.functional
from torch import Tensor

from utils.errors import ConfigError, ExitCode, RunError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # of collectives
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's CPU time per period, and the period, in microseconds


@dataclass(frozen=True)
class Process:
    """Device, rank and world size of this process."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def process_group(device: str = "auto", timeout: timedelta = TIMEOUT) -> Iterator[Process]:
    """Join the process group of `torchrun`, if that started this process: NCCL on GPUs, gloo on CPUs.

    After an exception, an NCCL group is not destroyed; `utils.cli.run` then exits without Python's shutdown.

    Args:
        device: "cuda", "cpu", or "auto" for a GPU if there is one.
        timeout: how long a collective may wait for other ranks.

    Raises:
        ConfigError: if there are fewer GPUs than processes, or the launcher's environment variables are invalid.
        RunError: if contact with another rank is lost.
    """
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if "WORLD_SIZE" in os.environ and missing:
        raise ConfigError(
            f"WORLD_SIZE is set, but {missing[0]} is not: start the processes with torchrun, or unset WORLD_SIZE"
        )
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        if not (value := os.environ.get(name, "0")).isdecimal():
            raise ConfigError(f"{name} = {value!r} is not a number: start the processes with torchrun, or unset {name}")
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device = cuda, but PyTorch sees no GPU: choose cpu or auto")
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if use_cuda:
        if local_rank >= torch.cuda.device_count():
            gpus = torch.cuda.device_count()
            raise ConfigError(f"torchrun started at least {local_rank + 1} processes on {gpus} GPUs: start one per GPU")
        torch.cuda.set_device(local_rank)
    else:
        _limit_threads(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    own_device = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if world_size == 1:
        yield Process(own_device)
        return
    process = Process(own_device, int(os.environ["RANK"]), world_size)
    with report_lost_ranks(process, lambda: "startup"):
        store, rank, _ = next(dist.rendezvous("env://", timeout=timeout))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":  # on several nodes, restart counts may differ
            # A prefix per restart hides the addresses of processes that torchrun has replaced.
            store = dist.PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
        dist.init_process_group(
            "nccl" if use_cuda else "gloo", store=store, rank=rank, world_size=world_size, timeout=timeout
        )
        try:
            yield process
        except BaseException:
            # Destroying NCCL's group would wait for ranks that are in a collective, before the exception is printed.
            # Gloo's group must be destroyed: otherwise its threads abort the process when it exits.
            if dist.get_backend() == "gloo":
                destroy_group()
            raise
        destroy_group()


def destroy_group() -> None:
    """Destroy the process group, after a pause in which gloo's threads can finish.

    PyTorch 2.6 waits for these threads with the GIL held, but they may need the GIL to free the tensors of the last
    collective.
    """
    if dist.get_backend() == "gloo":
        time.sleep(0.1)  # releases the GIL
    dist.destroy_process_group()


def _limit_threads(local_processes: int) -> None:
    # More threads than this process's share of the cores would wait for each other. If OMP_NUM_THREADS is set, by the
    # user or by torchrun (to 1, with a warning), its number stays.
    share = max(1, usable_cores() // local_processes)
    if "OMP_NUM_THREADS" not in os.environ and share < torch.get_num_threads():
        torch.set_num_threads(share)


def usable_cores() -> int:
    """Return how many cores this process may use, considering a container's CPU quota, which PyTorch ignores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, CPU_QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return cores
    return max(1, min(cores, quota // period))


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the elementwise mean of a tensor over all ranks; differentiable."""
    if not dist.is_initialized():
        return x
    total: Tensor = torch.distributed.nn.functional.all_reduce(x)
    return total / dist.get_world_size()


def gather(value: Any) -> list[Any]:
    """Return, on every rank, a list of the values of all ranks, in rank order."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_on_main(value: Any) -> list[Any]:
    """Return a list of the values of all ranks, in rank order, on rank 0, and an empty list on the other ranks."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values)
    return values or []


def from_main(process: Process, compute: Callable[[], T]) -> T:
    """Call `compute` on rank 0 only; return its result, or raise its exception, on every rank."""
    error: Exception | None = None
    value: Any = None
    if process.is_main:
        try:
            value = compute()
        except Exception as caught:  # broadcast it, so that the other ranks do not wait forever
            error = caught
    outcome = [(value, error)]
    if dist.is_initialized():
        dist.broadcast_object_list(outcome, src=0)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def any_process(flag: bool, device: torch.device) -> bool:
    """Return True if the flag is True on any rank. Waits for all ranks."""
    return mean_over_processes(torch.tensor(float(flag), device=device)).item() > 0


@contextmanager
def report_lost_ranks(process: Process, place: Callable[[], str]) -> Iterator[None]:
    """Raise RunError in place of PyTorch's error if a collective fails because another rank died or does not respond.

    Args:
        process: this process.
        place: function that returns what this process is doing, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"rank {process.rank} of {process.world_size} lost contact with the other ranks during {place()}: {reason}"
            "; look for the error of another rank, then rerun the same command",
            ExitCode.LOST,
        ) from error


def rank_indices(count: int, process: Process) -> range:
    """Return this rank's share of the indices below `count`: every `world_size`-th one, starting with the rank."""
    return range(process.rank, count, process.world_size)
