"""Stored configurations of models: one that lacks an option takes its default, one that adds an option is refused."""

from dataclasses import asdict, dataclass
from typing import Literal

import pytest
import torch

from editing import encoder
from editing.encoder import load_encoder
from models import ModelConfig, checkpoint, load_generator
from models.checkpoint import BUNDLED, BUNDLED_ENCODER
from utils.errors import EditError, ModelError


@dataclass(frozen=True)
class NewerConfig(ModelConfig):
    """A configuration with options that no file has yet."""

    activation: Literal["leaky_relu", "sinus"] = "leaky_relu"
    extra: tuple[int, ...] = (1,)


@pytest.fixture
def stored(tiny_checkpoint):
    """Load the generator of a checkpoint whose configuration is changed."""

    def stored(changes=None, without=()):
        contents = torch.load(tiny_checkpoint, weights_only=True)
        model = {**contents["model"], **(changes or {})}
        contents["model"] = {name: value for name, value in model.items() if name not in without}
        torch.save(contents, tiny_checkpoint)
        return load_generator(tiny_checkpoint)

    return stored


def test_new_options_take_their_defaults(monkeypatch):
    for module in (checkpoint, encoder):
        monkeypatch.setattr(module, "ModelConfig", NewerConfig)
    generator = load_generator(BUNDLED)
    assert (generator.config.activation, generator.config.extra) == ("leaky_relu", (1,))
    assert load_encoder(BUNDLED_ENCODER, generator).model == generator.config
    assert asdict(generator.config)["activation"] == "leaky_relu"  # what is stored from here on


def test_a_missing_option_takes_its_default(stored, tiny_config):
    variants = ("local_generator", "render_net", "discriminator_branch")
    assert stored(without=(*variants, "residual_masks", "base_layers")).config == tiny_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"activation": "sinus"},
            "has the option activation, which this version does not know: use the version that wrote the file, or",
        ),
        ({3: 4}, "has the option 3, which"),
        (
            {"local_generator": "sinus"},
            "local_generator = 'sinus', but .* has only modulated: use the version that wrote the file, or",
        ),
        ({"local_generator": 3}, "local_generator = 3, but"),
        ({"local_generator": ["modulated"]}, r"local_generator = \['modulated'\], but"),
        ({"resolution": "32"}, "resolution = '32'"),
        ({"resolution": True}, "resolution = True"),
        ({"resolution": 32.0}, "resolution = 32.0"),
        ({"resolution": [32, 64]}, r"resolution = \[32, 64\]"),
        ({"resolution": (32,)}, r"resolution = \(32,\)"),
        ({"resolution": (32, 64.0)}, r"resolution = \(32, 64.0\)"),
        ({"resolution": (32, 2**40)}, "model.resolution = .* the nearest possible value is"),
        ({"residual_masks": 1}, "residual_masks = 1"),
        ({"transparent_classes": [1]}, r"transparent_classes = \[1\]"),
        ({"transparent_classes": (True,)}, r"transparent_classes = \(True,\)"),
        ({"num_classes": 99}, "model.num_classes = 99: choose 2 to 64"),
    ],
)
def test_what_cannot_be_stored_is_one_line(stored, changes, message):
    with pytest.raises(ModelError, match=rf"tiny\.pt: .*{message}") as raised:
        stored(changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (
            "encoder",
            {"depth": 3},
            ": its encoder configuration has the option depth, which .*: use the version that wrote the file, or",
        ),
        ("encoder", {"heads": "4"}, ": its encoder configuration has heads = '4'"),
        ("encoder", {"rounds": 0}, " is damaged: encoder.rounds = 0: choose 1 to 100"),
        (
            "model",
            {"activation": "sinus"},
            ": the model configuration has the option activation, which .*: use the version that wrote",
        ),
        ("model", {"render_net": "sinus"}, ": the model configuration has render_net = 'sinus', but"),
    ],
)
def test_encoders(part, changes, message, tmp_path):
    contents = torch.load(BUNDLED_ENCODER, weights_only=True)
    contents[part] = {**contents[part], **changes}
    torch.save(contents, tmp_path / "encoder.pt")
    with pytest.raises(EditError, match=rf"encoder\.pt{message}") as raised:
        load_encoder(tmp_path / "encoder.pt", load_generator(BUNDLED))
    assert "\n" not in str(raised.value)


def test_an_encoder_that_lacks_an_option(tmp_path):
    contents = torch.load(BUNDLED_ENCODER, weights_only=True)
    del contents["encoder"]["rounds"], contents["model"]["residual_masks"]
    torch.save(contents, tmp_path / "encoder.pt")
    assert load_encoder(tmp_path / "encoder.pt", load_generator(BUNDLED)).config.rounds == 3
