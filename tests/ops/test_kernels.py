"""The CUDA kernels without a GPU: run on the CPU thread by thread, and compiled for real GPUs."""

import ctypes
import importlib.util
import itertools
from pathlib import Path

import pytest
import torch

import ops
from ops import _toolchain
from ops.bias_act import reference as bias_act_reference
from ops.bias_act import reference_backward, reference_gradients
from ops.upfirdn2d import _output_size
from ops.upfirdn2d import reference as upfirdn2d_reference
from tests.ops.test_upfirdn2d import LOPSIDED, SETTINGS, normal, pair, sides
from tests.processes import run_command

SOURCES = Path(ops.__file__).parent / "csrc"
KERNELS = [
    *(
        f"bias_act_kernel<{{0}}, {{1}}, semantic_gan::Order::{order}, {{2}}>"
        for order in ("kPlanes", "kPixels", "kMixed")
    ),
    "bias_act_kernel<{0}, {1}, semantic_gan::Order::kMixed, 1>",
    "bias_act_backward_kernel<{0}, {1}, {2}>",
    "bias_act_backward_kernel<{0}, {1}, 1>",
    "bias_act_sums_kernel<{0}, {1}, semantic_gan::Order::kPlanes, {2}>",
    "bias_act_sums_kernel<{0}, {1}, semantic_gan::Order::kPixels, {2}>",
    "upfirdn2d_kernel<{0}, {1}>",
]
TILE_CASES = ["1, 1, 0", "1, 2, 0", "2, 1, 0", "2, 1, 1"]  # up, down, phase
TILE_KERNELS = [
    f"upfirdn2d_tiles_kernel<{{0}}, {case}, {variant}, {addend}>"
    for case in TILE_CASES
    for variant in ("false, 1", "true, 1", "true, {1}")
    for addend in ("false", "true")
    if case.startswith("2") or addend == "false"
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
# Rounding of the result, and of sums that are made in another order.
TOLERANCES = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 8e-3}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    if (compiler := _toolchain.missing("cpu")) is not None:
        pytest.skip(compiler)
    library = tmp_path_factory.mktemp("emulator") / "emulated_cuda.so"
    source = Path(__file__).with_name("emulated_cuda.cpp")
    # Packs are read through pointers to another type, which only CUDA promises to allow. Ubuntu's compilers define
    # _FORTIFY_SOURCE by default: here as well, so that all machines test the same.
    options = ["-std=c++17", "-O1", "-D_FORTIFY_SOURCE=3", "-fno-strict-aliasing", "-shared", "-fPIC", f"-I{SOURCES}"]
    run_command([_toolchain.cxx(), *options, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.upfirdn2d.restype = ctypes.c_bool
    yield loaded
    assert loaded.misaligned_accesses() == 0, "a GPU would have stopped there"


def pointer(tensor):
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def placed(tensor, offset):
    """Return a copy with the same strides, surrounded by NaNs, `offset` elements after an aligned address."""
    margin = 64
    storage = torch.full([tensor.numel() + 2 * margin], torch.nan, dtype=tensor.dtype)
    return storage.as_strided(tensor.shape, tensor.stride(), margin + offset).copy_(tensor)


def wide(dtype):
    return torch.promote_types(dtype, torch.float32)


def assert_rounds_to(actual, expected):
    tolerance = TOLERANCES[actual.dtype]
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 7, 8, 10, 641, 65535, 65536, 715827883, 2**30, 2**31 - 1])
def test_divisor(emulator, divisor):
    remainder = ctypes.c_int()
    for multiple in {0, 1, 2, 3, (2**31 - 1) // divisor // 2, (2**31 - 1) // divisor}:
        for number in range(multiple * divisor - 2, multiple * divisor + 3):
            if 0 <= number < 2**31:
                quotient = emulator.divide(number, divisor, ctypes.byref(remainder))
                assert (quotient, remainder.value) == divmod(number, divisor)


def run_bias_act(emulator, x, bias, noise, strength, *, long_index=False, offset=0):
    """Return the kernel's result at an address that is `offset` elements after an aligned one."""
    x = placed(x, offset)
    out = placed(torch.full_like(x, torch.nan), offset)
    contiguous = x.is_contiguous()
    inner = x.stride(1) if noise is None or not contiguous else x.shape[2] * x.shape[3]
    plain = bias is None and noise is None
    pixels = 1 if noise is None else noise.numel()
    sizes = (x.numel(), x.numel() if plain else inner, 1 if plain else x.shape[1], pixels)
    emulator.bias_act(
        *(x.element_size(), ctypes.c_bool(long_index), pointer(x), pointer(out)),
        *(pointer(bias), pointer(noise), pointer(strength), (ctypes.c_longlong * 4)(*sizes)),
        *(ctypes.c_double(0.2), ctypes.c_double(1.5)),
    )
    return out


# Channels and sides that fill packs of 2, 4 and 8, or some of them, or leave a rest; one pixel; one channel.
BIAS_ACT_SHAPES = [(2, 3, 4, 5), (3, 16, 3, 3), (2, 8, 1, 7), (2, 5, 4, 8), (3, 6, 7, 9), (2, 8, 1, 1), (3, 1, 4, 5)]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("shape", BIAS_ACT_SHAPES, ids=str)
@pytest.mark.parametrize("inputs", ["", "bias", "noise", "bias, noise", "bias, noise of one"])
def test_bias_act_kernels(emulator, dtype, layout, shape, inputs):
    x = normal(*shape, dtype=dtype).contiguous(memory_format=layout)
    bias = normal(shape[1], dtype=wide(dtype), seed=1) if "bias" in inputs else None
    noise = strength = None
    if "noise" in inputs:
        samples = 1 if "of one" in inputs else shape[0]
        noise, strength = (
            normal(samples, 1, *shape[2:], dtype=wide(dtype), seed=2),
            normal(1, dtype=wide(dtype), seed=3),
        )
    expected = bias_act_reference(x.to(wide(dtype)), bias, noise, strength, 1, 0.2, 1.5)
    for long_index in (False, True):
        for offset in (0, 1):
            actual = run_bias_act(emulator, x, bias, noise, strength, long_index=long_index, offset=offset)
            assert_rounds_to(actual, expected)


def test_bias_act_kernel_with_misaligned_bias_and_noise(emulator):
    x = normal(2, 8, 4, 4, dtype=torch.float32)
    bias, noise = placed(normal(8, dtype=x.dtype), 1), placed(normal(2, 1, 4, 4, dtype=x.dtype), 3)
    strength = torch.ones(1)
    for layout in LAYOUTS:
        actual = run_bias_act(emulator, x.contiguous(memory_format=layout), bias, noise, strength)
        assert_rounds_to(actual, bias_act_reference(x, bias, noise, strength, 1, 0.2, 1.5))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("count", [1, 5, 16, 1003])
@pytest.mark.parametrize("offset", [0, 1])
def test_bias_act_backward_kernel(emulator, dtype, count, offset):
    grad, output = placed(normal(count, dtype=dtype), offset), placed(normal(count, dtype=dtype, seed=1), offset)
    out = placed(torch.full_like(grad, torch.nan), offset)
    slope, gain = ctypes.c_double(0.2), ctypes.c_double(1.5)
    arguments = pointer(grad), pointer(output), pointer(out), count, slope, gain
    emulator.bias_act_backward(grad.element_size(), *arguments)
    assert_rounds_to(out, reference_backward(grad.to(wide(dtype)), output.to(wide(dtype)), 0.2, 1.5))


# As above, and more than all threads read at once, odd numbers of packs a pixel, more packs than a block has threads.
SUMS_SHAPES = [*BIAS_ACT_SHAPES, (2, 8, 96, 97), (3, 24, 33, 32), (5, 104, 8, 8), (2, 40, 4, 8), (1, 2056, 1, 3)]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("shape", SUMS_SHAPES, ids=str)
@pytest.mark.parametrize("inputs", ["bias", "noise", "bias, noise", "bias, noise of one"])
def test_bias_act_backward_kernel_with_sums(emulator, dtype, layout, shape, inputs):
    grad, output = (
        placed(normal(*shape, dtype=dtype, seed=seed).contiguous(memory_format=layout), 0) for seed in (0, 1)
    )
    samples = 1 if "of one" in inputs else shape[0]
    noise = placed(normal(samples, 1, *shape[2:], dtype=wide(dtype), seed=2), 0) if "noise" in inputs else None
    inner = grad.stride(1) if noise is None or not grad.is_contiguous() else shape[2] * shape[3]
    sizes = (ctypes.c_longlong * 4)(grad.numel(), inner, shape[1], 1 if noise is None else noise.numel())
    expected = reference_gradients(grad.to(wide(dtype)), output.to(wide(dtype)), noise, "bias" in inputs, 1, 0.2, 1.5)
    for long_index in (False, True):
        out = placed(torch.full_like(grad, torch.nan), 0)
        by_channel = torch.full([shape[1]], torch.nan, dtype=wide(dtype)) if "bias" in inputs else None
        of_noise = torch.full([1], torch.nan, dtype=wide(dtype)) if noise is not None else None
        order = emulator.bias_act_sums(
            *(grad.element_size(), ctypes.c_bool(long_index), pointer(grad), pointer(output), pointer(out)),
            *(pointer(noise), sizes, pointer(by_channel), pointer(of_noise)),
            *(ctypes.c_double(0.2), ctypes.c_double(1.5)),
        )
        pack = 16 // grad.element_size()
        planes, pixels = inner % pack == 0, inner == 1 and shape[1] % pack == 0 and shape[1] // pack <= 256
        assert order == (0 if planes else 1 if pixels else -1)
        if order == -1:
            continue
        assert_rounds_to(out, expected[0])
        precision = 1e-12 if dtype == torch.float64 else 2e-5
        for actual, reference in [(by_channel, expected[1]), (of_noise, expected[2])]:
            if actual is not None:
                scale = grad.numel() ** 0.5
                torch.testing.assert_close(actual, reference, rtol=precision, atol=scale * precision)


def run_upfirdn2d(emulator, x, kernel, setting, *, flip=False, offset=0, with_addend=False):
    """Return the result, the expected result, and True if the kernel for any filter computed it."""
    up, down, padding = pair(setting[0]), pair(setting[1]), sides(setting[2])
    expected = upfirdn2d_reference(x.to(wide(x.dtype)), kernel, up, down, padding, flip, 2.0)
    x = placed(x, offset)
    out = placed(torch.full_like(expected, torch.nan, dtype=x.dtype), offset)
    addend = placed(torch.randn_like(out), offset) if with_addend else None
    axes = [
        number
        for axis in (0, 1)
        for number in (
            *(x.shape[2 + axis], out.shape[2 + axis], kernel.shape[0 if axis == 0 else -1]),
            *(up[axis], down[axis], padding[2 * axis]),
        )
    ]
    last = not x.is_contiguous()
    added = ctypes.c_bool()
    general = emulator.upfirdn2d(
        *(x.element_size(), pointer(x), pointer(kernel), pointer(addend), pointer(out)),
        *((ctypes.c_longlong * 12)(*axes), *x.shape[:2]),
        *(ctypes.c_bool(last), ctypes.c_bool(kernel.ndim == 1), ctypes.c_bool(flip), ctypes.c_double(2.0)),
        ctypes.byref(added),
    )
    if with_addend:
        assert added.value == (not general and up == (2, 2))
        expected = expected + addend if added.value else expected
    return out, expected, general


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kernel", [torch.tensor(LOPSIDED).double(), normal(3, 2, seed=1)], ids=["separable", "full"])
@pytest.mark.parametrize("flip", [False, True])
def test_upfirdn2d_kernel_for_any_filter(emulator, setting, layout, kernel, flip):
    x = normal(2, 3, 9, 8).contiguous(memory_format=layout)
    actual, expected, general = run_upfirdn2d(emulator, x, kernel, setting, flip=flip)
    assert general
    assert_rounds_to(actual, expected)


# Those of the networks, their transposes, crops, and paddings that reach further than the filter.
TILE_SETTINGS = [
    *((1, 1, padding) for padding in [(1, 1), (2, 2), (2, 1), 0, (-1, 2, -2, 1), (7, 6), (-3, 5, 9, -2)]),
    *((1, 2, padding) for padding in [(1, 1), (2, 2), (1, 2), (0, 1), (-1, 3, -2, 0), (6, 9)]),
    *((2, 1, padding) for padding in [(2, 1), (1, 2), (1, 1), (2, 2), (-1, 0), (-2, -3), (9, 8), (3, 4, 1, 5)]),
]
# Less than one tile and more, even and odd, one row and one column.
TILE_SIZES = [(9, 8), (5, 5), (16, 17), (35, 6), (6, 1), (1, 6)]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("layout", "channels"),
    [(torch.contiguous_format, 3), *((torch.channels_last, channels) for channels in (1, 3, 6, 8))],
    ids=str,
)
@pytest.mark.parametrize("setting", TILE_SETTINGS, ids=str)
def test_upfirdn2d_kernel_for_tiles(emulator, dtype, layout, channels, setting):
    kernel = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=wide(dtype))
    for size, flip, offset in itertools.product(TILE_SIZES, (False, True), (0, 1)):
        x = normal(2, channels, *size, dtype=dtype).contiguous(memory_format=layout)
        if min(_output_size(x, kernel, pair(setting[0]), pair(setting[1]), sides(setting[2]))) < 1:
            continue
        with_addend = flip  # the two have nothing to do with each other
        actual, expected, general = run_upfirdn2d(
            emulator, x, kernel, setting, flip=flip, offset=offset, with_addend=with_addend
        )
        assert not general
        tolerance = TOLERANCES[dtype]
        scale = 100 if dtype != torch.bfloat16 else 4
        torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=scale * tolerance)


