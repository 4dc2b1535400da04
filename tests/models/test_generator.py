from dataclasses import replace

import pytest
import torch

from models import Generator, ModelConfig, coordinates
from models.compositing import Compositing, coarse_masks
from models.coordinates import PositionFeatures, coordinate_grid, foreground_coordinates
from models.latents import mix_styles, shape_index, texture_index, to_wplus, truncate
from utils.errors import ModelError


def codes(config: ModelConfig, samples: int = 2) -> torch.Tensor:
    return torch.randn(samples, config.num_codes, config.latent_dim)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resolution": 16, "coarse_resolution": 16, "render_resolution": 4},
        {"coarse_resolution": 32},
        {"coarse_resolution": 8, "render_resolution": 8},
        {"resolution": 48, "coarse_resolution": 24, "render_resolution": 6},
        {"resolution": (64, 32)},
        {"resolution": (32, 40), "coarse_resolution": 32},
        {"num_classes": 2, "transparent_classes": ()},
        {"num_classes": 64},
        {"base_layers": 0, "depth_layers": 1, "local_layers": 2},
        {"residual_masks": False},
    ],
)
def test_every_order_of_sizes_draws(tiny_config, changes):
    config = replace(tiny_config, **changes)
    out = Generator(config).synthesis(codes(config), noise="random")
    full, coarse = config.image_size, config.coarse_size
    assert list(out.image.shape) == [2, 3, *full]
    assert list(out.segmentation.shape) == [2, config.num_classes, *full]
    assert list(out.coarse.shape) == list(out.depth.shape) == [2, config.num_classes, *coarse]
    assert torch.allclose(out.coarse.sum(1), torch.tensor(2.0 - config.num_classes), atol=1e-5)
    assert not out.depth[:, 0].any()


