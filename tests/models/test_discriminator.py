from dataclasses import replace

import pytest
import torch

from models import Discriminator, ModelConfig
from models.discriminator import append_minibatch_stddev
from utils.errors import ModelError


def pair(config: ModelConfig, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = config.image_size
    return torch.randn(samples, 3, *size), torch.randn(samples, config.num_classes, *size)


def test_parameter_counts_match_the_specification():
    """Spec section 3: 51.17 M at 256 pixels, 51.41 M at 512, each at K = 13."""
    with torch.device("meta"):
        for resolution, millions in ((256, 51.17), (512, 51.41)):
            discriminator = Discriminator(ModelConfig(resolution=resolution))
            assert sum(p.numel() for p in discriminator.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(("resolution", "coarse"), [(32, 16), (48, 24), ((64, 32), 16), ((32, 40), 16)])
def test_logits(tiny_config, resolution, coarse):
    tiny_config = replace(tiny_config, resolution=resolution, coarse_resolution=coarse, render_resolution=coarse // 2)
    discriminator = Discriminator(tiny_config)
    image, segmentation = pair(tiny_config, 4)
    assert list(discriminator(image, segmentation).shape) == list(discriminator(image).shape) == [4, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions(tiny_config, dtype):
    discriminator = Discriminator(tiny_config).eval()
    inputs = pair(tiny_config, 4)
    expected = discriminator(*inputs)
    logits = discriminator.to(dtype)(*(x.to(dtype) for x in inputs))
    assert logits.dtype == dtype
    assert (logits.double() - expected.double()).abs().max() < 0.05 * expected.abs().max()


def test_groups_of_the_minibatch_statistic():
    """Samples n, n + N/g, ... share a statistic: the mean over features of the biased standard deviation."""
    x = torch.randn(8, 3, 2, 2).double()
    statistic = append_minibatch_stddev(x)[:, 3]
    for n in range(2):
        group = x[n::2]
        expected = (group.var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(statistic[n::2], expected.expand(4, 2, 2))


def test_batches_in_one_pass_keep_apart(tiny_config):
    discriminator = Discriminator(tiny_config).double()
    one, other = ([x.double() for x in pair(tiny_config, 8)] for _ in range(2))
    together = discriminator(*(torch.cat(each) for each in zip(one, other, strict=True)), batches=2)
    torch.testing.assert_close(together, torch.cat([discriminator(*one), discriminator(*other)]))
    assert not torch.allclose(together, discriminator(*(torch.cat(each) for each in zip(one, other, strict=True))))


def test_groups_shrink_with_the_batch():
    assert append_minibatch_stddev(torch.randn(3, 2, 4, 4)).shape == (3, 3, 4, 4)
    with pytest.raises(ModelError, match="multiple of 4"):
        append_minibatch_stddev(torch.randn(6, 2, 4, 4))


def test_inputs_of_the_wrong_shape(tiny_config):
    discriminator = Discriminator(tiny_config)
    image, segmentation = pair(tiny_config, 2)
    with pytest.raises(ModelError, match="segmentation has shape"):
        discriminator(image, segmentation[:, :-1])
    with pytest.raises(ModelError, match="image has shape"):
        discriminator(image[..., :-1])
