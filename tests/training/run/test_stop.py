import torch

from training.run.stop import TimeLimit, drift_limit_reached

CPU = torch.device("cpu")


def test_the_time_limit_is_reached_after_so_many_minutes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("training.run.stop.time.monotonic", lambda: now[0])
    limit, unlimited = TimeLimit(2, CPU), TimeLimit(0, CPU)
    now[0] += 119
    assert limit.reached() is None
    assert limit.seconds_left() == 1
    assert unlimited.seconds_left() == float("inf")
    now[0] += 1
    assert limit.reached()[:2] == ("reached training.max_minutes", "rerun the same command to continue")
    assert unlimited.reached() is None


def test_drift_stops_a_run_above_the_limit_only():
    assert drift_limit_reached(0.25, maximum=0.25) is None
    stop = drift_limit_reached(0.3, maximum=0.25)
    assert stop is not None
    assert stop.reason == "mask drift 0.3 is above training.max_mask_drift = 0.25"
    assert drift_limit_reached(1.0, maximum=0) is None
