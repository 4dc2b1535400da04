"""Parts that the labels show and a prediction lacks."""

import pytest
import torch
from torch import Tensor

from editing.codes import seed_codes
from editing.loading import load_model
from editing.missing_parts import with_missing_parts
from models import Generator
from models.checkpoint import bundled_model
from models.latents import to_wplus

BARE, IN_HAT = 8, 2  # seeds of the bundled model


@pytest.fixture(scope="module")
def bundled() -> tuple[Generator, int]:
    """The bundled model, and the id of its class hat."""
    generator, classes = load_model(bundled_model(), torch.device("cpu"))
    return generator, classes.names.index("hat")


@torch.no_grad()
def generated(generator: Generator, codes: Tensor) -> tuple[Tensor, Tensor]:
    out = generator.synthesis(codes)
    return out.image, out.segmentation.argmax(1)


def test_a_missing_hat_is_added_and_nothing_else(bundled: tuple[Generator, int]) -> None:
    generator, hat = bundled
    codes = to_wplus(seed_codes(generator, [BARE, IN_HAT]), generator.config)
    images, labels = generated(generator, codes)
    worn = labels[1] == hat
    assert worn.float().mean() > 0.1
    assert not (labels[0] == hat).any()

    wanted = torch.stack([labels[1].where(worn, labels[0]), labels[1]])
    found = with_missing_parts(generator, codes, images[[1, 1]], wanted)
    own = slice(generator.config.base_layers + 2 * hat, generator.config.base_layers + 2 * hat + 2)
    changed = (found[0] != codes[0]).any(1).nonzero().flatten().tolist()
    assert changed == list(range(generator.config.num_codes))[own]
    assert torch.equal(found[1], codes[1])  # shows its hat already
    _, after = generated(generator, found[:1])
    overlap = ((after[0] == hat) & worn).sum() / ((after[0] == hat) | worn).sum()
    assert overlap > 0.5


def test_a_part_that_no_sample_shows_changes_nothing(bundled: tuple[Generator, int]) -> None:
    generator, hat = bundled
    codes = to_wplus(seed_codes(generator, [BARE]), generator.config)
    images, labels = generated(generator, codes)
    labels[0, -8:, :8] = hat  # where no hat is ever
    assert torch.equal(with_missing_parts(generator, codes, images, labels), codes)
