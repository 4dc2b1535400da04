import re
import shutil

import numpy as np
import pytest

from datasets.class_files import celebamask13, load_table
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_writer import LmdbWriter
from datasets.opening import content_digest
from metrics.segmenter import find_segmenter
from scripts import train_segmenter
from scripts.train_segmenter import main
from tests.datasets.folders import write_pairs
from utils.cli import run

QUICK = ["--steps", "2", "--batch-size", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def failure(argv, capsys) -> str:
    """Return the one-line error of the command."""
    with pytest.raises(SystemExit) as exit_:
        run(lambda: main(argv))
    assert exit_.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    return line


def test_the_segmenter_is_in_the_cache(faces_32, capsys):
    main(["--data", str(faces_32), *QUICK])
    dataset = ImageMaskDataset(faces_32)
    segmenter = find_segmenter("", dataset.classes.names, 32, content_digest(dataset), [])
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"  (\w+) +([\d.]+|none)\n", printed))
    assert list(rows) == [*dataset.classes.names, "mean"]
    assert float(rows["mean"]) == pytest.approx(segmenter.facts.mean_iou, abs=6e-4)
    assert "for 2 steps at 32 pixels on cpu; on one CPU core" in printed.splitlines()[0]


def test_other_pairs_are_held_out(faces_32, tmp_path, capsys):
    """Trained on all pairs of one data set, measured on all pairs of another."""
    path = tmp_path / "glasses"
    glasses = np.full((32, 32), celebamask13().index("glasses"), np.uint8)
    with LmdbWriter(path, 32, celebamask13(), "tests") as writer:
        writer.add(np.zeros((32, 32, 3), np.uint8), glasses)
    main(["--data", str(faces_32), "--held-out", str(path), *QUICK])
    rows = dict(re.findall(r"  (\w+) +([\d.]+|none)\n", capsys.readouterr().out))
    assert [name for name, iou in rows.items() if iou != "none"] == ["glasses", "mean"]
    other = tmp_path / "others"
    with LmdbWriter(other, 32, load_table("figures16"), "tests") as writer:
        writer.add(np.zeros((32, 32, 3), np.uint8), glasses)
    assert "16 classes, not 13" in failure(["--data", str(faces_32), "--held-out", str(other), *QUICK], capsys)
    same = failure(["--data", str(faces_32), "--held-out", f"{faces_32}/.", *QUICK], capsys)
    assert "is also in --data; give pairs that are not used for training" in same


def test_options_for_folders_need_one_folder_among_both(faces_32, tmp_path, capsys):
    folder = str(write_pairs(tmp_path / "folder", count=20))
    for data, held_out in ((str(faces_32), folder), (folder, str(faces_32))):
        options = ["--resolution", "32", "--crop", "center", "--overwrite"]
        main(["--data", data, "--held-out", held_out, *options, *QUICK])
    copy = shutil.copytree(faces_32, tmp_path / "copy")
    refused = failure(["--data", str(faces_32), "--held-out", str(copy), "--crop", "center", *QUICK], capsys)
    assert "data.crop is for folders of files" in refused


def test_the_duration_is_told_before_anything_is_read(faces_32, monkeypatch, capsys):
    def read(*arguments):
        assert "take about eight minutes" in capsys.readouterr().out
        raise KeyboardInterrupt

    monkeypatch.setattr(train_segmenter, "content_digest", read)
    with pytest.raises(KeyboardInterrupt):
        main(["--data", str(faces_32), *QUICK])


def test_a_file_is_replaced_only_when_asked(faces_32, tmp_path, capsys):
    path = tmp_path / "new" / "mine.pt"
    argv = ["--data", str(faces_32), "--output", str(path), *QUICK]
    main(argv)
    first = path.read_bytes()
    assert "--overwrite" in failure(argv, capsys)
    assert path.read_bytes() == first
    main([*argv, "--overwrite", "--seed", "1"])
    assert path.read_bytes() != first
    assert [file.name for file in path.parent.iterdir()] == ["mine.pt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps 0"),
        (["--batch-size", "-1"], "batch_size -1"),
        (["--device", "tpu9"], "--device tpu9"),
        (["--resolution", "16"], "16 px"),
        (["--data", "nowhere"], "nowhere"),
        (["--rate", "1"], "--rate"),
    ],
)
def test_mistakes_are_one_line(faces_32, tmp_path, options, message, capsys):
    assert message in failure(["--data", str(faces_32), *QUICK, *options], capsys)
    assert not list(tmp_path.rglob("*.pt"))
