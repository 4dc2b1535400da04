"""The operators of the networks: plain PyTorch references and optional compiled kernels."""

from ops._common import autocast_device, cast_for_autocast, full_precision, no_parameter_gradients
from ops._mode import backend, load_compiled, set_mode
from ops.bias_act import bias_act
from ops.convolution import conv2d, conv_transpose2d
from ops.upfirdn2d import branch_filtered, upfirdn2d
from utils.errors import OpsUnavailable

__all__ = [
    "OpsUnavailable",
    "autocast_device",
    "backend",
    "bias_act",
    "branch_filtered",
    "cast_for_autocast",
    "conv2d",
    "conv_transpose2d",
    "full_precision",
    "load_compiled",
    "no_parameter_gradients",
    "set_mode",
    "upfirdn2d",
]
