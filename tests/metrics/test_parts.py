import pytest
import torch

from metrics.parts import _squares, part_crops


def sample(top: int, left: int, height: int, width: int, resolution: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """A white rectangle of class 1 on black."""
    labels = torch.zeros(1, resolution, resolution, dtype=torch.uint8)
    labels[:, top : top + height, left : left + width] = 1
    return (labels * 255)[:, None].expand(-1, 3, -1, -1).contiguous(), labels


@pytest.mark.parametrize(
    ("rectangle", "square"),
    [
        ((8, 12, 8, 8), [6, 10, 12]),  # in the middle
        ((8, 14, 8, 4), [6, 10, 12]),  # the longer side decides
        ((0, 24, 8, 8), [0, 20, 12]),  # moved down and to the left
        ((24, 0, 8, 8), [20, 0, 12]),  # moved up and to the right
        ((2, 2, 28, 28), [0, 0, 32]),  # the margin gives way
    ],
)
def test_square_around_a_part(rectangle, square):
    _, labels = sample(*rectangle)
    assert _squares(labels == 1, margin=0.25).tolist() == [square]


def test_squares_stay_inside_an_image_of_any_shape():
    masks = torch.zeros(3, 32, 48, dtype=torch.bool)
    masks[0, 10:18, 40:48] = True
    masks[1, 24:32, 0:8] = True
    masks[2, 2:30, 4:44] = True  # as wide as no square in the image
    assert _squares(masks, margin=0.25).tolist() == [[8, 36, 12], [20, 0, 12], [0, 8, 32]]


def test_crop_without_margin_or_scaling_is_the_pixels():
    images = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    _, labels = sample(5, 9, 8, 8)
    assert torch.equal(part_crops(images, labels, 1, 8, margin=0), images[:, :, 5:13, 9:17])


@pytest.mark.parametrize("size", [6, 48])
def test_crop_holds_the_part_at_the_size_asked_for(size):
    images, labels = sample(8, 12, 8, 8)
    (crop,) = part_crops(images, labels, 1, size)
    assert crop.shape == (3, size, size)
    assert crop.dtype == torch.uint8
    assert crop.float().mean() / 255 == pytest.approx(64 / 144, abs=0.03)  # 8 x 8 in 12 x 12


def test_small_and_missing_parts_are_left_out_at_any_resolution():
    for resolution in (32, 64):
        unit = resolution // 32
        pairs = [sample(4, 4, side, side, resolution) for side in (4 * unit, 3 * unit, 0)]
        images, labels = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        assert len(part_crops(images, labels, 1, 16, min_area=16 / 32**2)) == 1
        assert len(part_crops(images, labels, 1, 16, min_area=9 / 32**2)) == 2
        assert len(part_crops(images, labels, 1, 16, min_area=0)) == 2


def test_nothing_to_crop_is_an_empty_batch():
    images, labels = sample(0, 0, 4, 4)
    assert part_crops(images, labels, 5, 16).shape == (0, 3, 16, 16)
    assert part_crops(images[:0], labels[:0], 1, 16).shape == (0, 3, 16, 16)
