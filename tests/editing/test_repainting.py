import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datasets.transforms import segmentation_to_labels
from editing.codes import seed_codes
from editing.generation import DEFAULT_SCENE, Sample, Scene, generate
from editing.inversion import Progress
from editing.repainting import (
    RepaintConfig,
    Repainted,
    _Aim,
    _evaluate,
    _objective,
    _State,
    iou_of_parts,
    repaint,
    touched_parts,
)
from models import Generator, GeneratorOutput
from models.coordinates import foreground_coordinates
from models.latents import shape_index, texture_index, to_wplus
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError

QUICK = RepaintConfig(steps=15, elsewhere_cost=0.0, outside_cost=0.0)  # labels of an untrained model flicker


@pytest.fixture
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture
def codes(generator: Generator) -> torch.Tensor:
    return to_wplus(seed_codes(generator, [1]), CONFIG).clone()


def sample(generator: Generator, codes: torch.Tensor, **options) -> Sample:
    [found] = generate(generator, codes, **options)
    return found


def reachable(generator: Generator, codes: torch.Tensor, *parts: int, **options) -> np.ndarray:
    """The mask after an edit of shape codes, which the generator can therefore reach."""
    other = to_wplus(seed_codes(generator, [5]), CONFIG)
    edited = codes.clone()
    for part in parts:
        edited[:, shape_index(CONFIG, part)] = other[:, shape_index(CONFIG, part)]
    return sample(generator, edited, **options).labels


def moved(result: Repainted, codes: torch.Tensor) -> set[int]:
    """Positions of the vectors that changed."""
    return set((result.codes != codes)[0].any(1).nonzero()[:, 0].tolist())


def mean_iou(labels: np.ndarray, painted: np.ndarray, parts: tuple[int, ...]) -> float:
    return float(np.mean([*iou_of_parts(labels, painted, parts).values()]))


def test_touched_parts_lost_or_gained_pixels() -> None:
    before = np.array([[0, 1, 1], [2, 2, 3]], np.uint8)
    after = before.copy()
    assert touched_parts(before, after) == ()
    after[0, 1] = 2
    assert touched_parts(before, after) == (1, 2)
    after[0, 0] = 3
    assert touched_parts(before, after) == (0, 1, 2, 3)
    assert all(type(part) is int for part in touched_parts(before, after))


def test_iou_of_parts() -> None:
    first, second = np.array([[1, 1, 0, 0]], np.uint8), np.array([[1, 0, 0, 0]], np.uint8)
    assert iou_of_parts(first, second, (0, 1, 7)) == {0: pytest.approx(2 / 3), 1: 0.5, 7: 1.0}


def test_the_image_follows_the_mask(generator: Generator, codes: torch.Tensor) -> None:
    before = sample(generator, codes)
    painted = reachable(generator, codes, 1, 2)
    touched = touched_parts(before.labels, painted)
    assert len(touched) >= 2
    weights = generator.state_dict()
    result = repaint(generator, codes, painted, QUICK)
    assert result.codes.shape == codes.shape
    after = sample(generator, result.codes)
    np.testing.assert_array_equal(after.labels, result.labels)
    assert tuple(result.iou) == touched
    assert result.iou == iou_of_parts(after.labels, painted, touched)
    assert mean_iou(after.labels, painted, touched) > mean_iou(before.labels, painted, touched) + 0.05
    kept = before.labels == painted
    change = np.abs(after.image.astype(float) - before.image)[kept].mean()
    assert result.outside == pytest.approx(change, rel=1e-5)
    assert all(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())


def test_the_image_outside_is_held_the_more_it_counts(generator: Generator, codes: torch.Tensor) -> None:
    painted = reachable(generator, codes, 1, 2)
    free, held = (
        repaint(
            generator,
            codes,
            painted,
            RepaintConfig(steps=15, labels_outside=weight, image_outside=10 * weight, outside_cost=0.0),
        )
        for weight in (0.0, 30.0)
    )
    assert free.outside > 0
    assert held.outside < free.outside / 2


