"""Numbers that go bad: steps whose gradients are not finite never reach the weights, and what went wrong is told.

All of it happens on the device; nothing is read from there unless a step went bad.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h


class Look(NamedTuple):
    """At one step."""

    step: str
    names: tuple[str, ...]  # of the tensors that have gradients
    values: Tensor  # the sum of its losses, then the largest gradient of each tensor [1 + tensors]
    again: Callable[[], object]  # computes its losses once more


class Evidence(NamedTuple):
    """All looks of one iteration."""

    iteration: int
    images: int  # seen before it
    looks: tuple[Look, ...]


class Guard:
    """Looks at each step after its backward pass, before the optimiser.

    Args:
        modules: the network that each step changes.
        device: of the networks.
    """

    def __init__(self, modules: Mapping[str, nn.Module], device: torch.device) -> None:
        self._modules = modules
        self._device = device
        self.begin(0, 0)

    def begin(self, iteration: int, images: int) -> None:
        """Forgets the iteration before; `images` were seen up to here."""
        self._position = iteration, images
        self._looks: list[Look] = []
        self._bad: list[Tensor] = []

    def look(self, step: str, loss: Tensor, optimizer: torch.optim.Optimizer, again: Callable[[], object]) -> None:
        """Has the optimiser leave out its next step, on the device, if a gradient is not finite.

        What decides are the gradients alone: after their reduction they are the same in all processes, losses are not.
        """
        named = [(name, p.grad) for name, p in self._modules[step].named_parameters() if p.grad is not None]
        largest = torch.stack(torch._foreach_norm([gradient for _, gradient in named], math.inf))
        bad = largest.isfinite().all().logical_not().float()
        # As torch.amp.GradScaler does for fused optimisers.
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        self._bad.append(bad)
        values = torch.cat([loss.detach().to(largest.dtype).reshape(1), largest])
        self._looks.append(Look(step, tuple(name for name, _ in named), values, again))

    def found(self) -> tuple[Tensor, Evidence]:
        """Bad steps of the iteration (scalar), and what there is to explain them."""
        bad = torch.stack(self._bad).sum() if self._bad else torch.zeros((), device=self._device)
        return bad, Evidence(*self._position, tuple(self._looks))

    def trace(self, evidence: Evidence) -> str:
        """In which module numbers first went bad. Computes the bad step's losses once more, from its random streams on.

        On a GPU the weights have gone one iteration on by then.
        """
        networks = dict.fromkeys(self._modules.values())
        names = {module: f"{type(net).__name__}.{name}" for net in networks for name, module in net.named_modules()}
        bad: list[str] = []

        def look(module: nn.Module, inputs: object, output: object) -> None:
            outputs = [x for x in (output if isinstance(output, tuple) else (output,)) if isinstance(x, Tensor)]
            if not bad and module in names and not all(x.isfinite().all() for x in outputs):
                bad.append(names[module])

        again = next((look.again for look in evidence.looks if not look.values[1:].isfinite().all()), lambda: None)
        hook = register_module_forward_hook(look)
        try:
            with torch.compiler.set_stance("force_eager"):  # compiled modules cannot be looked into
                again()
        finally:
            hook.remove()
        return f"first in the output of {bad[0]}" if bad else "though the outputs of all modules are finite"


def explain(evidence: Evidence) -> str:
    """What went bad first: phase, loss, tensors. Reads from the device."""
    for step, names, values, _ in evidence.looks:
        loss, *gradients = values.tolist()
        bad = [name for name, value in zip(names, gradients, strict=True) if not math.isfinite(value)]
        if bad:
            told = f"{bad[0]}" if len(bad) == 1 else f"{bad[0]} to {bad[-1]}"
            cause = f"the loss is {loss:g}" if not math.isfinite(loss) else f"the loss is finite ({loss:g})"
            return (
                f"iteration {evidence.iteration}, phase {step}: {cause}, and gradients are not finite "
                f"in {len(bad)} of {len(names)} tensors ({told})"
            )
    return f"iteration {evidence.iteration}: gradients were not finite in another process"


def first_bad_tensor(states: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The first of many weights that is not finite, as network.tensor; None if all are. One read for each network."""
    for network, state in states.items():
        floats = {name: x for name, x in state.items() if x.is_floating_point() and x.numel()}
        largest = torch.stack(torch._foreach_norm(list(floats.values()), math.inf)).tolist()
        for name, value in zip(floats, largest, strict=True):
            if not math.isfinite(value):
                return f"{network}.{name}"
    return None
