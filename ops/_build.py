"""Building, caching and loading of the compiled kernels, and the choice whether to.

A library registers its kernels for one device type with the operators that this package defines; from then on the
dispatcher calls them. Nothing is built before `set_mode` or `load_compiled` is called.
"""

import hashlib
import os
import re
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from ops import _toolchain
from ops._library import NAMESPACE
from ops._lock import exclusive
from utils.errors import UserError

_SOURCES = Path(__file__).parent / "csrc"
_WAIT_SECONDS = 900.0

_loaded: set[str] = set()
_failures: dict[str, str] = {}


class OpsUnavailable(UserError):  # noqa: N818 - reads as the state it reports
    """Compiled kernels were asked for and cannot be had; the message says why and what to do."""


def backend(device_type: str) -> str:
    """Return what runs on a device type ("cpu", "cuda"): "compiled" or "native"."""
    return "compiled" if device_type in _loaded else "native"


def set_mode(mode: str, device_type: str | None = None) -> None:
    """Choose which operators run; to be called once, before the first of them.

    Args:
        mode: "native" (plain PyTorch), "compiled" (an error if they cannot be had) or "auto" (compiled, or else
            native with a warning). What has been loaded stays loaded.
        device_type: "cpu" or "cuda"; by default "cuda" where there is a GPU.

    Raises:
        OpsUnavailable: mode is "compiled" and the kernels cannot be built or loaded.
        ValueError: no such mode.
    """
    if mode not in ("auto", "native", "compiled"):
        raise ValueError(f"ops mode must be auto, native or compiled, not {mode!r}")
    if mode == "native":
        return
    device_type = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        load_compiled(device_type)
    except OpsUnavailable as error:
        if mode == "compiled":
            raise OpsUnavailable(f"{error}, or choose the native operators") from None
        if os.environ.get("LOCAL_RANK", "0") == "0":
            warnings.warn(f"running the slower plain PyTorch operators: {error}", stacklevel=2)


def load_compiled(device_type: str = "cpu") -> None:
    """Load the kernels for "cpu" or "cuda", after building them if no process of this node has done so before.

    Raises:
        OpsUnavailable: a compiler is missing or does not match, the build failed, another process blocks it.
    """
    if device_type in _loaded:
        return
    try:
        if device_type not in _failures:
            _build_and_load(device_type)
            _loaded.add(device_type)
            return
    except (OSError, RuntimeError, ImportError, OpsUnavailable) as error:
        _failures[device_type] = str(error)
    raise OpsUnavailable(f"no compiled operators for {device_type}: {_failures[device_type]}")


@dataclass(frozen=True)
class _Recipe:
    """All that decides what a library is."""

    device_type: str
    sources: tuple[Path, ...]
    cxx_flags: tuple[str, ...]
    cuda_flags: tuple[str, ...]
    identity: tuple[str, ...]

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
    # OpenMP is compiled in but not linked: its functions then come from the copy that PyTorch itself runs on, with
    # PyTorch's threads and their number, instead of from a second one whose threads fight over the same cores.
    return _Recipe(device_type, tuple(sources), ("-O3", "-march=native", "-fopenmp"), (), tuple(identity))


def library_path(device_type: str) -> Path:
    """Return where the compiled library of a device type is, or will be."""
    return _toolchain.cache_root() / _recipe(device_type).name / "library.so"


def _build_and_load(device_type: str) -> None:
    reason = _toolchain.missing(device_type)
    if reason is not None:
        raise OpsUnavailable(reason)
    library = library_path(device_type)
    if library.exists() or not _build(_recipe(device_type), library.parent, library):
        torch.ops.load_library(str(library))


def _build(recipe: _Recipe, folder: Path, library: Path) -> bool:
    """Build the library unless another process does it meanwhile; whether it was built, and so loaded, here."""
    folder.mkdir(parents=True, exist_ok=True)
    failure = folder / "failure.txt"
    arrived = time.time()
    with exclusive(folder / "lock", _WAIT_SECONDS):
        if library.exists():
            return False
        # What failed while this process waited would fail again, after as long.
        if failure.exists() and failure.stat().st_mtime > arrived:
            raise OpsUnavailable(failure.read_text(encoding="utf-8"))
        try:
            _compile(recipe, folder / "build", library)
        except RuntimeError as error:
            failure.write_text(_summary(error, folder), encoding="utf-8")
            raise OpsUnavailable(failure.read_text(encoding="utf-8")) from error
    return True


def _compile(recipe: _Recipe, folder: Path, library: Path) -> None:
    print(f"building the operators for {recipe.device_type}, once, into {library.parent}", file=sys.stderr)
    folder.mkdir(exist_ok=True)
    # Whoever left it is gone, as this process holds the lock around it; PyTorch up to 2.14 would wait for ever.
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
    # It appears under its final name only when it is whole, and other processes take it from there.
    os.replace(next(folder.glob("*.so")), library)


def _summary(error: Exception, folder: Path) -> str:
    """The first line that tells of an error, and where the rest is."""
    log = folder / "build.log"
    log.write_text(str(error), encoding="utf-8")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines[1:] if re.search("error|fatal", line, re.IGNORECASE)]
    return f"the build failed ({(telling or lines)[0]}); {log} has all of it"
