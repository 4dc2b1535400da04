"""Steps as CUDA graphs: all kernels of a step are recorded once and from then on started by one call.

A step has thousands of kernels; PyTorch needs longer to start them than a fast GPU to run them on small batches.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.discriminator_inputs import Records
from training.run.nonfinite import Look, StepGuard
from training.stats import Stats

Step = Callable[[Sequence[Records]], None]


class _Recording(NamedTuple):
    """A graph, and the tensors in which it leaves what the step reports."""

    graph: torch.cuda.CUDAGraph
    reports: list[tuple[str, Tensor]]
    looks: list[Look]


class StepGraphs:
    """Runner of steps: as they are until each has run once, then recorded, from then on replayed.

    In the first run libraries choose their algorithms and optimizers make their states; the memory of first runs and
    that of graphs are not needed at the same time. A recorded step works on the same tensors every time: the batch is
    copied to where it was. What it reports, and what the guard sees, is copied from where the graph leaves it. All
    graphs share one memory pool, since no two run at the same time. A step must not depend on Python values that
    change, on random numbers of the CPU, or on values that it reads from the GPU.

    Args:
        steps: names of all steps that will run.
        stats: where the steps report.
        guard: which looks at each step.
    """

    def __init__(self, steps: Iterable[str], stats: Stats, guard: StepGuard) -> None:
        self._not_run = set(steps)
        self._stats = stats
        self._guard = guard
        self._pool: Any = None
        self._batch: list[Records] = []
        self._recordings: dict[str, _Recording] = {}

    def load(self, batch: Sequence[Records]) -> list[Records]:
        """Copy a batch, which has the same shapes every time, to the tensors that the graphs read; return these."""
        if not self._batch:
            self._batch = [tuple(x.clone() for x in records) for records in batch]
        else:
            for target, source in zip(self._batch, batch, strict=True):
                torch._foreach_copy_(list(target), list(source))
        return self._batch

    def run(self, name: str, step: Step, batch: Sequence[Records]) -> None:
        """Run a step on what `load` returned."""
        if self._not_run:
            step(batch)
            self._not_run.discard(name)
            return
        if name not in self._recordings:
            self._recordings[name] = self._record(step, batch)
        recording = self._recordings[name]
        recording.graph.replay()
        for report, value in recording.reports:
            self._stats.report(report, value)
        for look in recording.looks:
            self._guard.repeat(look)

    def _record(self, step: Step, batch: Sequence[Records]) -> _Recording:
        graph = torch.cuda.CUDAGraph()
        # Other threads, which load data, may allocate memory meanwhile: thread_local.
        recording = torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")
        with self._stats.recorded() as reports, self._guard.recorded() as looks, recording:
            step(batch)
        self._pool = self._pool or graph.pool()
        return _Recording(graph, reports, [look._replace(batch=(), random={}) for look in looks])
