import torch

from training.evaluation.generated_samples import Drawings
from utils.distributed import Process

PROCESS = Process(torch.device("cpu"))


def test_every_purpose_has_random_numbers_of_its_own(tiny_generator, monkeypatch):
    codes = {}
    drawings = Drawings(tiny_generator.eval(), PROCESS, batch_size=4)
    draw = type(drawings)._codes

    def watched(self, stream, batch, count):
        codes[stream, batch] = draw(self, stream, batch, count)
        return codes[stream, batch]

    monkeypatch.setattr(Drawings, "_codes", watched)
    with torch.no_grad():
        list(drawings.samples(8))
        next(drawings.edits(4))
        next(drawings.steps(4))
        noise = torch.Generator().manual_seed(torch.initial_seed())
    assert len(codes) == 4
    first = torch.stack([w[0] for w in codes.values()])
    assert len(first.unique(dim=0)) == 4
    z = torch.randn(4, 16, generator=noise)
    assert not any(torch.equal(tiny_generator.mapping(z), w[:4]) for w in codes.values())


def test_seeds_that_share_their_low_bits_differ(tiny_generator):
    def draw(seed: int) -> torch.Tensor:
        _, drawn = next(Drawings(tiny_generator.eval(), PROCESS, batch_size=2, seed=seed).samples(2))
        return drawn.images

    with torch.no_grad():
        assert not torch.equal(draw(0), draw(256))
