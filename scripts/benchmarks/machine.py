"""What measurements were made on and with."""

import os
import platform
import subprocess
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("torch", "numpy", "Pillow", "lmdb")

Facts = dict[str, str | int | float]


def describe(device: torch.device) -> Facts:
    """Processor, graphics card if the device is one, and versions."""
    facts: Facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            facts[name.lower()] = version(name)
    return facts | _card(device) if device.type == "cuda" else facts


def line(facts: Facts) -> str:
    """The facts in one line."""
    versions = [f"{name} {facts[name]}" for name in ("python", *map(str.lower, _PACKAGES)) if name in facts]
    where = f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads"
    if "gpu" in facts:
        versions += [f"{name} {facts[name]}" for name in ("cuda", "cudnn", "driver")]
        where = f"{facts['gpu']} ({facts['gpu_gigabytes']} GB, compute capability {facts['capability']}); {where}"
    return f"{where}; {', '.join(versions)}"


class Load:
    """How busy other processes keep the machine; with one thread too many on a core, times say little."""

    def __init__(self) -> None:
        self.wall, self.busy = time.monotonic(), _busy_seconds()

    def of_others(self) -> float | None:
        """Cores that others kept busy since this was made or last asked; None where the system does not tell."""
        wall, busy = time.monotonic(), _busy_seconds()
        spent = None if busy is None or self.busy is None else (busy - self.busy) / (wall - self.wall)
        self.wall, self.busy = wall, busy
        return None if spent is None else max(spent, 0.0)


def _busy_seconds() -> float | None:
    """Seconds of all cores, in Linux: other processes', the system's, and what the host gave to others (proc(5))."""
    with suppress(OSError, ValueError):
        fields = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()
        user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, fields[1:9])
        all_seconds = (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")
        return all_seconds - sum(os.times()[:4])  # this process and its children that have ended
    return None


def _card(device: torch.device) -> Facts:
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_gigabytes": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda or "unknown",
        "cudnn": torch.backends.cudnn.version() or "none",
        "driver": _driver(),
    }


def _driver() -> str:
    with suppress(OSError, subprocess.SubprocessError, IndexError):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.split()[0]
    return "unknown"


def _cpu() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return platform.machine()
