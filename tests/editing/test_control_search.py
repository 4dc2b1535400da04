"""The search for controls: statistics of known faces, stray pixels, planted properties, and reasons to drop some."""

import numpy as np
import pytest
import torch

from editing import control_search as search
from editing.control_statistics import STATISTICS, MeasuredFace, missing_classes, side_statistics, stray_share
from editing.generation import generate
from tests.editing.tiny import CONFIG, NAMES, tiny_generator

CLASSES = ("background", "skin", "eye", "eyebrow", "mouth", "nose", "hair")


def face() -> MeasuredFace:
    """Return a face of 20 x 20 pixels: hair, skin, brows, eyes, a nose and a mouth with corners that are higher."""
    labels, image = np.zeros((20, 20), np.uint8), np.full((20, 20, 3), 100, np.uint8)
    labels[2:15, 3:17] = 6
    labels[5:18, 5:15] = 1
    labels[6, 6:8] = labels[6, 12:14] = 3
    labels[8, 6:8] = labels[8, 12:14] = 2
    labels[10:12, 10] = 5
    labels[15, 8:12] = labels[14, 7] = labels[14, 12] = 4
    image[labels == 6] = (200, 100, 0)
    return MeasuredFace(image, labels, CLASSES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hair volume", (13 * 14 - 10 * 10) / 400),
        ("hair warmth", 200),
        ("hair lightness", 0.299 * 200 + 0.587 * 100),
        ("face width", 10 / 20),
        ("brow height", 2 / 20),
        ("mouth open", 1 / 4.5),
        ("head height", 12 / 20),
    ],
)
def test_statistics_of_a_known_face(name: str, value: float) -> None:
    assert STATISTICS[name].measure(face()) == pytest.approx(value, abs=0.02)


def test_a_smile_has_raised_corners() -> None:
    smiling, sad = face(), face()
    sad.labels[14, [7, 12]], sad.labels[16, [7, 12]] = 1, 4
    assert STATISTICS["smile"].measure(smiling) > 0 > STATISTICS["smile"].measure(sad)


def test_statistics_of_absent_classes_are_undefined() -> None:
    empty = MeasuredFace(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8), CLASSES)
    for name in ("hair length", "hair lightness", "face width", "mouth open", "smile", "brow height", "head turn"):
        assert np.isnan(STATISTICS[name].measure(empty)), name
    assert missing_classes(STATISTICS["hat size"], CLASSES) == ["hat"]
    assert missing_classes(STATISTICS["hair length"], NAMES) == ["eye"]
    assert np.isfinite(side_statistics(face())).all()


def test_small_regions_are_stray() -> None:
    labels = torch.zeros(2, 40, 40, dtype=torch.uint8)
    labels[:, 5:20, 5:20] = 1
    assert stray_share(labels, 0.01) == 0
    labels[0, 30, 30:33] = labels[0, 31, 33] = 1  # touches at a corner: one region of 4 pixels
    labels[1, 10, 10] = 2
    assert stray_share(labels, 4.5 / 1600) == pytest.approx(5 / 3200)
    assert stray_share(labels, 3.5 / 1600) == pytest.approx(1 / 3200)


def test_independent_codes() -> None:
    codes = search.independent_codes(tiny_generator(), 5, 0)
    assert codes.shape == (5, CONFIG.num_codes, CONFIG.latent_dim)
    assert torch.equal(codes[:, 0], codes[:, 1])
    distinct = codes[:, 1:].flatten(0, 1)
    assert len(distinct.unique(dim=0)) == len(distinct)


def samples_of(codes: torch.Tensor, values: torch.Tensor) -> search.MeasuredSamples:
    """Return samples whose hair volume is `values`; one side effect is texture element 3."""
    sides = torch.zeros(len(codes), 4, 4, dtype=torch.float64)
    sides[:, 1, 3] = codes[:, 7, 3] / codes[:, 7, 3].std()
    return search.MeasuredSamples(codes, {"hair volume": values.numpy()}, sides)


