"""Convolutions closed under differentiation: PyTorch's values, and no kernel that is larger than the weight."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import ops
from ops import convolution

CASES = [  # transposed, stride, padding, x, weight
    (False, 1, 1, (2, 3, 6, 5), (4, 3, 3, 3)),
    (False, 2, 0, (2, 3, 7, 9), (4, 3, 3, 3)),
    (False, 2, 0, (2, 3, 8, 9), (4, 3, 3, 3)),  # the stride skips a row
    (False, 1, 0, (2, 3, 4, 4), (4, 3, 1, 1)),
    (True, 2, 0, (2, 3, 4, 5), (3, 4, 3, 3)),
    (True, 1, 1, (2, 3, 4, 5), (3, 4, 3, 3)),
]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


def closed(x, weight, transposed, stride, padding):
    """The convolution that runs on GPUs."""
    return convolution._Convolution.apply(x, weight, convolution._Geometry(stride, padding, transposed))


def plain(x, weight, transposed, stride, padding):
    function = F.conv_transpose2d if transposed else F.conv2d
    return function(x, weight, stride=stride, padding=padding)


def inputs(case, device="cpu", dtype=torch.float64):
    transposed, stride, padding, *shapes = case
    tensors = [torch.randn(shape, dtype=dtype).to(device).requires_grad_() for shape in shapes]
    return tensors, (transposed, stride, padding)


def penalty_gradients(function, x, weight, options):
    """Gradients of a penalty on the input's gradient."""
    output = F.leaky_relu(function(x, weight, *options), 0.2)
    (gradient,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), [x, weight])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_values_and_gradients_are_those_of_pytorch(case, device, layout):
    (x, weight), options = inputs(case, device)
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    torch.testing.assert_close(closed(x, weight, *options), plain(x, weight, *options))
    actual = penalty_gradients(closed, x, weight, options)
    torch.testing.assert_close(actual, penalty_gradients(plain, x, weight, options))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_of_the_first_and_second_order(case):
    tensors, options = inputs(case)
    assert torch.autograd.gradcheck(lambda x, weight: closed(x, weight, *options), tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, weight: closed(x, weight, *options), tensors, fast_mode=True)


class Convolutions(TorchDispatchMode):
    """Lists the kernel sizes of the convolutions inside the block, and counts weight gradients."""

    def __init__(self):
        super().__init__()
        self.kernels, self.weight_gradients = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func == torch.ops.aten.convolution.default:
            self.kernels.add(tuple(args[1].shape[2:]))
        if func == torch.ops.aten.convolution_backward.default:
            self.kernels.add(tuple(args[2].shape[2:]))
            self.weight_gradients += args[-1][1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_kernel_is_larger_than_the_weight(case):
    (x, weight), options = inputs(case, "meta")
    function = ops.conv_transpose2d if options[0] else ops.conv2d
    with Convolutions() as seen:
        penalty_gradients(
            lambda x, w, _, stride, padding: function(x, w, stride=stride, padding=padding), x, weight, options
        )
    assert seen.kernels == {tuple(weight.shape[2:])}


def test_pytorch_makes_larger_ones():
    """Larger kernels are seen by the test above."""
    (x, weight), options = inputs(CASES[0], "meta")
    with Convolutions() as seen:
        penalty_gradients(plain, x, weight, options)
    assert max(seen.kernels) > (3, 3)


def test_no_parameter_gradients_leaves_the_weight_out():
    (x, weight), options = inputs(CASES[0])
    output = closed(x, weight, *options)
    with ops.no_parameter_gradients(), Convolutions() as seen:
        (gradient,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    assert seen.weight_gradients == 0
    gradient.square().sum().backward()
    (expected,) = torch.autograd.grad(plain(x, weight, *options).square().sum(), x, create_graph=True)
    torch.testing.assert_close(weight.grad, torch.autograd.grad(expected.square().sum(), weight)[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast(device, dtype):
    """The output has the type of PyTorch's convolution, gradients those of the inputs."""
    (x, weight), options = inputs(CASES[0], device, dtype)
    with torch.autocast(device, torch.bfloat16):
        expected = plain(x, weight, *options)
        actual = closed(ops.cast_for_autocast(x), ops.cast_for_autocast(weight), *options)
    torch.testing.assert_close(actual, expected)
    actual.sum().backward()
    assert x.grad.dtype == weight.grad.dtype == dtype


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compiled(case):
    (x, weight), options = inputs(case)
    compiled = torch.compile(closed, fullgraph=True, backend="aot_eager")
    output = compiled(x, weight, *options)
    output.square().sum().backward()
    expected = torch.autograd.grad(plain(x, weight, *options).square().sum(), [x, weight])
    torch.testing.assert_close([x.grad, weight.grad], list(expected))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_gain_scales_the_weight(device, gain):
    (x, weight), (_, stride, padding) = inputs(CASES[0], device, torch.float32)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = ops.conv2d(x, weight, gain=gain, stride=stride, padding=padding)
            expected = (
                F.conv2d(x.cpu(), weight.cpu() * gain, stride=stride, padding=padding) if device == "cpu" else None
            )
        assert output.dtype == (torch.bfloat16 if enabled else torch.float32)
        if expected is not None:
            torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_scaled_and_cast_at_once(device):
    """Values of the product rounded once, gradients in the weight's type, derivatives of every order."""
    weight = torch.randn(4, 3, 3, 3, device=device, requires_grad=True)
    with torch.autocast(device, torch.bfloat16):
        scaled = convolution._scaled(weight, 0.3)
    assert torch.equal(scaled, (weight * 0.3).bfloat16())
    gradient = torch.randn_like(scaled)
    scaled.backward(gradient)
    assert torch.equal(weight.grad, gradient.float() * 0.3)
    double = weight.detach().double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda w: convolution._ScaledCast.apply(w, 0.3, torch.float64), double)


@pytest.mark.parametrize(
    ("capability", "dtype", "contiguous"),
    [((7, 0), torch.float32, True), ((7, 0), torch.float16, False), ((8, 0), torch.float32, False)],
)
def test_layout_by_compute_capability(monkeypatch, capability, dtype, contiguous):
    """The layout that cuDNN gets; the GPU is simulated."""
    monkeypatch.setattr(convolution, "_capability", lambda device: capability)
    x, weight = (
        torch.empty(shape, dtype=dtype, device="meta").contiguous(memory_format=torch.channels_last)
        for shape in ((2, 16, 8, 8), (8, 16, 3, 3))
    )
    given = []
    monkeypatch.setattr(convolution, "_convolve", lambda x, weight, *_: given.extend([x, weight]) or x)
    ops.conv2d(x, weight, padding=1)
    ops.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    assert [tensor.is_contiguous() for tensor in given] == [contiguous] * 4


def test_gradients_keep_the_layout_of_the_input():
    """A gradient in another layout is reordered."""
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(8, 8, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(closed(x, weight, False, 1, 1), x, torch.randn(2, 8, 6, 6))
    assert gradient.is_contiguous(memory_format=torch.channels_last)
