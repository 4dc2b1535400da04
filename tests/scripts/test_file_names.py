"""Names as file systems have them: any bytes, shown so that every terminal can print them in one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from datasets.class_files import celebamask13
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_reading import read_meta
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.synthetic_faces import draw_face
from scripts import evaluate
from tests.conftest import TINY_OPTIONS
from tests.datasets.folders import SIZE
from tests.processes import run_command
from utils.errors import ConfigError, DataError, printable
from utils.reading.checks import normalized

NOT_UTF8 = os.fsdecode(b"caf\xe9")
NAMES = (NOT_UTF8, "\u00e4pfel", "two\nlines", "a b'c")
TERMINALS = {
    "UTF-8": {},
    "ASCII": {"LANG": "C", "PYTHONIOENCODING": "ascii"},
    "POSIX": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


def write_set(folder: Path) -> Path:
    for kind, shape in (("images", (SIZE, SIZE, 3)), ("masks", (SIZE, SIZE))):
        (folder / kind).mkdir(parents=True)
        for name in NAMES:
            pixels = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape) % 2
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{name}.png")
    (folder / "classes.yaml").write_text("classes: [{id: 0, name: a}, {id: 1, name: b}]")
    return folder


def call(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return run_command(command, env={**os.environ, **environment}, capture_output=True, encoding=None)


@pytest.mark.parametrize("terminal", ["UTF-8", pytest.param("ASCII", marks=pytest.mark.long), "POSIX"])
def test_a_set_is_prepared_and_looked_at(tmp_path: Path, terminal: str) -> None:
    source, out = write_set(tmp_path / f"s{NOT_UTF8}"), tmp_path / f"o{NOT_UTF8}\n"
    environment = TERMINALS[terminal]
    result = call("scripts.prepare_data", source, out, "--resolution", SIZE, "--workers", 0, **environment)
    assert result.returncode == 0, result.stderr
    assert rb"ocaf\xe9\n: 4 records" in result.stdout
    assert rb"$'data.path=" in result.stdout
    assert rb"scaf\xe9/images" in (out / "report.txt").read_bytes()
    result = call("scripts.inspect_data", out, "--sheet", out / f"{NOT_UTF8}.png", "--workers", 0, **environment)
    assert result.returncode == 0, result.stderr
    assert rb"scaf\xe9" in result.stdout
    if terminal == "UTF-8":
        assert len(ImageMaskDataset(out)) == 4
        assert os.fsencode(source) in read_meta(out)["source"].encode("utf-8", "surrogateescape")


def test_problems_are_one_line_each(tmp_path: Path) -> None:
    source, out = write_set(tmp_path / "source"), tmp_path / "out"
    for name in NAMES[::2]:
        (source / "masks" / f"{name}.png").write_bytes(b"")
    arguments = ("scripts.prepare_data", source, out, "--resolution", SIZE, "--workers", 0)
    result = call(*arguments, PYTHONIOENCODING="ascii")
    assert result.returncode == 2
    assert rb"caf\xe9.png: is not an image" in result.stderr.splitlines()[-1]
    assert rb"two\nlines.png: is not an image" in result.stdout.splitlines()[-1]
    assert call(*arguments, "--skip-bad").returncode == 0
    assert [line.rpartition("/")[2].split(":")[0] for line in (out / "problems.txt").read_text().splitlines()] == [
        r"caf\xe9.png",
        r"two\nlines.png",
    ]


def test_a_run_reads_such_a_path_but_does_not_write_there(tmp_path: Path) -> None:
    data = tmp_path / f"data{NOT_UTF8}"
    with LmdbWriter(data, 32, celebamask13(), "tests") as writer:
        writer.add_encoded(*encode_pair(*draw_face(0, 0, 32)))
    options = ["data.workers=0", "ops=native", "training.batch_size=1", "training.total_images=1"]
    command = ["--config", "configs/faces_64_cpu.yaml", f"data.path={data}", *TINY_OPTIONS, *options]
    assert train.main([*command, "training.device=cpu", "--output", str(tmp_path / "run")]) == 0
    with pytest.raises(ConfigError, match=r"run.*: TensorBoard needs names in UTF-8; choose another name"):
        train.main([*command, "--output", str(tmp_path / f"run{NOT_UTF8}")])
    with pytest.raises(ConfigError, match=r"run.*: TensorBoard needs names in UTF-8; choose another name"):
        evaluate.main(["--data", str(data), "--output", str(tmp_path / f"run{NOT_UTF8}")])
    assert not (tmp_path / f"run{NOT_UTF8}").exists()


def test_how_names_are_shown_and_compared() -> None:
    assert printable("a\u00fc b") == "a\u00fc b"
    assert printable(f"{NOT_UTF8}\n\t\x1b") == r"caf\xe9\n\t\x1b"
    assert str(DataError(f"{NOT_UTF8}\n: bad")) == r"caf\xe9\n: bad"
    assert normalized("u\u0308") == normalized("\u00fc") == "\u00fc"
    as_ascii = "m\u0075\u0308".encode().decode("ascii", "surrogateescape")
    assert normalized(as_ascii) == "m\u00fc"
    assert os.fsencode(normalized(NOT_UTF8)) == b"caf\xe9"


@pytest.mark.parametrize(("encoding", "printed"), [("utf-8", "caf\\xe9 ł"), ("ascii", r"caf\xe9 \u0142")])
def test_what_commands_print_of_names(encoding: str, printed: str) -> None:
    script = f"from utils import cli; cli.run(lambda: print({NOT_UTF8 + ' ł'!a}))"
    command = [sys.executable, "-c", script]
    result = run_command(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, encoding=None)
    assert result.stdout.decode() == f"{printed}\n"
