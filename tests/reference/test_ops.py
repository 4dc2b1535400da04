import pytest
import torch

import ops
from tests.reference import ops as literal

TAPS = torch.tensor([1.0, -2.0, 0.5, 4.0, 3.0], dtype=torch.float64)
SETTINGS = [
    {"padding": 2},
    {"up": 2, "padding": (2, 1), "gain": 4.0},
    {"down": 2, "padding": 1},
    {"up": (3, 1), "down": (2, 4), "padding": (4, 1, 3, 3), "flip": True},
    {"up": 2, "padding": (3, 5, -2, 6)},
]


def differentiated_twice(function, *inputs):
    """Value, first derivatives, and derivatives of the sum of their squares."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = function(*inputs)
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=value.dtype).requires_grad_()
    first = torch.autograd.grad(value, inputs, weights, create_graph=True)
    second = torch.autograd.grad(sum(x.square().sum() for x in first), weights)
    return [value, *first, *second]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("filter", [TAPS, torch.outer(TAPS, TAPS)[:, :3]], ids=["separable", "full"])
def test_upfirdn2d(filter, options):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    results = (
        differentiated_twice(lambda x, f=function: f(x, filter, **options), x)
        for function in (literal.upfirdn2d, ops.upfirdn2d)
    )
    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("dim", [1, -1])
def test_bias_act(dim):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    bias = torch.randn(x.shape[dim], dtype=torch.float64)
    results = (
        differentiated_twice(lambda x, bias, f=function: f(x, bias, dim=dim, slope=0.1, gain=3.0), x, bias)
        for function in (literal.bias_act, ops.bias_act)
    )
    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(dtype):
    x = torch.randn(2, 3, 8, 8, dtype=dtype)
    assert literal.bias_act(x, torch.ones(3, dtype=dtype)).dtype == dtype
    assert literal.upfirdn2d(x, TAPS, up=2, padding=(2, 1)).dtype == dtype
