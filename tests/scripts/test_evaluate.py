import re

import pytest

from configs.cli import run
from scripts.evaluate import main


def test_areas_of_drawings_and_data(tiny_checkpoint, faces_32, capsys):
    main(["--checkpoint", str(tiny_checkpoint), "--data", str(faces_32), "--samples", "6", "--batch-size", "4"])
    out = capsys.readouterr().out
    rows = re.findall(r"(\w+) +drawn +([\d.]+)% +data +([\d.]+)%", out)
    assert [row[0] for row in rows][:2] == ["background", "skin"]
    for column in (1, 2):
        assert sum(float(row[column]) for row in rows) == pytest.approx(100, abs=0.2)
    distance = sum(abs(float(drawn) - float(real)) for _, drawn, real in rows) / 200
    assert float(re.search(r"total variation distance: ([\d.]+)", out)[1]) == pytest.approx(distance, abs=2e-3)


@pytest.mark.parametrize(
    "options", [["--samples", "0"], ["--batch-size", "-3"], ["--device", "tpu9"], ["--seeds", "1"]]
)
def test_mistakes_are_one_line(tiny_checkpoint, faces_32, options, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: main(["--checkpoint", str(tiny_checkpoint), "--data", str(faces_32), *options]))
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0] in line
