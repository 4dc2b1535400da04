"""Numbers that go bad: steps with bad gradients never reach the weights, and where they went bad is told.

All of it happens on the device; nothing is read from there unless a step went bad.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from training.discriminator_inputs import Records
from training.state import random_state, set_random_state

LARGEST = 1e18  # of good gradients: Adam squares them, and a moment that overflows keeps its weight still for ever


class Look(NamedTuple):
    """At one step."""

    step: str
    names: tuple[str, ...]  # of the tensors that have gradients
    values: Tensor  # the sum of its losses, then the largest gradient of each tensor [1 + tensors]
    bad: Tensor  # scalar: 1 if the step was left out, else 0
    losses: Callable[[Sequence[Records]], object]  # computes them from the batch
    batch: Sequence[Records]
    random: Mapping[str, Tensor]  # the random streams before the step

    def bad_tensors(self) -> list[str]:
        """Names of those with bad gradients. Reads from the device."""
        return [name for name, value in zip(self.names, self.values.tolist()[1:], strict=True) if not value < LARGEST]


class Evidence(NamedTuple):
    """All looks of one iteration."""

    iteration: int
    images: int  # seen before it
    looks: tuple[Look, ...]

    def bad_look(self) -> Look:
        """The first one that found something. Reads from the device."""
        return next(look for look in self.looks if look.bad_tensors())


class Cause(NamedTuple):
    """Of a bad step."""

    is_here: bool  # gradients are bad in all processes, losses only where it comes from
    text: str


class StepGuard:
    """Looks at each step after its backward pass, before the optimiser.

    Args:
        modules: the network that each step changes.
        device: of the networks.
    """

    def __init__(self, modules: Mapping[str, nn.Module], device: torch.device) -> None:
        self._modules = modules
        self._device = device
        self.begin(0, 0, [])

    def begin(self, iteration: int, images: int, batch: Sequence[Records]) -> None:
        """Forgets the iteration before; `images` were seen up to here."""
        self._position = iteration, images
        self._batch = batch
        self._looks: list[Look] = []
        self.begin_step()

    def begin_step(self) -> None:
        """Remembers the random streams."""
        self._random = random_state(self._device)

    def look(
        self,
        step: str,
        loss: Tensor,
        optimizer: torch.optim.Optimizer,
        losses: Callable[[Sequence[Records]], object],
    ) -> None:
        """Has the optimiser leave out its next step, on the device, if a gradient is not finite, or above LARGEST.

        What decides are the gradients alone: after their reduction they are the same in all processes, losses are not.
        """
        named = [(name, p.grad) for name, p in self._modules[step].named_parameters() if p.grad is not None]
        largest = torch.stack(torch._foreach_norm([gradient for _, gradient in named], math.inf))
        bad = largest.lt(LARGEST).all().logical_not().float()
        # As torch.amp.GradScaler does for fused optimisers.
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        values = torch.cat([loss.detach().to(largest.dtype).reshape(1), largest])
        names = tuple(name for name, _ in named)
        self._looks.append(Look(step, names, values, bad, losses, self._batch, self._random))

    @contextmanager
    def recorded(self) -> Iterator[list[Look]]:
        """Redirect looks inside the block to a list."""
        before, self._looks = self._looks, []
        try:
            yield self._looks
        finally:
            self._looks = before

    def repeat(self, look: Look) -> None:
        """Adds a look at the same step of this iteration, whose values are in the same tensors."""
        values, bad = look.values.clone(), look.bad.clone()
        self._looks.append(look._replace(values=values, bad=bad, batch=self._batch, random=self._random))

    def found(self) -> tuple[Tensor, Evidence]:
        """Bad steps of the iteration (scalar), and what there is to explain them."""
        bads = [look.bad for look in self._looks]
        bad = torch.stack(bads).sum() if bads else torch.zeros((), device=self._device)
        return bad, Evidence(*self._position, tuple(self._looks))

    def trace(self, evidence: Evidence) -> str:
        """Names the module in which numbers first went bad: computes the step's losses once more.

        The random streams, which it changes, are as they were then. On a GPU the weights have gone one iteration on.
        """
        networks = dict.fromkeys(self._modules.values())
        names = {module: f"{type(net).__name__}.{name}" for net in networks for name, module in net.named_modules()}
        bad: list[str] = []

        def watch(module: nn.Module, inputs: object, output: object) -> None:
            outputs = [x for x in (output if isinstance(output, tuple) else (output,)) if isinstance(x, Tensor)]
            if not bad and module in names and not all(x.isfinite().all() for x in outputs):
                bad.append(names[module])

        hook = register_module_forward_hook(watch)
        try:
            with torch.compiler.set_stance("force_eager"):  # compiled modules cannot be looked into
                look = evidence.bad_look()
                set_random_state(look.random, self._device)
                look.losses(look.batch)
        except Exception as error:  # what is known without it must be told; memory may be short
            return f"the module was not found ({type(error).__name__})"
        finally:
            hook.remove()
        return f"first in the output of {bad[0]}" if bad else "while the outputs of all modules are finite"


def explain(evidence: Evidence) -> Cause:
    """What went bad first: phase, loss, tensors. Reads from the device."""
    look = evidence.bad_look()
    bad, loss = look.bad_tensors(), look.values[0].item()
    told = bad[0] if len(bad) == 1 else f"{bad[0]} to {bad[-1]}"
    cause = f"the loss is {loss:g}" if not math.isfinite(loss) else f"the loss is finite ({loss:g})"
    text = (
        f"iteration {evidence.iteration}, phase {look.step}: {cause}, and gradients are not finite, or above "
        f"{LARGEST:g}, in {len(bad)} of {len(look.names)} tensors ({told})"
    )
    return Cause(not math.isfinite(loss), text)


def first_bad_tensor(states: Mapping[str, Any]) -> str | None:
    """The first of many tensors in nested dicts that is not finite, by its names; None if all are.

    Reads once from the device for each outermost dict.
    """
    for name, state in states.items():
        floats = {place: x for place, x in _tensors(state, name) if x.is_floating_point() and x.dim()}
        largest = torch.stack([x.float() for x in torch._foreach_norm(list(floats.values()), math.inf)]).tolist()
        for place, value in zip(floats, largest, strict=True):
            if not math.isfinite(value):
                return place
    return None


def _tensors(state: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield place, state
    elif isinstance(state, Mapping):
        for name, part in state.items():
            yield from _tensors(part, f"{place}.{name}")
