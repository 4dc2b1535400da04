import math

import pytest
import torch

from editing import background
from editing.background import fit_background
from editing.codes import seed_codes
from editing.generation import Scene, generate
from editing.jobs import Job
from models import Generator
from models.coordinates import foreground_coordinates
from tests.editing.tiny import CONFIG, tiny_generator


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STEPS", 40)


def noiseless() -> Generator:
    """What noise draws no features can undo."""
    generator = tiny_generator()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength") or (".to_rgb" in name and name.endswith("bias")):
                parameter.zero_()
    return generator


def photo() -> torch.Tensor:
    """A ramp in colours between those that the untrained networks draw."""
    ramp = torch.linspace(-0.5, 0.5, 32)
    return torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), torch.zeros(32, 32)])


def test_the_photo_shows_behind_the_parts_and_the_rest_stays() -> None:
    generator = noiseless()
    codes = seed_codes(generator, [0, 1, 2])
    steps = []
    backdrop = fit_background(generator, photo(), codes, callback=lambda progress: steps.append(progress.step))
    assert steps == list(range(1, 41))
    assert backdrop.features.shape == (1, 16, 16, 16)
    assert not backdrop.features.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in generator.parameters())
    with torch.no_grad():
        before, after = generator.synthesis(codes), generator.synthesis(codes, background=backdrop.features)
    labels = before.segmentation.argmax(1)
    behind = labels == 0
    assert 0.05 < behind.float().mean() < 0.95

    def distance(images: torch.Tensor, where: torch.Tensor) -> float:
        return (images - photo()).square().mean(1)[where].mean().item()

    assert distance(after.image, behind) < 0.5 * distance(before.image, behind)
    assert (after.image - before.image).square().mean(1)[~behind].mean() < 0.2 * distance(before.image, ~behind)
    assert (after.segmentation.argmax(1) == labels).float().mean() > 0.7
    shown = after.segmentation.argmax(1) == 0
    assert backdrop.psnr == pytest.approx(10 * math.log10(4 / distance(after.image.clamp(-1, 1), shown)))


def test_it_is_fitted_to_what_is_drawn() -> None:
    """Parts moved or switched off are so while the photo is fitted too."""
    generator, codes = tiny_generator(), torch.randn(1, 16)
    alone = torch.tensor([True, False, False, False])
    moved = Scene(foreground_coordinates(CONFIG, zoom=0.5))
    psnr = {}
    for name, mask, scene in (("all", None, Scene()), ("alone", alone, Scene()), ("moved", None, moved)):
        fitted = fit_background(generator, photo(), codes, mask, scene)
        psnr[name] = fitted.psnr
        sample = next(
            generate(generator, codes, None if mask is None else mask[None], scene=Scene(scene.coords, fitted.features))
        )
        assert sample.image.shape == (32, 32, 3)
    assert len({round(value, 3) for value in psnr.values()}) == 3


def test_samples_without_background_show_nothing() -> None:
    generator = tiny_generator()
    with torch.no_grad():
        generator.render_net.to_segmentation[-1].bias[0] -= 100
    assert math.isnan(fit_background(generator, photo(), torch.randn(1, 16)).psnr)


def test_a_scene_is_what_the_networks_make_of_it() -> None:
    generator, codes = tiny_generator(), torch.randn(2, 16)
    coords, features = foreground_coordinates(CONFIG, zoom=1.5, shift=(0.2, 0.0)), torch.randn(1, 16, 16, 16)
    with torch.no_grad():
        expected = generator.synthesis(codes, coords=coords, background=features)
    for index, sample in enumerate(generate(generator, codes, scene=Scene(coords, features), batch_size=1)):
        pixels = (expected.image[index].clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5
        torch.testing.assert_close(torch.from_numpy(sample.image).float(), pixels, atol=0.51, rtol=0)


def test_some_of_a_jobs_samples() -> None:
    codes, masks = torch.arange(6.0)[:, None], torch.eye(4, dtype=torch.bool)
    job = Job(codes, [], lambda samples, folder: None, masks)
    some, with_masks = job.random_subset(100)
    assert with_masks is not None
    found = {(int(code), int(mask.int().argmax())) for code, mask in zip(some, with_masks, strict=True)}
    assert found == {(code, mask) for code in range(6) for mask in range(4)}
    few, few_masks = job.random_subset(8)
    assert few_masks is not None
    assert len(few) == 8
    assert len(few_masks.unique(dim=0)) > 1
    assert torch.equal(job.random_subset(8)[0], few)
    plain, none = Job(codes, [], lambda samples, folder: None).random_subset(3)
    assert none is None
    assert len(plain) == 3
