"""Test what all commands have in common: the names of output folders."""

import importlib

import pytest

from tests.processes import ROOT
from utils.errors import ConfigError

COMMANDS = ["train", "generate", *(f"scripts.{path.stem}" for path in sorted((ROOT / "scripts").glob("[a-z]*.py")))]
WRITE_A_FOLDER = {  # command -> a valid command line, up to the folder
    "train": "--config configs/faces_64_cpu.yaml --output",
    "generate": "--seeds 0 --output",
    "scripts.directions": "--part hair --method sefa --output",
    "scripts.evaluate": "--data data/faces --output",
    "scripts.invert": "face.png --output",
    "scripts.make_faces": "--count 1",
    "scripts.make_pairs": "--count 1",
    "scripts.prepare_data": "--resolution 64 data/faces",
    "scripts.study": "configs/studies/faces_64.yaml --output",
    "scripts.train_encoder": "--config configs/encoders/faces_64.yaml --output",
}
OTHERS = {  # these write files that the user names, or nothing
    "scripts.benchmark",
    "scripts.convert_checkpoint",
    "scripts.doctor",
    "scripts.export_model",
    "scripts.inspect_data",
    "scripts.plot_metrics",
    "scripts.studio",
    "scripts.train_segmenter",
}


def test_every_command_is_listed():
    assert sorted(COMMANDS) == sorted([*WRITE_A_FOLDER, *OTHERS])


@pytest.mark.parametrize("command", WRITE_A_FOLDER)
def test_a_folder_is_not_named_like_a_file(command, tmp_path):
    main = importlib.import_module(command).main
    line = [*WRITE_A_FOLDER[command].split(), str(tmp_path / "grid.JPG")]
    with pytest.raises(ConfigError, match=r"grid\.JPG is the name of a file, but the output is a folder; give a name"):
        main(line)
    assert not list(tmp_path.iterdir())
