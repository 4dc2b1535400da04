"""Test what all commands have in common: quick answers to wrong command lines, and the names of output folders."""

import importlib
import sys

import pytest

from tests.processes import ROOT, run_command
from utils.errors import ConfigError

COMMANDS = ["train", "generate", *(f"scripts.{path.stem}" for path in sorted((ROOT / "scripts").glob("[a-z]*.py")))]
WRITE_A_FOLDER = {  # command -> a valid command line, up to the folder
    "train": "--config configs/faces_64_cpu.yaml --output",
    "generate": "--seeds 0 --output",
    "scripts.align_faces": "face.png --output",
    "scripts.directions": "--part hair --method sefa --output",
    "scripts.evaluate": "--data data/faces --output",
    "scripts.invert": "face.png --output",
    "scripts.make_faces": "--count 1",
    "scripts.make_pairs": "--count 1",
    "scripts.repaint": "--latents codes.npy --mask mask.png --output",
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
    "scripts.make_controls",
    "scripts.make_docs",
    "scripts.measure_takes",
    "scripts.plot_metrics",
    "scripts.studio",
    "scripts.train_segmenter",
}


ANSWERS = """
import runpy, sys
for command in {commands}:
    for argument in ("--nonsense", "--help"):
        sys.argv = [command, argument]
        try:
            if command in ("train", "generate"):
                runpy.run_path(command + ".py", run_name="__main__")
            else:
                runpy.run_module(command, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            print("answer:", command, argument, int(end.code or 0), [name for name in {slow} if name in sys.modules])
"""


def test_command_lines_are_answered_before_slow_imports():
    slow = ("torch", "torchvision", "tensorboard", "scipy", "matplotlib", "gradio")
    script = ANSWERS.format(commands=COMMANDS, slow=slow)
    result = run_command([sys.executable, "-c", script], capture_output=True, cwd=ROOT)
    answers = [line.partition(" ")[2] for line in result.stdout.splitlines() if line.startswith("answer: ")]
    expected = [
        f"{command} {given} {code} []" for command in COMMANDS for given, code in (("--nonsense", 2), ("--help", 0))
    ]
    assert answers == expected, result.stderr
    assert result.stderr.count("error: ") == len(COMMANDS)


def test_every_command_is_listed():
    assert sorted(COMMANDS) == sorted([*WRITE_A_FOLDER, *OTHERS])


@pytest.mark.parametrize("command", WRITE_A_FOLDER)
def test_a_folder_is_not_named_like_a_file(command, tmp_path):
    main = importlib.import_module(command).main
    line = [*WRITE_A_FOLDER[command].split(), str(tmp_path / "grid.JPG")]
    with pytest.raises(ConfigError, match=r"grid\.JPG is the name of a file, but the output is a folder; give a name"):
        main(line)
    assert not list(tmp_path.iterdir())
