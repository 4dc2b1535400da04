"""A switch that keeps the operators' backward passes from computing gradients of parameters.

A Python autograd function cannot see which gradients `torch.autograd.grad` was asked for: `ctx.needs_input_grad` is
True for every weight that requires a gradient, even where only the gradient of the input is wanted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_wanted = True  # for all threads: on a GPU the backward pass runs in a thread of its own


@contextmanager
def no_parameter_gradients() -> Iterator[None]:
    """Inside the block, operators compute gradients of their inputs only; those of weights and biases are None."""
    global _wanted
    before, _wanted = _wanted, False
    try:
        yield
    finally:
        _wanted = before


def parameter_gradients_wanted() -> bool:
    """Return whether backward passes compute the gradients of weights, biases and noise strengths now."""
    return _wanted