def test_only_shapes_of_touched_parts_and_base_codes_move(generator: Generator, codes: torch.Tensor) -> None:
    painted = reachable(generator, codes, 1, 2)
    touched = touched_parts(sample(generator, codes).labels, painted)
    allowed = {shape_index(CONFIG, part) for part in touched if part}
    base = set(range(CONFIG.base_layers))
    result = repaint(generator, codes, painted, QUICK)
    assert moved(result, codes) == allowed | base
    assert moved(result, codes).isdisjoint(texture_index(CONFIG, part) for part in range(CONFIG.num_classes))
    own = repaint(generator, codes, painted, RepaintConfig(steps=15, base=False))
    assert moved(own, codes) <= allowed
    assert moved(own, codes)


def test_codes_of_locked_parts_stay(generator: Generator, codes: torch.Tensor) -> None:
    painted = reachable(generator, codes, 1, 2)
    touched = [part for part in touched_parts(sample(generator, codes).labels, painted) if part]
    result = repaint(generator, codes, painted, QUICK, locked=touched[:1])
    assert shape_index(CONFIG, touched[0]) not in moved(result, codes)
    with pytest.raises(EditError, match="all painted parts are locked: unlock"):
        repaint(generator, codes, painted, RepaintConfig(base=False), locked=touched)


def test_parts_switched_off_and_the_scene_count(generator: Generator, codes: torch.Tensor) -> None:
    shown = torch.tensor([True, True, True, False])
    features = torch.randn(1, CONFIG.feature_channels, *CONFIG.coarse_size)
    scene = Scene(foreground_coordinates(CONFIG, zoom=0.7, shift=(0.2, 0.0)), features)
    options = {"part_masks": shown[None], "scene": scene}
    before = sample(generator, codes, **options)
    painted = reachable(generator, codes, 1, 2, **options)
    touched = touched_parts(before.labels, painted)
    assert len(touched) >= 2
    assert not np.array_equal(before.labels, sample(generator, codes).labels)
    result = repaint(generator, codes, painted, QUICK, shown=shown, scene=scene)
    assert tuple(result.iou) == touched
    after = sample(generator, result.codes, **options)
    np.testing.assert_array_equal(after.labels, result.labels)
    assert mean_iou(after.labels, painted, touched) > mean_iou(before.labels, painted, touched)
    painted = painted.copy()
    painted[:4] = 3
    with pytest.raises(EditError, match="class 3 is painted but switched off: switch it on first"):
        repaint(generator, codes, painted, QUICK, shown=shown, scene=scene)


def test_the_score_counts_painted_pixels_and_those_elsewhere() -> None:
    before = np.zeros((8, 8), np.uint8)
    before[:4], before[7, 7] = 1, 2
    painted = before.copy()
    painted[4, :4], painted[7, 7] = 1, 0
    half = before.copy()
    half[4, :2] = 1

    def evaluate(labels: np.ndarray) -> _State:
        image, aim = torch.zeros(1, 3, 8, 8), _Aim(torch.zeros(1, 3, 8, 8), before, painted)
        segmentation = F.one_hot(torch.from_numpy(labels).long(), 3).permute(2, 0, 1)[None].float()
        return _evaluate(GeneratorOutput(image, segmentation, image, image), image, aim, RepaintConfig())

    assert (evaluate(before).score, evaluate(before).repainted.followed) == (0, 0)
    assert (evaluate(painted).score, evaluate(painted).repainted.followed) == (1, 1)
    weights = 4 / 36, 1  # the shares of the parts that are to change
    assert evaluate(half).score == pytest.approx(0.5 * weights[0] / sum(weights))
    half[0, :8] = 2  # 8 pixels of part 1 become part 2 elsewhere
    worse = (0.5 - 8 / 36) * weights[0] + (0 - 8 / 1) * weights[1]
    assert evaluate(half).score == pytest.approx(worse / sum(weights))
    assert evaluate(half).repainted.followed == pytest.approx(2 / 5)


