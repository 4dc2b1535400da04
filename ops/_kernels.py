"""Registers, memory and instructions of compiled CUDA kernels, read from a compiled library; no GPU is needed."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ops import _toolchain

_BLOCK = 256  # threads per block; kThreads in csrc/grid.h
_SM_REGISTERS = 65536  # per multiprocessor; a thread gets a multiple of 8
_SM_THREADS = {"sm_75": 1024, **dict.fromkeys(["sm_86", "sm_87", "sm_89", "sm_120", "sm_121"], 1536)}  # others: 2048
_DEMANGLERS = ("c++filt", "cu++filt")
_CUDA_REMEDY = "install it with the CUDA toolkit, or pip install triton"
_TYPES = {"double": "float64", "float": "float32", "c10::Half": "float16", "c10::BFloat16": "bfloat16"}
_ORDERS = {"Order)0": "planes", "Order)1": "pixels", "Order)2": "mixed"}
_WORDS = {"int": "32-bit", "long": "64-bit", "long long": "64-bit", **_ORDERS}


class Kernel(NamedTuple):
    architecture: str  # for example "sm_90"
    name: str  # without the suffix "_kernel"
    dtype: str
    variant: str  # the other template arguments, in words
    registers: int  # per thread
    stack: int  # bytes per thread; nvcc spills registers to it
    local: int  # bytes of local memory per thread
    shared: int  # bytes per block
    instructions: int  # without the padding at the end

    @property
    def spills(self) -> bool:
        """True if the kernel uses stack or local memory, to which nvcc spills registers."""
        return self.stack + self.local > 0

    @property
    def blocks(self) -> int:
        """Number of blocks for which a multiprocessor has enough registers and threads; shared memory is ignored."""
        taken = _BLOCK * -(-self.registers // 8) * 8
        return min(_SM_REGISTERS // taken, self._threads // _BLOCK)

    @property
    def occupancy(self) -> float:
        """Number of threads in `blocks` blocks, as a fraction of the most that a multiprocessor can run."""
        return self.blocks * _BLOCK / self._threads

    @property
    def _threads(self) -> int:
        return _SM_THREADS.get(self.architecture, 2048)


def missing() -> str | None:
    """Return, as one line, which tool for reading libraries is missing and the remedy; None if all are installed."""
    needed = [(("cuobjdump",), _CUDA_REMEDY), (("nvdisasm",), _CUDA_REMEDY), (_DEMANGLERS, "install binutils")]
    for names, remedy in needed:
        if not _find(*names):
            return f"{' or '.join(names)} was not found; {remedy}"
    return None


def _find(*names: str) -> str:
    """Return the path of the first of these commands found in CUDA toolkit, PATH or Triton; "" if none is found."""
    home, triton = _toolchain.cuda_home(), importlib.util.find_spec("triton")
    folders = [str(home / "bin")] if home else []
    folders.append(os.environ.get("PATH", os.defpath))
    folders += [f"{root}/backends/nvidia/bin" for root in (triton and triton.submodule_search_locations) or []]
    paths = (shutil.which(name, path=os.pathsep.join(folders)) for name in names)
    return next(filter(None, paths), "")


def read(library: Path) -> list[Kernel]:
    """Return the kernels of a library, sorted; raise RuntimeError if a tool fails or the outputs do not match."""
    resources = parse_resources(_run([_find("cuobjdump"), "--dump-resource-usage", str(library)]))
    code = parse_code(_run([_find("cuobjdump"), "--dump-sass", str(library)]))
    names = _run([_find(*_DEMANGLERS)], "\n".join(symbol for _, symbol in resources)).splitlines()
    if not resources or resources.keys() - code.keys() or len(names) != len(resources):
        counts = f"the resources of {len(resources)} kernels, the code of {len(code)}, and {len(names)} names"
        raise RuntimeError(f"the tools list {counts} for {library}; use cuobjdump of another CUDA version")
    kernels = []
    for (key, used), name in zip(resources.items(), names, strict=True):
        short, dtype, variant = shorten(name)
        kernels.append(Kernel(key[0], short, dtype, variant, *used, len(code[key])))
    return sorted(kernels, key=lambda kernel: kernel[:4])


def _run(command: Sequence[str], text: str = "") -> str:
    environment = {**os.environ, "NVDISASM_PATH": os.path.dirname(_find("nvdisasm"))}
    result = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", env=environment)
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed with exit code {result.returncode}: {' '.join(result.stderr.split())}")
    return result.stdout


def parse_resources(text: str) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Parse `cuobjdump --dump-resource-usage`: (architecture, symbol) -> (registers, stack, local, shared)."""
    resources, architecture, symbol = {}, "", ""
    for line in text.splitlines():
        if head := re.match(r"\s*(?:arch = (\w+)|Function (\S+):)$", line):
            architecture, symbol = head[1] or architecture, head[2] or ""
        elif symbol and (used := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line)):
            registers, stack, shared, local = map(int, used.groups())
            resources[architecture, symbol] = (registers, stack, local, shared)
    return resources


def parse_code(text: str) -> dict[tuple[str, str], list[str]]:
    """Parse `cuobjdump --dump-sass`: (architecture, symbol) -> instructions, 16 bytes each, without padding."""
    kernels: dict[tuple[str, str], list[str]] = {}
    architecture, code = "", []
    for line in text.splitlines():
        if instruction := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.+?)\s*;", line):
            code.append(instruction[1])
        elif head := re.match(r"\s+(?:code for (\w+)|Function : (\S+))$", line):
            architecture = head[1] or architecture
            code = kernels.setdefault((architecture, head[2]), []) if head[2] else []
    for code in kernels.values():  # remove the padding: a jump to itself, then no-ops
        while code and (code[-1] == "NOP" or code[-1] == f"BRA {16 * (len(code) - 1):#x}"):
            code.pop()
    return kernels


def shorten(name: str) -> tuple[str, str, str]:
    """Return (name, dtype, variant) of a demangled kernel name, as `Kernel` describes them."""
    parts = re.search(r"(\w+?)(?:_kernel)?<(.*?)>\(", name)
    if parts is None:
        return name, "", ""
    first, *rest = parts[2].split(", ")
    words = [_WORDS.get(word.split("::")[-1], word) for word in rest]
    if parts[1] == "upfirdn2d_tiles":
        up, down, phase, last, pack, addend = words
        words = [f"{up},{down} phase {phase}", "channels_last" if last == "true" else "contiguous", pack]
        words += ["addend"] if addend == "true" else []
    words = [f"pack {word}" if word.isdigit() else word for word in words]
    return parts[1], _TYPES.get(first, first), " ".join(words)