def test_parameter_counts_match_the_specification():
    """Spec section 3: 20.21 M at 256 pixels, 20.32 M at 512, each at K = 13."""
    with torch.device("meta"):
        for resolution, millions in ((256, 20.21), (512, 20.32)):
            generator = Generator(ModelConfig(resolution=resolution))
            assert sum(p.numel() for p in generator.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_a_part_switched_off_leaves_the_masks(tiny_config, tiny_generator):
    part_mask = torch.ones(2, 13, dtype=torch.bool)
    part_mask[0, 7] = False
    w = codes(tiny_config)
    out, without = tiny_generator.synthesis(w), tiny_generator.synthesis(w, part_mask=part_mask)
    assert (without.coarse[0, 7] == -1).all()
    assert torch.allclose((without.coarse[0] + 1).sum(0), torch.tensor(2.0), atol=1e-5)
    assert torch.equal(without.depth, out.depth)
    assert torch.allclose(without.image[1], out.image[1], atol=1e-5)
    assert not torch.allclose(without.image[0], out.image[0], atol=1e-3)


def test_masks_stay_finite_when_every_part_is_off():
    assert torch.equal(coarse_masks(torch.randn(1, 3, 2, 2), torch.zeros(3)), torch.zeros(1, 3, 2, 2))


def test_own_coordinates(tiny_config, tiny_generator):
    w = codes(tiny_config)
    out = tiny_generator.synthesis(w)
    same = coordinate_grid((16, 16))[None]
    per_part = foreground_coordinates(tiny_config, zoom=1.0)
    for coords in (same, per_part, same.expand(2, -1, -1, -1)):
        assert torch.allclose(tiny_generator.synthesis(w, coords=coords).image, out.image, atol=1e-4)
    zoomed = tiny_generator.synthesis(w, coords=foreground_coordinates(tiny_config, zoom=2.0))
    assert not torch.allclose(zoomed.depth[:, 1:, 0, 0], out.depth[:, 1:, 0, 0], atol=1e-3)
    assert torch.equal(zoomed.depth[:, 0], out.depth[:, 0])
    for wrong in (coordinate_grid((8, 8))[None], same.expand(3, -1, -1, -1), same[0]):
        with pytest.raises(ModelError, match="coords has shape"):
            tiny_generator.synthesis(w, coords=wrong)


def test_features_between_positions_are_those_of_the_neighbours(tiny_generator):
    features = tiny_generator.positions()
    step = 2 / 15
    halfway = tiny_generator.positions(coordinate_grid((16, 16), shift=(-step / 2, 0.0))[None, None])
    expected = (features[..., :-1] + features[..., 1:]) / 2
    assert torch.allclose(halfway[..., :-1], expected, atol=1e-5)
    outside = tiny_generator.positions(coordinate_grid((16, 16), shift=(-3.0, -3.0))[None, None])
    assert torch.allclose(outside, features[..., -1:, -1:].expand_as(outside), atol=1e-5)


def test_fewer_octaves_are_the_low_ones(tiny_config, tiny_generator):
    fewer = Generator(replace(tiny_config, position_octaves=3)).positions
    assert fewer.weight.shape == (tiny_config.local_channels, 2 + 4 * 3)
    assert torch.equal(fewer(), tiny_generator.positions()[:, :, : 2 + 4 * 3])
    assert tiny_generator.positions.octaves == 5  # log2(32)


def test_whole_steps_move_what_is_drawn(tiny_config, tiny_generator):
    w = codes(tiny_config)
    moved = tiny_generator.synthesis(w, coords=foreground_coordinates(tiny_config, zoom=1.0, shift=(4 / 15, 0.0)))
    depth = tiny_generator.synthesis(w).depth
    assert torch.allclose(moved.depth[..., 2:], depth[..., :-2], atol=1e-4)
    assert torch.allclose(moved.depth[..., 0], depth[..., 0], atol=1e-4)


def test_another_background(tiny_config, tiny_generator):
    """The part's own features give the same image, those of another sample the image of its codes."""
    w, index = codes(tiny_config), [tiny_config.base_layers, tiny_config.base_layers + 1]
    with torch.no_grad():
        plain = tiny_generator.synthesis(w)
        alone = torch.zeros(2, 13, 16, 16)
        alone[:, 0] = 1
        layer_codes = tiny_generator.expand(w)
        positions, projection = tiny_generator.positions(), tiny_generator.positions.projection()
        own = tiny_generator.compositing(alone, tiny_generator.local_generators(positions, projection, layer_codes)[1])
        same = tiny_generator.synthesis(w, background=own)
        swapped = tiny_generator.synthesis(w, background=own.flip(0))
        mixed = to_wplus(w, tiny_config).clone()
        mixed[:, index] = mixed.flip(0)[:, index]
        by_codes = tiny_generator.synthesis(mixed)
    assert torch.allclose(same.image, plain.image, atol=1e-4)
    assert torch.allclose(swapped.image, by_codes.image, atol=1e-4)
    assert not torch.allclose(swapped.image, plain.image, atol=1e-3)
    with pytest.raises(ModelError, match=r"background has shape \[3, 16, 16, 16\]; expected \[1, 16, 16, 16\] or \[2,"):
        tiny_generator.synthesis(w, background=torch.zeros(3, 16, 16, 16))


def test_zoom_and_shift_of_the_grid():
    grid = coordinate_grid((5, 5))
    assert torch.equal(grid[0, 0], torch.linspace(-1, 1, 5))  # x first
    assert torch.equal(grid[1, :, 0], torch.linspace(-1, 1, 5))
    assert torch.allclose(coordinate_grid((5, 5), zoom=2.0), grid / 2)
    assert torch.allclose(coordinate_grid((5, 5), shift=(0.5, 0.0))[0, 0], grid[0, 0] - 0.5)


def test_positions_are_equally_far_apart_in_both_directions():
    grid = coordinate_grid((5, 3))
    assert torch.equal(grid[1, :, 0], torch.linspace(-1, 1, 5))
    assert torch.equal(grid[0, 0], torch.tensor([-0.5, 0.0, 0.5]))
    assert torch.equal(coordinate_grid((3, 5)).flip(0).transpose(1, 2), grid)


def test_own_coordinates_of_an_image_that_is_not_square(tiny_config):
    config = replace(tiny_config, resolution=(48, 32))
    generator, w = Generator(config), codes(config)
    out = generator.synthesis(w)
    same = foreground_coordinates(config, zoom=1.0)
    assert torch.allclose(generator.synthesis(w, coords=same).image, out.image, atol=1e-4)
    for axis, shift in ((-2, (0.0, 4 / 23)), (-1, (4 / 23, 0.0))):  # two pixels down, two to the right
        moved = generator.synthesis(w, coords=foreground_coordinates(config, zoom=1.0, shift=shift))
        length = config.coarse_size[axis] - 2
        assert torch.allclose(moved.depth.narrow(axis, 2, length), out.depth.narrow(axis, 0, length), atol=1e-4)


def test_noise_modes(tiny_config, tiny_generator):
    for layer in tiny_generator.render_net.layers:
        torch.nn.init.ones_(layer.noise_strength)
    w = codes(tiny_config)
    synthesize = tiny_generator.synthesis
    assert torch.equal(synthesize(w).image, synthesize(w).image)
    assert not torch.allclose(synthesize(w, noise="random").image, synthesize(w, noise="random").image)
    with pytest.raises(ModelError, match="const"):
        synthesize(w, noise="none")


@pytest.mark.parametrize("shape", [(2, 17), (2, 27, 16), (16,), (2, 28, 16, 1)])
def test_codes_of_the_wrong_shape(tiny_generator, shape):
    with pytest.raises(ModelError, match=r"this model takes \[N, 16\] or \[N, 28, 16\]"):
        tiny_generator.synthesis(torch.zeros(shape))
    with pytest.raises(ModelError, match="part_mask"):
        tiny_generator.synthesis(torch.zeros(1, 16), part_mask=torch.ones(12))
    with pytest.raises(ModelError, match="part_mask"):
        tiny_generator.synthesis(torch.zeros(1, 16), part_mask=torch.ones(3, 13))
    with pytest.raises(ModelError, match="layer_codes"):
        tiny_generator.synthesis_from_layer_codes(torch.zeros(1, 13, 9, 16))
    with pytest.raises(ModelError, match="z has shape"):
        tiny_generator.mapping(torch.zeros(1, 17))


def test_truncation_and_mean(tiny_generator):
    mean = tiny_generator.mean_code(100)
    assert torch.equal(mean, tiny_generator.mean_code(100))
    w = tiny_generator.mapping(torch.randn(3, 16))
    assert torch.allclose(truncate(w, mean, 0.0), mean.expand(3, -1))
    assert torch.allclose(truncate(w, mean, 1.0), w, atol=1e-6)


def test_w_is_every_code(tiny_config):
    w = torch.randn(2, 16)
    assert torch.equal(to_wplus(w, tiny_config), w[:, None].expand(-1, 28, -1))


def test_style_mixing(tiny_config):
    first, second = torch.zeros(4000, 16), torch.ones(4000, 16)
    assert not mix_styles(first, second, 0.0, tiny_config).any()
    mixed = mix_styles(first, second, 1.0, tiny_config)[..., 0]
    shape = mixed[:, [shape_index(tiny_config, k) for k in range(13)]]
    texture = mixed[:, [texture_index(tiny_config, k) for k in range(13)]]
    assert not mixed[:, :2].any()
    assert (texture >= shape).all()  # shape never comes from the second alone
    assert shape.mean().item() == pytest.approx(1 / 3, abs=0.01)
    assert texture.mean().item() == pytest.approx(2 / 3, abs=0.01)
    some = mix_styles(first, second, 0.3, tiny_config).flatten(1).any(1).float().mean().item()
    assert some == pytest.approx(0.3, abs=0.03)


def test_masks_stay_finite_in_half_precision(tiny_config):
    """A part that is off, or transparent, has nearly all of the mask."""
    depth = torch.zeros(1, 13, 2, 2).half()
    depth[:, 10] = 30
    only_background = torch.arange(13) == 0
    for masks in (coarse_masks(depth), coarse_masks(depth, only_background)):
        assert masks.dtype == torch.float16
        assert Compositing(tiny_config).half().blend_weights(masks).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions(tiny_config, dtype):
    generator = Generator(tiny_config).eval()
    w = codes(tiny_config)
    expected = generator.synthesis(w)
    out = generator.to(dtype).synthesis(w.to(dtype))
    assert out.image.dtype == dtype
    bound = 0.05 if dtype == torch.float16 else 1e-4
    assert (out.image.double() - expected.image.double()).abs().max() < bound * expected.image.abs().max()
    assert generator.mapping(torch.randn(2, 16, dtype=dtype)).isfinite().all()


def test_half_precision_of_grown_weights(tiny_config):
    """Squares of weights, which demodulation sums up, stay far below the largest number of float16."""
    generator = Generator(replace(tiny_config, channel_max=64, feature_channels=64, local_channels=64)).eval()
    with torch.no_grad():
        generator.local_generators.style_weight.mul_(4)
        generator.local_generators.weight.mul_(12)
        for layer in generator.render_net.layers:
            layer.conv.weight.mul_(12)
    w = codes(tiny_config)
    expected, image = generator.synthesis(w).image, generator.half().synthesis(w.half()).image.float()
    assert (image - expected).abs().max() < 0.05 * expected.abs().max()


def test_random_noise_of_each_layer_and_sample_is_its_own(tiny_generator):
    maps = tiny_generator.render_net.random_noise(2)
    assert [x.shape[-1] for x in maps] == [x.shape[-1] for x in tiny_generator.render_net.const_noise()]
    values = torch.cat([x.flatten() for x in maps])
    assert len(values.unique()) > 0.99 * len(values)
    assert values.mean().abs() < 0.2
    assert (values.std() - 1).abs() < 0.2


def test_position_features_serve_training_after_inference(tiny_config):
    """The features are first stored under inference mode."""
    coordinates._stored_grid_features.cache_clear()
    generator = Generator(tiny_config)
    with torch.inference_mode():
        generator.synthesis(codes(tiny_config))
    generator.synthesis(codes(tiny_config)).image.sum().backward()


def test_position_features_have_all_digits_of_the_type(tiny_config):
    """The features are stored; a cast must not leave them with the digits that they had before."""
    positions = PositionFeatures(tiny_config)
    grid = coordinate_grid(tiny_config.coarse_size, dtype=torch.float64)
    waves = [wave(2**octave * grid) for octave in range(positions.octaves) for wave in (torch.sin, torch.cos)]
    expected = torch.cat([grid, *waves])
    for dtype in (torch.float32, torch.float16, torch.float64):
        features = positions.to(dtype)()
        assert features.dtype == dtype
        assert (features[0, 0] - expected).abs().max() <= 2**positions.octaves * torch.finfo(dtype).eps
    assert not positions.state_dict().keys() - {"weight"}
