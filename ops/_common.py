"""Helpers shared by the operators: registration with PyTorch, dtypes, and a switch for parameter gradients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

Ints = Sequence[int]
MaybeTensor = Tensor | None

NAMESPACE = "semantic_gan"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")

_parameter_gradients = True  # for all threads: on a GPU, the backward pass runs in a thread of its own


def define(schema: str, reference: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """Register an operator with its schema and plain PyTorch reference; return its qualified name.

    The reference runs on every device type for which no compiled library has registered a kernel. `fake`, for
    tracing, returns uninitialized tensors with the shapes and dtypes of the results.
    """
    name = f"{NAMESPACE}::{LIBRARY.define(schema)}"
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(name, fake, lib=LIBRARY)
    return name


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which operators compute: x's own, or float32 for float16 and bfloat16."""
    return torch.promote_types(x.dtype, torch.float32)


def cast_for_autocast(x: Tensor) -> Tensor:
    """Cast x to the dtype in which autocast, if enabled, runs convolutions; float64 stays float64, as in PyTorch."""
    return x.to(autocast_dtype(x))


def autocast_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of `cast_for_autocast(x)`."""
    device = autocast_device(x)
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def autocast_device(x: Tensor) -> str:
    """Return the device type whose autocast setting applies to x: x's own, or "cpu" if x is on the meta device.

    `scripts.benchmark trace` runs training steps on the meta device, which has no autocast setting.
    """
    return "cpu" if x.device.type == "meta" else x.device.type


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context that disables autocast on x's device, so that parameters are used in their own precision."""
    return torch.autocast(autocast_device(x), enabled=False)


@contextmanager
def no_parameter_gradients() -> Iterator[None]:
    """Let backward passes inside the block skip the gradients of weights, biases and noise strengths.

    A custom autograd function cannot skip them by itself: `ctx.needs_input_grad` is True for every weight that requires
    a gradient, even if `torch.autograd.grad` is asked for other gradients only.
    """
    global _parameter_gradients
    before, _parameter_gradients = _parameter_gradients, False
    try:
        yield
    finally:
        _parameter_gradients = before


def parameter_gradients_enabled() -> bool:
    """Return False inside `no_parameter_gradients`, True elsewhere."""
    return _parameter_gradients
