"""The operators of the networks: plain PyTorch references and optional compiled kernels."""

import os
import warnings

import torch

from ops._common import autocast_device, cast_for_autocast, full_precision, no_parameter_gradients
from ops.bias_act import bias_act
from ops.convolution import conv2d, conv_transpose2d
from ops.upfirdn2d import branch_filtered, upfirdn2d
from utils.errors import OpsUnavailable

__all__ = [
    "OpsUnavailable",
    "autocast_device",
    "backend",
    "bias_act",
    "branch_filtered",
    "cast_for_autocast",
    "conv2d",
    "conv_transpose2d",
    "full_precision",
    "load_compiled",
    "no_parameter_gradients",
    "set_mode",
    "upfirdn2d",
]

_loaded: set[str] = set()  # device types with compiled kernels
_failures: dict[str, str] = {}  # by device type: why its kernels cannot be loaded


def backend(device_type: str) -> str:
    """Return which operators run on a device type ("cpu", "cuda"): "compiled" or "native" (plain PyTorch)."""
    return "compiled" if device_type in _loaded else "native"


def set_mode(mode: str, device_type: str | None = None) -> None:
    """Choose which operators run. Call it once, before the first operator runs.

    Args:
        mode: "native" (plain PyTorch), "compiled" (an error if the kernels are unavailable) or "auto" (compiled if
            possible, else native with a warning). Kernels that have been loaded stay in use.
        device_type: "cpu" or "cuda"; by default "cuda" if there is a GPU.

    Raises:
        OpsUnavailable: if the mode is "compiled" and the kernels cannot be built or loaded.
        ValueError: if the mode is unknown.
    """
    if mode not in ("auto", "native", "compiled"):
        raise ValueError(f"ops mode must be auto, native or compiled, not {mode!r}")
    if mode == "native":
        return
    try:
        load_compiled(device_type or ("cuda" if torch.cuda.is_available() else "cpu"))
    except OpsUnavailable as error:
        if mode == "compiled":
            raise OpsUnavailable(f"{error}, or choose the native operators") from None
        if os.environ.get("LOCAL_RANK", "0") == "0":
            warnings.warn(f"running the slower plain PyTorch operators: {error}", stacklevel=2)


def load_compiled(device_type: str = "cpu") -> None:
    """Load the kernels for "cpu" or "cuda"; the first process on a node that needs them builds them.

    Raises:
        OpsUnavailable: if the kernels cannot be built or loaded; the message says why.
    """
    if device_type in _loaded:
        return
    try:
        if device_type not in _failures:
            from ops._build import build_and_load  # here, so that `import ops` does not load the build code

            build_and_load(device_type)
            _loaded.add(device_type)
            return
    except (OSError, RuntimeError, ImportError, OpsUnavailable) as error:
        _failures[device_type] = str(error)
    raise OpsUnavailable(f"no compiled operators for {device_type}: {_failures[device_type]}")
