import pytest
import torch

from metrics.ppl import EPSILON, path_pairs, perceptual_path_length


def test_a_linear_generator_has_the_length_of_its_steps():
    start, end = torch.randn(2, 50, 6, dtype=torch.float64)
    generator = torch.randn(6, 9, dtype=torch.float64)
    first, second = path_pairs(start, end, torch.rand(50, dtype=torch.float64))
    distances = ((second - first) @ generator).square().sum(1) / EPSILON**2
    expected = ((end - start) @ generator).square().sum(1)
    torch.testing.assert_close(distances, expected, rtol=1e-9, atol=0)
    assert perceptual_path_length(distances) == pytest.approx(expected.mean().item(), rel=1e-9)


def test_pairs_lie_on_the_line_for_codes_of_any_shape():
    start, end = torch.zeros(3, 2, 4), torch.ones(3, 2, 4)
    first, second = path_pairs(start, end, torch.tensor([0.0, 0.25, 1.0]), epsilon=0.5)
    assert first[:, 1, 2].tolist() == [0, 0.25, 1]
    assert second[:, 1, 2].tolist() == [0.5, 0.75, 1.5]


def test_float32_codes_keep_a_step_of_the_right_length():
    start, end = torch.randn(2, 1000, 512)
    first, second = path_pairs(start, end, torch.rand(1000))
    ratio = (second - first).norm(dim=1) / EPSILON / (end - start).norm(dim=1)
    assert (ratio - 1).abs().max() < 1e-4


def test_extreme_distances_are_rejected():
    distances = torch.full((1000,), 2.0)
    distances[:5], distances[5:10] = 1e9, -1e9
    assert perceptual_path_length(distances[torch.randperm(1000)]) == 2


def test_up_to_a_hundred_distances_all_count():
    assert perceptual_path_length(torch.arange(100.0)) == pytest.approx(49.5)
    assert perceptual_path_length(torch.tensor([3.0])) == 3