def test_depths_of_parts_switched_off_do_not_count() -> None:
    before, painted = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    painted[:4] = 1
    image = torch.zeros(1, 3, 8, 8)
    depth = torch.tensor([0.0, 0.0, 50.0])[None, :, None, None].expand(1, 3, 4, 4)
    out = GeneratorOutput(image, torch.zeros(1, 3, 8, 8), depth, depth)
    losses = [
        _objective(_Aim(image, before, painted), RepaintConfig(depth_inside=weight), shown)(out).item()
        for weight, shown in ((0.0, None), (1.0, torch.tensor([True, True, False])), (1.0, None))
    ]
    assert losses[1] - losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[2] - losses[0] == pytest.approx(50, abs=1e-2)


def test_the_best_step_is_kept(generator: Generator, codes: torch.Tensor) -> None:
    """With a rate that is far too high, steps get worse, and the codes that were given are the best."""
    painted = reachable(generator, codes, 1, 2)
    before = sample(generator, codes)
    wild = RepaintConfig(steps=5, rate=50.0, outside_cost=10.0)
    result = repaint(generator, codes, painted, wild)
    assert torch.equal(result.codes, codes)
    np.testing.assert_array_equal(result.labels, before.labels)
    assert result.outside == 0
    assert result.iou == iou_of_parts(before.labels, painted, touched_parts(before.labels, painted))

    images: list[torch.Tensor] = []
    result = repaint(generator, codes, painted, QUICK, callback=lambda state: images.append(state.images))
    with torch.no_grad():
        final = generator.synthesis(result.codes).image
    assert min((image - final).abs().max().item() for image in images) < 1e-4


def test_it_stops_when_nothing_improves(generator: Generator, codes: torch.Tensor) -> None:
    painted = reachable(generator, codes, 1, 2)
    steps: list[int] = []
    config = RepaintConfig(steps=40, rate=1e-9, patience=3)
    repaint(generator, codes, painted, config, callback=lambda state: steps.append(state.step))
    assert steps == [1, 2, 3]


def test_the_callback_sees_each_step_and_may_stop(generator: Generator, codes: torch.Tensor) -> None:
    painted = reachable(generator, codes, 1, 2)
    seen: list[Progress] = []
    repaint(generator, codes, painted, RepaintConfig(steps=4), callback=seen.append)
    assert [(each.step, each.steps) for each in seen] == [(step, 4) for step in range(1, 5)]
    assert seen[0].losses.shape == (1,)
    assert seen[0].images.shape == (1, 3, *CONFIG.image_size)
    assert not seen[0].images.requires_grad
    assert seen[-1].losses < seen[0].losses

    def stop(progress: Progress) -> None:
        seen.append(progress)
        raise KeyboardInterrupt

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        repaint(generator, codes, painted, QUICK, callback=stop)
    assert len(seen) == 1


def test_an_unchanged_mask_and_no_steps_change_nothing(generator: Generator, codes: torch.Tensor) -> None:
    labels = sample(generator, codes, scene=DEFAULT_SCENE).labels
    result = repaint(generator, codes, labels)
    assert torch.equal(result.codes, codes)
    assert result.iou == {}
    assert result.outside == 0
    painted = reachable(generator, codes, 1, 2)
    assert torch.equal(repaint(generator, codes, painted, RepaintConfig(steps=0)).codes, codes)


def test_what_cannot_be(generator: Generator, codes: torch.Tensor) -> None:
    with torch.no_grad():
        labels = segmentation_to_labels(generator.synthesis(codes).segmentation)[0].numpy()
    with pytest.raises(EditError, match="2 codes cannot follow one mask: give a single code"):
        repaint(generator, codes.expand(2, -1, -1), labels)
    with pytest.raises(EditError, match="the painted mask has 16x16 pixels, the model 32x32"):
        repaint(generator, codes, labels[::2, ::2])
    with pytest.raises(EditError, match="must hold class ids of 0 to 3 as 8 bits"):
        repaint(generator, codes, np.full_like(labels, 4))
    with pytest.raises(EditError, match="must hold class ids of 0 to 3 as 8 bits"):
        repaint(generator, codes, labels.astype(np.int64))
    with pytest.raises(EditError, match="-1 steps of repainting: give 0 or more"):
        RepaintConfig(steps=-1)
    with pytest.raises(EditError, match="non-finite"):
        repaint(generator, codes, reachable(generator, codes, 1, 2), RepaintConfig(rate=math.nan))
