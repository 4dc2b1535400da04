import pytest
import torch
from scipy.interpolate import CubicSpline

from editing.choices import CURVES, Arc, CodeKind, Curve
from editing.mixing import (
    PartSelection,
    closed_spline,
    code_index,
    interpolate,
    loop,
    mix_codes,
    mixing_table,
    parse_parts,
)
from models.latents import to_wplus
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError

# base_0 base_1 | shape_0 texture_0 | shape_1 texture_1 | shape_2 texture_2 | shape_3 texture_3


@pytest.mark.parametrize(
    ("parts", "kind", "expected"),
    [
        (PartSelection((2,), base=False), "both", [6, 7]),
        (PartSelection((2, 1), base=False), "shape", [4, 6]),
        (PartSelection((0, 3), base=True), "texture", [0, 1, 3, 9]),
        (PartSelection((), base=True), "both", [0, 1]),
        (None, "both", list(range(10))),
        (None, "shape", [0, 1, 2, 4, 6, 8]),
        (None, "texture", [3, 5, 7, 9]),
    ],
)
def test_positions_of_a_parts_vectors(parts: PartSelection | None, kind: CodeKind, expected: list[int]) -> None:
    assert code_index(CONFIG, parts, kind).tolist() == expected


def test_mixing_changes_only_the_vectors_named() -> None:
    codes, source = torch.randn(3, 16), torch.randn(3, 10, 16)
    before = codes.clone()
    mixed = mix_codes(codes, source, torch.tensor([6, 7]), CONFIG)
    kept = [0, 1, 2, 3, 4, 5, 8, 9]
    assert torch.equal(mixed[:, 6:8], source[:, 6:8])
    assert torch.equal(mixed[:, kept], codes[:, None].expand(-1, len(kept), -1))
    assert torch.equal(codes, before)


def test_another_texture_leaves_the_other_parts_depth_and_masks() -> None:
    generator = tiny_generator()
    codes, source = generator.mapping(torch.randn(2, 16)).split(1)
    mixed = mix_codes(codes, source, code_index(CONFIG, PartSelection((2,), base=False), "texture"), CONFIG)
    before, after = generator.synthesis(codes), generator.synthesis(mixed)
    torch.testing.assert_close(before.depth, after.depth)
    assert not torch.allclose(before.image, after.image)


def test_another_shape_moves_the_depth_of_that_part_alone() -> None:
    generator = tiny_generator()
    codes, source = generator.mapping(torch.randn(2, 16)).split(1)
    mixed = mix_codes(codes, source, code_index(CONFIG, PartSelection((2,), base=False), "shape"), CONFIG)
    change = (generator.synthesis(codes).depth - generator.synthesis(mixed).depth).abs().amax((0, 2, 3))
    assert change[2] > 1e-3
    assert change[[0, 1, 3]].max() < 1e-5


def test_mixing_table_reads_line_by_line() -> None:
    rows, sources = torch.randn(2, 16), torch.randn(3, 16)
    table = mixing_table(rows, sources, torch.tensor([4]), CONFIG)
    assert table.shape == (3 + 2 * 4, 10, 16)
    assert torch.equal(table[:3], to_wplus(sources, CONFIG))
    assert torch.equal(table[7], to_wplus(rows[1:], CONFIG)[0])
    assert torch.equal(table[9, 4], sources[1])
    assert torch.equal(table[9, 5], rows[1])


@pytest.mark.parametrize("curve", ["linear", "spherical"])
def test_interpolation_meets_both_ends(curve: Arc) -> None:
    first, second = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(interpolate(first, second, 0, curve), first)
    torch.testing.assert_close(interpolate(first, second, 1, curve), second)


def test_spherical_interpolation_turns_at_constant_speed() -> None:
    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    third = interpolate(first, second, 1 / 3, "spherical")
    torch.testing.assert_close(third, (2 + 2 / 3) * torch.tensor([[3**0.5 / 2, 0.5]]))


def test_spherical_interpolation_of_parallel_opposite_and_zero_vectors_is_finite() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    second = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    middle = interpolate(first, second, 0.5, "spherical")
    assert middle.isfinite().all()
    torch.testing.assert_close(middle[0], torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("curve", CURVES)
def test_loop_closes_and_moves_only_the_vectors_named(curve: Curve) -> None:
    codes = torch.randn(3, 16)
    index = torch.tensor([4, 5])
    walk = loop(codes, 4, index, CONFIG, curve)
    kept = [0, 1, 2, 3, 6, 7, 8, 9]
    assert walk.shape == (12, 10, 16)
    assert torch.equal(walk[:, kept], codes[:1, None].expand(12, len(kept), -1))
    for stop in range(3):
        torch.testing.assert_close(walk[4 * stop, index], codes[[stop, stop]])
    if curve != "spline":
        step_home = interpolate(walk[8, index], codes[[0, 0]], 0.75, curve)
        torch.testing.assert_close(walk[-1, index], step_home)


@pytest.mark.parametrize("stops", [2, 3, 7])
def test_spline_is_the_periodic_one(stops: int) -> None:
    points = torch.randn(stops, 2, 3, dtype=torch.float64)
    reference = CubicSpline(range(stops + 1), torch.cat([points, points[:1]]), bc_type="periodic")
    times = torch.arange(stops * 5, dtype=torch.float64) / 5
    torch.testing.assert_close(closed_spline(points, 5), torch.from_numpy(reference(times)))


PART_NAMES = ("background", "skin", "hair", "hat")


def test_parts_by_name_and_id() -> None:
    assert parse_parts("hair, 1,hair", PART_NAMES) == PartSelection((2, 1), base=False)
    assert parse_parts("base", PART_NAMES) == PartSelection((), base=True)


def test_a_class_called_base_comes_before_the_base_codes() -> None:
    assert parse_parts("base", ("background", "base")) == PartSelection((1,), base=False)


def test_unknown_part_tells_the_nearest_and_all() -> None:
    with pytest.raises(EditError) as caught:
        parse_parts("hiar", PART_NAMES)
    assert "'hair'" in str(caught.value)
    assert all(name in str(caught.value) for name in (*PART_NAMES, "base", "ids 0 to 3"))


@pytest.mark.parametrize("text", ["4", "", "hair,", "skin;hair", "-1"])
def test_parts_that_do_not_exist(text: str) -> None:
    with pytest.raises(EditError, match="unknown part"):
        parse_parts(text, PART_NAMES)
