"""The two operators of the networks: plain PyTorch references, and compiled kernels where they can be had."""

from ops._build import OpsUnavailable, backend, load_compiled, set_mode
from ops.bias_act import bias_act
from ops.upfirdn2d import upfirdn2d

__all__ = ["OpsUnavailable", "backend", "bias_act", "load_compiled", "set_mode", "upfirdn2d"]
