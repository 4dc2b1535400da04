"""Steps by trace: what is counted, and limits that the steps at 512 pixels keep to."""

import json

import pytest
import torch

from configs import RunConfig, load_config
from models import Discriminator, Generator
from scripts import benchmark
from scripts.benchmarks import trace
from scripts.benchmarks.trace import META, Autocast, Trace

BATCH_16 = ("training.batch_size=16", "training.max_batch_per_device=16", "training.precision=bfloat16")


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device=META)


def test_operators_bytes_and_live_memory():
    x = empty(4, 3, 8, 8)
    size = x.numel() * 4
    with Trace() as seen:
        y = x * 2  # reads and writes
        y = y.view(12, 64)  # a view costs nothing
        y = y + 1  # three tensors at the same time, of which one was made before
        y += empty(64).expand(12, 64)  # what is expanded is read once
    assert seen.operators == {"mul": 1, "add": 1, "add_": 1}
    assert seen.bytes == {"mul": 2 * size, "add": 2 * size, "add_": 2 * size + 64 * 4}
    assert seen.peak == 2 * size


def test_what_is_overwritten_is_not_read():
    x, half = empty(1000), torch.empty(1000, dtype=torch.bfloat16, device=META)
    with Trace() as seen:
        x.copy_(half)
        x.fill_(1)
        torch.ones_like(x)
        torch.mul(x, 2, out=half)
    assert seen.bytes == {"copy_": 6000, "fill_": 4000, "ones_like": 4000, "mul": 6000}


def test_networks_average_and_moments_are_there_all_the_time(tiny_config):
    """Numbers of 4 bytes: both networks four times with their moments and one average, and the generator's buffers."""
    config = RunConfig(model=tiny_config)
    generator, discriminator = Generator(tiny_config), Discriminator(tiny_config)
    g, d = (sum(p.numel() for p in network.parameters()) for network in (generator, discriminator))
    noise = sum(x.numel() for x in generator.render_net.const_noise())
    assert next(trace.trace_steps(config))[1].resident == 4 * (4 * g + 3 * d + 2 * noise)


def test_convolutions_answer_as_on_a_gpu():
    x, weight = empty(2, 4, 16, 16), empty(8, 4, 3, 3)
    for given, expected in ((x, False), (x.contiguous(memory_format=torch.channels_last), True)):
        with Trace() as seen:
            output = torch.ops.aten.convolution(given, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
        assert output.is_contiguous(memory_format=torch.channels_last) == expected
        assert seen.largest_kernel == 3


def test_autocast_of_a_gpu():
    with Autocast(), torch.autocast("cpu", torch.bfloat16):
        for matrices in (torch.matmul(empty(3, 5), empty(5, 4)), empty(3, 5) @ empty(5, 4)):
            assert matrices.dtype == torch.bfloat16
        product = torch.baddbmm(empty(2, 1, 4), empty(2, 3, 5), empty(2, 5, 4))
        assert product.dtype == torch.bfloat16
        assert product.softmax(-1).dtype == torch.float32
        assert (product + 1).dtype == torch.bfloat16
    with Autocast():
        assert torch.baddbmm(empty(2, 1, 4), empty(2, 3, 5), empty(2, 5, 4)).dtype == torch.float32


class Transpositions(Trace):
    """Also lists copies of images, maps and segmentations into another order of dimensions; bytes may be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(function, types, args, kwargs)
        if (
            function._overloadpacket.__name__ in ("clone", "copy_")
            and args[-1].ndim == 4
            and result.dtype.is_floating_point
        ):
            order = [sorted(range(4), key=lambda axis: -x.stride(axis)) for x in (args[-1], result)]
            if order[0] != order[1] and result.shape[-2] == result.shape[-1] >= 128:
                self.copies.append(tuple(result.shape))
        return result


@pytest.fixture(scope="module")
def steps():
    """Traces of the paper's configuration at 512 pixels, 16 images, bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "Trace", Transpositions)
        return dict(trace.trace_steps(load_config("configs/celebamask_512.yaml", BATCH_16)))


@pytest.mark.parametrize("name", ["discriminator", "r1", "generator", "path_length"])
def test_convolutions_of_all_steps_are_small(steps, name):
    assert steps[name].trace.largest_kernel == 3


@pytest.mark.parametrize("name", ["discriminator", "r1", "generator"])
def test_large_maps_stay_in_channels_last(steps, name):
    """In path length, slices of a head's padded channels come back contiguous: 50 MB."""
    layouts = steps[name].trace.layouts
    assert layouts[False] <= 0.03 * layouts.total()
    assert steps[name].trace.copies == []


@pytest.mark.parametrize(
    ("name", "limit"), [("discriminator", 18.5), ("r1", 16), ("generator", 14), ("path_length", 10)]
)
def test_memory_of_the_steps(steps, name, limit):
    peak = (steps[name].trace.peak + steps[name].resident) / 1e9
    assert 0.9 * limit < peak <= limit


def test_operators_of_an_iteration(steps):
    assert sum(step.trace.operators.total() / step.every for step in steps.values()) <= 2250


def test_command(tmp_path, capsys):
    """All steps of a small configuration, and their average by how often they come."""
    written = tmp_path / "trace.jsonl"
    benchmark.main(
        ["trace", "--config", "configs/faces_64_cpu.yaml", "losses.path_length_every=4", "--json", str(written)]
    )
    assert "average iteration" in capsys.readouterr().out
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    rows = {line["row"]["step"].split()[0]: line["row"] for line in lines if "row" in line}
    assert list(rows) == ["discriminator", "r1", "generator", "path_length", "average"]
    every = {"r1": 16, "path_length": 4}
    for key in ("operators", "gigabytes", "upfirdn2d"):
        expected = sum(row[key] / every.get(name, 1) for name, row in rows.items() if name != "average")
        assert rows["average"][key] == pytest.approx(expected)
