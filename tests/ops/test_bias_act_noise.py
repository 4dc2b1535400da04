import pytest
import torch
import torch.nn.functional as F

import ops
from tests.ops.test_bias_act import DTYPES, LAYOUTS, normal

NAMES = ("x", "bias", "noise", "strength")


def two_passes(x, bias, noise, strength):
    x = x + strength * noise
    return F.leaky_relu(x if bias is None else x + bias.view(-1, 1, 1), 0.2) * 2**0.5


def one_pass(x, bias, noise, strength):
    return ops.bias_act(x, bias, noise=noise, noise_strength=strength)


def inputs(device, *, shape=(2, 3, 4, 5), samples=2, dtype=torch.float64, wide=torch.float64, layout="contiguous"):
    """x in one dtype; bias, noise and strength in another."""
    x = LAYOUTS[layout](normal(*shape, device=device, dtype=dtype))
    bias, strength = normal(shape[1], device=device, dtype=wide, seed=1), normal(1, device=device, dtype=wide, seed=3)
    return x, bias, normal(samples, 1, *shape[2:], device=device, dtype=wide, seed=2), strength


def gradients(function, tensors, requiring):
    """Gradients of a value that depends on each element in its own way, by name; those that there are."""
    tensors = [t.clone().requires_grad_() if name in requiring else t for name, t in zip(NAMES, tensors, strict=True)]
    value = function(*tensors)
    weights = normal(*value.shape, device=value.device, seed=9)
    inputs_with_grad = [tensor for tensor in tensors if tensor.requires_grad]
    return torch.autograd.grad((value * weights).sum(), inputs_with_grad, allow_unused=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 8, 3, 3), (2, 1, 4, 4), (2, 4, 1, 1)], ids=str)
