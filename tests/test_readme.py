"""Run every command of the README and docs/ in a copy of the project and at small sizes, and check all links.

Commands run in the order of the README and of its table of documents, as later ones use what earlier ones write.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from datasets.synthetic_faces import draw_face
from editing.image_grids import with_captions
from editing.loading import load_model
from editing.quality import POOR_DISTANCE, POOR_MIOU, POOR_PSNR
from models.checkpoint import bundled_model
from scripts import prepare_data
from tests.conftest import TINY_OPTIONS
from tests.datasets.test_layouts import COMMANDS as LAYOUT_COMMANDS  # run there, on data sets of these layouts
from tests.golden_cases import golden_cases
from tests.processes import PATIENCE, ROOT, copy_project, project_files, run_command, without_nvcc
from tests.python_server import PythonServer
from tests.scripts.test_export_model import skip_if_refused

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(path for path in project_files() if path.parent == ROOT / "docs" and path.suffix == ".md")
LISTED = re.findall(r"^\| \[[^]]+\]\((docs/[\w-]+\.md)\) \|", README, re.MULTILINE)  # the table of documents
DOCUMENTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", *LISTED)}
FOLDERS = {path.parent.name for path in project_files() if path.name == "__init__.py" and path.parent.parent == ROOT}
PAGES = [*DOCUMENTS, "CONTRIBUTING.md", "CHANGELOG.md"]


def code_blocks(language: str) -> list[str]:
    return [b for text in DOCUMENTS.values() for b in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


COMMANDS = [line for block in code_blocks("bash") for line in block.strip().splitlines() if line not in LAYOUT_COMMANDS]
CLASS_TABLE, STUDY = code_blocks("yaml")
SNIPPETS = code_blocks("python")

TINY_RUN = shlex.join(
    [
        *TINY_OPTIONS,
        "training.batch_size=8",
        "training.total_images=16",
        "training.max_batch_per_device=8",
        "training.preview_samples=2",
        "training.device=cpu",
        "data.path=data/faces_64",
        "data.workers=0",
        "ops=native",
    ]
)
FEW_SAMPLES = "metrics.samples=8 metrics.part_samples=8 metrics.path_samples=4 metrics.edit_samples=2"
ON_CPU = "training.device=cpu data.workers=0 ops=native"
EVERY_PENALTY = "losses.r1_every=1 losses.path_length_every=1"

SHRINK = [
    (r"--count \d+ --resolution \d+(?![\dx])", "--count 24 --resolution 32"),
    (r"--count \d+ --resolution 96x64", "--count 24 --resolution 96x64"),
    # Run plain torchrun commands with two processes, and those with further options with one.
    (r"^torchrun --nproc_per_node=\d+ train", "torchrun --nproc_per_node=2 train"),
    (r"^torchrun (.*)--nproc_per_node=\d+ --", r"torchrun \1--nproc_per_node=1 --"),
    # Use a single node, with the rendezvous on this machine at a free port.
    (r"--nnodes=\d+ (.*)--rdzv_endpoint=\S+", r"--nnodes=1 \1--rdzv_endpoint=127.0.0.1:0"),
    (r"^torchrun (?!--nnodes)", "torchrun --standalone "),
    (r"--count 1000", "--count 24"),
    (r"(--config configs/(?:adapt|figures_96x64_cpu)\.yaml)", rf"\1 training.total_images=8 {ON_CPU}"),
    (r"(train\.py --config (?!configs/adapt|configs/figures)\S+(?: --output \S+| --dry-run)?)", rf"\1 {TINY_RUN}"),
    (r"(scripts\.benchmark train --config \S+)", rf"\1 --rounds 1 --iterations 1 {EVERY_PENALTY} {TINY_RUN}"),
    (r"metrics\.samples=\d+", FEW_SAMPLES),
    (r"--samples \d+", "--samples 12 --part-samples 8 --path-samples 4 --edit-samples 2"),
    (r"(scripts\.train_segmenter .*)", r"\1 --steps 2"),
    (r"(scripts\.train_segmenter --data data/photos_64)", r"\1 --resolution 32"),
    (r"(scripts\.invert .*)", r"\1 --steps 2"),
    (r"(scripts\.repaint .*)", r"\1 --steps 2"),
    (r"(scripts\.directions .*)", r"\1 --samples 64 --edit-samples 4"),
    (r"(scripts\.make_controls .*)", r"\1 --samples 200 --edit-samples 2"),
    (r"(scripts\.measure_takes .*) --pairs \d+", r"\1 --pairs 1"),
    (r"(scripts\.train_encoder .*)", r"\1 training.steps=2 training.batch_size=2"),
    (r"scripts\.studio$", "scripts.studio --help"),  # it would run forever; its own tests start it
    (r"--tune \d+", "--tune 1"),
    (r"(runs/adapt/checkpoints/images)_\d+", r"\1_000000008"),
    (r"^pip install .*", "true"),  # already installed for the tests
    (r"--checkpoint CK", "--checkpoint runs/first/checkpoints/images_000000016.pt"),
    (r"^tensorboard --logdir runs$", "tensorboard --inspect --logdir runs"),  # the same files, without a server
    (r"quickstart\.sh", f"quickstart.sh {TINY_RUN}"),
]


def small(command: str) -> str:
    for pattern, replacement in SHRINK:
        command = re.sub(pattern, replacement, command)
    return command


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """Copy the project, with this environment as its .venv, a checkpoint in the released layout, photos and a study."""
    folder = tmp_path_factory.mktemp("copy")
    copy_project(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    quickstart = folder / "scripts" / "quickstart.sh"
    quickstart.write_text(quickstart.read_text().replace("--samples 1000", "--samples 12"))
    case = next(case for case in golden_cases() if case.name == "b")
    contents = case.checkpoint()
    states = {name: {k: v.float() for k, v in contents[name].items()} for name in ("g", "g_ema", "d")}
    torch.save({**contents, **states}, folder / "released.pt")
    write_photos(folder / "data" / "photos")
    (folder / "data" / "photos_study.yaml").write_text(small_study())
    return folder


def small_study() -> str:
    """Shrink the study of docs/metrics.md to two stages of few images and one seed."""
    options = "".join(f"  - {option}\n" for option in shlex.split(TINY_RUN))
    study = STUDY.replace("# of all runs\n", f"# of all runs\n{options}").replace(
        "- metrics.samples=1000", "- metrics.samples=8"
    )
    return study.replace("[10000, 20000]", "[8, 16]").replace("[0, 1]", "[0]")


def write_photos(folder: Path) -> None:
    """Write images and masks that fit the class table of docs/data.md, with a remapped id and unlabelled pixels."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.yaml").write_text(CLASS_TABLE)
    ids = np.array([0, 1, 2, 3, 4, 17, 255], np.uint8)
    for index in range(24):
        image, label = draw_face(1, index, 64)
        Image.fromarray(image).save(folder / "images" / f"{index}.jpg")
        Image.fromarray(ids[label % len(ids)]).save(folder / "masks" / f"{index}.png")


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    bytecode = {"PYTHONDONTWRITEBYTECODE": ""}  # later commands reuse the bytecode of earlier ones
    return {**without_nvcc(), "PATH": path, "VENV": ".venv", "FACES": "24", "OMP_NUM_THREADS": "1", **bytecode}


