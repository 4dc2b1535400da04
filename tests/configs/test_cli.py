import pytest

from configs import ConfigError
from configs.cli import Parser


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--output=~/runs", "/home/anna/runs"),
        ("--output=~runs", "~runs"),
        ("--output=a=~/b", "a=~/b"),
        ("--output=a=", "a="),
    ],
)
def test_home_folders_in_options(monkeypatch, argument, expected):
    monkeypatch.setenv("HOME", "/home/anna")
    parser = Parser()
    parser.add_argument("--output")
    assert parser.parse_args([argument]).output == expected


@pytest.mark.parametrize("arguments", [["--output", ""], ["--output="], ["--output", "a", ""]])
def test_empty_arguments_are_refused(arguments):
    parser = Parser()
    parser.add_argument("--output")
    parser.add_argument("values", nargs="*")
    with pytest.raises(ConfigError, match=r"argument is empty, behind '(--output|a)': give a value or leave"):
        parser.parse_args(arguments)
