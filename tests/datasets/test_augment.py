import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.augment import Augmentation, recolor, sample_color_maps, sample_geometry, warp, warp_labels
from datasets.class_files import celebamask13, load_table
from datasets.data_config import AugmentConfig
from datasets.transforms import images_to_float, labels_to_one_hot, mirror_half, mirror_images, swap_labels, swap_maps

CPU = torch.device("cpu")
SIDE, SAMPLES = 32, 64


def probability(value: float) -> Tensor:
    return torch.tensor(value)


def augmentation(table: str = "celebamask13", **options: object) -> Augmentation:
    return Augmentation(AugmentConfig(probability=0.5, **options), load_table(table), CPU)


def batch(classes: int = 13) -> tuple[Tensor, Tensor]:
    images = torch.randint(256, (SAMPLES, 3, SIDE, SIDE), dtype=torch.uint8)
    return images, torch.randint(classes, (SAMPLES, SIDE, SIDE), dtype=torch.uint8)


def test_nothing_happens_with_probability_0() -> None:
    images, labels = batch()
    image, segmentation = augmentation(quarter_turns=True).real(images, labels, probability(0.0))
    assert torch.allclose(image, images_to_float(images), atol=1e-4)
    assert torch.equal(segmentation, labels_to_one_hot(labels, 13))


def test_real_labels_stay_exact_classes() -> None:
    image, segmentation = augmentation(quarter_turns=True).real(*batch(), probability(0.8))
    assert segmentation.unique().tolist() == [-1, 1]
    assert torch.equal((segmentation == 1).sum(1), torch.ones(SAMPLES, SIDE, SIDE, dtype=torch.long))
    assert image.isfinite().all()


def test_no_class_appears_that_was_not_there() -> None:
    images, labels = batch()
    labels = labels.clamp(max=5) * 2
    _, segmentation = augmentation().real(images, labels, probability(0.8))
    assert set(segmentation.argmax(1).unique().tolist()) <= {0, 2, 4, 6, 8, 10}


def test_image_and_mask_move_together() -> None:
    """White where the label is 1, moved by nearly the same sampling: they differ at edges only."""
    yy, xx = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    labels = ((yy - 20) ** 2 + (xx - 10) ** 2 < 60).to(torch.uint8).expand(SAMPLES, -1, -1)
    images = (labels * 255).unsqueeze(1).expand(-1, 3, -1, -1)
    image, segmentation = augmentation(color=False).real(images, labels, probability(0.8))
    assert ((image[:, 0] > 0) != (segmentation[:, 1] > 0)).float().mean() < 0.01
    drawn, maps = augmentation(color=False).fake(
        images_to_float(images), labels_to_one_hot(labels, 13), probability(0.8)
    )
    assert torch.allclose(drawn[:, 0], maps[:, 1], atol=1e-5)
    assert (image != images_to_float(images)).any()


def test_colour_leaves_the_mask_alone() -> None:
    images, labels = batch()
    image, segmentation = augmentation(geometry=False).real(images, labels, probability(0.8))
    assert torch.equal(segmentation, labels_to_one_hot(labels, 13))
    changed = (image - images_to_float(images)).abs().amax((1, 2, 3)) > 0.01
    assert 0.9 < changed.float().mean() <= 1  # 1 - 0.2^5, if a luma flip counted whole


