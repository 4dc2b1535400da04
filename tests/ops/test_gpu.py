"""What only a GPU can show; all other tests of the operators run there too, wherever one is found."""

import pytest
import torch

import ops
from ops import _toolchain
from tests.ops.test_upfirdn2d import SMOOTH

LAYOUTS = [torch.contiguous_format, torch.channels_last]
HUGE = 2**31 + 2**16  # elements that 32-bit indices do not reach


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
    """The names of the kernels that a call starts, in their order."""
    call()  # what happens only once, happens now
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    if not events:
        pytest.skip("the profiler sees no kernels here (it may lack the right to)")
    return [event.name for event in sorted(events, key=lambda event: event.time_range.start)]


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
    backward = only_kernel(lambda: torch.ops.semantic_gan.bias_act_backward(x, x, 0.2, 1.0))
    assert "bias_act_backward_kernel" in backward
    for options in ({"padding": 1}, {"up": 2, "padding": (2, 1)}, {"down": 2, "padding": 1}):
        filtered = only_kernel(lambda options=options: ops.upfirdn2d(x, taps, **options))
        assert "upfirdn2d_tiles_kernel" in filtered
    full = torch.outer(taps, taps)
    assert "upfirdn2d_kernel" in only_kernel(lambda: ops.upfirdn2d(x, full, padding=1))


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
    gradient = torch.ops.semantic_gan.bias_act_backward(x, out, 0.5, 2.0)
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
