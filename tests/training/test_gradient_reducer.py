"""When gradients are sent, and which. That the means are right with several processes is in test_distributed.py."""

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.processes import spawn
from training import gradient_reducer as reduction
from training.gradient_reducer import GradientReducer
from utils.distributed import destroy_group

LAYERS = 4


@pytest.fixture
def events(monkeypatch):
    """What happened, in order: "sent" for each collective, and what tests add. In a group of one process."""
    events: list[str] = []
    all_reduce = dist.all_reduce

    def watched(tensor: Tensor, **options: bool) -> dist.Work:
        events.append("sent")
        return all_reduce(tensor, **options)

    monkeypatch.setattr(dist, "all_reduce", watched)
    monkeypatch.setattr(reduction, "BUCKET_BYTES", 2 * (8 * 8 + 8) * 4)  # two layers
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield events
    destroy_group()


@pytest.fixture
def network() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(LAYERS)))


def loss(network: nn.Sequential, events: list[str], used: slice = slice(None)) -> Tensor:
    """Its backward pass reports when it comes through the first layer."""
    first, *others = network[used]
    x = first(torch.ones(2, 8))
    x.register_hook(lambda gradient: events.append("first layer"))
    for layer in others:
        x = layer(x)
    return x.square().sum()


def test_gradients_leave_before_the_backward_pass_ends(events, network):
    reducer = GradientReducer(network.parameters())
    reducer.backward(loss(network, events), last=True)
    assert events == ["first layer", "sent", "sent"]  # to find the order
    events.clear()
    reducer.backward(loss(network, events), last=True)
    assert events == ["sent", "first layer", "sent"]


def test_accumulation_sends_once(events, network):
    reducer = GradientReducer(network.parameters())
    for _ in range(2):
        events.clear()
        network.zero_grad()
        for index in range(3):
            assert "sent" not in events
            reducer.backward(loss(network, events), last=index == 2)
        assert events.count("sent") == 2
        expected = torch.autograd.grad(3 * loss(network, events), list(network.parameters()))
        torch.testing.assert_close([parameter.grad for parameter in network.parameters()], list(expected))


def test_nothing_is_sent_by_other_backward_passes(events, network):
    reducer = GradientReducer(network.parameters())
    reducer.backward(loss(network, events), last=True)
    events.clear()
    loss(network, events).backward()
    torch.autograd.grad(loss(network, events), list(network.parameters()))
    reducer.backward(loss(network, events), last=False)
    assert "sent" not in events


def test_parameters_without_gradient_keep_none(events, network):
    reducer = GradientReducer(network.parameters())
    for _ in range(2):
        events.clear()
        reducer.backward(loss(network, events, slice(1, 3)), last=True)
        assert events.count("sent") == 1
        assert [layer.weight.grad is None for layer in network] == [True, False, False, True]


def test_other_parameters_than_before(events, network):
    """Gradients that were not expected are sent, too, and expected in the next step."""
    reducer = GradientReducer(network.parameters())
    reducer.backward(loss(network, events, slice(1, 3)), last=True)
    network.zero_grad()
    events.clear()
    reducer.backward(loss(network, events), last=True)
    assert events == ["sent", "first layer", "sent", "sent"]  # the expected ones; then the last and the first layer
    events.clear()
    reducer.backward(loss(network, events), last=True)
    assert events == ["sent", "first layer", "sent"]
    network.zero_grad()
    events.clear()
    reducer.backward(loss(network, events, slice(1, 3)), last=True)
    assert events == ["first layer", "sent"]


def test_gradients_of_earlier_passes_are_sent(events, network):
    reducer = GradientReducer(network.parameters())
    for _ in range(2):
        network.zero_grad()
        events.clear()
        reducer.backward(loss(network, events), last=False)
        reducer.backward(loss(network, events, slice(2, 4)), last=True)
        assert events.count("sent") == 2


def test_gradients_that_arrive_twice_are_refused(events, network):
    reducer = GradientReducer(network.parameters())
    x = torch.ones(2, 8, requires_grad=True)

    def twice() -> Tensor:
        return sum(checkpoint(network, x, use_reentrant=True).sum() for _ in range(2))

    reducer.backward(twice(), last=True)
    with pytest.raises(RuntimeError, match="computed again"):
        reducer.backward(twice(), last=True)


def test_processes_must_agree_on_the_parameters(events, network, monkeypatch):
    monkeypatch.setattr(reduction, "gather", lambda order: [order, order[1:]])
    with pytest.raises(RuntimeError, match="different parameters"):
        GradientReducer(network.parameters()).backward(loss(network, events), last=True)


def test_one_process_has_no_hooks(network):
    reducer = GradientReducer(network.parameters())
    reducer.backward(loss(network, []), last=True)
    assert all(not parameter._post_accumulate_grad_hooks for parameter in network.parameters())


def _start_and_end(rank: int) -> None:
    for _ in range(200):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        for _ in range(3):
            for work in [dist.all_reduce(torch.ones(100_000), async_op=True) for _ in range(4)]:
                work.wait()
            dist.all_reduce(torch.ones(1))
        destroy_group()


@pytest.mark.long
def test_groups_end():
    spawn(_start_and_end, processes=1)
