"""The queue of optimizations."""

import threading
import time

import pytest
import torch

from editing.inversion import Progress
from scripts.studio_page import turns
from scripts.studio_page.turns import Preview, Turns, Waiting


def optimize(callback):
    for step in (1, 2, 3):
        callback(Progress(step, 3, torch.zeros(1), torch.zeros(1, 3, 4, 4)))
    return "result"


def run(queue):
    return queue.run(optimize, lambda images: {"image": images[0]})


def finish(steps):
    """Return all previews, and the result."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(turns, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(turns, "_POLL_SECONDS", 0.01)


def test_previews_and_result():
    seen, result = finish(run(Turns()))
    assert result == "result"
    assert all(isinstance(each, Preview) and each.images["image"].shape == (4, 4, 3) for each in seen)
    assert [each.fraction for each in seen] == sorted(each.fraction for each in seen)


def test_one_runs_at_a_time_in_the_order_of_arrival():
    queue = Turns()
    first, second, third = run(queue), run(queue), run(queue)
    assert isinstance(next(first), Preview)
    assert (next(second), next(third)) == (Waiting(1), Waiting(2))
    second.close()
    assert next(third) == Waiting(1)
    finish(first)
    assert finish(third)[1] == "result"


def test_an_abandoned_optimization_is_passed_over(monkeypatch):
    monkeypatch.setattr(turns, "ABANDONED_SECONDS", 0.5)
    queue = Turns()
    first, second = run(queue), run(queue)
    next(first)
    assert next(second) == Waiting(1)
    assert finish(second)[1] == "result"
    first.close()


def test_a_place_in_the_queue_whose_page_is_gone_is_passed_over(monkeypatch):
    monkeypatch.setattr(turns, "ABANDONED_SECONDS", 0.5)
    queue = Turns()
    first, gone, last = run(queue), run(queue), run(queue)
    next(first)
    assert (next(gone), next(last)) == (Waiting(1), Waiting(2))
    finish(first)
    assert finish(last)[1] == "result"
    gone.close()


def test_a_slow_step_lets_no_other_begin(monkeypatch):
    monkeypatch.setattr(turns, "ABANDONED_SECONDS", 0.1)
    queue, free = Turns(), threading.Event()

    def slow(callback):
        free.wait()
        return optimize(callback)

    first = queue.run(slow, lambda images: {"image": images[0]})
    results = []
    thread = threading.Thread(target=lambda: results.append(finish(first)[1]))
    thread.start()
    second = run(queue)
    while next(second) != Waiting(1):
        pass
    time.sleep(0.3)
    assert next(second) == Waiting(1)
    free.set()
    thread.join()
    assert results == ["result"]
    assert finish(second)[1] == "result"


def test_closing_stops_the_thread():
    before = threading.active_count()
    steps = run(Turns())
    next(steps)
    steps.close()
    assert threading.active_count() == before


def test_an_error_leaves_the_queue():
    queue = Turns()

    def fail(_callback):
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        finish(queue.run(fail, lambda images: {}))
    assert finish(run(queue))[1] == "result"
