import json

import pytest
import torch

from scripts.benchmark import main
from scripts.benchmarks import op_speed

CPU = torch.device("cpu")


@pytest.mark.usefixtures("_hasty_benchmark")
def test_rows(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    options = ["--device", "cpu", "--ops", "native", "--rounds", "2", "--megabytes", "0.05", "--json", str(path)]
    main(["ops", *options, "--dtype", "float32", "bfloat16"])
    printed = capsys.readouterr().out
    for text in ("operators on 0.05 MB", "bias_act", "upfirdn2d, down 2", "literal ms", "of copy", "bfloat16"):
        assert text in printed
    _, facts, *rows = map(json.loads, path.read_text().splitlines())
    rows = [line["row"] for line in rows]
    assert len(rows) == 2 * 2 * 2 * len(op_speed.CASES)
    assert {row["dtype"] for row in rows} == {"float32", "bfloat16"}
    for row in rows:
        assert len(row["rounds_ms"]["ours"]) == len(row["rounds_ms"]["literal"]) == 2
        assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
        share = row["gigabytes_per_second"] * 1e9 / max(facts["facts"]["copy"], facts["facts"]["large_copy"])
        assert row["share_of_copy"] == pytest.approx(share)


@pytest.mark.usefixtures("_hasty_benchmark")
@pytest.mark.parametrize("layout", op_speed.LAYOUTS.values(), ids=str)
@pytest.mark.parametrize("case", op_speed.CASES)
def test_ours_and_literal_compute_the_same(case, layout):
    passes = op_speed.forward_and_backward(case, 0.05, CPU, torch.float64, layout)
    (forward, _), (backward, _) = passes["forward"], passes["backward"]
    out = forward["ours"]()
    torch.testing.assert_close(out, forward["literal"]())
    assert out.is_contiguous(memory_format=layout)
    for ours, literal in zip(backward["ours"](), backward["literal"](), strict=True):
        torch.testing.assert_close(ours, literal)


@pytest.mark.usefixtures("_hasty_benchmark")
def test_bytes_moved_are_those_of_inputs_and_outputs():
    """Sides in and out as in models/discriminator.py and models/render_net.py; bias_act reads signs in its backward."""
    sides = {
        "bias_act": (16, 16),
        "upfirdn2d, padding 2": (16, 17),
        "upfirdn2d, down 2": (16, 8),
        "upfirdn2d, up 2": (8, 16),
        "upfirdn2d, padding 1": (17, 16),
    }
    assert op_speed.CASES.keys() == sides.keys()
    for case, (before, after) in sides.items():
        passes = op_speed.forward_and_backward(case, 0.3, CPU, torch.float64, torch.contiguous_format)
        moved = {name: size for name, (_, size) in passes.items()}
        maps = 2 * 64 * 8  # samples of 0.13 MB, channels, bytes
        expected = maps * (before**2 + after**2)
        assert moved == {"forward": expected, "backward": expected + (case == "bias_act") * maps * after**2}
