"""The CUDA kernels without a GPU: run on the CPU thread by thread, and compiled for real GPUs."""

import ctypes
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
import torch

import ops
from ops import _toolchain
from ops.bias_act import reference as bias_act_reference
from ops.bias_act import reference_backward
from ops.upfirdn2d import reference as upfirdn2d_reference
from tests.ops.test_upfirdn2d import LOPSIDED, SETTINGS, normal, pair, sides

SOURCES = Path(ops.__file__).parent / "csrc"
KERNELS = [
    "bias_act_kernel<{0}, {1}, {2}>",
    "bias_act_backward_kernel<{0}, {1}, {2}>",
    "upfirdn2d_kernel<{0}, {1}, {2}>",
]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    if (compiler := _toolchain.missing("cpu")) is not None:
        pytest.skip(compiler)
    library = tmp_path_factory.mktemp("emulator") / "emulated_cuda.so"
    source = Path(__file__).with_name("emulated_cuda.cpp")
    command = [
        _toolchain.cxx(),
        "-std=c++17",
        "-O1",
        "-shared",
        "-fPIC",
        f"-I{SOURCES}",
        str(source),
        "-o",
        str(library),
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def pointer(tensor):
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_bias_act_kernels(emulator, layout, with_bias):
    x = normal(2, 3, 4, 5).contiguous(memory_format=layout)
    bias = normal(3, seed=1) if with_bias else None
    out, gradient = torch.empty_like(x), torch.empty_like(x)
    slope, gain = ctypes.c_double(0.2), ctypes.c_double(1.5)
    emulator.bias_act(pointer(x), pointer(bias), pointer(out), x.numel(), x.stride(1), 3, slope, gain)
    emulator.bias_act_backward(pointer(x), pointer(out), pointer(gradient), x.numel(), slope, gain)
    torch.testing.assert_close(out, bias_act_reference(x, bias, 1, 0.2, 1.5))
    torch.testing.assert_close(gradient, reference_backward(x, out, 0.2, 1.5))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kernel", [torch.tensor(LOPSIDED).double(), normal(3, 2, seed=1)], ids=["separable", "full"])
@pytest.mark.parametrize("flip", [False, True])
def test_upfirdn2d_kernel(emulator, setting, layout, kernel, flip):
    x = normal(2, 3, 9, 8).contiguous(memory_format=layout)
    up, down, padding = pair(setting[0]), pair(setting[1]), sides(setting[2])
    expected = upfirdn2d_reference(x, kernel, up, down, padding, flip, 2.0)
    out = torch.empty_like(expected)
    axes = [
        number
        for axis in (0, 1)
        for number in (
            *(x.shape[2 + axis], out.shape[2 + axis], kernel.shape[0 if axis == 0 else -1]),
            *(up[axis], down[axis], padding[2 * axis]),
        )
    ]
    emulator.upfirdn2d(
        *(pointer(x), pointer(kernel), pointer(out), (ctypes.c_int * 12)(*axes), 2, 3),
        *(ctypes.c_bool(layout == torch.channels_last), ctypes.c_bool(kernel.ndim == 1), ctypes.c_bool(flip)),
        ctypes.c_double(2.0),
    )
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def package_folders(name: str) -> list[Path]:
    """Where a package of NVIDIA's lies, if it is installed."""
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


@pytest.mark.parametrize("architecture", ["sm_70", "sm_80", "sm_90"])
@pytest.mark.parametrize(
    ("scalar", "wide", "header"),
    [
        ("float", "float", None),
        ("double", "double", None),
        ("__half", "float", "cuda_fp16.h"),
        ("__nv_bfloat16", "float", "cuda_bf16.h"),
    ],
)
def test_device_code_compiles_for(nvrtc, architecture, scalar, wide, header):
    options = [f"--gpu-architecture={architecture}", f"--include-path={SOURCES}", "--std=c++17"]
    includes = ["bias_act.cuh", "upfirdn2d.cuh"]
    if header is not None:
        found = [folder for folder in package_folders("nvidia.cuda_runtime") if (folder / "include" / header).exists()]
        if not found:
            pytest.skip(f"{header} is not installed (pip install nvidia-cuda-runtime-cu12)")
        options.append(f"--include-path={found[0] / 'include'}")
        includes.append(header)
    source = "\n".join(f'#include "{include}"' for include in includes)
    names = [kernel.format(scalar, wide, index) for kernel in KERNELS for index in ("int", "long long")]
    assert compile_with_nvrtc(nvrtc, source, names, options) is None


def test_nvrtc_reports_what_does_not_compile(nvrtc):
    log = compile_with_nvrtc(nvrtc, "int broken(", [], ["--gpu-architecture=sm_70"])
    assert "error" in log


def test_cuda_sources_compile_link_and_load():
    if (reason := _toolchain.missing("cuda")) is not None:
        pytest.skip(reason)
    ops.load_compiled("cuda")
    assert ops.backend("cuda") == "compiled"


def test_operators_run_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here: the tests of the operators ran on the CPU only")
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        pytest.skip("CUDA_VISIBLE_DEVICES hides all GPUs")
    ops.load_compiled("cuda")
    x = torch.randn(2, 3, 4, 4, device="cuda", requires_grad=True)
    torch.testing.assert_close(ops.bias_act(x).cpu(), ops.bias_act(x.cpu()))