def run(command: list[str], folder: Path) -> str:
    options = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    # Some commands run several processes one after the other, each within the patience of a busy machine.
    result = run_command(command, cwd=folder, timeout=5 * PATIENCE, **options)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-6000:]}"
    return result.stdout


def run_python(python: PythonServer, arguments: list[str], folder: Path) -> None:
    result = python(arguments, folder, environment())
    assert result.returncode == 0, f"{' '.join(arguments)}\n{result.stdout[-6000:]}"


def test_commands_are_found():
    assert len(COMMANDS) >= 50
    assert {"source scripts/environment.sh requirements.txt", "bash scripts/quickstart.sh"} <= set(COMMANDS)
    assert "bash scripts/test.sh" in COMMANDS
    assert len(SNIPPETS) == 2


def test_the_readme_is_short_and_lists_every_document():
    assert len(README.splitlines()) <= 130
    assert sorted(LISTED) == [f"docs/{path.name}" for path in DOCS]


def test_the_bundled_model_is_measured_on_faces_like_its_own():
    measured = [command for command in COMMANDS if "scripts.evaluate" in command and "--checkpoint" not in command]
    assert measured
    assert {data for command in measured for data in re.findall(r"--data (\S+)", command)} == {"data/faces_64"}
    quickstart = (ROOT / "scripts" / "quickstart.sh").read_text(encoding="utf-8")
    (options,) = re.findall(r"scripts\.make_faces \S+ (.*)", quickstart)
    assert options == '--count "${FACES:-5000}" --resolution 64 --seed 0'  # close framing


@pytest.mark.parametrize("page", DOCUMENTS)
def test_the_duration_of_the_segmenter_is_told_before_its_command(page):
    before, *_ = DOCUMENTS[page].split("\npython -m scripts.train_segmenter ")
    assert _ == [] or "about eight minutes" in before.replace("\n", " ")


def test_commands_of_generate_run_as_they_are():
    """The bundled model needs no --checkpoint, so a newcomer has nothing to fill in."""
    assert [command for command in COMMANDS if "generate.py" in command and "CK" in command] == []


