"""However a batch is split over processes and micro-batches, the gradients are those of the whole batch."""

import os
import socket
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from datasets.class_files import celebamask13
from losses.loss_config import LossConfig
from models import ModelConfig
from models.latents import to_wplus
from tests.processes import spawn
from training import gradient_reducer as reduction
from training import steps as training_steps
from training.discriminator_inputs import ImageInputs, PairInputs
from training.state import TrainingState, build_state
from training.stats import Stats
from training.steps import Stream, TrainingSteps
from training.training_config import TrainingConfig
from utils import distributed
from utils.distributed import from_main, gather_on_main, process_group, usable_cores
from utils.errors import ConfigError

BATCH = 8
CPU = torch.device("cpu")
ITERATIONS = 2  # the first finds the order in which gradients are sent, the second sends them in it
LOSSES = LossConfig(r1_every=1, path_length_every=1, path_length_batch_share=1.0, unlabelled=0)
ALL_LOSSES = replace(LOSSES, relativistic=True, r2_image=10.0, r2_segmentation=1000.0, r1_scale_with_resolution=True)


class Recorder:
    """In an optimizer's place: keeps the gradients of each step."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.steps: list[dict[str, Tensor]] = []

    def zero_grad(self, set_to_none: bool) -> None:
        self.module.zero_grad(set_to_none)

    def step(self) -> None:
        named = self.module.named_parameters()
        self.steps.append({name: p.grad.clone() for name, p in named if p.grad is not None})


class FixedSteps(TrainingSteps):
    """Uses no random numbers: sample n of the batch has code n and noise n, on every rank."""

    def __init__(
        self, state: TrainingState, losses: LossConfig, rank: int, world_size: int, micro_batches: int
    ) -> None:
        inputs = PairInputs(celebamask13(), CPU), ImageInputs()
        super().__init__(state, losses, TrainingConfig(), Stats(CPU), *inputs[: 1 + (losses.unlabelled > 0)])
        stream = torch.Generator().manual_seed(5)
        w = torch.randn(BATCH, state.generator.config.latent_dim, generator=stream, dtype=torch.float64)
        self.noise = torch.randn(BATCH, 3, 32, 32, generator=stream, dtype=torch.float64)
        self.shares = [slice(rank + world_size * i, None, world_size * micro_batches) for i in range(micro_batches)]
        self.w, self.calls = w, Counter()
        state.generator.render_net.random_noise = lambda samples: state.generator.render_net.const_noise()

    def _codes(self, samples: int) -> Tensor:
        phase = self.stats.running
        per_micro_batch = len(self.streams) if phase == "r1" else 1  # r2 generates for each stream
        share = self.shares[self.calls[phase] // per_micro_batch % len(self.shares)]
        self.calls[phase] += 1
        torch.randn_like = lambda image: self.noise[share]
        return to_wplus(self.state.generator.mapping(self.w[share]), self.state.generator.config)

    def _real(self, stream: Stream, records: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.double() for x in super()._real(stream, records))


def real_batch(rank: int, world_size: int, micro_batches: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    stream = torch.Generator().manual_seed(6)
    images = torch.randint(256, (BATCH, 3, 32, 32), generator=stream, dtype=torch.uint8)[rank::world_size]
    labels = torch.randint(13, (BATCH, 32, 32), generator=stream, dtype=torch.uint8)[rank::world_size]
    unlabelled = torch.randint(256, (BATCH, 3, 32, 32), generator=stream, dtype=torch.uint8)[rank::world_size]
    return [tuple(x[i::micro_batches] for x in (images, labels, unlabelled)) for i in range(micro_batches)]


def exchange_one(first: Tensor, second: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """`models.latents.exchange_one` without random numbers: the code decides which vector is exchanged."""
    index = (1e6 * first[:, 0, 0]).long() % (2 * config.num_classes)
    places = torch.arange(config.num_codes) == config.base_layers + index[:, None]
    return torch.where(places[:, :, None], second, first), index // 2, index % 2 == 1


def gradients(
    rank: int, world_size: int, micro_batches: int, config: ModelConfig, losses: LossConfig, path: Path, port: int = 0
) -> None:
    """Every step's gradients, saved by the first process."""
    reduction.BUCKET_BYTES = 2**14
    randn_like, exchange = torch.randn_like, training_steps.exchange_one
    training_steps.exchange_one = exchange_one
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    if world_size > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        with process_group("cpu") as process:
            state = build_run_state(config, process)
            steps = FixedSteps(state, losses, rank, world_size, micro_batches)
            for _ in range(ITERATIONS):
                steps.iterate(real_batch(rank, world_size, micro_batches))
            recorders = (state.discriminator_optimizer, state.generator_optimizer)
            if rank == 0:
                torch.save({"steps": [r.steps for r in recorders], "path_mean": state.path_mean}, path)
    finally:
        torch.randn_like, training_steps.exchange_one = randn_like, exchange
        torch.set_default_dtype(torch.float32)


def build_run_state(config: ModelConfig, process) -> TrainingState:
    from configs import RunConfig

    state = build_state(RunConfig(model=config), process)
    state.discriminator_optimizer = Recorder(state.discriminator)
    state.generator_optimizer = Recorder(state.generator)
    return state


