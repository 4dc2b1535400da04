"""Helpers of all operators: registration with PyTorch, compute types, and a switch for parameter gradients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

Ints = Sequence[int]
MaybeTensor = Tensor | None

NAMESPACE = "semantic_gan"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")

_WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_parameter_gradients = True  # for all threads: on a GPU, the backward pass runs in a thread of its own


def define(schema: str, reference: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """Register an operator with its plain PyTorch reference and its shape function; return its qualified name.

    The reference serves every device until a compiled library registers a kernel for the device's dispatch key: the
    dispatcher chooses between them.
    """
    name = f"{NAMESPACE}::{LIBRARY.define(schema)}"
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(name, fake, lib=LIBRARY)
    return name


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which operators compute: x's own, or float32 for half types."""
    return _WIDE.get(x.dtype, x.dtype)


def cast_for_autocast(x: Tensor) -> Tensor:
    """Return x in the dtype in which autocast runs convolutions; like PyTorch's autocast, this keeps float64."""
    return x.to(autocast_dtype(x))


def autocast_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of `cast_for_autocast(x)`."""
    device = autocast_device(x)
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def autocast_device(x: Tensor) -> str:
    """Return the device type whose autocast applies to x.

    The meta device, on which `scripts.benchmark trace` runs a GPU's steps, has no autocast and uses that of the CPU.
    """
    return "cpu" if x.device.type == "meta" else x.device.type


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast, for computations that need the precision of their parameters."""
    return torch.autocast(autocast_device(x), enabled=False)


@contextmanager
def no_parameter_gradients() -> Iterator[None]:
    """Compute only the gradients of inputs inside the block; those of weights and biases are None.

    A Python autograd function cannot see which gradients `torch.autograd.grad` was asked for: `ctx.needs_input_grad`
    is True for every weight that requires a gradient.
    """
    global _parameter_gradients
    before, _parameter_gradients = _parameter_gradients, False
    try:
        yield
    finally:
        _parameter_gradients = before


def parameter_gradients_enabled() -> bool:
    """Return True if backward passes compute the gradients of weights, biases and noise strengths."""
    return _parameter_gradients
