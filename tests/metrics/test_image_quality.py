import pytest
import torch

from metrics.image_quality import frechet_distance, inception_score, kernel_distance, precision_recall


def gaussian(samples: int, features: int = 4, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Features whose mean and covariance are exactly those asked for."""
    x = torch.randn(samples, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    whitened = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (samples - 1))).T
    return (mean + std * whitened).float()


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 1.0), (0.0, 3.0), (-2.0, 0.5)])
def test_frechet_distance_of_gaussians(mean, std):
    features = 4
    expected = features * (mean**2 + (1 - std) ** 2)  # Dowson and Landau 1982, for multiples of the identity
    assert frechet_distance(gaussian(500), gaussian(400, mean=mean, std=std, seed=1)) == pytest.approx(
        expected, abs=2e-3
    )


def test_kernel_distance_is_that_of_its_definition():
    a, b = gaussian(30, seed=0), gaussian(30, mean=0.3, seed=1)

    def kernel(x, y):
        return (x.double() @ y.double().T / x.shape[1] + 1) ** 3

    n = len(a)
    within = sum((kernel(x, x).sum() - kernel(x, x).diagonal().sum()) / (n * (n - 1)) for x in (a, b))
    expected = (within - 2 * kernel(a, b).mean()).item()
    mean, std = kernel_distance(a, b)
    assert mean == pytest.approx(expected, rel=1e-4)  # subsets of all samples: the same each time
    assert std < 1e-6


def test_kernel_distance_sees_a_shift():
    assert kernel_distance(gaussian(500), gaussian(500, seed=1))[0] < 0.1
    assert kernel_distance(gaussian(500), gaussian(500, mean=1.0, seed=1))[0] > 1


def test_inception_score():
    assert inception_score(torch.zeros(100, 7))[0] == pytest.approx(1)
    classes = torch.eye(5).repeat(40, 1) * 1e3
    mean, _ = inception_score(classes)
    assert 4 < mean <= 5 + 1e-6  # the shuffled splits do not hold every class equally often


def test_precision_and_recall():
    near, far = gaussian(60, seed=0), gaussian(60, mean=100, seed=1)
    assert precision_recall(near, near) == (1, 1)
    assert precision_recall(near, far) == (0, 0)
    # One of two modes drawn: all drawings are good, half of the data is missed.
    precision, recall = precision_recall(torch.cat([near, far]), torch.cat([near, near + 1e-3]))
    assert precision == 1
    assert recall == pytest.approx(0.5, abs=0.02)
