"""The bundled model is small, safe to load, and what its name says."""

import torch

from datasets.class_files import celebamask13
from datasets.labels import ClassTable
from models import load_generator
from models.checkpoint import bundled_model, load_networks


def leaves(value):
    """All that is not a container, keys of dicts among it."""
    if type(value) is dict:
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif type(value) in (list, tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_holds_plain_data_and_half_tensors_only():
    contents = torch.load(bundled_model(), weights_only=True)  # nothing beyond what PyTorch itself calls safe
    found = list(leaves(contents))
    assert {type(leaf) for leaf in found} <= {torch.Tensor, str, int, float, bool, type(None)}
    assert {leaf.dtype for leaf in found if isinstance(leaf, torch.Tensor)} == {torch.float16}
    assert contents.keys() == {"format", "model", "classes", "generator_ema", "discriminator", "images", "data"}
    assert contents["images"] > 0


def test_is_small():
    assert bundled_model().stat().st_size < 16e6


def test_generates_the_13_classes_of_faces_at_64_pixels():
    networks = load_networks(bundled_model())
    assert (networks.config.resolution, networks.config.num_classes) == (64, 13)
    assert ClassTable.from_dict(networks.classes).names == celebamask13().names
    generator = load_generator(bundled_model())
    with torch.no_grad():
        output = generator(torch.randn(2, generator.config.latent_dim), noise="const")
    assert output.image.dtype == torch.float32
    assert output.image.isfinite().all()
    assert output.segmentation.shape == (2, 13, 64, 64)