@pytest.fixture(
    scope="module",
    params=[
        LOSSES,
        ALL_LOSSES,
        replace(ALL_LOSSES, unlabelled=0.7),
        replace(ALL_LOSSES, locality=0.7, locality_every=1),
    ],
    ids=["paper", "all_options", "unlabelled", "locality"],
)
def losses(request) -> LossConfig:
    return request.param


@pytest.fixture(scope="module")
def whole(tiny_config, losses, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("whole") / "gradients.pt"
    gradients(0, 1, 1, tiny_config, losses, path)
    contents = torch.load(path)
    discriminator, generator = contents["steps"]
    assert len(discriminator) == 2 * ITERATIONS  # the loss and its penalty
    assert len(generator) == (2 + losses.locality_every) * ITERATIONS
    return contents


def assert_same(ours, whole, bound: float) -> None:
    for ours_steps, whole_steps in zip(ours["steps"], whole["steps"], strict=True):
        assert len(ours_steps) == len(whole_steps)
        for ours_step, whole_step in zip(ours_steps, whole_steps, strict=True):
            assert ours_step.keys() == whole_step.keys()
            for name, gradient in whole_step.items():
                difference = (ours_step[name] - gradient).abs().max()
                assert difference <= bound * gradient.abs().max() + 1e-12, name
    assert torch.allclose(ours["path_mean"], whole["path_mean"], rtol=1e-10)


def test_two_processes(whole, tiny_config, losses, tmp_path):
    path = tmp_path / "gradients.pt"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    spawn(_spawned, 2, 1, tiny_config, losses, path, port, processes=2)
    assert_same(torch.load(path), whole, 1e-9)


def test_two_micro_batches(whole, tiny_config, losses, tmp_path):
    path = tmp_path / "gradients.pt"
    gradients(0, 1, 2, tiny_config, losses, path)
    # The path length's running mean carries gradient of one micro-batch only: a deviation of DECAY's order.
    assert_same(torch.load(path), whole, 2e-2)
    ours = torch.load(path)["steps"]
    for network, step in ((0, 0), (0, 1), (1, 0)):  # all but the path length
        for name, gradient in whole["steps"][network][step].items():
            assert torch.allclose(ours[network][step][name], gradient, rtol=1e-9, atol=1e-12), name


def _spawned(
    rank: int, world_size: int, micro_batches: int, config: ModelConfig, losses: LossConfig, path: Path, port: int
) -> None:
    gradients(rank, world_size, micro_batches, config, losses, path, port)
    assert not dist.is_initialized()
    if sys.platform.startswith("linux"):
        assert [name for name in thread_names() if "gloo" in name] == []


def test_results_and_errors_of_rank_0_reach_all_ranks(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    spawn(_spawned_from_main, port, tmp_path, processes=2)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["7 [0, 1] no file", "7 [] no file"]


def _spawned_from_main(rank: int, port: int, folder: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))

    def fail() -> None:
        raise ConfigError("no file")

    with process_group("cpu") as process:
        value = from_main(process, lambda: 7 + 10 * process.rank)
        gathered = gather_on_main(process.rank)
        with pytest.raises(ConfigError) as raised:
            from_main(process, fail)
    (folder / str(rank)).write_text(f"{value} {gathered} {raised.value}")


@pytest.fixture(params=["nccl", "gloo"])
def group(request, monkeypatch) -> tuple[str, list[str]]:
    """A backend without a process group behind it, and the calls that it would get: "init", "destroy"."""
    calls: list[str] = []
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    monkeypatch.setattr(dist, "rendezvous", lambda url, timeout: iter([(None, 0, 2)]))
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **options: calls.append("init"))
    monkeypatch.setattr(dist, "get_backend", lambda: request.param)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("destroy"))
    return request.param, calls


def test_a_group_ends_with_its_block(group):
    with process_group("cpu"):
        pass
    assert group[1] == ["init", "destroy"]


@pytest.mark.parametrize("error", [ValueError("a mistake"), SystemExit(75), KeyboardInterrupt()])
def test_a_group_of_nccl_outlives_an_exception(group, error):
    """To destroy it would wait for processes that are in a collective, before the exception is shown."""
    backend, calls = group
    with pytest.raises(type(error)) as raised, process_group("cpu"):
        raise error
    assert raised.value is error
    assert calls == (["init"] if backend == "nccl" else ["init", "destroy"])


def thread_names() -> list[str]:
    """Of all threads of this process, those of C++ too."""
    return [(thread / "comm").read_text() for thread in Path("/proc/self/task").iterdir()]


@pytest.fixture
def threads():
    """PyTorch's number of threads, 8 before the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield torch.get_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("environment", "expected"), [({}, 6), ({"LOCAL_WORLD_SIZE": "4"}, 1)])
def test_threads_are_a_share_of_the_cores(threads, monkeypatch, environment, expected):
    monkeypatch.setattr(distributed, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with process_group("cpu"):
        assert threads() == expected


def test_the_user_chooses_threads(threads, monkeypatch):
    monkeypatch.setattr(distributed, "usable_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with process_group("cpu"):
        assert threads() == 8


@pytest.mark.parametrize(("quota", "expected"), [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 12)])
def test_a_containers_quota_counts(tmp_path, monkeypatch, quota, expected):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(distributed, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    assert usable_cores() == expected
