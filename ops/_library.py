"""Where this package's operators are registered with PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "semantic_gan"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")

_WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def define(schema: str, reference: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """Register an operator with its plain PyTorch reference and its shape function; return its qualified name.

    The reference serves every device until a compiled library adds a kernel for that device's dispatch key,
    so the dispatcher chooses between them and no Python code has to.
    """
    name = f"{NAMESPACE}::{LIBRARY.define(schema)}"
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(name, fake, lib=LIBRARY)
    return name


def wide_dtype(x: Tensor) -> torch.dtype:
    """The dtype that an operator calculates x in: x's own, but float32 for the half types."""
    return _WIDE.get(x.dtype, x.dtype)
