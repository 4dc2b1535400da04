import torch

from datasets.transforms import float_to_images, images_to_float, labels_to_one_hot, segmentation_to_labels, soften


def test_all_bytes_survive_the_round_trip() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    floats = images_to_float(images)
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(float_to_images(floats), images)


def test_values_beyond_the_range_are_clamped() -> None:
    assert float_to_images(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_one_hot_and_back() -> None:
    labels = torch.randint(0, 13, (2, 8, 8), dtype=torch.uint8)
    maps = labels_to_one_hot(labels, 13)
    assert maps.shape == (2, 13, 8, 8)
    assert maps.dtype == torch.float32
    assert maps.unique().tolist() == [-1, 1]
    assert torch.equal((maps == 1).sum(dim=1), torch.ones(2, 8, 8, dtype=torch.long))
    assert torch.equal(segmentation_to_labels(maps), labels)


def test_softened_edges_keep_their_place() -> None:
    labels = torch.zeros(1, 6, 6, dtype=torch.uint8)
    labels[:, :, 3:] = 2
    maps = soften(labels_to_one_hot(labels, 3))
    assert maps[0, 2, 1].tolist() == [-1, -1, -0.75, 0.75, 1, 1]
    assert torch.equal(maps.sum(dim=1), torch.full((1, 6, 6), -1.0))  # over the classes, as before
    assert torch.equal(segmentation_to_labels(maps), labels)


def test_softening_treats_rows_and_columns_alike() -> None:
    maps = labels_to_one_hot(torch.randint(0, 4, (2, 8, 8), dtype=torch.uint8), 4)
    assert torch.equal(soften(maps.mT), soften(maps).mT)
    assert soften(maps).is_contiguous(memory_format=torch.channels_last)  # the discriminator reads that order
