import pytest
import torch
import torch.nn.functional as F

import ops
from ops import no_parameter_gradients

DTYPES = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "sliced": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "expanded": lambda x: x[:1].expand(x.shape),
}


def normal(*shape, device, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def expected(x, bias, dim=1, slope=0.2, gain=2**0.5):
    shape = [1] * x.ndim
    shape[dim] = -1
    return F.leaky_relu(x if bias is None else x + bias.view(shape), slope) * gain


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((7,), 0), ((5, 7), 1), ((5, 7), 0), ((3, 4, 5), -1), ((2, 3, 4, 5), 1), ((2, 3, 4, 5, 6), 3), ((2, 1, 3), 1)],
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_every_rank_and_axis(device, shape, dim, with_bias):
    x = normal(*shape, device=device)
    bias = normal(shape[dim], device=device, seed=1) if with_bias else None
    torch.testing.assert_close(ops.bias_act(x, bias, dim=dim), expected(x, bias, dim), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_dtype_and_layout(device, dtype, layout):
    x = LAYOUTS[layout](normal(4, 5, 6, 4, device=device, dtype=dtype))
    bias = normal(5, device=device, dtype=dtype, seed=1)
    out = ops.bias_act(x, bias, slope=0.1, gain=3.0)
    wide = expected(x.double(), bias.double(), slope=0.1, gain=3.0)
    assert out.dtype == dtype
    assert out.stride() == torch.empty_like(x).stride()
    # Half types are rounded once, or after each of the three steps.
    torch.testing.assert_close(out.double(), wide, rtol=2 * DTYPES[dtype], atol=6 * DTYPES[dtype])


def test_large_enough_for_several_threads(device):
    x, bias = normal(3, 7, 101, 103, device=device, dtype=torch.float32), normal(7, device=device, dtype=torch.float32)
    torch.testing.assert_close(ops.bias_act(x, bias), expected(x, bias))
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ops.bias_act(last, bias), expected(x, bias))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias_dtype", DTYPES)
def test_bias_of_another_dtype(device, dtype, bias_dtype):
    x = normal(2, 3, device=device, dtype=dtype)
    bias = normal(3, device=device, dtype=bias_dtype, seed=1).requires_grad_()
    out = ops.bias_act(x, bias)
    assert out.dtype == dtype
    assert torch.autograd.grad(out.sum(), bias)[0].dtype == bias_dtype


def test_bias_is_not_rounded_to_a_half_type(device):
    x = torch.full((1, 1), -256.0, device=device, dtype=torch.bfloat16)
    out = ops.bias_act(x, torch.tensor([257.0], device=device), gain=1.0)
    assert out.item() == 1  # in bfloat16, 257 is 256


