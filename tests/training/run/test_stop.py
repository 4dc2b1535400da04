import torch

from training.run.stop import MASK_DRIFT, DriftLimit, TimeLimit

CPU = torch.device("cpu")


def test_time_is_over_after_so_many_minutes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("training.run.stop.time.monotonic", lambda: now[0])
    limit, never = TimeLimit(2, CPU), TimeLimit(0, CPU)
    now[0] += 119
    assert limit.exceeded({}) is None
    now[0] += 1
    assert limit.exceeded({})[:2] == ("training.max_minutes is over", "the same command goes on")
    assert never.exceeded({}) is None


def test_drift_ends_a_run_above_the_limit_only():
    limit = DriftLimit(0.25)
    assert limit.exceeded({MASK_DRIFT: 0.25}) is None
    assert limit.exceeded({}) is None
    ending = limit.exceeded({MASK_DRIFT: 0.3})
    assert ending is not None
    assert ending.reason == "mask drift 0.3 is above training.max_mask_drift = 0.25"
    assert DriftLimit(0).exceeded({MASK_DRIFT: 1.0}) is None
