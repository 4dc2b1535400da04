import pytest

from configs.cli import Parser


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("--output=~/runs", "/home/anna/runs"), ("--output=~runs", "~runs"), ("--output=a=~/b", "a=~/b")],
)
def test_home_folders_in_options(monkeypatch, argument, expected):
    monkeypatch.setenv("HOME", "/home/anna")
    parser = Parser()
    parser.add_argument("--output")
    assert parser.parse_args([argument]).output == expected