def test_the_edit_of_the_readme_gives_the_picture_of_the_documents(tmp_path, capsys):
    (edit,) = re.findall(r"^python generate\.py --output \S+ (.*--interpolate.*)$", README, re.MULTILINE)
    generate.main(["--output", str(tmp_path), *shlex.split(edit), "--device", "cpu", "--ops", "native"])
    with Image.open(tmp_path / "interpolation.png") as made, Image.open(ROOT / "docs/interpolation.png") as shown:
        assert np.abs(np.asarray(made).astype(int) - shown).mean() < 1
    assert "16/16 images" in capsys.readouterr().err
    assert "16 for two seeds" in " ".join(DOCUMENTS["docs/editing.md"].split())


def test_the_legend_shows_the_classes_of_the_bundled_model():
    _, classes = load_model(bundled_model(), torch.device("cpu"))
    tiles = np.tile(classes.palette()[:, None, None], (1, 16, 64, 1))
    with Image.open(ROOT / "docs" / "classes.png") as shown:
        strip = np.asarray(shown)[-18:]
    np.testing.assert_array_equal(strip, with_captions(tiles, classes.names)[-18:])


def test_the_limits_of_a_poor_reconstruction_are_documented():
    text = " ".join(DOCUMENTS["docs/editing.md"].split())
    limits = f"PSNR is below {POOR_PSNR:g} dB, `efflite0` above {POOR_DISTANCE['efflite0']:g}, or the mIoU"
    assert f"{limits} of the masks, which needs `--masks` or `--segmenter`, below {POOR_MIOU:g}" in text


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    text = without_code((ROOT / page).read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        path = ((ROOT / page).parent / target) if target else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", DOCUMENTS)
def test_named_files_exist(page):
    paths = re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)}|docs)/[\w/.-]*\w", DOCUMENTS[page])
    assert [path for path in paths if not (ROOT / path).exists()] == []


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("command", COMMANDS)
def test_command(copy, python, command):
    if command == "bash scripts/test.sh":  # it runs this test: only check that it parses
        run(["bash", "-n", "scripts/test.sh"], copy)
        return
    command = small(command)
    if "quickstart.sh" in command:
        output = run(["bash", "-c", command], copy)
        assert "\ntrained on 16 images" in output
        (command_to_continue,) = re.findall(r"^to train further: (bash .*)$", output, re.MULTILINE)
        assert shlex.split(command_to_continue) == [*shlex.split(command), "training.total_images=40016"]
        return
    if ".onnx" in command:
        skip_if_refused(Path("model.onnx"))
    if command.startswith("python ") and not set("*$|&;<>") & set(command):
        run_python(python, shlex.split(command)[1:], copy)
    else:
        run(["bash", "-c", command], copy)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet(copy, python, snippet):
    run_python(python, ["-c", snippet], copy)


def test_commands_and_snippets_leave_nothing_that_git_does_not_ignore(copy):
    """Apart from a converted checkpoint, which stays beside the released one."""
    ignored = set((ROOT / ".gitignore").read_text(encoding="utf-8").replace("/", "").split())
    project = {path.relative_to(ROOT).parts[0] for path in project_files()}
    assert {path.name for path in copy.iterdir()} - project - ignored <= {"released.pt", "ours.pt"}


@pytest.mark.parametrize("page", DOCUMENTS)
def test_pages_with_python_lines_name_the_working_directory(page):
    before, *_ = DOCUMENTS[page].split("```python\n")
    assert _ == [] or "with the root of the clone as working directory" in " ".join(before.split())[-200:]


def test_the_command_that_trains_on_photos_is_the_printed_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_photos(Path("data/photos"))
    (command,) = [each for each in COMMANDS if "prepare_data data/photos data/photos_64 " in each]
    prepare_data.main([*shlex.split(command)[3:], "--workers", "0"])
    assert COMMANDS[COMMANDS.index(command) + 1] == capsys.readouterr().out.splitlines()[-1].partition(": ")[2]


def test_every_folder_is_described():
    assert FOLDERS - {"tests"} <= set(re.findall(r"`(\w+)/`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


def test_the_quickstart_checks_options_before_it_generates_faces(tmp_path):
    copy_project(tmp_path / "copy")
    (tmp_path / "copy" / ".venv").symlink_to(sys.prefix)
    command = ["bash", "scripts/quickstart.sh", "training.batchsize=8"]
    result = run_command(command, cwd=tmp_path / "copy", capture_output=True, env=environment())
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith("error: unknown option training.batchsize: did you mean training.batch_size?\n")
    assert not (tmp_path / "copy" / "data" / "faces_64").exists()


@pytest.mark.parametrize("arguments", [["--output", "runs/other"], ["--output=runs/other"], ["data.path=photos"]])
def test_the_quickstart_refuses_another_run_or_data(arguments):
    """It would train there, but sample from its own run, and replace the pictures in it."""
    result = run_command(["bash", "scripts/quickstart.sh", *arguments], cwd=ROOT, capture_output=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: quickstart.sh does not take {arguments[0]}, only options like training.batch_size=8; "
        "for other data or folders, use train.py (docs/training.md)\n"
    )
