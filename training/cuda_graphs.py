"""CUDA graphs of the training steps: all kernels of a step are captured once, then launched by a single call.

A step has thousands of kernels. With small batches, a fast GPU runs them faster than PyTorch launches them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.discriminator_inputs import MicroBatch
from training.nonfinite_guard import NonfiniteGuard, StepCheck
from training.stats import Stats


class _CapturedStep(NamedTuple):
    """The graph of a step, and its reports and checks, whose tensors each replay overwrites with new values."""

    graph: torch.cuda.CUDAGraph
    reports: list[tuple[str, Tensor]]
    checks: list[StepCheck]


class StepGraphs:
    """Run each step eagerly once, capture it the next time, and replay the graph from then on.

    During the eager run, libraries choose their algorithms and optimizers allocate their states. Capturing starts only
    when every step has run, so that eager runs and graphs do not need memory at the same time. A graph works on the
    same tensors every time: `load` copies the batch to them. All graphs share one memory pool, since no two run at the
    same time. A step must not depend on Python values that change, CPU random numbers or values read from the GPU.

    Args:
        step: runs the named step on a batch.
        names: names of all steps that will run.
        stats: collects what the steps report; a replay reports the same tensors again, with new values.
        guard: checks the gradients of each step; a replay adds the same check again, with new values.
    """

    def __init__(
        self,
        step: Callable[[str, Sequence[MicroBatch]], None],
        names: Iterable[str],
        stats: Stats,
        guard: NonfiniteGuard,
    ) -> None:
        self._step = step
        self._not_run = set(names)
        self._stats = stats
        self._guard = guard
        self._pool: Any = None
        self._batch: list[MicroBatch] = []
        self._captured: dict[str, _CapturedStep] = {}

    def load(self, batch: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Copy a batch to the tensors that the graphs read, and return them; all batches must have the same shapes."""
        if not self._batch:
            self._batch = [tuple(x.clone() for x in micro_batch) for micro_batch in batch]
        else:
            for target, source in zip(self._batch, batch, strict=True):
                torch._foreach_copy_(list(target), list(source))
        return self._batch

    def run(self, name: str, batch: Sequence[MicroBatch]) -> None:
        """Run a step; `batch` is what `load` returned."""
        if self._not_run:
            self._step(name, batch)
            self._not_run.discard(name)
            return
        if name not in self._captured:
            self._captured[name] = self._capture(name, batch)
        captured = self._captured[name]
        captured.graph.replay()
        for report, value in captured.reports:
            self._stats.report(report, value)
        for check in captured.checks:
            self._guard.add_replayed(check)

    def _capture(self, name: str, batch: Sequence[MicroBatch]) -> _CapturedStep:
        graph = torch.cuda.CUDAGraph()
        # "thread_local": other threads, such as the data loader's, may allocate memory during the capture.
        capture = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
        with self._stats.captured() as reports, self._guard.captured() as checks, capture:
            self._step(name, batch)
        self._pool = self._pool or graph.pool()
        return _CapturedStep(graph, reports, checks)
