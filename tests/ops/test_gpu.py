"""Tests that need a GPU; all other tests of the operators also run on a GPU if there is one."""

import pytest
import torch

import ops
from ops import _toolchain
from ops.bias_act import reference_gradients
from ops.upfirdn2d import branch_filtered
from tests.ops.test_upfirdn2d import SMOOTH

LAYOUTS = [torch.contiguous_format, torch.channels_last]
HUGE = 2**31 + 2**16  # elements that 32-bit indices do not reach


@pytest.mark.long
def test_cuda_sources_compile_link_and_load():
    if (reason := _toolchain.missing("cuda")) is not None:
        pytest.skip(reason)
    ops.load_compiled("cuda")
    assert ops.backend("cuda") == "compiled"


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here: the tests of the operators ran on the CPU only")
    try:
        ops.load_compiled("cuda")
    except ops.OpsUnavailable as error:
        pytest.skip(str(error))
    return torch.device("cuda")


def kernels_of(call):
    """Return the names of the kernels that a call launches, in order."""
    call()  # what happens only once, happens now
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    if not events:
        pytest.skip("the profiler sees no kernels here (it may lack the right to)")
    names = [event.name for event in sorted(events, key=lambda event: event.time_range.start)]
    return [name for name in names if "Memset" not in name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_compiled_kernels_are_those_that_run(gpu, dtype, layout):
    x = torch.randn(2, 8, 16, 16, device=gpu, dtype=dtype).contiguous(memory_format=layout)
    wide = torch.promote_types(dtype, torch.float32)
    bias, noise, strength = (torch.ones(shape, device=gpu, dtype=wide) for shape in [(8,), (2, 1, 16, 16), (1,)])
    taps = torch.tensor(SMOOTH, device=gpu, dtype=wide)

    def only_kernel(call):
        (name,) = kernels_of(call)
        return name

    assert ops.backend("cuda") == "compiled"
    forward = only_kernel(lambda: ops.bias_act(x, bias, noise=noise, noise_strength=strength))
    assert "bias_act_kernel" in forward
    backward = torch.ops.semantic_gan.bias_act_backward
    assert "bias_act_backward_kernel" in only_kernel(lambda: backward(x, x, None, False, 1, 0.2, 1.0))
    # So little takes one block a channel, which leaves nothing to add up.
    small = x[:1, :, :8, :8].contiguous(memory_format=layout)
    assert "bias_act_sums_kernel" in only_kernel(lambda: backward(small, small, None, True, 1, 0.2, 1.0))
    for options in ({"padding": 1}, {"up": 2, "padding": (2, 1)}, {"down": 2, "padding": 1}):
        filtered = only_kernel(lambda options=options: ops.upfirdn2d(x, taps, **options))
        assert "upfirdn2d_tiles_kernel" in filtered
    full = torch.outer(taps, taps)
    assert "upfirdn2d_kernel" in only_kernel(lambda: ops.upfirdn2d(x, full, padding=1))


SUMMED_SHAPES = [(4, 64, 128, 128), (3, 24, 33, 32), (2, 13, 37, 41), (16, 512, 4, 4), (2, 104, 9, 9), (64, 512)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SUMMED_SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("samples", [0, 1, None])
def test_gradients_of_parameters_are_right_and_reproducible(gpu, dtype, shape, layout, samples):
    if len(shape) == 2 and (samples != 0 or layout == torch.channels_last):
        pytest.skip("noise and channels_last are for images")
    grad, output = (torch.randn(shape, device=gpu, dtype=dtype) for _ in range(2))
    noise = None
    if len(shape) == 4:
        grad, output = (tensor.contiguous(memory_format=layout) for tensor in (grad, output))
        if samples != 0:
            wide = torch.promote_types(dtype, torch.float32)
            noise = torch.randn(samples or shape[0], 1, *shape[2:], device=gpu, dtype=wide)
    arguments = noise, True, 1, 0.2, 1.5
    found = torch.ops.semantic_gan.bias_act_backward(grad, output, *arguments)
    expected = reference_gradients(
        grad.double(), output.double(), None if noise is None else noise.double(), *arguments[1:]
    )
    rounding = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}.get(dtype, 1e-6)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=rounding, atol=rounding)
    assert found[0].stride() == output.stride()
    # Where the kernel does not cover the case, it is rounded values that are summed.
    precision = {torch.float64: 1e-13, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    for actual, reference in zip(found[1:], expected[1:], strict=True):
        scale = grad.numel() ** 0.5
        torch.testing.assert_close(actual.double(), reference, rtol=min(precision, 1e-5), atol=scale * precision)
    for _ in range(3):
        again = torch.ops.semantic_gan.bias_act_backward(grad, output, *arguments)
        assert all(torch.equal(first, second) for first, second in zip(found, again, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_one_kernel_and_a_small_sum_run_in_the_backward_pass(gpu, layout):
    x = torch.randn(8, 64, 256, 256, device=gpu, dtype=torch.bfloat16).contiguous(memory_format=layout)
    noise = torch.randn(8, 1, 256, 256, device=gpu)
    backward = torch.ops.semantic_gan.bias_act_backward
    first, *others = kernels_of(lambda: backward(x, x, None, True, 1, 0.2, 1.0))
    assert "bias_act_sums_kernel" in first
    assert len(others) == 1
    first, *others = kernels_of(lambda: backward(x, x, noise, True, 1, 0.2, 1.0))
    assert "bias_act_sums_kernel" in first
    assert len(others) == 2
    (only,) = kernels_of(lambda: backward(x, x, None, False, 1, 0.2, 1.0))
    assert "bias_act_backward_kernel" in only


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [(2, 8, 67, 65), (1, 6, 33, 34), (3, 16, 128, 128)], ids=str)
@pytest.mark.parametrize("options", [{"padding": 2}, {"up": 2, "padding": (2, 1)}, {"up": 2, "padding": 2}], ids=str)
def test_addend_is_added_in_the_kernel(gpu, dtype, layout, size, options):
    x = torch.randn(size, device=gpu, dtype=dtype).contiguous(memory_format=layout)
    taps = torch.tensor(SMOOTH, device=gpu, dtype=torch.float64) / 8
    expected = ops.upfirdn2d(x.double(), taps, **options)
    for addend_layout in LAYOUTS:
        addend = torch.randn_like(expected).to(dtype).contiguous(memory_format=addend_layout)
        out = ops.upfirdn2d(x, taps, **options, addend=addend)
        rounding = {torch.float16: 4e-3, torch.bfloat16: 3e-2}.get(dtype, 1e-6)
        torch.testing.assert_close(out.double(), expected + addend, rtol=rounding, atol=rounding)
    if "up" in options:
        addend = addend.contiguous(memory_format=layout)
        arguments = arguments_of(x, taps, options)
        (only,) = kernels_of(lambda: torch.ops.semantic_gan.upfirdn2d(*arguments, addend))
        assert "upfirdn2d_tiles_kernel" in only


def arguments_of(x, taps, options):
    """Return the operator's arguments except the addend, with the filter in its compute dtype."""
    padding = options["padding"]
    sides = [padding] * 4 if isinstance(padding, int) else [*padding] * 2
    return x, taps.to(torch.promote_types(x.dtype, torch.float32)), [2, 2], [1, 1], sides, False, 1.0


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_two_gradients_meet_in_one_kernel(gpu, layout):
    x = torch.randn(4, 16, 64, 64, device=gpu, dtype=torch.bfloat16).contiguous(memory_format=layout).requires_grad_()
    taps = torch.tensor(SMOOTH, device=gpu)
    outputs = branch_filtered(x, taps, down=2, padding=1)
    grads = [torch.randn_like(output) for output in outputs]
    (only,) = kernels_of(lambda: torch.autograd.grad(outputs, x, grads, retain_graph=True))
    assert "upfirdn2d_tiles_kernel" in only


def require_memory(gigabytes):
    free = torch.cuda.mem_get_info()[0] / 2**30
    if free < gigabytes:
        pytest.skip(f"needs {gigabytes} GiB of GPU memory, {free:.1f} are free")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_bias_act_beyond_32_bits(gpu, layout):
    require_memory(20)
    side = 512
    samples = HUGE // (16 * side * side) + 1
    x = torch.empty(samples, 16, side, side, device=gpu, dtype=torch.bfloat16, memory_format=layout).fill_(-3.0)
    x[-1] = 1.0
    bias = torch.arange(16, device=gpu, dtype=torch.float32)
    noise = torch.ones(1, 1, side, side, device=gpu)
    out = ops.bias_act(x, bias, noise=noise, noise_strength=torch.ones(1, device=gpu), slope=0.5, gain=2.0)
    for sample in (0, samples // 2, samples - 2, samples - 1):
        expected = torch.nn.functional.leaky_relu(x[sample, :, 0, 0].float() + 1 + bias, 0.5) * 2
        assert (out[sample] == expected[:, None, None]).all()
    gradient, grad_bias, grad_strength = torch.ops.semantic_gan.bias_act_backward(x, out, noise, True, 1, 0.5, 2.0)
    ends = torch.where(out[[0, -1]] > 0, 2, 1) * x[[0, -1]]  # all samples but the last are equal
    by_channel = (ends[0].double() * (samples - 1) + ends[1].double()).sum((1, 2))
    torch.testing.assert_close(grad_bias.double(), by_channel, rtol=1e-4, atol=0)
    torch.testing.assert_close(grad_strength.double(), by_channel.sum().view(1), rtol=1e-4, atol=0)
    for sample in (0, samples - 1):
        assert (gradient[sample] == torch.where(out[sample] > 0, 2, 1) * x[sample]).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("general", [False, True])
def test_upfirdn2d_beyond_32_bits(gpu, layout, general):
    require_memory(20)
    side = 512
    samples = HUGE // (16 * side * side) + 1
    x = torch.empty(samples, 16, side, side, device=gpu, dtype=torch.bfloat16, memory_format=layout)
    generator = torch.Generator(gpu).manual_seed(0)
    x.copy_(torch.randn(1, 16, side, side, device=gpu, generator=generator))
    taps = torch.tensor(SMOOTH, device=gpu) / 8
    taps = torch.outer(taps, taps) if general else taps
    out = ops.upfirdn2d(x, taps, padding=(2, 1))
    one = ops.upfirdn2d(x[:1].contiguous(memory_format=layout), taps, padding=(2, 1))
    for sample in (0, samples // 2, samples - 1):
        torch.testing.assert_close(out[sample], one[0])