def test_gradients_pass_to_drawings() -> None:
    image = torch.rand(2, 3, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    segmentation = torch.rand(2, 13, SIDE, SIDE, dtype=torch.float64, requires_grad=True)

    def change(image: Tensor, segmentation: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        return augmentation().fake(image, segmentation, probability(0.8))

    assert torch.autograd.gradcheck(change, (image, segmentation), fast_mode=True)


@pytest.mark.parametrize("drawn", [False, True])
def test_left_and_right_change_places_in_a_mirror(drawn: bool) -> None:
    """Left eye left of the right eye, all over: mirrored, the order by class is the same."""
    table = load_table("celebamask19")
    left, right = table.index("l_eye"), table.index("r_eye")
    labels = torch.zeros(SAMPLES, SIDE, SIDE, dtype=torch.uint8)
    labels[:, :, : SIDE // 2], labels[:, :, SIDE // 2 :] = right, left
    change = augmentation("celebamask19")
    flips = draw_flips()
    grid = F.affine_grid(flips[:, :2], [SAMPLES, 1, SIDE, SIDE], align_corners=False)
    flipped = flips[:, 0, 0] < 0
    if drawn:
        maps = swap_maps(warp(labels_to_one_hot(labels, 19), grid), flipped, change.mirrored)
        assert torch.allclose(maps, labels_to_one_hot(labels, 19), atol=1e-4)
    else:
        assert torch.equal(swap_labels(warp_labels(labels, grid), flipped, change.mirrored), labels)


def draw_flips() -> Tensor:
    flips = torch.eye(3).repeat(SAMPLES, 1, 1)
    flips[::2, 0, 0] = -1
    return flips


def test_flips_are_told_from_other_changes() -> None:
    matrices, flipped = sample_geometry(4000, (SIDE, SIDE), probability(0.8), quarter_turns=True)
    assert torch.equal(torch.linalg.det(matrices[:, :, :2]) < 0, flipped)
    assert abs(flipped.float().mean() - 0.4) < 0.03


def test_geometry_occurs_as_often_as_asked() -> None:
    """Scales: untouched are those that no draw of the two kinds hit."""
    matrices = sample_geometry(20000, (SIDE, SIDE), probability(0.3), quarter_turns=False)[0][:, :, :2]
    scale = torch.linalg.det(matrices).abs()
    assert abs(((scale - 1).abs() > 1e-5).float().mean() - 0.3) < 0.02
    log = scale[(scale - 1).abs() > 1e-5].sqrt().log2()
    assert abs(log.std() - 0.2) < 0.01
    turned = (matrices[:, 0, 1].abs() > 1e-6).float().mean()
    assert abs(turned - 0.3) < 0.02


@pytest.mark.parametrize("height", [SIDE // 2, 2 * SIDE])
def test_other_shapes_are_turned_and_scaled_alike(height: int) -> None:
    """In pixels, rotations and scales are those of a square."""

    def sampled(height: int) -> Tensor:
        torch.manual_seed(0)
        matrices = sample_geometry(500, (height, SIDE), probability(0.8), quarter_turns=False)[0].double()
        pixels = torch.diag(torch.tensor([SIDE / 2, height / 2], dtype=torch.float64))
        return pixels @ matrices[:, :, :2] @ pixels.inverse()

    assert torch.allclose(sampled(height), sampled(SIDE), atol=1e-5)


def test_whole_pixels_of_other_shapes_move_without_blur() -> None:
    images = torch.randint(256, (SAMPLES, 3, SIDE, SIDE // 2), dtype=torch.uint8)
    labels = torch.randint(13, (SAMPLES, SIDE, SIDE // 2), dtype=torch.uint8)
    image, segmentation = augmentation().real(images, labels, probability(0.8))
    assert (image.shape, segmentation.shape) == (images.shape, (SAMPLES, 13, SIDE, SIDE // 2))
    torch.manual_seed(0)
    matrices, _ = sample_geometry(4000, (SIDE, SIDE // 2), probability(0.3), quarter_turns=False)
    moved = matrices[(matrices[:, :, :2] == torch.eye(2)).flatten(1).all(1)][:, :, 2]
    pixels = moved * torch.tensor([SIDE / 4, SIDE / 2])
    whole = (pixels - pixels.round()).abs().amax(1) < 1e-4
    assert pixels[whole].abs().amax(0).tolist() == pytest.approx([SIDE // 16] * 2, abs=0.01)  # 1/8 of the shorter side


def test_whole_pixels_move_without_blur() -> None:
    torch.manual_seed(0)
    maps = torch.rand(1, 1, SIDE, SIDE)
    shift = torch.tensor([[[1.0, 0, 2 * 3 / SIDE], [0, 1, -2 * 2 / SIDE]]])
    moved = warp(maps, F.affine_grid(shift, [1, 1, SIDE, SIDE], align_corners=False))
    assert torch.allclose(moved[..., 2:, :-3], maps[..., :-2, 3:], atol=1e-4)


def test_colour_maps_are_those_of_the_paper() -> None:
    matrices, offsets = sample_color_maps(20000, probability(0.5))
    axis = torch.full((3,), 1 / math.sqrt(3))
    along = torch.einsum("nij,j,i->n", matrices, axis, axis)  # contrast, and the sign of luma
    assert torch.allclose(matrices @ axis, along[:, None] * axis, atol=1e-4)  # grey stays grey
    assert abs((along < 0).float().mean() - 0.25) < 0.02
    contrast = along.abs()[(along.abs() - 1).abs() > 1e-5].log2()
    assert abs(contrast.std() - 0.5) < 0.03
    brightness = (offsets / along)[offsets != 0]
    assert abs(brightness.std() - 0.2) < 0.01


def test_recolouring_is_affine() -> None:
    image = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    matrices, offsets = sample_color_maps(4, probability(0.8))
    pixel = matrices.double()[2] @ image[2, :, 3, 5] + offsets.double()[2]
    assert torch.allclose(recolor(image, matrices, offsets)[2, :, 3, 5], pixel)


def test_half_of_the_pairs_are_mirrored() -> None:
    images, labels = batch(19)
    mirrored = torch.from_numpy(load_table("celebamask19").mirrored())
    flipped_images, flipped_labels = mirror_half(images, labels, mirrored)
    same = (flipped_images == images).flatten(1).all(1)
    assert 0.25 < same.float().mean() < 0.75
    assert torch.equal(flipped_labels[same], labels[same])
    assert torch.equal(flipped_images[~same], images[~same].flip(-1))
    assert torch.equal(flipped_labels[~same], mirrored[labels[~same].flip(-1).long()])
    assert flipped_labels.dtype == torch.uint8


def test_half_of_images_alone_are_mirrored() -> None:
    images, _ = batch()
    flipped = mirror_images(images)
    same = (flipped == images).flatten(1).all(1)
    assert 0.25 < same.float().mean() < 0.75
    assert torch.equal(flipped[~same], images[~same].flip(-1))


def test_images_alone_change_as_those_of_pairs_do() -> None:
    image, segmentation = torch.rand(SAMPLES, 3, SIDE, SIDE), torch.rand(SAMPLES, 13, SIDE, SIDE)
    torch.manual_seed(1)
    paired, _ = augmentation().fake(image, segmentation, probability(0.8))
    torch.manual_seed(1)
    alone = augmentation().image_only(image.requires_grad_(), probability(0.8))
    assert torch.equal(alone, paired)
    assert not torch.equal(alone, image)
    alone.sum().backward()
    assert image.grad is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 0.9}, "augment.probability = 0.9: choose a value from 0 to 0.8"),
        ({"target": 1.0}, "augment.target"),
        ({"ramp_images": 0}, "augment.ramp_images"),
    ],
)
def test_senseless_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**options)


def test_off_by_default() -> None:
    assert not AugmentConfig().is_on
    assert AugmentConfig(target=0.6).is_on
    assert not AugmentConfig(probability=0.5, geometry=False, color=False).is_on
    assert celebamask13().mirrored().tolist() == list(range(13))
