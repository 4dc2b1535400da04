import torch

from editing.class_counts import generated_classes
from tests.editing.tiny import tiny_generator


def test_classes_that_are_never_generated_have_a_reason() -> None:
    generator = tiny_generator()
    with torch.no_grad():
        generator.local_generators.depth_head.bias[2] = -1e4  # the hat
        generator.render_net.to_segmentation[-1].bias[3] = -1e4
    found = generated_classes(generator, samples=10, batch_size=4)
    z = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = generator(z, noise="const").segmentation.argmax(1).flatten(1)
    assert found.counts == tuple((labels == id_).any(1).sum().item() for id_ in range(4))
    assert 3 in found.missing
    assert found.reason_missing(3, "hat") == "hat: this model never generates them, 0 of 10 samples"
    assert found.reason_missing(0, "background") == ""
