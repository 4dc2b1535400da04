"""What the subjects share: timing, memory, ceilings, tables."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from scripts.benchmarks import ceilings, machine, memory
from scripts.benchmarks.report import Column, Table
from scripts.benchmarks.timing import Spread, in_turn, ratios
from tests.processes import PATIENCE

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
DEVICES = [
    CPU,
    pytest.param(CUDA, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


def floats(megabytes: float, device: torch.device = CPU) -> torch.Tensor:
    return torch.ones(int(megabytes * 1e6) // 4, device=device)


@pytest.mark.parametrize("cold", [False, True])
def test_alternatives_take_turns(cold):
    calls = []
    seconds = in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, CPU, rounds=3, warm_up=2, cold=cold
    )
    assert calls == ["a", "b"] * 5
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 3, "b": 3}


def test_times_are_those_of_the_calls():
    seconds = in_turn({"short": lambda: time.sleep(0.01), "long": lambda: time.sleep(0.05)}, CPU, rounds=3)
    assert min(seconds["short"]) >= 0.01
    assert min(seconds["long"]) >= 0.05
    assert ratios(seconds["short"], seconds["long"]).low < 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("cold", [False, True])
def test_times_on_a_gpu_are_those_of_its_work(cold):
    small, large = (torch.ones(side, side, device=CUDA) for side in (1024, 8192))
    calls = {"small": lambda: small @ small, "large": lambda: large @ large}
    seconds = in_turn(calls, CUDA, rounds=5, warm_up=2, cold=cold)
    assert ratios(seconds["small"], seconds["large"]).median < 0.2


def test_ratios_compare_within_rounds():
    assert ratios([1.0, 20.0, 3.0], [2.0, 20.0, 12.0]) == Spread(0.5, 0.25, 1.0)
    assert f"{Spread(0.5, 0.25, 1.0):.2f}" == "0.50 (0.25 to 1.00)"


KNOWN_MEGABYTES = {
    "one": (200, lambda device: floats(200, device)),
    "two at a time": (200, lambda device: (floats(120, device), floats(80, device))),
    "one after the other": (120, lambda device: (floats(120, device).sum(), floats(80, device).sum())),
    "small blocks": (20, lambda device: [floats(2, device) for _ in range(10)]),
    "smaller": (20, lambda device: [floats(0.2, device) for _ in range(100)]),
    "smallest": (20, lambda device: [floats(0.02, device) for _ in range(1000)]),
}


@pytest.fixture(scope="module")
def clean():
    """Calls a function in a process of its own; in this one, other tests' threads may have left holes in any heap."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(int).result(PATIENCE)  # it starts here, for all tests
        yield lambda function, *arguments: process.submit(function, *arguments).result(PATIENCE)


def extra_of_known(name: str, device: torch.device) -> int | None:
    call = KNOWN_MEGABYTES[name][1]
    held = floats(300, device)  # what is there before does not count, nor what is freed before
    call(device)
    extra = memory.peak_extra(lambda: call(device), device)
    assert held[0] == 1
    return extra


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", KNOWN_MEGABYTES)
def test_peak_memory_of_known_allocations(clean, device, name):
    extra = clean(extra_of_known, name, device)
    if extra is None:
        pytest.skip(f"resident memory at the peak cannot be measured on {sys.platform} with this C library")
    assert extra == pytest.approx(KNOWN_MEGABYTES[name][0] * 1e6, rel=0.05)


def extra_among_holes() -> int | None:
    memory.keep_freed_memory()
    blocks = [floats(5 + 3 * i % 17) for i in range(12)]
    held = blocks[::2]
    del blocks

    def call():
        a = floats(17)
        b = floats(16)
        del a
        c = floats(19)
        del b
        return c, floats(20)

    extra = memory.peak_extra(call, CPU)
    assert len(held) == 6
    return extra


def test_peak_memory_does_not_depend_on_holes_in_the_heap(clean):
    extra = clean(extra_among_holes)
    if extra is None:
        pytest.skip(f"resident memory at the peak cannot be measured on {sys.platform} with this C library")
    assert extra == pytest.approx(39e6, rel=0.05)