@pytest.mark.parametrize("one_noise", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_values(device, layout, shape, one_noise, with_bias):
    x, bias, noise, strength = inputs(device, shape=shape, samples=1 if one_noise else shape[0], layout=layout)
    bias = bias if with_bias else None
    out = one_pass(x, bias, noise, strength)
    assert out.stride() == torch.empty_like(x).stride()
    torch.testing.assert_close(out, two_passes(x, bias, noise, strength), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_large_enough_for_several_threads(device, layout):
    tensors = inputs(device, shape=(3, 7, 101, 103), samples=1, layout=layout)
    torch.testing.assert_close(one_pass(*tensors), two_passes(*tensors), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_of_another_dtype_than_x(device, dtype, layout):
    tensors = inputs(device, dtype=dtype, wide=torch.float32, layout=layout)
    out = one_pass(*tensors)
    assert out.dtype == dtype
    wide = two_passes(*(tensor.double() for tensor in tensors))
    torch.testing.assert_close(out.double(), wide, rtol=2 * max(DTYPES[dtype], 1e-7), atol=6 * max(DTYPES[dtype], 1e-7))
    found = gradients(one_pass, tensors, NAMES)
    assert [gradient.dtype for gradient in found] == [dtype, *[torch.float32] * 3]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
@pytest.mark.parametrize("samples", [1, 2])
def test_first_and_second_gradients(device, layout, samples):
    tensors = [tensor.requires_grad_() for tensor in inputs(device, shape=(2, 3, 2, 2), samples=samples, layout=layout)]
    assert torch.autograd.gradcheck(one_pass, tensors, atol=1e-9, rtol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(one_pass, tensors, atol=1e-9, rtol=1e-7, fast_mode=True)


@pytest.mark.parametrize("requiring", [("x",), ("bias",), ("noise",), ("strength",), ("x", "noise"), NAMES], ids=str)
@pytest.mark.parametrize("samples", [1, 2])
def test_gradients_are_those_of_two_passes(device, requiring, samples):
    tensors = inputs(device, samples=samples)
    found, expected = (gradients(function, tensors, requiring) for function in (one_pass, two_passes))
    for actual, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-12, atol=1e-12)


def test_second_gradients_exist_where_those_of_two_passes_do(device):
    def second(function):
        tensors = [tensor.requires_grad_() for tensor in inputs(device)]
        first = torch.autograd.grad(function(*tensors).pow(2).sum(), tensors, create_graph=True)
        results = []
        for gradient in first:
            results += torch.autograd.grad(gradient.sum(), tensors, retain_graph=True, allow_unused=True)
        return results

    for actual, reference in zip(second(one_pass), second(two_passes), strict=True):
        assert (actual is None) == (reference is None)
        if actual is not None:
            torch.testing.assert_close(actual, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("with_bias", [False, True])
def test_gradients_for_a_constant_noise(device, layout, samples, with_bias):
    """In training the noise strength needs a gradient and the noise does not."""
    x, bias, noise, strength = inputs(device, shape=(2, 3, 2, 2), samples=samples, layout=layout)
    inputs_with_grad = [tensor.requires_grad_() for tensor in ((x, bias, strength) if with_bias else (x, strength))]

    def function(x, *others):
        return one_pass(x, others[0] if with_bias else None, noise, others[-1])

    assert torch.autograd.gradcheck(function, inputs_with_grad, atol=1e-9, rtol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs_with_grad, atol=1e-9, rtol=1e-7, fast_mode=True)


@pytest.mark.parametrize("bias_sum", [False, True])
@pytest.mark.parametrize("with_noise", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_backward_operator_is_sound(device, bias_sum, with_noise, layout):
    grad, output = (LAYOUTS[layout](normal(2, 3, 2, 2, device=device, seed=seed)) for seed in (0, 1))
    noise = normal(2, 1, 2, 2, device=device, seed=2) if with_noise else None
    operator = torch.ops.semantic_gan.bias_act_backward.default

    def function(grad):
        results = operator(grad, output, noise, bias_sum, 1, 0.2, 1.5)
        return tuple(result for result in results if result.numel() > 0)

    torch.library.opcheck(operator, (grad.requires_grad_(), output, noise, bias_sum, 1, 0.2, 1.5))
    assert torch.autograd.gradcheck(function, grad, atol=1e-9, rtol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, grad, atol=1e-9, rtol=1e-7, fast_mode=True)


def test_nothing_is_summed_that_nobody_asked_for(device):
    x, bias, noise, strength = inputs(device)
    out = one_pass(x.requires_grad_(), bias, noise, strength)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        out.backward(torch.ones_like(out))
    assert "aten::sum" not in {event.name for event in profile.events()}


def test_empty_batch(device):
    tensors = [t.requires_grad_() for t in inputs(device, shape=(0, 3, 4, 4), samples=1)]
    found = torch.autograd.grad(one_pass(*tensors).sum(), tensors)
    assert [gradient.shape for gradient in found] == [tensor.shape for tensor in tensors]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_registration_is_sound(device, layout):
    tensors = [tensor.requires_grad_() for tensor in inputs(device, samples=1, layout=layout)]
    torch.library.opcheck(torch.ops.semantic_gan.bias_act.default, (*tensors, 1, 0.2, 1.5))


def test_compiles_as_one_graph(device):
    tensors = inputs(device)
    compiled = torch.compile(lambda *tensors: one_pass(*tensors) + 1, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*tensors), one_pass(*tensors) + 1)


X = torch.ones(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X, {"noise": torch.ones(2, 1, 4, 5)}, "go together"),
        (X, {"noise_strength": torch.ones(1)}, "go together"),
        (X, {"noise": torch.ones(3, 1, 4, 5), "noise_strength": torch.ones(1)}, r"not .* noise \[3, 1, 4, 5\]"),
        (X, {"noise": torch.ones(2, 3, 4, 5), "noise_strength": torch.ones(1)}, r"not .* noise \[2, 3, 4, 5\]"),
        (X, {"noise": torch.ones(4, 5), "noise_strength": torch.ones(1)}, r"not .* noise \[4, 5\]"),
        (X, {"noise": torch.ones(2, 1, 4, 5), "noise_strength": torch.ones(3)}, r"not .* noise_strength \[3\]"),
        (X, {"noise": torch.ones(2, 1, 4, 5), "noise_strength": torch.ones(1), "dim": 2}, "not .* dim 2"),
        (X[0], {"noise": torch.ones(2, 1, 4, 5), "noise_strength": torch.ones(1)}, r"not x \[3, 4, 5\]"),
        (X, {"noise": torch.ones(2, 1, 4, 5, device="meta"), "noise_strength": torch.ones(1)}, "noise is on meta"),
    ],
)
def test_bad_arguments(x, options, message):
    with pytest.raises(ValueError, match=message):
        ops.bias_act(x, **options)
