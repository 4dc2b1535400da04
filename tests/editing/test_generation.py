import numpy as np
import torch

from editing.generation import generate
from editing.image_grids import caption, captioned_grid, grey_tiles, mixing_grids, sample_grid, sample_images
from tests.editing.tiny import CONFIG, NAMES, tiny_generator

PALETTE = np.array([[0, 0, 0], [250, 200, 0], [0, 80, 250], [9, 9, 9]], np.uint8)


def test_samples_are_the_networks_outputs() -> None:
    generator, w = tiny_generator(), torch.randn(3, 16)
    with torch.no_grad():
        out = generator.synthesis(w)
    samples = list(generate(generator, w, batch_size=2))
    assert len(samples) == 3
    assert len({sample.image.tobytes() for sample in samples}) == 3
    for index, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.labels, out.segmentation[index].argmax(0))
        pixels = (out.image[index].clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5
        np.testing.assert_allclose(sample.image, pixels, atol=0.51)
        np.testing.assert_allclose(sample.coarse.sum(0), 1, rtol=1e-5)
        np.testing.assert_allclose(sample.depth, out.depth[index], rtol=1e-4, atol=1e-5)


def test_every_code_is_generated_once_with_each_part_mask() -> None:
    generator, w = tiny_generator(), torch.randn(2, 16)
    masks = torch.tensor([[True, False, False, False], [True, True, False, True]])
    samples = list(generate(generator, w, masks, batch_size=3))
    shares = [sample.coarse.max((1, 2)) > 0 for sample in samples]
    np.testing.assert_array_equal(shares, masks.repeat(2, 1))
    np.testing.assert_array_equal(samples[0].depth, samples[1].depth)
    assert not np.array_equal(samples[1].depth, samples[2].depth)


def test_random_noise_is_new_and_const_noise_is_not() -> None:
    generator, w = tiny_generator(), torch.randn(1, 16)
    for noise, same in (("const", True), ("random", False)):
        first, second = (next(generate(generator, w, noise=noise)) for _ in range(2))
        assert np.array_equal(first.image, second.image) == same


def test_half_and_double_precision() -> None:
    for dtype in (torch.float16, torch.float64):
        sample = next(generate(tiny_generator().to(dtype), torch.randn(1, 16)))
        assert sample.coarse.dtype == np.float32


def test_grids_hold_every_tile_in_its_place() -> None:
    samples = list(generate(tiny_generator(), torch.randn(8, 16)))
    side, step = 32, 34
    sheet = sample_grid(samples, PALETTE)  # 2 triples a line
    second_line = sheet[step + 2 :][:side, 2:]
    np.testing.assert_array_equal(second_line[:, :side], samples[2].image)
    np.testing.assert_array_equal(second_line[:, side : 2 * side], PALETTE[samples[2].labels])

    sheet = captioned_grid(samples, NAMES, PALETTE)
    lines = sheet[-(4 * step) :]
    np.testing.assert_array_equal(lines[2 * step :][:side, step + 2 :][:, :side], samples[5].image)
    np.testing.assert_array_equal(lines[3 * step :][:side, step + 2 :][:, :side], PALETTE[samples[5].labels])

    images, masks = mixing_grids(samples, 3, PALETTE)  # corner 0 1 | 2 3 4 | 5 6 7
    assert images.shape == masks.shape == (3 * step + 2, 3 * step + 2, 3)
    assert (images[:step, :step] == 255).all()
    np.testing.assert_array_equal(images[step + 2 :][:side, step + 2 :][:, :side], samples[3].image)
    np.testing.assert_array_equal(masks[step + 2 :][:side, step + 2 :][:, :side], PALETTE[samples[3].labels])


def test_grey_tiles_span_black_to_white() -> None:
    maps = np.stack([np.full((4, 4), value, np.float32) for value in (-1, 0, 1)])
    tiles = grey_tiles(maps, -1, 1)
    assert [int(tiles[y, x]) for y, x in ((3, 3), (3, 9), (9, 3))] == [0, 128, 255]
    assert np.isfinite(grey_tiles(np.zeros((4, 4, 4), np.float32), 0, 0)).all()


def test_images_of_one_sample() -> None:
    sample = next(generate(tiny_generator(), torch.randn(1, 16)))
    images = sample_images(sample, PALETTE)
    assert set(images) == {"image", "mask", "overlay", "coarse", "depth"}
    assert images["coarse"].shape == images["depth"].shape == (2 * CONFIG.coarse_resolution + 6,) * 2
    assert images["depth"][2:-2, 2:-2].min() == 0


def test_captions_fit_their_width() -> None:
    short, long = caption("ear", 64), caption("a name far too long for its column", 64)
    assert short.shape == long.shape == (12, 64, 3)
    assert short.min() < 128
    assert long.min() < 128