@pytest.mark.parametrize(
    ("figures", "agreed"),
    [
        ([39e6, 39.2e6], 39.2e6),
        ([23e6, 39e6, 38.9e6], 39e6),  # pages of files were dropped during the first measurement
        ([39e6, 55e6, 39e6, 23e6, 44e6], 39e6),  # no two in a row agree
    ],
)
def test_peak_memory_is_what_measurements_agree_on(figures, agreed):
    left = iter(figures)
    assert memory._agreed(lambda: next(left)) == agreed
    assert next(left, None) is None


def test_calls_whose_memory_is_measured_have_as_many_threads_and_may_fail():
    threads = []
    memory.peak_extra(lambda: threads.append(torch.get_num_threads()), CPU)
    assert set(threads) <= {torch.get_num_threads()}
    if threads:
        with pytest.raises(ZeroDivisionError):
            memory.peak_extra(lambda: 1 / 0, CPU)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells its peak memory")
def test_peak_memory_is_measured_in_linux():
    assert memory.peak_extra(lambda: floats(50), CPU) is not None


def test_peak_memory_that_cannot_be_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "missing" / "clear_refs")
    assert memory.peak_extra(lambda: floats(1), CPU) is None
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    assert memory.peak_extra(lambda: floats(1), CPU) is None


@pytest.mark.usefixtures("_hasty_benchmark")
def test_ceilings():
    assert 1e8 < ceilings.copy_bandwidth(CPU, size=4 << 20) < 1e13
    assert 1e7 < ceilings.matrix_rate(CPU, torch.float32) < 1e15
    assert 1e5 < ceilings.matrix_rate(CPU, torch.bfloat16) < 1e15


def test_tf32_is_as_before_after_a_measurement():
    before = torch.get_float32_matmul_precision()
    with ceilings.tf32_allowed(True):
        assert torch.get_float32_matmul_precision() == "high"
    with ceilings.tf32_allowed(False):
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == before


def test_table():
    columns = [Column("name", heading="what"), Column("ms", "{0.median:.1f}", "ms"), Column("memory", "{:.0%}", "of")]
    rows = [
        {"name": "one", "ms": Spread(12.0, 11.0, 13.0), "memory": 0.5, "more": [1, 2]},
        {"name": "another", "ms": Spread(3.0, 2.0, 4.0), "memory": None},
    ]
    expected = ["title", "  what       ms   of", "  one      12.0  50%", "  another   3.0    -"]
    assert str(Table("title", columns, rows)).splitlines() == expected


def test_machine_line():
    facts = machine.describe(CPU)
    assert f"torch {torch.__version__.partition('+')[0]}" in machine.line(facts)
    assert f"{torch.get_num_threads()} threads" in machine.line(facts)
    card = {"gpu": "Card", "gpu_gigabytes": 80.0, "capability": "9.0", "cuda": "13.0", "cudnn": 9, "driver": "600.1"}
    assert machine.line(facts | card).startswith("Card (80.0 GB, compute capability 9.0); ")
    assert machine.line(facts | card).endswith("cuda 13.0, cudnn 9, driver 600.1")


def test_own_work_is_not_that_of_others(monkeypatch):
    monkeypatch.setattr(machine.os, "times", lambda: (0.0, 0.0, 0.0, 0.0, 0.0))
    everything = machine._busy_seconds()
    if everything is None:
        pytest.skip("this system does not tell how busy it is")
    monkeypatch.setattr(machine.os, "times", lambda: (4000.0, 3000.0, 2000.0, 1000.0, 9e9))
    assert machine._busy_seconds() == pytest.approx(everything - 10_000, abs=100)


def test_load_is_cores_since_the_last_question(monkeypatch):
    busy = iter([5.0, 6.5])
    monkeypatch.setattr(machine, "_busy_seconds", lambda: next(busy))
    clock = iter([10.0, 13.0])
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(clock))
    assert machine.Load().of_others() == 0.5
