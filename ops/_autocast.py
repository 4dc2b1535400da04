"""The types that autocast gives the inputs of convolutions and matrix products."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def cast_for_autocast(x: Tensor) -> Tensor:
    """Return x in the type that autocast gives convolutions at this point; float64 stays, as it does in PyTorch's."""
    return x.to(autocast_dtype(x))


def autocast_dtype(x: Tensor) -> torch.dtype:
    """Return the type that `cast_for_autocast` gives x."""
    device = autocast_device(x)
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def autocast_device(x: Tensor) -> str:
    """Return the device type whose autocast holds for x.

    The meta device, on which a GPU's steps are traced (`scripts.benchmark trace`), has none: it follows the CPU's.
    """
    return "cpu" if x.device.type == "meta" else x.device.type


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast, for what needs more digits than half types have.

    Parameters keep their own type.
    """
    return torch.autocast(autocast_device(x), enabled=False)
