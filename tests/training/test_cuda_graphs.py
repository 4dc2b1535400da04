"""CUDA graphs: the steps do the same, whatever starts their kernels."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from configs import RunConfig
from datasets.augment import Augmentation
from datasets.class_files import celebamask13
from datasets.data_config import AugmentConfig
from losses.loss_config import LossConfig
from models import ModelConfig
from training import precision as networks
from training.cuda_graphs import StepGraphs
from training.discriminator_inputs import PairInputs
from training.nonfinite_guard import NonfiniteGuard
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from training.training_config import TrainingConfig
from utils.distributed import Process
from utils.errors import ConfigError

LOSSES = LossConfig(r1_every=2, path_length_every=2)
R2 = replace(LOSSES, relativistic=True, r2_image=1.0, r2_segmentation=1.0)
CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def build(
    model: ModelConfig, augment: AugmentConfig | None = None, losses: LossConfig = LOSSES, **options: object
) -> TrainingSteps:
    """On a GPU, always the same networks and random stream."""
    device = torch.device("cuda")
    training = TrainingConfig(batch_size=16, max_batch_per_device=8, **options)
    state = build_state(RunConfig(model=model, losses=losses, training=training), Process(device))
    augmentation = Augmentation(augment, celebamask13(), device) if augment else None
    inputs = PairInputs(celebamask13(), device, augmentation, soft_masks=True)
    return TrainingSteps(state, losses, training, Stats(device), inputs)


def batches(count: int) -> list[list[tuple[torch.Tensor, ...]]]:
    """Each two micro-batches of eight, which penalties halve."""
    generator = torch.Generator().manual_seed(1)
    draw = lambda high, *shape: torch.randint(high, shape, generator=generator, dtype=torch.uint8).cuda()  # noqa: E731
    return [[(draw(256, 8, 3, 32, 32), draw(13, 8, 32, 32)) for _ in range(2)] for _ in range(count)]


def weights(steps: TrainingSteps) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in steps.state.generator.parameters()])


@GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("augment", "losses", "options"),
    [
        (None, LOSSES, {}),
        (AugmentConfig(probability=0.5), LOSSES, {}),
        (None, R2, {}),
        (None, LOSSES, {"recompute_local": True, "recompute_from": 16}),
        pytest.param(None, LOSSES, {"compile": True}, marks=pytest.mark.long),
    ],
    ids=["plain", "augmented", "R2", "recomputing", "compiled"],
)
def test_the_same_training(tiny_config, precision, augment, losses, options):
    """Random numbers, micro-batches, penalties and averages included."""
    told = {}
    for graphs in (False, True):
        steps = build(tiny_config, augment, losses, precision=precision, cuda_graphs=graphs, **options)
        for batch in batches(6):
            steps.iterate(batch)
        told[graphs] = steps.stats.tick(), weights(steps)
        assert (steps.graphs is not None) == graphs
    (eager, eager_weights), (graphed, graphed_weights) = told[False], told[True]
    assert {name for name in eager if name.startswith("losses")} == {n for n in graphed if n.startswith("losses")}
    for name, value in eager.items():
        if name.startswith("losses"):
            assert graphed[name] == pytest.approx(value, rel=0.05, abs=1e-3), name
    assert torch.cosine_similarity(eager_weights, graphed_weights, dim=0) > 0.999


@GPU
def test_batch_and_random_numbers_are_new_each_time(tiny_config):
    steps = build(tiny_config, cuda_graphs=True)
    reports = []
    for batch in [*batches(3)[:1] * 5, batches(3)[1]]:
        steps.iterate(batch)
        reports.append(steps.stats.tick())
    for name in ("losses/score_fake", "losses/score_real", "losses/mask"):
        assert len({report[name] for report in reports}) == len(reports), name


@GPU
def test_bad_steps_are_left_out_and_explained(tiny_config):
    steps = build(tiny_config, cuda_graphs=True)
    for batch in batches(4):
        steps.iterate(batch)
    bad, _ = steps.guard.collect()
    assert bad.item() == 0
    with torch.no_grad():
        steps.state.generator.mapping.layers[0].bias.fill_(torch.nan)
    poisoned = weights(steps).clone()
    steps.iterate(batches(1)[0])
    bad, record = steps.guard.collect()
    assert bad.item() >= 2
    assert torch.equal(weights(steps).nan_to_num(7), poisoned.nan_to_num(7))
    assert "mapping" in steps.guard.describe_origin(record, steps.forward)


def test_steps_are_recorded_once_each_has_run(monkeypatch):
    """Without a GPU: only in which order what is called."""
    calls = []
    graph = SimpleNamespace(replay=lambda: calls.append("replay"), pool=lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda *arguments, **options: nullcontext())
    device = torch.device("cpu")
    guard = NonfiniteGuard({}, device, is_enabled=True)
    graphs = StepGraphs(lambda name, batch: calls.append("step"), ["one", "other"], Stats(device), guard)
    for name in ("one", "one", "other", "one", "one", "other"):
        calls.append(f"{name}:")
        graphs.run(name, [])
    told = " ".join(calls)
    assert told == "one: step one: step other: step one: step replay one: replay other: step replay"


def test_one_process_only(monkeypatch):
    monkeypatch.setattr(networks.dist, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="cuda_graphs works in one process only"):
        networks.prepare_device(
            torch.device("cuda"), RunConfig(training=TrainingConfig(cuda_graphs=True), ops="native")
        )


def test_no_effect_on_a_cpu(tiny_config):
    config = TrainingConfig(cuda_graphs=True)
    state = build_state(RunConfig(model=tiny_config, training=config), Process(torch.device("cpu")))
    assert TrainingSteps(state, LossConfig(), config, Stats(CPU), PairInputs(celebamask13(), CPU)).graphs is None
