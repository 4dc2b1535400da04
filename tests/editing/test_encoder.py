import copy
import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from editing.encoder import Encoder, _trunk, encode, load_encoder, save_encoder
from editing.encoder_config import EncoderConfig
from editing.inversion import Target
from models import Generator, load_generator
from models.checkpoint import BUNDLED_ENCODER, bundled_model
from tests.editing.test_inversion import drawn
from tests.editing.tiny import CONFIG, tiny_generator
from tests.processes import ROOT, run_command
from utils.errors import EditError

SMALL = EncoderConfig(channels=8, max_channels=16, layers=1, heads=2, rounds=2)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


def random_encoder(generator: Generator, seed: int = 1) -> Encoder:
    """Not trained, but no longer one that corrects nothing."""
    torch.manual_seed(seed)
    encoder = Encoder(SMALL, CONFIG)
    encoder.set_code_statistics(generator)
    nn.init.normal_(encoder.correction.weight, std=0.1)
    return encoder.eval()


def test_an_untrained_one_gives_the_mean_code(generator: Generator) -> None:
    encoder = Encoder(SMALL, CONFIG)
    encoder.set_code_statistics(generator)
    codes = encode(encoder, generator, drawn(generator, 1, 2))
    assert codes.shape == (2, CONFIG.num_codes, CONFIG.latent_dim)
    assert (codes - generator.mean_code()).abs().max() < 0.1 * encoder.deviation.mean()


def test_every_picture_is_encoded_by_itself(generator: Generator) -> None:
    encoder, target = random_encoder(generator), drawn(generator, 1, 2, 3)
    together = encode(encoder, generator, target)
    alone = encode(encoder, generator, Target(target.images[1:2], target.labels[1:2]))
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_picture_and_labels_both_tell(generator: Generator) -> None:
    encoder, target = random_encoder(generator), drawn(generator, 1)
    seen = encode(encoder, generator, target)
    assert not torch.equal(seen, encode(encoder, generator, Target(target.images)))
    assert not torch.equal(seen, encode(encoder, generator, Target(-target.images, target.labels)))


def test_each_round_sees_what_the_one_before_drew(generator: Generator) -> None:
    encoder, target = random_encoder(generator), drawn(generator, 1)
    (first, drawing), (second, _) = encoder.refinements(generator, target)
    torch.testing.assert_close(second, encoder(target, drawing, first), rtol=0, atol=0)
    torch.testing.assert_close(drawing.image, generator.synthesis(first).image)


def test_gradients_stay_within_a_round(generator: Generator) -> None:
    encoder, target = random_encoder(generator).train(), drawn(generator, 1)
    _, (second, _) = encoder.refinements(generator, target)
    gradient = torch.autograd.grad(second.sum(), encoder.correction.bias)[0]
    torch.testing.assert_close(gradient, CONFIG.num_codes * encoder.deviation)  # once, not once a round


@pytest.mark.parametrize("resolution", [16, 512])
def test_pictures_of_any_size(resolution: int) -> None:
    config = dataclasses.replace(CONFIG, resolution=resolution, coarse_resolution=8, render_resolution=4)
    generator = Generator(config).eval()
    encoder = Encoder(SMALL, config)
    codes = encode(encoder, generator, Target(torch.zeros(1, 3, resolution, resolution)))
    assert codes.shape == (1, config.num_codes, config.latent_dim)


BACKWARD = """
import torch
from editing.encoder_config import EncoderConfig
from editing.encoder import _trunk

for channels in (8, 16):
    trunk = _trunk(32, EncoderConfig(channels=channels), 64).to(memory_format=torch.channels_last)
    images = torch.randn(2, 32, 64, 64).contiguous(memory_format=torch.channels_last)
    for _ in range(5):
        features = trunk(images)
        features.backward(torch.randn_like(features))
"""


def test_few_channels_do_not_corrupt_the_memory() -> None:
    """In a process of its own, which the C library aborts if the backward pass writes out of bounds."""
    result = run_command([sys.executable, "-c", BACKWARD], cwd=ROOT, capture_output=True)
    assert result.returncode == 0, result.stderr


def test_the_shortcut_takes_every_second_pixel() -> None:
    trunk = _trunk(3, EncoderConfig(channels=8, max_channels=16), 16)
    shortcut, x = trunk[3].downsample, torch.randn(1, 8, 16, 16)
    strided = nn.functional.conv2d(x, shortcut[1].weight, stride=2)
    torch.testing.assert_close(shortcut(x), shortcut[2](strided))
    assert {name for name, _ in shortcut.named_parameters()} == {"0.weight", "1.weight", "1.bias"}


def test_a_file_gives_the_same_codes(generator: Generator, tmp_path: Path) -> None:
    encoder, target = random_encoder(generator), drawn(generator, 1)
    with (tmp_path / "encoder.pt").open("wb") as file:
        save_encoder(encoder, generator, {"steps": 3}, file)
    found = load_encoder(tmp_path / "encoder.pt", generator)
    assert torch.load(tmp_path / "encoder.pt", weights_only=True)["facts"] == {"steps": 3}
    torch.testing.assert_close(encode(found, generator, target), encode(encoder, generator, target), rtol=0, atol=5e-3)


def test_the_bundled_encoder_is_of_the_bundled_model() -> None:
    generator = load_generator(bundled_model())
    encoder = load_encoder(BUNDLED_ENCODER, generator)
    target = drawn(generator, 5, 6)
    mean = generator.mean_code()[None]
    errors = [
        (generator.synthesis(codes).image - target.images).square().mean()
        for codes in (encode(encoder, generator, target), mean.expand(2, -1))
    ]
    assert errors[0] < 0.4 * errors[1]


def test_files_that_cannot_be(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    with pytest.raises(EditError, match=r"encoder\.pt: no such file; train one .* python -m scripts\.train_encoder"):
        load_encoder(path, generator)
    with path.open("wb") as file:
        save_encoder(random_encoder(generator), generator, {}, file)
    other = copy.deepcopy(generator)
    nn.init.zeros_(other.mapping.layers[0].bias)
    with pytest.raises(EditError, match="was made for another model"):
        load_encoder(path, other)
    contents = torch.load(path, weights_only=True)
    for entry, value, said in (
        ("format", "other/1", "is not an encoder"),
        ("encoder", {"channels": 10**9}, "is damaged"),
        ("network", {}, "is damaged"),
    ):
        torch.save({**contents, entry: value}, path)
        with pytest.raises(EditError, match=said):
            load_encoder(path, generator)
    path.write_bytes(b"nothing")
    with pytest.raises(EditError, match=r"is not an archive of torch\.save .*train one"):
        load_encoder(path, generator)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("rounds", 0, r"encoder\.rounds = 0: choose 1 to 100"),
        ("channels", 12, r"encoder\.channels = 12: choose a multiple of 8"),
        ("heads", 3, r"encoder\.heads = 3 must divide encoder\.max_channels = 128"),
    ],
)
def test_numbers_that_make_no_sense(option: str, value: int, said: str) -> None:
    with pytest.raises(EditError, match=said):
        EncoderConfig(**{option: value})
