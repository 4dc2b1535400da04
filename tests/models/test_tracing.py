"""The portable operators, which exported graphs contain, equal the references."""

import pytest
import torch

from models.tracing import portable_bias_act, portable_upfirdn2d
from ops import bias_act, upfirdn2d


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("with_noise", [False, True])
def test_bias_act(dtype, with_noise):
    x, bias = torch.randn(2, 3, 5, 4, dtype=dtype), torch.randn(3)
    noise = {"noise": torch.randn(1, 1, 5, 4), "noise_strength": torch.randn(1)} if with_noise else {}
    wide = torch.promote_types(dtype, torch.float32)
    given = [noise[name].to(wide) if noise else None for name in ("noise", "noise_strength")]
    ours = portable_bias_act(x, bias.to(wide), *given, 1, 0.3, 1.5)
    assert ours.dtype == dtype
    assert torch.allclose(ours, bias_act(x, bias, **noise, slope=0.3, gain=1.5))


@pytest.mark.parametrize("shape", [(4,), (3, 2)])
@pytest.mark.parametrize(("up", "down"), [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2)), ((3, 1), (1, 2))])
@pytest.mark.parametrize("padding", [(2, 1, 3, 0), (0, 0, -1, 2)])
@pytest.mark.parametrize("flip", [False, True])
def test_upfirdn2d(shape, up, down, padding, flip):
    x, filter = torch.randn(2, 3, 7, 6, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)
    ours = portable_upfirdn2d(x, filter, up, down, padding, flip, 1.7)
    expected = upfirdn2d(x, filter, up=up, down=down, padding=padding, flip=flip, gain=1.7)
    assert torch.allclose(ours, expected)
    ours = portable_upfirdn2d(x, filter, up, down, padding, flip, 1.7, torch.ones_like(expected))
    assert torch.allclose(ours, expected + 1)