def test_gradient_of_the_bias_of_a_vector(device):
    x, bias = normal(7, device=device), normal(7, device=device, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(ops.bias_act(x, bias, dim=0).sum(), bias)
    (reference,) = torch.autograd.grad(expected(x, bias, 0).sum(), bias)
    torch.testing.assert_close(gradient, reference)


def test_derivative_at_zero_is_that_of_the_negative_side(device):
    x = torch.zeros(4, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(ops.bias_act(x, slope=0.25, gain=2.0).sum(), x)
    assert gradient.tolist() == [0.5] * 4


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_first_and_second_gradients(device, with_bias, layout):
    x = LAYOUTS[layout](normal(2, 3, 4, 2, device=device)).requires_grad_()
    inputs = (x, normal(3, device=device, seed=1).requires_grad_()) if with_bias else (x,)
    assert torch.autograd.gradcheck(ops.bias_act, inputs, atol=1e-9, rtol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(ops.bias_act, inputs, atol=1e-9, rtol=1e-7, fast_mode=True)


def test_third_gradients(device):
    def third(function):
        x, bias = normal(3, 4, device=device).requires_grad_(), normal(4, device=device, seed=1).requires_grad_()
        value = function(x * x, bias).pow(4).sum()
        for _ in range(3):
            gradients = torch.autograd.grad(value, [x, bias], create_graph=True)
            value = sum(gradient.sum() for gradient in gradients)
        return torch.cat([gradient.flatten() for gradient in gradients])

    torch.testing.assert_close(third(ops.bias_act), third(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_in_another_layout_than_the_output(device, dtype):
    x = LAYOUTS["channels_last"](normal(2, 3, 4, 5, device=device, dtype=dtype)).requires_grad_()
    grad = normal(2, 3, 4, 5, device=device, dtype=dtype, seed=1)
    (gradient,) = torch.autograd.grad(ops.bias_act(x), x, grad)
    (wide,) = torch.autograd.grad(expected(x.double(), None), x, grad.double())
    torch.testing.assert_close(gradient.double(), wide.double(), rtol=2 * DTYPES[dtype], atol=2 * DTYPES[dtype])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
def test_the_gradient_takes_the_layout_of_the_output(device, layout):
    x = LAYOUTS[layout](normal(2, 3, 4, 5, device=device)).requires_grad_()
    bias = normal(3, device=device, seed=1).requires_grad_()
    out = ops.bias_act(x, bias)
    for other in ("contiguous", "channels_last", "transposed", "expanded"):
        grad = LAYOUTS[other](normal(2, 3, 4, 5, device=device, seed=2))
        found = torch.autograd.grad(out, [x, bias], grad, retain_graph=True)
        reference = torch.autograd.grad(expected(x, bias), [x, bias], grad)
        assert found[0].stride() == out.stride()
        torch.testing.assert_close(found, reference, rtol=1e-13, atol=1e-13)


def test_no_gradients_of_parameters_where_they_are_not_wanted(device):
    x, bias = normal(2, 3, 4, 2, device=device).requires_grad_(), normal(3, device=device, seed=1).requires_grad_()
    noise, strength = normal(2, 1, 4, 2, device=device, seed=2), normal(1, device=device, seed=3).requires_grad_()
    loss = ops.bias_act(x, bias, noise=noise, noise_strength=strength).pow(2).sum()
    inputs = [x, bias, strength]
    with no_parameter_gradients():
        found = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
    all_of_them = torch.autograd.grad(loss, inputs, create_graph=True)
    assert found[1:] == (None, None)
    torch.testing.assert_close(found[0], all_of_them[0], rtol=0, atol=0)
    # The second differentiation, outside of the block, finds the parameters again.
    second, reference = (
        torch.autograd.grad(first[0].pow(2).sum(), inputs, retain_graph=True) for first in (found, all_of_them)
    )
    torch.testing.assert_close(second, reference, rtol=1e-13, atol=1e-13)


def test_empty_batch(device):
    x = torch.empty(0, 3, 4, 4, device=device, requires_grad=True)
    bias = torch.ones(3, device=device, requires_grad=True)
    out = ops.bias_act(x, bias)
    gradients = torch.autograd.grad(out.sum(), [x, bias])
    assert out.shape == x.shape
    assert gradients[0].shape == x.shape
    assert gradients[1].tolist() == [0, 0, 0]


def test_registration_is_sound(device):
    x, bias = normal(2, 3, 4, device=device).requires_grad_(), normal(3, device=device, seed=1).requires_grad_()
    torch.library.opcheck(torch.ops.semantic_gan.bias_act.default, (x, bias, None, None, 1, 0.2, 1.5))
    torch.library.opcheck(torch.ops.semantic_gan.bias_act.default, (x, None, None, None, 0, 0.2, 1.5))
    for bias_sum in (True, False):
        arguments = (x, x.detach(), None, bias_sum, 1, 0.2, 1.5)
        torch.library.opcheck(torch.ops.semantic_gan.bias_act_backward.default, arguments)


def test_compiles_as_one_graph(device):
    x, bias = normal(2, 3, 4, device=device), normal(3, device=device, seed=1)
    compiled = torch.compile(lambda x, bias: ops.bias_act(x, bias) + 1, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, bias), ops.bias_act(x, bias) + 1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((torch.ones(2, 3), torch.ones(2)), {}, r"bias must have shape \[3\]"),
        ((torch.ones(2, 3), torch.ones(3, 1)), {}, r"bias must have shape \[3\]"),
        ((torch.ones(2, 3), torch.ones(3)), {"dim": 2}, "dim 2 is out of range"),
        ((torch.ones(2, 3),), {"gain": 0.0}, "gain > 0"),
        ((torch.ones(2, 3),), {"slope": -0.1}, "slope must be >= 0"),
        ((torch.ones(2, 3, dtype=torch.int64),), {}, "floating point"),
        ((torch.ones(2, 3), torch.ones(3, device="meta")), {}, "bias is on meta and x on cpu"),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ops.bias_act(*arguments, **options)
