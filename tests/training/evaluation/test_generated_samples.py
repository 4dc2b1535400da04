import torch

from metrics.metric_config import MetricConfig
from training.evaluation.generated_samples import GeneratedSamples
from utils.distributed import Process

PROCESS = Process(torch.device("cpu"))


def test_every_purpose_has_random_numbers_of_its_own(tiny_generator, monkeypatch):
    codes = {}
    samples = GeneratedSamples(tiny_generator.eval(), PROCESS, MetricConfig(batch_size=4))
    original = GeneratedSamples._codes

    def watched(self, stream, batch, count):
        codes[stream, batch] = original(self, stream, batch, count)
        return codes[stream, batch]

    monkeypatch.setattr(GeneratedSamples, "_codes", watched)
    with torch.no_grad():
        list(samples.samples(8))
        next(samples.edits(4))
        next(samples.paths(4))
        noise = torch.Generator().manual_seed(torch.initial_seed())
    assert len(codes) == 4
    first = torch.stack([w[0] for w in codes.values()])
    assert len(first.unique(dim=0)) == 4
    z = torch.randn(4, 16, generator=noise)
    assert not any(torch.equal(tiny_generator.mapping(z), w[:4]) for w in codes.values())


def test_seeds_that_share_their_low_bits_differ(tiny_generator):
    def generate(seed: int) -> torch.Tensor:
        samples = GeneratedSamples(tiny_generator.eval(), PROCESS, MetricConfig(batch_size=2, seed=seed))
        _, batch = next(samples.samples(2))
        return batch.images

    with torch.no_grad():
        assert not torch.equal(generate(0), generate(256))
