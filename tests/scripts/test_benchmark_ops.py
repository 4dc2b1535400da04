import json
import math

import pytest
import torch

from scripts.benchmark import main
from scripts.benchmarks import ops as subject

TINY = ["ops", "--device", "cpu", "--ops", "native", "--rounds", "2", "--megabytes", "0.05"]


@pytest.mark.usefixtures("_hasty_benchmark")
def test_table_and_json(tmp_path, capsys):
    main([*TINY, "--dtype", "float32", "bfloat16", "--json", str(tmp_path / "a.json")])
    printed = capsys.readouterr().out
    for text in ("bias_act", "upfirdn2d, down 2", "backward", "channels_last", "literal ms", "of copy", "bfloat16"):
        assert text in printed
    tables = json.loads((tmp_path / "a.json").read_text())["tables"]
    assert [table["rows"][0]["dtype"] for table in tables] == ["float32", "bfloat16"]
    for table in tables:
        assert len(table["rows"]) == 2 * 2 * len(subject.CASES)
        assert table["facts"]["backend"] in table["title"]
        for row in table["rows"]:
            assert len(row["rounds_ms"]) == len(row["literal_rounds_ms"]) == 2
            assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
            copies = [table["facts"][f"{large}copy_bytes_per_second"] for large in ("", "large_")]
            share = row["gigabytes_per_second"] * 1e9 / max(copies)
            assert row["share_of_copy"] == pytest.approx(share)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", subject.CASES, ids=lambda case: case.name)
def test_ours_and_literal_compute_the_same(case, memory_format):
    size = (2, 4, 16, 16)
    forward, backward = subject.passes(case, size, torch.device("cpu"), torch.float64, memory_format)
    out = forward.calls["ours"]()
    torch.testing.assert_close(out, forward.calls["literal"]())
    assert out.is_contiguous(memory_format=memory_format)
    for ours, literal in zip(backward.calls["ours"](), backward.calls["literal"](), strict=True):
        torch.testing.assert_close(ours, literal)


def test_bytes_moved_are_those_of_inputs_and_outputs():
    size, plane = (2, 4, 16, 16), 2 * 4 * 8
    for case, sides, signs in zip(
        subject.CASES, [(16, 16), (16, 17), (16, 8), (8, 16), (17, 16)], [1, 0, 0, 0, 0], strict=True
    ):
        forward, backward = subject.passes(case, size, torch.device("cpu"), torch.float64, torch.contiguous_format)
        expected = plane * (sides[0] ** 2 + sides[1] ** 2)
        assert (forward.bytes_moved, backward.bytes_moved) == (expected, expected + signs * plane * sides[1] ** 2)


@pytest.mark.parametrize("megabytes", [0.001, 0.05, 1, 16, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_tensors_have_the_size_asked_for(megabytes, dtype):
    size = subject.tensor_size(megabytes, dtype)
    sample = math.prod(size[1:]) * dtype.itemsize / 1e6
    assert megabytes <= size[0] * sample < megabytes + sample


def test_the_networks_use_these_cases():
    """Sides in and out of the resampling cases, as in models/discriminator.py and models/render_net.py."""
    named = {case.name: case for case in subject.CASES}
    x, taps = torch.zeros(1, 1, 16, 16), subject.resampling_filter()
    for name, side in (("padding 2", 17), ("down 2", 8), ("up 2", 32), ("padding 1", 15)):
        case = named[f"upfirdn2d, {name}"]
        assert case.ours(x, taps, **case.options).shape[-1] == side
