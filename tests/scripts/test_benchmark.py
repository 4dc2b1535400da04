import pytest

from configs import ConfigError
from scripts.benchmark import main


def test_data(capsys) -> None:
    main(["data", "--resolution", "32", "--pairs", "8", "--prepare", "8", "--records", "10", "20"])
    printed = capsys.readouterr().out
    for text in (
        "this loader",
        "0.004 MB",
        "float, planes last",
        "0.066 MB",
        "planes first",
        "1 workers",
        "20 records",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["data", "--pairs", "1"], "--pairs 1: give 8 or more"), (["dota"], "invalid choice: 'dota'"), ([], "required")],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(arguments)
