import pytest

from editing.selection import PartSelection, parse_parts, parse_seeds
from utils.errors import EditError

NAMES = ("background", "skin", "hair", "hat")


def test_seeds_keep_the_order_written() -> None:
    assert parse_seeds("3, 0-2,42,0") == [3, 0, 1, 2, 42, 0]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "0-15,42"),
        ("1,,2", "cannot read ''"),
        ("0-x", "cannot read '0-x'"),
        ("-1", "cannot read '-1'"),
        ("5-3", "write 3-5"),
        ("9223372036854775808", "too large"),
        ("0-9223372036854775807", "several calls"),
        ("0-999999,1", "several calls"),
    ],
)
def test_seeds_that_cannot_be_read(text: str, hint: str) -> None:
    with pytest.raises(EditError, match=hint):
        parse_seeds(text)


def test_parts_by_name_and_id() -> None:
    assert parse_parts("hair, 1,hair", NAMES) == PartSelection((2, 1), base=False)
    assert parse_parts("base", NAMES) == PartSelection((), base=True)


def test_a_class_called_base_comes_before_the_base_codes() -> None:
    assert parse_parts("base", ("background", "base")) == PartSelection((1,), base=False)


def test_unknown_part_tells_the_nearest_and_all() -> None:
    with pytest.raises(EditError) as caught:
        parse_parts("hiar", NAMES)
    assert "'hair'" in str(caught.value)
    assert all(name in str(caught.value) for name in (*NAMES, "base", "ids 0 to 3"))


@pytest.mark.parametrize("text", ["4", "", "hair,", "skin;hair", "-1"])
def test_parts_that_do_not_exist(text: str) -> None:
    with pytest.raises(EditError, match="unknown part"):
        parse_parts(text, NAMES)
