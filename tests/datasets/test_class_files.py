from pathlib import Path

import pytest
import yaml

from datasets.celebamask import part_classes
from datasets.class_files import celebamask13, default_table, load_table
from datasets.labels import ClassTable, numbered_table
from utils.errors import DataError

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
    classes = part_classes(table)
    assert list(classes.values()) == [1, 10, 2, 2, 3, 3, 4, 4, 4, 5, 7, 6, 6, 8, 8, 9, 11, 12]


def test_the_shipped_19_keep_left_and_right_apart() -> None:
    table = load_table("celebamask19")
    assert table.num_classes == 19
    assert [(table.names[a], table.names[b]) for a, b in table.partners] == [
        ("l_eye", "r_eye"),
        ("l_brow", "r_brow"),
        ("l_ear", "r_ear"),
    ]
    assert sorted(part_classes(table).values()) == list(range(1, 19))
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
        (changed("id: 3", "id: 4"), "entry 3 has the id 4; number the classes from 0, in order"),
        (changed("name: glasses, color", "nmae: glasses, color"), "must hold id and name"),
        (changed("transparent: true", "transparent: 1"), "true or false"),
        (changed("partner: left_eye", "partner: glasses"), "left_eye has the partner right_eye; partners must be two"),
        (changed("partner: left_eye", "partner: leftt"), "'leftt' is no class"),
        (changed('"#2c699a"', '"#2c699"'), "write it in quotes, like"),
        (changed("7: glasses", "7: hat"), "'hat' is no class"),
        (changed("7: glasses", "255: glasses"), "255 is remapped or ignored twice"),
        (changed("7: glasses", "70000: glasses"), "70000 must lie in 0..65535"),
        (changed('"#ffffff"', '"#fffff"'), "colour #fffff"),
        (changed('[255, "#ffffff"]', "255"), "ignore must be a list"),
        (changed('"#2c699a"', "#2c699a"), "YAML reads #2c699a of class left_eye in line 4 as a comment"),
        (changed('"#2c699a"', "#2c699a"), "quote it: '#ff0000', or write [255, 0, 0]"),
        (changed('"#2c699a"', "12:30:45"), "of class left_eye is"),
        (changed('"#2c699a"', ""), "colour of class left_eye is empty;"),
        (changed('"#2c699a"', "'#2c6'"), "colour of class left_eye is #2c6;"),
        (changed('"#2c699a"', "[1, 2]"), "colour of class left_eye is ['1', '2'];"),
        (changed('"#2c699a"', "[1, 2, 256]"), "colour of class left_eye is ['1', '2', '256'];"),
        (changed('"#FF8000"', "#FF8000"), "YAML reads #FF8000 in line 7 as a comment"),
        (changed('"#ffffff"', "#ffffff"), "YAML reads #ffffff in line 8 as a comment"),
        (changed('"#FF8000"', "ff8000"), "the colour ff8000 lacks its #; write '#ff8000'"),
        (changed("7: glasses", "l_eyes: glasses"), "did you mean 'l_eye'?"),
        (changed("7: glasses", "yes: glasses"), "the code 'yes' is neither an id nor a colour nor a part"),
        (changed("7: glasses", "1.5: glasses"), "the code '1.5' is neither an id nor a colour nor a part"),
        (changed("7: glasses", "7: no"), "'no' is no class; choose from background"),
        (changed("id: 3", "id: 3.0"), "the id '3.0' of glasses is not a whole number"),
        (changed("name: glasses, color", "name: base, color"), "the name base cannot be used with --parts"),
        (changed("name: glasses, color", 'name: "3", color'), "the name 3 cannot be used with --parts"),
        (changed("name: glasses, color", 'name: "a, b", color'), "the name a, b cannot be used with --parts"),
        (changed("name: glasses, color", 'name: " a", color'), "the name  a cannot be used with --parts"),
        (changed("name: glasses, color", "name: null, color"), "the name of class '3' is None; write text"),
        (TABLE.split("remap")[0] + "remap:\n", "remap is empty; remove it, or write its colours in quotes"),
        (TABLE.split("remap")[0] + "ignore:\n  - #ffffff\n", "None is neither an id nor a colour"),
        (
            TABLE.split("remap")[0] + "remap:\n  7: 3\n  #ff8000: 3\n",
            "YAML reads #ff8000 in line 9 as a comment; quote it",
        ),
        (changed("7: glasses", "2: glasses"), "the id 2 is that of class right_eye, but it is remapped to glasses"),
        (changed("[255,", "[2,"), "the id 2 is that of class right_eye, but it is ignored"),
        (changed('"#FF8000"', "'#2c699a'"), "the colour #2c699a is that of class left_eye, but it is remapped to gl"),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"#2c699a"', '"#2C699A"'),
        ('"#2c699a"', "2c699a"),
        ("[255,", "[0, 255,"),
        ("7: glasses", "1: 2, 2: 1"),  # masks that number the classes otherwise
        ("7: glasses", '"#2c699a": left_eye'),
        ("7: glasses", "0x11: glasses"),
        ("7: glasses", "hat: glasses"),
    ],
)
def test_rules_that_say_no_other_thing(write, old: str, new: str) -> None:
    assert load_table(write(changed(old, new))).colors[1] == (0x2C, 0x69, 0x9A)


