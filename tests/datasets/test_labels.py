import json

import numpy as np
import pytest

from datasets.class_files import celebamask13, default_table
from datasets.labels import ClassTable
from utils.errors import DataError


def test_celebamask_table_is_that_of_the_paper() -> None:
    table = celebamask13()
    assert table.num_classes == 13
    assert [table.names[k] for k in table.transparent] == ["glasses", "earring"]
    assert table.palette()[7].tolist() == [107, 137, 198]
    assert default_table(13) == table


@pytest.mark.parametrize("count", [2, 17, 18, 64])
def test_default_tables_have_distinct_names_and_colours(count: int) -> None:
    table = default_table(count)
    assert table.palette().shape == (count, 3)
    assert table.palette().dtype == np.uint8
    assert len(set(table.colors)) == len(set(table.names)) == count


@pytest.mark.parametrize("count", [0, 1, 65])
def test_impossible_numbers_of_classes(count: int) -> None:
    with pytest.raises(DataError, match="2 to 64"):
        default_table(count)


def test_index_by_name_and_by_number() -> None:
    assert celebamask13().index("hair") == celebamask13().index("7") == 7


@pytest.mark.parametrize(("name", "remedy"), [("hiar", "did you mean 'hair'"), ("13", "background"), ("zzz", "choose")])
def test_unknown_class_offers_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(DataError, match=remedy):
        celebamask13().index(name)


def test_a_table_travels_as_json() -> None:
    table = celebamask13()
    assert ClassTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"names": ["a", "b"], "colors": [[0, 0, 0]]},
        {"names": ["a", "a"], "colors": [[0, 0, 0], [1, 1, 1]]},
        {"names": ["a", "b"], "colors": [[0, 0, 0], [1, 1, 256]]},
        {"names": ["a", "b"], "colors": [[0, 0, 0], [1, 1, 1]], "transparent": [2]},
        {"names": ["a", "b"], "colors": 3},
    ],
)
def test_tables_that_do_not_fit_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(DataError, match="class table"):
        ClassTable.from_dict(data)
