"""Average gradients over the processes, in buckets, while the backward pass is still running.

DistributedDataParallel cannot be used: it wraps one module's forward pass and expects its backward pass to follow. A
step here calls a network several times, or only parts of it, differentiates twice, and leaves some gradients at None.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.distributed import gather

BUCKET_BYTES = 25 * 2**20

Bucket = list[nn.Parameter]


class GradientReducer:
    """Run the backward passes of one kind of step, such as R1, and average the gradients during the last of them.

    A run uses one reducer for each kind of step. In its first iteration, gradients are reduced after the backward pass,
    and all processes adopt the order in which they became ready in the first process. From then on, gradients are
    reduced in that order, in buckets, each as soon as it and those before it are complete; the rest follows at the end.
    So all processes issue the same collectives in the same order, and the host does not wait for a GPU. If gradients
    exist for other parameters than before, the order is agreed on again. With a single process, nothing is reduced.

    All processes must have gradients for the same parameters; the other gradients must be None.

    Args:
        parameters: parameters that the step trains; those that do not require gradients now are never reduced.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._plan: list[Bucket] = []
        self._is_parallel = dist.is_initialized()
        self._is_open = False
        self._clear()
        if self._is_parallel:
            for parameter in self._parameters:
                parameter.register_post_accumulate_grad_hook(self._on_gradient_ready)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate the gradients of a micro-batch; with the last one, average them over the processes.

        Raises:
            RuntimeError: if a gradient is computed again after it was reduced, or if processes have gradients for
                different parameters. The latter is only checked when processes agree on the order of buckets; at
                other times the behaviour is undefined.
        """
        if not (self._is_parallel and last):
            loss.backward()
            return
        self._is_open = True
        try:
            loss.backward()
            self._reduce_rest()
            for pending in self._pending:
                pending.finish()
        finally:
            self._is_open = False
            self._clear()

    def _clear(self) -> None:
        self._ready: dict[nn.Parameter, None] = {}  # ready gradients, in order
        self._missing = [set(bucket) for bucket in self._plan]  # parameters that each bucket waits for
        self._next = 0  # index of the next bucket to reduce
        self._reduced: set[nn.Parameter] = set()
        self._pending: list[_PendingBucket] = []

    def _on_gradient_ready(self, parameter: Tensor) -> None:
        """Start to reduce the next buckets that are complete; autograd calls this when a gradient is ready."""
        if not self._is_open:
            return
        assert isinstance(parameter, nn.Parameter)
        if parameter in self._reduced:
            raise RuntimeError(
                "a gradient was computed again after it was reduced: call torch.utils.checkpoint with "
                "use_reentrant=False"
            )
        self._ready[parameter] = None
        for missing in self._missing:
            missing.discard(parameter)
        while self._next < len(self._plan) and not self._missing[self._next]:
            self._reduce(self._plan[self._next])
            self._next += 1

    def _reduce_rest(self) -> None:
        # Gradients that only earlier micro-batches computed.
        others = (p for p in self._parameters if p.grad is not None and p not in self._ready)
        order = [*self._ready, *others]
        if set(order) != {parameter for bucket in self._plan for parameter in bucket}:
            self._plan = _fill_buckets(self._agree(order))
        for bucket in self._plan:
            self._reduce([parameter for parameter in bucket if parameter not in self._reduced])

    def _reduce(self, bucket: Bucket) -> None:
        gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
        if gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            self._pending.append(_PendingBucket(gradients, flat, dist.all_reduce(flat, async_op=True)))
        self._reduced.update(bucket)

    def _agree(self, order: list[nn.Parameter]) -> list[nn.Parameter]:
        """Return the order of the first process; check that all processes have gradients for the same parameters."""
        places = {parameter: place for place, parameter in enumerate(self._parameters)}
        orders = gather([places[parameter] for parameter in order])
        if any(set(other) != set(orders[0]) for other in orders):
            raise RuntimeError("processes have gradients for different parameters: compute the same losses in each")
        return [self._parameters[place] for place in orders[0]]


class _PendingBucket(NamedTuple):
    gradients: list[Tensor]
    flat: Tensor  # all gradients, being averaged
    work: dist.Work

    def finish(self) -> None:
        """Replace the gradients by their means over the processes; a GPU's stream waits for them, the host does not."""
        self.work.wait()
        means = self.flat.div_(dist.get_world_size()).split([gradient.numel() for gradient in self.gradients])
        shaped = [mean.view_as(gradient) for mean, gradient in zip(means, self.gradients, strict=True)]
        torch._foreach_copy_(self.gradients, shaped)


def _fill_buckets(parameters: Iterable[nn.Parameter]) -> list[Bucket]:
    """Group consecutive parameters into buckets of at most BUCKET_BYTES; a larger parameter gets its own bucket."""
    buckets: list[Bucket] = []
    room = 0
    for parameter in parameters:
        size = parameter.numel() * parameter.element_size()
        if size > room or not buckets:
            buckets.append([])
            room = BUCKET_BYTES
        buckets[-1].append(parameter)
        room -= size
    return buckets