def test_values_are_read_as_written(write) -> None:
    """Not as YAML 1.1 reads them: 010 as 8, 12:30 as 750, no as false, 1e3 as 1000; quotes make no difference."""
    for name in ("no", "12:30", "1.0", "'no'"):
        table = load_table(write(TABLE.replace("glasses", name)))
        assert table.names[3] == name.strip("'")
        assert table.remap[0] == (7, 3)
    for code, number in (("017", 17), ('"17"', 17), ("0x11", 17), ('"0x11"', 17)):
        assert load_table(write(changed("7: glasses", f"{code}: glasses"))).remap[0] == (number, 3)
    for color, expected in (("000000", (0, 0, 0)), ("112233", (0x11, 0x22, 0x33)), ("[1, 2, 010]", (1, 2, 10))):
        assert load_table(write(changed('"#2c699a"', color))).colors[1] == expected
    assert load_table(write(changed("transparent: true", "transparent: False"))).transparent == ()


def test_names_are_compared_in_nfc(write) -> None:
    table = load_table(write(TABLE.replace("left_eye", "\u00e9").replace("partner: \u00e9", "partner: e\u0301")))
    assert table.partners == ((1, 2),)
    assert table.index("e\u0301") == table.index("\u00e9") == 1
    with pytest.raises(DataError, match="names must be distinct"):
        load_table(write("classes: [{id: 0, name: \u00e9}, {id: 1, name: e\u0301}]"))


def test_stored_rules_that_a_file_could_not_have_still_load() -> None:
    stored = {"names": ["a", "b"], "colors": [[0, 0, 0], [1, 1, 1]], "remap": [["17", 1], [1, 0]], "ignore": ["255"]}
    assert ClassTable.from_dict(stored).remap == (("17", 1), (1, 0))


def test_a_missing_table_offers_the_shipped_ones() -> None:
    with pytest.raises(DataError, match=r"no such file.*celebamask13, celebamask19"):
        load_table("absent.yaml")


def test_a_missing_table_names_one_with_a_similar_name(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").touch()
    with pytest.raises(DataError, match=rf"no such file; did you mean {tmp_path}/classes\.yaml\?$"):
        load_table(tmp_path / "classes.yml")


def test_the_example_in_the_documentation_loads(write) -> None:
    import datasets.class_files

    lines = (datasets.class_files.__doc__ or "").splitlines()[2:]
    assert load_table(write("\n".join(lines[: lines.index("")]))).partners == ((1, 2),)
    assert yaml.safe_load(TABLE)
