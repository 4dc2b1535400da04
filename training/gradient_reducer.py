"""Gradients averaged over the processes in buckets, sent while the backward pass still runs.

Why not DistributedDataParallel: it wraps one module's forward and expects its backward to follow, but a step here
calls a network several times, or parts of it, differentiates twice, and keeps parameters without gradient at None.
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
    """Runs the backward passes of one kind of step; after the last of a step, gradients are means over the processes.

    It lives as long as the run. In its first step it sends all gradients after the backward pass, and the processes
    agree on the order in which they arrived. From then on they are sent in that order, in buckets, each as soon as it
    is complete, and what is missing at the end is sent then. So all processes issue the same collectives in the same
    order, and the host waits for none of them on a GPU. Should a later step have gradients for other parameters, it
    is treated as the first. Without processes there are no hooks.

    Every process must have gradients for the same parameters; those without keep None.

    Args:
        parameters: of the network that the step changes; those that need no gradient now are left out for good.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._plan: list[Bucket] = []
        self._is_parallel = dist.is_initialized()
        self._is_open = False
        self._clear()
        if self._is_parallel:
            for parameter in self._parameters:
                parameter.register_post_accumulate_grad_hook(self._arrive)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Adds the loss's gradients to those of the step's earlier passes, and after the last averages them.

        Raises:
            RuntimeError: if a gradient arrives again after it was sent; in a step that has to find its order, if
                processes have gradients for different parameters, which later is undefined.
        """
        if not (self._is_parallel and last):
            loss.backward()
            return
        self._is_open = True
        try:
            loss.backward()
            self._send_rest()
            for parcel in self._parcels:
                parcel.unpack()
        finally:
            self._is_open = False
            self._clear()

    def _clear(self) -> None:
        self._arrived: dict[nn.Parameter, None] = {}  # in order
        self._missing = [set(bucket) for bucket in self._plan]  # what each bucket waits for
        self._next = 0  # bucket to send
        self._sent: set[nn.Parameter] = set()
        self._parcels: list[_Parcel] = []

    def _arrive(self, parameter: Tensor) -> None:
        """Called by autograd when a parameter's gradient is complete."""
        if not self._is_open:
            return
        assert isinstance(parameter, nn.Parameter)
        if parameter in self._sent:
            raise RuntimeError("a gradient arrived again after it was sent: no reentrant checkpoints in training")
        self._arrived[parameter] = None
        for missing in self._missing:
            missing.discard(parameter)
        while self._next < len(self._plan) and not self._missing[self._next]:
            self._send(self._plan[self._next])
            self._next += 1

    def _send_rest(self) -> None:
        others = (p for p in self._parameters if p.grad is not None and p not in self._arrived)  # of earlier passes
        order = [*self._arrived, *others]
        if set(order) != {parameter for bucket in self._plan for parameter in bucket}:
            self._plan = _fill_buckets(self._agree(order))
        for bucket in self._plan:
            self._send([parameter for parameter in bucket if parameter not in self._sent])

    def _send(self, bucket: Bucket) -> None:
        gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
        if gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            self._parcels.append(_Parcel(gradients, flat, dist.all_reduce(flat, async_op=True)))
        self._sent.update(bucket)

    def _agree(self, order: list[nn.Parameter]) -> list[nn.Parameter]:
        """The first process's order."""
        places = {parameter: place for place, parameter in enumerate(self._parameters)}
        orders = gather([places[parameter] for parameter in order])
        if any(set(other) != set(orders[0]) for other in orders):
            raise RuntimeError("processes have gradients for different parameters, which cannot be averaged")
        return [self._parameters[place] for place in orders[0]]


class _Parcel(NamedTuple):
    gradients: list[Tensor]
    flat: Tensor  # all of them, on their way
    work: dist.Work

    def unpack(self) -> None:
        """Replaces the gradients by their means; on a GPU it is the stream that waits."""
        self.work.wait()
        means = self.flat.div_(dist.get_world_size()).split([gradient.numel() for gradient in self.gradients])
        shaped = [mean.view_as(gradient) for mean, gradient in zip(means, self.gradients, strict=True)]
        torch._foreach_copy_(self.gradients, shaped)


def _fill_buckets(parameters: Iterable[nn.Parameter]) -> list[Bucket]:
    """Neighbours together, up to BUCKET_BYTES and at least one."""
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
