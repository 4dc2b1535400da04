"""The networks as the adversarial steps run them: in float32 or half precision, compiled or not.

The penalties, which differentiate twice, use the original networks in float32. Shapes: N samples, D latent width,
M vectors of a W+ code, K classes, H x W images.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

import ops
from configs import RunConfig
from models.generator import Generator, GeneratorOutput, NoiseMode
from ops import autocast_device
from training import memory
from training.training_config import TrainingConfig
from utils.errors import ConfigError


class AdversarialNetworks:
    """Both networks with the configured precision and compilation; their parameters are those of the originals."""

    def __init__(self, generator: Generator, discriminator: nn.Module, config: TrainingConfig) -> None:
        self._dtype = getattr(torch, config.precision)
        self._synthesis: Callable[..., GeneratorOutput] = generator.synthesis
        self._discriminator: Callable[..., Tensor] = discriminator
        if config.compile:
            # Batches have one size. A graph break is an error: it would silently make training slow.
            self._synthesis = torch.compile(generator.synthesis, fullgraph=True, dynamic=False)
            self._discriminator = torch.compile(discriminator, fullgraph=True, dynamic=False)

    def generate(self, codes: Tensor, noise: NoiseMode = "random") -> GeneratorOutput:
        """Generate from W+ codes [N, M, D]."""
        with self._autocast(codes):
            return self._synthesis(codes, noise=noise)

    def score(self, *batches: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the logits [N, 1] of each batch; one forward pass scores all batches.

        Args:
            batches: images [N, 3, H, W], and segmentations [N, K, H, W] if the discriminator uses them, all of size N.
        """
        inputs = batches[0] if len(batches) == 1 else [torch.cat(each) for each in zip(*batches, strict=True)]
        with self._autocast(inputs[0]):
            return list(self._discriminator(*inputs, batches=len(batches)).chunk(len(batches)))

    def _autocast(self, x: Tensor) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(autocast_device(x), self._dtype)


def prepare_device(device: torch.device, config: RunConfig) -> None:
    """Check the GPU, and apply settings of the whole process: operators, TF32, and memory allocation on a CPU.

    cuDNN's search for the fastest convolutions stays off: at 512 pixels on an H200, it made iterations 2 % faster, but
    took 50 s at the start and doubled the memory.

    Raises:
        ConfigError: if the GPU lacks the precision, PyTorch lacks code for the GPU, or `training.cuda_graphs` is set
            in a run of several processes.
        OpsUnavailable: if compiled operators are required and not available.
    """
    training = config.training
    ops.set_mode(config.ops, device.type)
    if device.type == "cpu":
        memory.keep_freed_memory()
    if device.type == "cuda":
        if training.cuda_graphs and dist.is_initialized():
            raise ConfigError("training.cuda_graphs works in one process only: leave it off, or run without torchrun")
        _check_architecture(torch.cuda.get_device_capability(device))
        check_precision(training.precision, device, "float16 or float32")
        torch.set_float32_matmul_precision("high" if training.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = training.tf32


def check_precision(precision: str, device: torch.device, others: str) -> None:
    """Raise ConfigError, with the `others` to choose from, if the device is a GPU without support for bfloat16."""
    if precision == "bfloat16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise ConfigError(f"training.precision = bfloat16: this GPU does not support it; choose {others}")


def _check_architecture(capability: tuple[int, int]) -> None:
    """Raise ConfigError if PyTorch has no code for a GPU.

    Code for sm_XY runs on compute capability X.Z with Z >= Y; code for compute_XY is compiled for later GPUs when used.
    """
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name) for name in torch.cuda.get_arch_list()]
    known = [(match[1], (int(match[2]), int(match[3]))) for match in built if match]
    runs = any(its <= capability and (kind == "compute" or its[0] == capability[0]) for kind, its in known)
    if known and not runs:
        is_old = capability < min(its for _, its in known)
        remedy = "an older CUDA, such as 12.6" if is_old else "a newer CUDA"
        raise ConfigError(
            f"PyTorch {torch.__version__} has no code for this GPU, compute capability {capability[0]}.{capability[1]} "
            f"(only for {', '.join(torch.cuda.get_arch_list())}): install a build for {remedy}"
        )
