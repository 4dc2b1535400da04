"""Check that the compiled operators build and run on this machine, and that they agree with plain PyTorch.

    python -m scripts.doctor
    python -m scripts.doctor --kernels    describe the compiled CUDA kernels instead; needs nvcc, but no GPU

The exit code is 1 if a build fails although its tools are installed (2 with --kernels), a compiled operator disagrees
with plain PyTorch, or a kernel spills registers; otherwise it is 0, even if the tools for a build are missing.
"""

import argparse
import platform
import shutil
from collections.abc import Callable, Sequence

from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--kernels", action="store_true", help="describe the compiled CUDA kernels and stop")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch
import torchvision
from torch import Tensor

import ops
from ops import _build, _kernels, _toolchain

_KERNELS_ROW = "{:<18} {:<9} {:<42}" + " {:>9} {:>6} {:>6} {:>6} {:>6} {:>9} {:>6}"
_KERNELS_COLUMNS = ("registers", "stack", "local", "shared", "blocks", "occupancy", "SASS")
_KERNELS_LEGEND = """\
registers, stack, local: registers and bytes of memory of each thread; shared: bytes of each block
blocks, occupancy: how many blocks of 256 threads the 65,536 registers of a multiprocessor allow, and the share of its
  maximum number of threads that they use; shared memory is not considered
SASS: instructions of the kernel's code, without padding"""

# Allowed differences relative to the largest value. Sums of eight terms in another order differ in the last few bits.
_TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report and return the exit code."""
    if parse(argv).kernels:
        return _report_kernels()
    _print_environment()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    # Compute the references first: a compiled library replaces them as soon as it is loaded.
    expected = {device: _results(device) for device in devices}
    healthy = True
    for device in ["cpu", "cuda"]:
        print(f"\noperators on {device}")
        healthy &= _check_build(device)
        if device in expected and ops.backend(device) == "compiled":
            healthy &= _check_parity(expected[device], _results(device))
    print("\nall checks passed" if healthy else "\nsome checks failed: see FAILED above")
    return 0 if healthy else 1


def _report_kernels() -> int:
    """Print a summary of the kernels and a table for each GPU architecture; return the exit code."""
    reason = _toolchain.missing("cuda") or _kernels.missing()
    if reason is not None:
        print(f"kernels: cannot be inspected: {reason}")
        return 0
    try:
        ops.load_compiled("cuda")
        kernels = _kernels.read(_build.library_path("cuda"))
    except RuntimeError as error:
        print(f"kernels: FAILED: {error}")
        return 1
    spilling = sum(kernel.spills for kernel in kernels)
    architectures = sorted({kernel.architecture for kernel in kernels})
    spills = f"{'FAILED: ' if spilling else ''}{spilling} with spills (stack or local memory)"
    registers = f"at most {max(kernel.registers for kernel in kernels)} registers"
    print(f"{len(kernels)} kernels for {' and '.join(architectures)}: {spills}, {registers}\n")
    print(_KERNELS_LEGEND)
    for architecture in architectures:
        print("\n" + _KERNELS_ROW.format(architecture, "type", "variant", *_KERNELS_COLUMNS))
        for kernel in (kernel for kernel in kernels if kernel.architecture == architecture):
            name = (kernel.name, kernel.dtype, kernel.variant)
            memory = (kernel.registers, kernel.stack, kernel.local, kernel.shared)
            occupancy = (kernel.blocks, f"{kernel.occupancy:.0%}")
            print(_KERNELS_ROW.format(*name, *memory, *occupancy, kernel.instructions))
    return 1 if spilling else 0


def _print_environment() -> None:
    print("versions")
    _print_row("python", platform.python_version())
    _print_row("torch", torch.__version__)
    _print_row("torchvision", torchvision.__version__)
    _print_row("CUDA of torch", torch.version.cuda or "none")
    home = _toolchain.cuda_home()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    print("\ntools")
    _print_row("C++ compiler", _toolchain.cxx_version() or f"{_toolchain.cxx()} not found")
    _print_row("ninja", shutil.which("ninja", path=_toolchain.search_path()) or "not found")
    _print_row("nvcc", f"{_toolchain.nvcc_version(home)} in {home}" if home else "not found")
    _print_row("CUDA arch list", _toolchain.arch_list())
    _print_row("GPUs", ", ".join(gpus) or "none")
    _print_row("build cache", str(_toolchain.cache_root()))


def _print_row(name: str, value: str) -> None:
    print(f"  {name:<34} {value}")


def _check_build(device: str) -> bool:
    """Build and load the operators for a device type; return False only if that fails although no tool is missing."""
    reason = _toolchain.missing(device)
    if reason is not None:
        _print_row("build", f"not possible: {reason}")
        return True
    try:
        ops.load_compiled(device)
    except ops.OpsUnavailable as error:
        _print_row("build", f"FAILED: {error}")
        return False
    _print_row("build", "ok")
    return True


def _check_parity(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> bool:
    healthy = True
    for name, reference in expected.items():
        scale = reference.double().abs().max().clamp_min(1e-12)
        error = ((actual[name].double() - reference.double()).abs().max() / scale).item()
        agrees = error <= _TOLERANCES[reference.dtype]
        _print_row(name, f"{'ok' if agrees else 'FAILED'}: largest relative difference {error:.1e}")
        healthy &= agrees
    return healthy


def _results(device: str) -> dict[str, Tensor]:
    """Return values and gradients of the operators in all dtypes, by name, from the implementation now in use."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=device) / 8
    calls: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "bias_act": lambda x, bias: ops.bias_act(x, bias),
        "bias_act noise": lambda x, bias: ops.bias_act(x, bias, noise=x.detach()[:, :1], noise_strength=bias[:1]),
        "upfirdn2d up 2": lambda x, bias: ops.upfirdn2d(x, taps, up=2, padding=(2, 1), gain=4),
        "upfirdn2d down 2": lambda x, bias: ops.upfirdn2d(x, taps, down=2, padding=1),
        "upfirdn2d full": lambda x, bias: ops.upfirdn2d(x, torch.outer(taps, taps), padding=(2, -1)),
    }
    results: dict[str, Tensor] = {}
    for dtype in _TOLERANCES:
        for name, call in calls.items():
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(2, 3, 9, 8, generator=generator).to(device, dtype).requires_grad_()
            bias = torch.randn(3, generator=generator).to(device, dtype).requires_grad_()
            value = call(x, bias)
            weights = torch.randn(value.shape, generator=generator).to(device, dtype)
            gradients = torch.autograd.grad(value, [x, bias], weights, allow_unused=True)
            parts = {"value": value.detach(), "gradient": gradients[0], "bias gradient": gradients[1]}
            label = f"{name}, {str(dtype).removeprefix('torch.')}"
            results |= {f"{label}, {part}": x for part, x in parts.items() if x is not None}  # upfirdn2d has no bias
    return results


if __name__ == "__main__":
    cli.run(main)
