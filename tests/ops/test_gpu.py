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
    """The names of the kernels that a call starts."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    if not names:
        pytest.skip("the profiler sees no kernels here (it may lack the right to)")
    return " ".join(names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_compiled_kernels_are_those_that_run(gpu, dtype, layout):
    x = torch.randn(2, 8, 16, 16, device=gpu, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    bias, noise, strength = torch.ones(8, device=gpu), torch.ones(2, 1, 16, 16, device=gpu), torch.ones(1, device=gpu)
    taps = torch.tensor(SMOOTH, device=gpu)

    def backward(out):
        out.backward(torch.ones_like(out))

    assert ops.backend("cuda") == "compiled"
    names = kernels_of(lambda: backward(ops.bias_act(x, bias, noise=noise, noise_strength=strength)))
    assert "bias_act_kernel" in names
    assert "bias_act_backward_kernel" in names
    assert "elementwise" not in names.partition("bias_act_kernel")[2].partition("bias_act_backward_kernel")[0]
    for options in ({"padding": 1}, {"up": 2, "padding": (2, 1)}, {"down": 2, "padding": 1}):
        assert "upfirdn2d_tiles_kernel" in kernels_of(lambda options=options: ops.upfirdn2d(x, taps, **options))
    assert "upfirdn2d_kernel" in kernels_of(lambda: ops.upfirdn2d(x, torch.outer(taps, taps), padding=1))


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
        assert torch.equal(out[sample], one[0])
