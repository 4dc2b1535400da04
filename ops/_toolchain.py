"""Detection of the compilers that build the kernels, and messages about missing ones."""

import hashlib
import importlib
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

_DEFAULT = [(9, 0)]  # compute capabilities to compile for if no GPU is visible


def missing(device_type: str) -> str | None:
    """Return why kernels for a device type cannot be built, and the remedy, as one line; None if they can be built."""
    if device_type not in ("cpu", "cuda"):
        return f"there are no kernels for {device_type} devices; choose cpu or cuda"
    if shutil.which(cxx()) is None:
        return f"no C++ compiler ({cxx()}) is on the PATH; install g++ or set CXX"
    if shutil.which("ninja", path=search_path()) is None:
        return "ninja is missing; pip install ninja"
    return _missing_cuda() if device_type == "cuda" else None


def _missing_cuda() -> str | None:
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA; install a PyTorch with CUDA"
    home = cuda_home()
    major = torch.version.cuda.split(".")[0]
    if home is None:
        return f"no CUDA toolkit with nvcc and headers was found; install CUDA {major} and set CUDA_HOME to its folder"
    if any(map(str.isspace, str(home))):  # PyTorch passes the folder to the linker without quotes
        return f"the path of the CUDA toolkit, {home}, contains spaces; set CUDA_HOME to a symbolic link without spaces"
    version = nvcc_version(home)
    if version.split(".")[0] != major:
        return f"{home} is CUDA {version}, PyTorch needs CUDA {major}.x; set CUDA_HOME to the folder of CUDA {major}.x"
    unknown = [capability for capability in gpu_capabilities() if not _nvcc_knows(home, capability)]
    if unknown and not os.environ.get("TORCH_CUDA_ARCH_LIST"):
        listed = ", ".join(f"{major}.{minor}" for major, minor in unknown)
        return f"nvcc {version} does not support this GPU's capability ({listed}); set CUDA_HOME to another toolkit"
    return None


def cxx() -> str:
    """Return the command that runs the C++ compiler."""
    return os.environ.get("CXX", "c++")


def cxx_version() -> str:
    """Return the first line of the C++ compiler's version output."""
    return _output(cxx(), "--version").partition("\n")[0]


def search_path() -> str:
    """Return PATH extended by the folder in which pip installs commands such as ninja for this Python."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])


def cuda_home() -> Path | None:
    """Return the folder of the CUDA toolkit, or None if there is none with nvcc and headers.

    If CUDA_HOME (or else CUDA_PATH) is set, no other folder is tried; else the nvcc on the PATH, then /usr/local/cuda.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [Path(named)] if named else _toolkit_candidates()
    return next((folder for folder in candidates if _is_toolkit(folder)), None)


def _toolkit_candidates() -> Iterator[Path]:
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        yield Path(nvcc).resolve().parent.parent
        # The command may be a wrapper script: in a dry run, the real nvcc prints its own folder.
        top = re.search(r"^#\$ TOP=(.+)$", _output(nvcc, "--dryrun", "-E", "any.cu"), re.MULTILINE)
        if top:
            yield Path(top.group(1).strip()).resolve()
    yield Path("/usr/local/cuda")


def _is_toolkit(folder: Path) -> bool:
    headers = [folder / "include", *folder.glob("targets/*/include")]
    return (folder / "bin" / "nvcc").exists() and any((path / "cuda_runtime_api.h").exists() for path in headers)


def nvcc_version(home: Path) -> str:
    """Return the version of the CUDA toolkit in `home` as "major.minor", or "unknown"."""
    release = re.search(r"release (\d+\.\d+)", _output(str(home / "bin" / "nvcc"), "--version"))
    return release.group(1) if release else "unknown"


def _nvcc_knows(home: Path, capability: tuple[int, int]) -> bool:
    known = _output(str(home / "bin" / "nvcc"), "--list-gpu-arch")
    return not known or f"compute_{capability[0]}{capability[1]}" in known.split()


def gpu_capabilities() -> list[tuple[int, int]]:
    """Return the different compute capabilities (major, minor) of the visible GPUs, sorted."""
    return sorted({torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())})


def arch_list() -> str:
    """Return the compute capabilities to compile for, like "8.0;9.0".

    They come from TORCH_CUDA_ARCH_LIST, else from the visible GPUs, else from `_DEFAULT`.
    """
    return os.environ.get("TORCH_CUDA_ARCH_LIST") or ";".join(f"{a}.{b}" for a, b in gpu_capabilities() or _DEFAULT)


def arch_flags() -> list[str]:
    """Return nvcc's flags for `arch_list`; none if TORCH_CUDA_ARCH_LIST is set, because PyTorch then adds them."""
    if os.environ.get("TORCH_CUDA_ARCH_LIST"):
        return []
    return [f"-gencode=arch=compute_{a}{b},code=sm_{a}{b}" for a, b in gpu_capabilities() or _DEFAULT]


def cpu_identity() -> str:
    """Return a short hash of this processor's instruction sets, on which code compiled with -march=native depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:16]


def extension_builder() -> ModuleType:
    """Return the module torch.utils.cpp_extension, which now logs only errors and uses the toolkit of `cuda_home`."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    builder = importlib.import_module("torch.utils.cpp_extension")
    home = cuda_home()
    if home is not None:
        builder.CUDA_HOME = str(home)  # type: ignore[attr-defined]
    return builder


def cache_root() -> Path:
    """Return the folder in which PyTorch caches compiled extensions."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or extension_builder().get_default_build_root())


@contextmanager
def build_environment() -> Iterator[None]:
    """Put ninja on the PATH during the block, and quote the path of PyTorch's libraries, which may contain spaces.

    If the block raises a RuntimeError for which `_remedy` has a remedy, raise it with the remedy in the message.
    """
    builder = extension_builder()
    libraries = builder.TORCH_LIB_PATH
    before = os.environ.get("PATH")
    os.environ["PATH"] = search_path()
    builder.TORCH_LIB_PATH = shlex.quote(libraries)  # type: ignore[attr-defined]
    try:
        yield
    except RuntimeError as error:
        remedy = _remedy(str(error))
        if remedy is None:
            raise
        title, _, log = str(error).partition("\n")
        raise RuntimeError(f"{title}\n{remedy}\n{log}") from error
    finally:
        builder.TORCH_LIB_PATH = libraries  # type: ignore[attr-defined]
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before


def _remedy(log: str) -> str | None:
    """Return error and remedy if the log shows that nvcc rejected the version of its C++ compiler, else None."""
    refusal = re.search(r"#error -- (unsupported [\w ]+ version!.*?)[.! ]*(?:The nvcc flag|$)", log, re.MULTILINE)
    if refusal is None:
        return None
    remedy = "set CC=gcc-13 or NVCC_PREPEND_FLAGS='-ccbin g++-13', or a version that nvcc supports; nvcc ignores CXX"
    return f"nvcc rejects its C++ compiler with the error: {refusal[1]}; {remedy}"


def _output(*command: str) -> str:
    """Return a command's standard output followed by its error output, or "" if it fails to start or hangs."""
    try:
        result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout + result.stderr