def test_only_groups_that_predict_are_moved_and_side_effects_are_avoided() -> None:
    codes = torch.randn(1500, CONFIG.num_codes, 16, dtype=torch.float64)
    codes[:, 1] = codes[:, 0]
    values = codes[:, 0, 5] + codes[:, 7, 2] + codes[:, 7, 3]  # base and the texture of hair
    index, r2 = search._choose_groups(CONFIG, 2, codes, values)
    assert index.tolist() == [0, 1, 7]
    assert r2 > 0.95
    vector = search._direction(samples_of(codes, values), "hair volume", index, 2, CONFIG)
    assert vector.shape == (3, 16)
    assert torch.equal(vector[0], vector[1])
    assert vector[0, 5] > 0.5
    assert vector[2, 2] > 0.5
    assert vector[2, 3] < 0.5 * vector[2, 2]


def test_a_control_changes_its_statistic_in_new_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MIN_EFFECT": 0.2, "MIN_R2": 0.1, "MAX_OUTSIDE": 100.0, "MAX_STRAY": 1.0}.items():
        monkeypatch.setattr(search, name, value)  # an untrained generator breaks these rules
    generator = tiny_generator()
    codes = search.independent_codes(generator, 800, 0)
    samples = search.measure_samples(codes, generate(generator, codes, batch_size=50), NAMES)
    unmoved = search.unmoved_samples(generator, 8, 1, 8)
    found = search.find_control("hair volume", generator, NAMES, samples, unmoved)
    assert found.control, found.facts
    assert found.control.part == 2
    new = search.independent_codes(generator, 64, 7)
    means = []
    for amount in (-1, 0, 1):
        moved = found.control.move(new, amount, CONFIG)
        values = [
            STATISTICS["hair volume"].measure(MeasuredFace(sample.image, sample.labels, NAMES))
            for sample in generate(generator, moved)
        ]
        means.append(np.nanmean(values))
    assert means[0] < means[1] < means[2]
    for name, reason in (("smile", "there is no class mouth"), ("face width", "there is no class eye")):
        dropped = search.find_control(name, generator, NAMES, samples, unmoved)
        assert dropped.control is None
        assert dropped.facts == reason


def test_controls_are_tried_on_samples_that_show_the_part() -> None:
    labels = np.zeros((6, 16, 16), np.uint8)
    labels[[1, 3, 4], 2:8, 2:8] = NAMES.index("hair")
    codes = torch.arange(6.0).reshape(6, 1, 1)
    generated = search.Unmoved(codes, np.zeros((6, 16, 16, 3), np.uint8), labels, tried=2)
    tried = generated.showing(STATISTICS["hair lightness"], NAMES)
    assert tried.codes.flatten().tolist() == [1, 3]
    assert len(tried.images) == len(tried.labels) == 2
    assert not generated._replace(labels=np.zeros_like(labels)).showing(STATISTICS["hair lightness"], NAMES).images.size


def test_a_constant_or_noisy_statistic_is_dropped() -> None:
    generator = tiny_generator()
    codes = search.independent_codes(generator, 200, 0)
    for values, reason in (
        (torch.ones(200), "the same in all samples"),
        (torch.randn(200), "hardly follows the codes"),
    ):
        found = search.find_control("hair volume", generator, NAMES, samples_of(codes, values.double()), None)  # type: ignore[arg-type]
        assert found.control is None
        assert reason in found.facts
    undefined = torch.full((200,), float("nan"), dtype=torch.float64)
    undefined[:3] = torch.tensor([1.0, 2, 3])
    found = search.find_control("hair volume", generator, NAMES, samples_of(codes, undefined), None)  # type: ignore[arg-type]
    assert found.facts == "defined in 3 of 200 samples"


@pytest.mark.parametrize(
    ("step", "rule"),
    [
        (search._Step(0.5, 1.0, 0.0), ""),
        (search._Step(0.5, 1.0, 1.0), "masks break up"),
        (search._Step(0.5, 99.0, 0.0), "other parts change"),
        (search._Step(2.0, 1.0, 0.0), "values become rare"),
    ],
)
def test_rules_that_end_a_range(step: search._Step, rule: str) -> None:
    trial = search._Trial(STATISTICS["hair volume"], 2, torch.tensor([0]), torch.zeros(1, 16), np.array([-1.0, 1.0]))
    assert search._broken_rule(trial, step, 1.0, 1.0, 0.0) == rule
    assert search._broken_rule(trial, step, 0.01, 1.0, 0.0) == "no more effect"
    assert search._broken_rule(trial, step, float("nan"), 1.0, 0.0) == "no more effect"
