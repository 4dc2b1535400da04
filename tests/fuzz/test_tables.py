"""Fuzz class tables and label maps: any content is accepted or gives a one-line error."""

from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.class_files import load_table
from datasets.labels import ClassTable
from datasets.mask_codes import labels_from_colors, labels_from_ids
from utils.errors import DataError, ReadingError
from utils.reading.plain import parse_json, parse_yaml

FEW = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["#12ab9f", "#GGGGGG", "a", "b", "hat", "\n", "x" * 999]),
)
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))
IDS = st.integers(-3, 70) | st.integers() | st.sampled_from([2**16 - 1, 2**16])
PAIRS = st.lists(st.tuples(IDS, IDS) | DATA, max_size=3)


def one_line(error: Exception) -> None:
    assert str(error).isprintable(), error
    assert 0 < len(str(error)) < 900


@FEW
@given(
    st.fixed_dictionaries(
        {"names": st.lists(st.text(max_size=4) | SCALARS, max_size=6) | DATA},
        optional={
            "colors": st.lists(st.lists(st.integers(-9, 300) | SCALARS, min_size=2, max_size=4), max_size=6) | DATA,
            "transparent": st.lists(IDS, max_size=4) | DATA,
            "partners": PAIRS | DATA,
            "remap": st.lists(st.tuples(IDS | st.text(max_size=7), IDS) | DATA, max_size=4) | DATA,
            "ignore": st.lists(IDS | st.text(max_size=7) | DATA, max_size=4) | DATA,
        },
    )
    | DATA
)
def test_tables_of_checkpoints_and_lmdbs(data: Any) -> None:
    try:
        table = ClassTable.from_dict(data)
    except DataError as error:
        return one_line(error)
    assert ClassTable.from_dict(table.to_dict()) == table
    assert len(table.palette()) == len(table.mirrored()) == table.num_classes


ENTRY = st.fixed_dictionaries(
    {"id": IDS, "name": st.text(max_size=5) | SCALARS},
    optional={
        "color": st.lists(IDS, max_size=4) | SCALARS,
        "transparent": SCALARS,
        "partner": IDS | st.text(max_size=2) | DATA,
        "more": DATA,
    },
)
COUNTED = st.lists(ENTRY, max_size=5).map(lambda entries: [{**entry, "id": i} for i, entry in enumerate(entries)])


@FEW
@given(
    st.fixed_dictionaries(
        {"classes": COUNTED | st.lists(ENTRY | DATA, max_size=4) | DATA},
        optional={"remap": st.dictionaries(IDS | st.text(max_size=8), DATA, max_size=4) | DATA, "ignore": DATA},
    )
    | DATA
)
def test_tables_in_files(tmp_path_factory, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "table.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=False))
    try:
        load_table(path)
    except DataError as error:
        one_line(error)


@FEW
@given(st.text(max_size=60) | st.text("{}[]:,-#&*!|>'\"%@`?\\ \nab1.~", max_size=40))
def test_texts_as_yaml_and_json(text: str) -> None:
    for parse in (parse_yaml, lambda text: parse_json(text.encode(errors="replace"))):
        try:
            parse(text)
        except ReadingError as error:
            one_line(error)


CODES = st.lists(st.integers(0, 70) | st.integers(0, 2**16 - 1), min_size=4, max_size=4)
RULES = st.lists(st.integers(0, 300) | st.sampled_from(["#010203", "#ffffff"]), max_size=4, unique=True)


@FEW
@given(CODES, RULES, st.integers(2, 64), st.data())
def test_label_maps(codes: list[int], rules: list[Any], count: int, data: st.DataObject) -> None:
    half = len(rules) // 2
    table = ClassTable(
        tuple(f"c{k}" for k in range(count)),
        tuple((k, k, data.draw(st.integers(0, 1))) for k in range(count)),
        remap=tuple((code, data.draw(st.integers(0, count - 1))) for code in rules[:half]),
        ignore=tuple(rules[half:]),
    )
    for labels_of, mask in (
        (labels_from_ids, np.array(codes, np.uint16).reshape(2, 2)),
        (labels_from_colors, np.array([codes] * 3, np.uint16).astype(np.uint8).T.reshape(2, 2, 3)),
    ):
        try:
            labels = labels_of(mask, table)
        except DataError as error:
            one_line(error)
        else:
            assert labels.dtype == np.uint8
            assert labels.max() < count
    for code, k in table.remap:
        if isinstance(code, int):
            assert (labels_from_ids(np.full((1, 1), code, np.uint16), table) == k).all()
