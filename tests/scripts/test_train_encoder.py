"""The command, in this process, for a small untrained model; pixels stand in for the perceptual distance."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from configs.loader import load_options
from editing.encoder import load_encoder
from editing.encoder_config import EncoderRun
from editing.loading import load_model
from scripts import train_encoder
from tests.editing.tiny import save_tiny
from utils.cli import run
from utils.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "encoders").glob("*.yaml"))
SMALL = ["encoder.channels=8", "encoder.max_channels=16", "encoder.layers=1", "encoder.heads=2", "encoder.rounds=1"]
QUICK = [*SMALL, "training.steps=4", "training.batch_size=2", "training.checkpoint_every=2", "data.path=[]"]


class Pixels(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean((1, 2, 3))

    def toward(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        return partial(self, second=wanted)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_encoder, "EfficientNetDistance", Pixels)
    monkeypatch.setattr("editing.encoder_training._MEASURED", 8)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_tiny(tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


@pytest.fixture
def call(checkpoint: Path, tmp_path: Path) -> Callable[..., Path]:
    """Runs the command and returns the folder it wrote to."""

    def start(*options: str) -> Path:
        where = [
            "--checkpoint",
            str(checkpoint),
            "--output",
            str(tmp_path / "out"),
            "--device",
            "cpu",
            "--ops",
            "native",
        ]
        train_encoder.main([*QUICK, "--config", str(CONFIGS[0]), *where, *options])  # options of the file on both sides
        return tmp_path / "out"

    return start


def test_what_it_writes_is_an_encoder_of_the_model(
    call: Callable[..., Path], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = call()
    assert {path.name for path in folder.iterdir()} == {"encoder.pt", "training.pt"}
    load_encoder(folder / "encoder.pt", load_model(checkpoint, torch.device("cpu"))[0])
    facts = torch.load(folder / "encoder.pt", weights_only=True)["facts"]
    assert facts["steps"] == 4
    assert facts["own_guided_psnr"] > 0
    assert "own_miou" in capsys.readouterr().out


def test_a_gpu_without_bfloat16_is_refused(
    call: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_encoder.cli, "usable_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(train_encoder, "load_model", lambda *_: pytest.fail("loaded a model first"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    with pytest.raises(ConfigError, match=r"precision = bfloat16: this GPU does not support it; choose float32$"):
        call("training.precision=bfloat16")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_resumes(
    call: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train_encoder, "measure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call()
    folder = call()
    assert "resuming at step 4" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"training\.pt was written with another training\.rate; choose another --output"
    ):
        call("training.rate=0.1")
    (folder / "training.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"training\.pt is not an encoder's training state, or is damaged"):
        call()
    (folder / "training.pt").unlink()
    before = (folder / "encoder.pt").read_bytes()
    with pytest.raises(ValueError, match=r"encoder\.pt exists, but no training\.pt to resume from"):
        call()
    assert (folder / "encoder.pt").read_bytes() == before


def test_a_training_of_another_version(call: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = call() / "training.pt"
    state = torch.load(path, weights_only=True)
    older = "".join(line for line in state["config"].splitlines(True) if "codes:" not in line and "crop:" not in line)
    torch.save({**state, "config": older}, path)
    call()
    assert "resuming at step 4" in capsys.readouterr().out
    torch.save({**state, "config": state["config"] + "  depth: 3\n"}, path)
    with pytest.raises(
        ValueError, match=r"training\.pt: .* the option training\.depth, which .*: use .* or choose another --output$"
    ):
        call()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["training.step=1"], "unknown option training.step: did you mean training.steps?"),
        (["encoder.rounds=0"], "encoder.rounds = 0"),
        (["data.path=nowhere"], "nowhere"),
        (["data.mirror=true"], "data.mirror works only in the training of a generator"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    call: Callable[..., Path], tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(lambda: call(*options) and None)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_data_of_other_classes_are_refused(call: Callable[..., Path], faces_32: Path) -> None:
    with pytest.raises(ValueError, match="classes"):
        call(f"data.path={faces_32}")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_hold_differences_only(path: Path) -> None:
    given, default = load_options(EncoderRun, path), EncoderRun()
    assert given != default
    header = path.read_text(encoding="utf-8").split("data:")[0]
    assert all(f"# {word}:" in header for word in ("Data", "Command", "Hardware", "Time", "Result"))
