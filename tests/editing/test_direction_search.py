from pathlib import Path

import pytest
import torch
from torch import Tensor

from editing.codes import seed_codes
from editing.direction_search import (
    MIN_LABELS,
    attribute_direction,
    pca_directions,
    read_labels,
    resample_codes,
    sample_w,
    sefa_directions,
)
from editing.mixing import PartSelection, code_index
from models.latents import to_wplus
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError

HAIR = code_index(CONFIG, PartSelection((2,), base=False))


def cosine(first: Tensor, second: Tensor) -> float:
    return torch.cosine_similarity(first.double(), second.double(), dim=0).item()


@pytest.mark.parametrize(
    ("kind", "layers"), [("shape", slice(2, 6)), ("texture", slice(6, None)), ("both", slice(2, None))]
)
def test_factors_of_the_layers_that_read_the_codes(kind, layers) -> None:
    """A planted direction, in the part's own layers, is found; a stronger one elsewhere is not."""
    generator = tiny_generator()
    weight = generator.local_generators.style_weight  # [L, K, C, D]
    with torch.no_grad():
        weight.mul_(0.1)
        weight[layers, 2, 0, 5] = 10.0
        weight[:, 1, :, 7] = 50.0
        weight[:2, :, :, 9] = 50.0  # where base codes are read
    index = code_index(CONFIG, PartSelection((2,), base=False), kind)
    w = sample_w(generator, 500)
    first, second = sefa_directions(generator, index, w, 2)
    assert first.vector.abs().argmax() == 5
    assert first.vector[5] > 0
    assert first.vector.norm().item() == pytest.approx(w[:, 5].std().item(), rel=0.05)
    assert abs(cosine(first.vector, second.vector)) < 1e-6
    assert first.description.startswith("factor 1, 9")
    assert sefa_directions(generator, torch.arange(2), w, 1)[0].vector.abs().argmax() == 9


def test_factors_are_those_of_the_definition() -> None:
    """No unit vector changes the styles more than the first; orthogonal to it, none more than the second, and so on."""
    generator = tiny_generator()
    rows = generator.local_generators.style_weight[2:, 2].detach().flatten(0, 1).double()
    shifts = sefa_directions(generator, HAIR, sample_w(generator, 100), 16)
    gains = torch.stack([(rows @ shift.vector).norm() / shift.vector.norm() for shift in shifts])
    torch.testing.assert_close(gains, torch.linalg.svdvals(rows))


def test_components_of_samples_with_known_variances() -> None:
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    deviations = torch.tensor([3.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    w = torch.randn(4000, 4, dtype=torch.float64) * deviations @ turn.t() + 7
    for rank, shift in enumerate(pca_directions(w, 3)):
        assert abs(cosine(shift.vector, turn[:, rank])) > 0.99
        assert shift.vector.norm().item() == pytest.approx(deviations[rank].item(), rel=0.05)
        assert shift.vector[shift.vector.abs().argmax()] > 0


def test_resampled_codes_know_nothing_of_the_others() -> None:
    w, codes = resample_codes(tiny_generator(), HAIR, 5)
    assert torch.equal(codes[:, HAIR], w[:, None].expand(-1, 2, -1))
    assert torch.equal(codes[:, 0], codes[:, 9])
    assert not torch.allclose(codes[:, 0], w)
    again, _ = resample_codes(tiny_generator(), HAIR, 5, seed=0)
    other, _ = resample_codes(tiny_generator(), HAIR, 5, seed=1)
    assert torch.equal(w, again)
    assert not torch.allclose(w, other)


@pytest.mark.parametrize("is_binary", [False, True])
def test_an_attribute_grows_along_its_direction_and_what_is_uncorrelated_stays(is_binary: bool) -> None:
    mix = torch.randn(6, 6, dtype=torch.float64)
    hidden = torch.randn(4000, 6, dtype=torch.float64)
    w = hidden @ mix.t() + 1  # the attribute is hidden[:, 0], and the others are independent of it
    values = hidden[:, 0] + 0.3 * torch.randn(4000, dtype=torch.float64)
    shift = attribute_direction(w, (values > 0.5) if is_binary else values, "it")
    change = torch.linalg.solve(mix, shift.vector)
    assert change[0].item() == pytest.approx(1, abs=0.1)
    assert change[1:].abs().max() < 0.1
    explained = float(shift.description.split()[1])
    assert explained == pytest.approx(0.92, abs=0.02) if not is_binary else 0.3 < explained < 0.8


def test_few_samples_are_regularized() -> None:
    """20 labels in 64 dimensions fit any noise; the direction found from a signal still points its way."""
    w = torch.randn(20, 64, dtype=torch.float64) * torch.linspace(3, 0.1, 64)
    shift = attribute_direction(w, w[:, 0], "it")
    assert cosine(shift.vector, torch.eye(64)[0]) > 0.7
    refused = 0
    for _ in range(10):
        try:
            attribute_direction(w, torch.randn(20), "it")
        except EditError:
            refused += 1
    assert refused >= 5


def test_what_cannot_be_learnt() -> None:
    w = torch.randn(400, 8, dtype=torch.float64)
    with pytest.raises(EditError, match=r"hat: area is the same in all 400 samples"):
        attribute_direction(w, torch.zeros(400), "hat: area")
    with pytest.raises(EditError, match=r"hat: area cannot be predicted from these codes \(R2 -?0\.0.* 400 samples"):
        attribute_direction(w, torch.arange(400) % 2, "hat: area")


def test_labels_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffseed,value\r\n" + "".join(f"{seed}, {seed / 2}\r\n\r\n" for seed in range(12)))
    seeds, values = read_labels(path)
    assert seeds == list(range(12))
    assert values.tolist() == [seed / 2 for seed in range(12)]
    w = seed_codes(tiny_generator(), seeds)
    assert to_wplus(w, CONFIG).shape[0] == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must be seed,value"),
        ("0,1\n", "first line must be seed,value"),
        ("seed,value\n0,1\n1\n", "line 3: '1': give a seed and its label"),
        ("seed,value\n0,yes\n", "line 2: '0,yes': give a seed and its label"),
        ("seed,value\n-1,1\n", "line 2: '-1,1': give a seed from 0"),
        ("seed,value\n0,nan\n", "line 2: '0,nan': .*finite"),
        ("seed,value\n" + "3,1\n" * MIN_LABELS, "several lines for seed 3; keep one line for each seed"),
        ("seed,value\n0,1\n1,0\n", "labels of 2 seeds; label at least 10"),
    ],
)
def test_labels_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(EditError, match=rf"labels.csv.*{message}"):
        read_labels(path)


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"cannot read .*labels.csv: No such file"):
        read_labels(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"seed,value\n\xff\xfe")
    with pytest.raises(EditError, match=r"labels.csv is not a CSV file"):
        read_labels(tmp_path / "labels.csv")
