import math

import pytest
import torch

from metrics.segmenter import SegmentationNetwork, find_segmenter, load_segmenter, segmenter_path
from metrics.segmenter_config import SegmenterTraining
from metrics.segmenter_training import train_segmenter
from utils.errors import MetricError

NAMES = ("ground", "disc", "nowhere")
QUICK = SegmenterTraining(steps=2, batch_size=4)


def discs(count: int, side: int = 32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Red discs on a blue ground, somewhere."""
    stream = torch.Generator().manual_seed(1)
    axis = torch.arange(side)
    pairs = []
    for _ in range(count):
        x, y = torch.randint(side // 4, 3 * side // 4, (2,), generator=stream)
        label = ((axis - x) ** 2 + (axis[:, None] - y) ** 2 < (side / 5) ** 2).to(torch.uint8)
        colors = torch.tensor([[20, 30, 200], [220, 40, 30]], dtype=torch.uint8)
        pairs.append((colors[label.long()].permute(2, 0, 1), label))
    return pairs


@pytest.fixture(scope="module")
def quick():
    return train_segmenter(discs(20), NAMES, "d" * 64, QUICK)


@pytest.fixture
def saved(quick, tmp_path):
    path = tmp_path / "segmenter.pt"
    quick.save(path)
    return path


def test_it_learns_from_pairs():
    pairs = discs(60)
    segmenter = train_segmenter(pairs, NAMES, "d", SegmenterTraining(steps=40, batch_size=6))
    assert segmenter.facts.iou[0] > 0.9
    assert segmenter.facts.iou[1] > 0.9
    assert math.isnan(segmenter.facts.iou[2])
    assert segmenter.facts.mean_iou == pytest.approx(sum(segmenter.facts.iou[:2]) / 2)
    image, label = discs(61)[-1]
    assert (segmenter(image[None])[0] == label).float().mean() > 0.97


def test_equal_seeds_give_equal_segmenters_and_leave_the_random_stream(quick):
    before = torch.get_rng_state()
    again = train_segmenter(discs(20), NAMES, "d" * 64, QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    other = train_segmenter(discs(20), NAMES, "d" * 64, SegmenterTraining(steps=2, batch_size=4, seed=1))
    first = [segmenter.network.classify[1].weight for segmenter in (quick, again, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_only_the_last_tenth_is_held_out():
    pairs = discs(30)
    changed = pairs[:27] + [(image, 1 - label) for image, label in pairs[27:]]
    one, two = (train_segmenter(data, NAMES, "d", QUICK) for data in (pairs, changed))
    assert torch.equal(*(segmenter.network.classify[1].weight for segmenter in (one, two)))
    assert one.facts.iou[:2] != two.facts.iou[:2]


def test_it_reads_uint8_images_of_its_resolution(quick):
    labels = quick(discs(3)[0][0][None].expand(3, -1, -1, -1))
    assert (labels.dtype, labels.shape) == (torch.uint8, (3, 32, 32))
    for wrong in (torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="images are torch"):
            quick(wrong)


@pytest.mark.parametrize("resolution", [32, 64, 320])
def test_scores_are_of_every_pixel(resolution):
    images = torch.zeros(1, 3, resolution, resolution)
    assert SegmentationNetwork(5).eval()(images).shape == (1, 5, resolution, resolution)


def test_what_is_read_back_sees_the_same(quick, saved):
    loaded = find_segmenter(saved, NAMES, 32, "d" * 64, [])
    images = torch.stack([image for image, _ in discs(4)])
    assert torch.equal(loaded(images), quick(images))
    assert loaded.facts.steps == 2
    assert loaded.facts.mean_iou == quick.facts.mean_iou
    assert loaded.facts.iou == pytest.approx(quick.facts.iou, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ((NAMES, 64, "d" * 64), "resolution 32, not 64"),
        ((NAMES[:2], 32, "d" * 64), "number of classes 3, not 2"),
        (((*NAMES[:2], "hat"), 32, "d" * 64), "nowhere, not ground, disc, hat"),
        ((NAMES, 32, "e" * 64), "digest dddddddddddd, not eeeeeeeeeeee"),
    ],
)
def test_one_for_something_else_is_refused(saved, expected, said):
    with pytest.raises(MetricError, match=said) as error:
        find_segmenter(saved, *expected, ["data/a"])
    assert (
        f"; train a segmenter with python -m scripts.train_segmenter --data data/a --resolution {expected[1]}"
        in str(error.value)
    )
    assert str(saved) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_one_in_the_cache_is_found(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = r"python -m scripts\.train_segmenter --data data/a 'b c' --resolution 32 \(about eight minutes"
    with pytest.raises(MetricError, match=f"the cache has no segmenter for these data at 32 px: .* {command}"):
        find_segmenter("", NAMES, 32, "d" * 64, ("data/a", "b c"))
    segmenter_path("d" * 64).parent.mkdir(parents=True)
    quick.save(segmenter_path("d" * 64))
    assert find_segmenter("", NAMES, 32, "d" * 64, []).facts.names == NAMES


@pytest.mark.parametrize("entry", ["format", "names", "resolution", "iou", "mean_iou", "network"])
def test_damaged_and_foreign_files_are_one_line(saved, entry):
    contents = torch.load(saved, weights_only=True)
    for spoilt in ({**contents, entry: None}, {k: v for k, v in contents.items() if k != entry}, [1]):
        torch.save(spoilt, saved)
        with pytest.raises(MetricError, match="segmenter") as error:
            load_segmenter(saved)
        assert "\n" not in str(error.value)


def test_facts_of_another_version_are_refused(saved):
    torch.save({**torch.load(saved, weights_only=True), "width": 8}, saved)
    with pytest.raises(MetricError, match=r"option width, which this version does not know: use the version"):
        load_segmenter(saved)


def test_truncated_and_missing_files(saved):
    saved.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(MetricError, match="truncated"):
        load_segmenter(saved)
    with pytest.raises(MetricError, match=r"no such file; train a segmenter .* --data data/a --resolution 32"):
        find_segmenter(saved.with_name("none.pt"), NAMES, 32, "d", ["data/a"])


def test_the_file_is_small(saved):
    assert saved.stat().st_size < 3e6


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"seed": -1}, {"learning_rate": 0}])
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(MetricError, match=next(iter(wrong))):
        SegmenterTraining(**wrong)


def test_too_few_or_too_small_pairs():
    with pytest.raises(MetricError, match="too few"):
        train_segmenter(discs(5), NAMES, "d", QUICK)
    with pytest.raises(MetricError, match="16 px"):
        train_segmenter(discs(20, side=16), NAMES, "d", QUICK)