ODD_AND_EVEN = [(2, 1, (2, 1, 1, 2)), (2, 1, (1, 2, 2, 1))]
OTHER_FACTORS = [(2, 2, 1), ((1, 2), 1, 1), (1, (2, 1), 1)]


@pytest.mark.parametrize("setting", ODD_AND_EVEN + OTHER_FACTORS, ids=str)
def test_what_the_kernel_for_tiles_does_not_cover(emulator, setting):
    actual, expected, general = run_upfirdn2d(emulator, normal(1, 2, 9, 8), normal(4, seed=1), setting)
    assert general
    assert_rounds_to(actual, expected)


def package_folders(name: str) -> list[Path]:
    """Return the folder of an NVIDIA package if it is installed."""
    spec = importlib.util.find_spec(name) if importlib.util.find_spec("nvidia") else None
    return [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []


@pytest.fixture(scope="module")
def nvrtc():
    """NVRTC 12, the last one that compiles for sm_70."""
    libraries = [path for folder in package_folders("nvidia.cuda_nvrtc") for path in folder.glob("lib/libnvrtc.so.12")]
    if not libraries:
        pytest.skip("NVRTC 12 is not installed (pip install nvidia-cuda-nvrtc-cu12)")
    return ctypes.CDLL(str(libraries[0]))


def compile_with_nvrtc(nvrtc, source, names, options):
    """Compile; return the log of a failure, or None."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    for name in names:
        nvrtc.nvrtcAddNameExpression(program, f"semantic_gan::{name}".encode())
    encoded = [option.encode() for option in options]
    result = nvrtc.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return None if result == 0 else log.value.decode()


@pytest.mark.parametrize(
    ("architecture", "scalar", "pack", "header"),
    [
        pytest.param("sm_70", "float", 4, None, marks=pytest.mark.long),
        pytest.param("sm_70", "double", 2, None, marks=pytest.mark.long),
        pytest.param("sm_70", "__half", 8, "cuda_fp16.h", marks=pytest.mark.long),
        ("sm_70", "__nv_bfloat16", 8, "cuda_bf16.h"),
        pytest.param("sm_80", "__nv_bfloat16", 8, "cuda_bf16.h", marks=pytest.mark.long),
        ("sm_90", "__half", 8, "cuda_fp16.h"),
    ],
)
def test_device_code_compiles_for(nvrtc, architecture, scalar, pack, header):
    options = [f"--gpu-architecture={architecture}", f"--include-path={SOURCES}", "--std=c++17"]
    options.append("--device-as-default-execution-space")  # it refuses host code otherwise, even what nobody calls
    includes = ["bias_act.cuh", "upfirdn2d_launch.cuh"]
    if header is not None:
        found = [folder for folder in package_folders("nvidia.cuda_runtime") if (folder / "include" / header).exists()]
        if not found:
            pytest.skip(f"{header} is not installed (pip install nvidia-cuda-runtime-cu12)")
        options.append(f"--include-path={found[0] / 'include'}")
        includes.append(header)
    source = "\n".join(f'#include "{include}"' for include in includes)
    names = [kernel.format(scalar, index, pack) for kernel in KERNELS for index in ("int", "long long")]
    names += [kernel.format(scalar, pack) for kernel in TILE_KERNELS]
    assert compile_with_nvrtc(nvrtc, source, names, options) is None


def test_nvrtc_reports_what_does_not_compile(nvrtc):
    log = compile_with_nvrtc(nvrtc, "int broken(", [], ["--gpu-architecture=sm_70"])
    assert "error" in log
