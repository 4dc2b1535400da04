"""How the adversarial steps run the networks: in half types, compiled, or simply as they are.

The penalties differentiate twice: they take the networks themselves, in float32.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from configs.errors import ConfigError
from models.generator import Generator, GeneratorOutput
from training import memory
from training.config import TrainingConfig


class AdversarialNetworks:
    """Both networks as training's configuration wants them run; their parameters stay as they are."""

    def __init__(self, generator: Generator, discriminator: nn.Module, config: TrainingConfig) -> None:
        self._dtype = getattr(torch, config.precision)
        self._synthesis: Callable[..., GeneratorOutput] = generator.synthesis
        self._discriminator: Callable[..., Tensor] = discriminator
        if config.compile:
            # A batch has one size, and a graph that breaks would be slow without a word.
            self._synthesis = torch.compile(generator.synthesis, fullgraph=True, dynamic=False)
            self._discriminator = torch.compile(discriminator, fullgraph=True, dynamic=False)

    def draw(self, codes: Tensor) -> GeneratorOutput:
        """Codes [N, M, D] -> drawings with new noise."""
        with self._autocast(codes):
            return self._synthesis(codes, noise="random")

    def score(self, *inputs: Tensor) -> Tensor:
        """image [N, 3, R, R], and segmentation [N, K, R, R] if it shall be judged too -> logits [N, 1]."""
        with self._autocast(inputs[0]):
            return self._discriminator(*inputs)

    def _autocast(self, x: Tensor) -> AbstractContextManager[object]:
        return nullcontext() if self._dtype == torch.float32 else torch.autocast(x.device.type, self._dtype)


def prepare_device(device: torch.device, config: TrainingConfig) -> None:
    """Sets what holds for the whole process: on a GPU TF32 and the search for the fastest convolutions.

    Raises:
        ConfigError: if the GPU lacks the precision.
    """
    if device.type == "cpu":
        memory.keep_freed_memory()
    if device.type == "cuda":
        if config.precision == "bfloat16" and torch.cuda.get_device_capability(device) < (8, 0):
            raise ConfigError("training.precision = bfloat16, which this GPU lacks: choose float16 or float32")
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = True  # all batches have one size
