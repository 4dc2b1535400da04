"""How many floating-point operations a call takes, by the shapes of its products and convolutions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Counter(TorchDispatchMode):
    """Adds up, inside the block, two operations for every multiplication and addition, backward passes included.

    PyTorch's FlopCounterMode has the same formulas, but follows modules, and fails where a gradient with respect to a
    module's own input is taken. The formulas count a grouped convolution's weight gradient as many times as it has
    groups: give networks that make a group of every sample one sample.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function._overloadpacket)
        if formula:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def flops(call: Callable[[], object]) -> int:
    """The floating-point operations of one call."""
    with Counter() as counter:
        call()
    return counter.flops
