"""Optimizations that show previews while they run, one at a time for all users.

Shapes: N generated images of H x W pixels.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from threading import Event
from typing import NamedTuple, TypeVar

import numpy as np

from datasets.transforms import float_to_images
from editing.inversion import Progress, ProgressCallback
from scripts.studio_page.session import Session

PREVIEW_SECONDS = 0.25  # time between two previews
ABANDONED_SECONDS = 20.0  # after this time without a request for the next preview, the optimization stops
_POLL_SECONDS = 0.1

Images = Mapping[str, np.ndarray]  # caption -> uint8 [H, W, 3]
Result = TypeVar("Result")


class Preview(NamedTuple):
    """Preview of a running optimization."""

    fraction: float  # steps done / all steps
    images: Images


class Waiting(NamedTuple):
    """An optimization that waits for its turn."""

    ahead: int  # number of optimizations before it


class Finished(NamedTuple):
    """Result of an optimization or an upload, to be added to a session."""

    name: str
    apply: Callable[[Session], Session]  # returns the session with the result
    advice: str = ""  # a warning for the user, or ""


class Turns:
    """Queue of optimizations; the first in it runs."""

    def __init__(self) -> None:
        # Time of the last request of each, in the order of the queue; infinite for the one that runs.
        self._seen: dict[object, float] = {}

    def run(
        self, optimize: Callable[[ProgressCallback], Result], preview: Callable[[np.ndarray], Images]
    ) -> Generator[Waiting | Preview, None, Result]:
        """Run an optimization in a thread when it is its turn; yield its place and previews, and return its result.

        It stops when this generator is closed, or if no preview has been requested for ABANDONED_SECONDS.

        Args:
            optimize: runs the optimization, and calls its argument after every step.
            preview: turns the images generated in a step, uint8 [N, H, W, 3], into the images to show.
        """
        own = object()

        def optimize_and_leave(callback: ProgressCallback) -> Result:
            try:
                return optimize(callback)
            finally:
                self._seen.pop(own, None)

        try:
            self._seen[own] = time.monotonic()
            while ahead := self._ahead(own):
                yield Waiting(ahead)
                self._seen[own] = time.monotonic()
                time.sleep(_POLL_SECONDS)
            self._seen[own] = math.inf
            return (yield from _run_in_thread(optimize_and_leave, preview))
        finally:
            self._seen.pop(own, None)

    def _ahead(self, own: object) -> int:
        earlier = list(self._seen)
        earlier = earlier[: earlier.index(own)]
        return sum(time.monotonic() - self._seen.get(each, 0.0) < ABANDONED_SECONDS for each in earlier)


def _run_in_thread(
    optimize: Callable[[ProgressCallback], Result], preview: Callable[[np.ndarray], Images]
) -> Generator[Preview, None, Result]:
    previews: Queue[Preview] = Queue(maxsize=1)
    closed = Event()
    last = -PREVIEW_SECONDS  # the first step is shown at once

    def watch(progress: Progress) -> None:
        nonlocal last
        if closed.is_set():
            raise InterruptedError
        if time.monotonic() - last >= PREVIEW_SECONDS:
            images = float_to_images(progress.images).permute(0, 2, 3, 1).cpu().numpy()
            previews.put(Preview(progress.step / progress.steps, preview(images)), timeout=ABANDONED_SECONDS)
            last = time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(optimize, watch)
        try:
            while not future.done():
                with suppress(Empty):
                    yield previews.get(timeout=_POLL_SECONDS)
        finally:
            closed.set()
            with suppress(Empty):
                previews.get_nowait()  # so that the thread does not wait for a free place in the queue
    return future.result()
