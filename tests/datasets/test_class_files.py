from pathlib import Path

import pytest
import yaml

from datasets import ClassTable, DataError, celebamask13, default_table, load_table
from datasets.celebamask import PAINTING_ORDER
from datasets.labels import numbered_table
from datasets.mask_codes import part_classes

TABLE = """
classes:
  - {id: 0, name: background, color: [0, 0, 0]}
  - {id: 1, name: left_eye, color: "#2c699a", partner: right_eye}
  - {id: 2, name: right_eye, partner: left_eye}
  - {id: 3, name: glasses, color: [234, 114, 71], transparent: true}
remap: {7: glasses, "#FF8000": glasses, 8: 1}
ignore: [255, "#ffffff"]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "table.yaml"
        path.write_text(text)
        return path

    return write


def test_a_table_of_ones_own(write) -> None:
    table = load_table(write(TABLE))
    assert table.names == ("background", "left_eye", "right_eye", "glasses")
    assert table.colors[1] == (0x2C, 0x69, 0x9A)
    assert (table.transparent, table.partners) == ((3,), ((1, 2),))
    assert dict(table.remap) == {7: 3, "#ff8000": 3, 8: 1}
    assert table.ignore == (255, "#ffffff")
    assert table.mirrored().tolist() == [0, 2, 1, 3]
    assert ClassTable.from_dict(table.to_dict()) == table


def test_the_shipped_13_are_those_of_the_paper() -> None:
    table = load_table("celebamask13")
    assert table == celebamask13() == default_table(13)
    assert table.colors == numbered_table(13).colors
    assert table.mirrored().tolist() == list(range(13))
    classes = part_classes(PAINTING_ORDER, table)
    assert list(classes.values()) == [1, 10, 2, 2, 3, 3, 4, 4, 4, 5, 7, 6, 6, 8, 8, 9, 11, 12]


def test_the_shipped_19_keep_left_and_right_apart() -> None:
    table = load_table("celebamask19")
    assert table.num_classes == 19
    assert [(table.names[a], table.names[b]) for a, b in table.partners] == [
        ("l_eye", "r_eye"),
        ("l_brow", "r_brow"),
        ("l_ear", "r_ear"),
    ]
    assert sorted(part_classes(PAINTING_ORDER, table).values()) == list(range(1, 19))
    assert len(set(table.colors)) == 19


def test_tables_stored_before_there_were_rules_still_load() -> None:
    old = {"names": ["a", "b"], "colors": [[0, 0, 0], [1, 1, 1]], "transparent": [1]}
    assert ClassTable.from_dict(old) == ClassTable(("a", "b"), ((0, 0, 0), (1, 1, 1)), (1,))


def changed(old: str, new: str) -> str:
    assert old in TABLE
    return TABLE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 3", "needs `classes`"),
        ("classes: [", "is not YAML"),
        (TABLE + "colours: 3", "unknown section colours"),
        (changed("id: 3", "id: 4"), "count up from 0 to 3"),
        (changed("name: glasses, color", "nmae: glasses, color"), "must hold id and name"),
        (changed("name: glasses, color", "name: no, color"), "quote it"),
        (changed("transparent: true", "transparent: 1"), "true or false"),
        (changed("partner: left_eye", "partner: glasses"), "name left_eye as the partner of right_eye, too"),
        (changed("partner: left_eye", "partner: leftt"), "'leftt' is no class"),
        (changed('"#2c699a"', '"#2c699"'), "must be written like"),
        (changed("7: glasses", "7: hat"), "'hat' is no class"),
        (changed("7: glasses", "255: glasses"), "255 is remapped or ignored twice"),
        (changed("7: glasses", "70000: glasses"), "70000 must lie in 0..65535"),
        (changed('"#ffffff"', '"#fffff"'), "colour #fffff"),
        (changed('[255, "#ffffff"]', "255"), "ignore must be a list"),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_offers_the_shipped_ones() -> None:
    with pytest.raises(DataError, match=r"no such file.*celebamask13, celebamask19"):
        load_table("absent.yaml")


def test_the_example_in_the_documentation_loads(write) -> None:
    import datasets.class_files

    lines = (datasets.class_files.__doc__ or "").splitlines()[2:]
    assert load_table(write("\n".join(lines[: lines.index("")]))).partners == ((1, 2),)
    assert yaml.safe_load(TABLE)
