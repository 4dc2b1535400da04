"""Building and loading the libraries of compiled kernels; each is built once per node and cached.

A library has the kernels for one device type. Loading it registers them for the operators of this package, so that
PyTorch's dispatcher calls them.
"""

import hashlib
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ops import _toolchain
from ops._common import NAMESPACE
from utils.errors import OpsUnavailable

_SOURCES = Path(__file__).parent / "csrc"
_WAIT_SECONDS = 900.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _Recipe:
    """Everything on which a compiled library depends; `name` contains a hash of all of it."""

    device_type: str
    sources: tuple[Path, ...]
    cxx_flags: tuple[str, ...]
    cuda_flags: tuple[str, ...]
    identity: tuple[str, ...]  # versions of PyTorch and compilers, and the processor or GPU architectures

    @property
    def name(self) -> str:
        contents = [path.read_bytes() for path in sorted(_SOURCES.iterdir()) if path.is_file()]
        parts = [repr((self.cxx_flags, self.cuda_flags, self.identity)).encode(), *contents]
        digest = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts))
        return f"{NAMESPACE}_{self.device_type}_{digest.hexdigest()[:16]}"


def _recipe(device_type: str) -> _Recipe:
    identity = [torch.__version__, str(torch.version.cuda), _toolchain.cxx_version()]
    if device_type == "cuda":
        sources = sorted(_SOURCES.glob("*.cu"))
        home = _toolchain.cuda_home()
        identity += [_toolchain.nvcc_version(home) if home else "", _toolchain.arch_list()]
        return _Recipe(device_type, tuple(sources), ("-O3",), ("-O3", *_toolchain.arch_flags()), tuple(identity))
    sources = sorted(_SOURCES.glob("*.cpp"))
    identity.append(_toolchain.cpu_identity())
    # OpenMP is compiled in but not linked, so that its symbols resolve to the copy that PyTorch has loaded. A second
    # copy would start threads of its own, which compete for the same cores.
    return _Recipe(device_type, tuple(sources), ("-O3", "-march=native", "-fopenmp"), (), tuple(identity))


def library_path(device_type: str) -> Path:
    """Return the path of a device type's compiled library, which may not exist yet."""
    return _toolchain.cache_root() / _recipe(device_type).name / "library.so"


def build_and_load(device_type: str) -> None:
    """Load the library of a device type; if the cache lacks it, build it first.

    Raises:
        OpsUnavailable: if a compiler is missing or unsuitable, or the build fails.
        TimeoutError: if another process does not finish building this library in time.
    """
    if reason := _toolchain.missing(device_type):
        raise OpsUnavailable(reason)
    library = library_path(device_type)
    if library.exists() or not _build(_recipe(device_type), library.parent, library):
        torch.ops.load_library(str(library))


def _build(recipe: _Recipe, folder: Path, library: Path) -> bool:
    """Return False if another process has built the library by now; else build and load it and return True."""
    folder.mkdir(parents=True, exist_ok=True)
    failure = folder / "failure.txt"
    arrived = time.time()
    with exclusive(folder / "lock", _WAIT_SECONDS):
        if library.exists():
            return False
        # A build that failed while this process waited would fail again.
        if failure.exists() and failure.stat().st_mtime > arrived:
            raise OpsUnavailable(failure.read_text(encoding="utf-8"))
        try:
            _compile(recipe, folder / "build", library)
        except RuntimeError as error:
            failure.write_text(_summary(error, folder), encoding="utf-8")
            raise OpsUnavailable(failure.read_text(encoding="utf-8")) from error
    return True


@contextmanager
def exclusive(path: Path, timeout: float) -> Iterator[None]:
    """Lock a file during the block; raise TimeoutError if another process holds the lock for `timeout` seconds.

    When a process ends, for whatever reason, the operating system releases its lock; the file is not removed.
    """
    import fcntl  # not available on all platforms

    deadline = time.monotonic() + timeout
    with open(path, "a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    owner = path.read_text().strip() or "unknown"
                    raise TimeoutError(
                        f"process {owner} has held {path} for {timeout:.0f} s; end that process, or wait and rerun"
                    ) from None
                time.sleep(_POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _compile(recipe: _Recipe, folder: Path, library: Path) -> None:
    where = f"for {recipe.device_type} in {library.parent}"
    print(f"building the compiled operators {where}: a minute or two, only once", file=sys.stderr)
    folder.mkdir(exist_ok=True)
    # This process holds our lock, so a lock file of PyTorch is stale. PyTorch up to 2.14 would wait for it forever.
    (folder / "lock").unlink(missing_ok=True)
    with _toolchain.build_environment(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _toolchain.extension_builder().load(
            name=recipe.name,
            sources=[str(source) for source in recipe.sources],
            extra_cflags=list(recipe.cxx_flags),
            extra_cuda_cflags=list(recipe.cuda_flags),
            build_directory=str(folder),
            with_cuda=recipe.device_type == "cuda",
            is_python_module=False,
        )
    # Atomic: other processes load the library as soon as it has its final name.
    os.replace(next(folder.glob("*.so")), library)


def _summary(error: Exception, folder: Path) -> str:
    """Write the log of a failed build to a file; return one line with the first error and the file's path."""
    log = folder / "build.log"
    log.write_text(str(error), encoding="utf-8")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines[1:] if re.search("error|fatal", line, re.IGNORECASE)]
    return f"the build failed ({(errors or lines)[0]}); see {log}"
