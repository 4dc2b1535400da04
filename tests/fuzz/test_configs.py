"""Any combination of options trains one iteration or is refused in a line: never a traceback."""

import os
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import train
from configs.loader import option_types
from tests.conftest import TINY
from tests.hostile.child import run

NOT_TRIED = {  # minutes of compiling; folders elsewhere; what needs a trained model of its own
    "training.compile",
    "ops",
    "data.path",
    "model.init_from",
}
SMALL = [1, 2, 4, 8, 16, 32]
SHARES = [0, 0.01, 0.1, 0.3, 0.5, 0.8, 1]
WHOLE = [-(2**31), -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 32, 64, 100, 4096, 10**6, 10**9, 2**31, 2**63 - 1, 2**64, 10**30]
BROKEN = [-1e30, -1.0, 0.0, 1e-30, 0.1, 0.5, 0.99, 1.0, 1.5, 10.0, 1e3, 1e9, 1e30, 1e300, 1e309]
TEXT = ["", "x", "absent/file.pt", "efflite0", "error", "a\0b", "\x1b[2J", "x" * 5000, "/dev/null", "1e3", "~", "é"]
STRANGE: list[Any] = [None, [], {}, [[1]], {"a": 1}, True, "many", -3, 0.5, ["local", "render"], [10, 12], [0, 0], [-1]]


def values(kind: Any, tame: bool) -> st.SearchStrategy[Any]:
    """Plausible; if not tame, now and then absurd, or of another type."""
    if get_origin(kind) is tuple:
        items = SMALL if get_args(kind)[0] is int else [*TEXT, "mapping", "fid", "kid", "areas"]
        plausible, absurd = st.lists(st.sampled_from(items), max_size=3), st.lists(st.sampled_from(WHOLE), max_size=9)
    elif get_origin(kind) is not None:
        plausible, absurd = st.sampled_from(get_args(kind)), st.sampled_from(TEXT)
    else:
        usual = {int: SMALL, float: SHARES, bool: [True, False], str: ["", "efflite0", "fd_efflite0", "celebamask13"]}
        odd: dict[Any, list[Any]] = {int: WHOLE, float: BROKEN + WHOLE, bool: ["yes", 1], str: TEXT}
        plausible, absurd = st.sampled_from(usual[kind]), st.sampled_from(odd[kind])
    return plausible if tame else st.one_of(*[plausible] * 4, absurd, absurd, st.sampled_from(STRANGE))


KINDS = option_types()
OPTIONS = sorted(set(KINDS) - NOT_TRIED)


def changed(names: list[str], tame: bool) -> st.SearchStrategy[dict[str, Any]]:
    """New values of these options."""
    drawn = {name: values(KINDS[name], tame) for name in names}
    if "data.workers" in drawn:  # a hundred are allowed, but not kind
        drawn["data.workers"] = st.sampled_from([0, 1, 2, -1, 257, 10**9, "many", None])
    return st.fixed_dictionaries(drawn)


NAMES = st.lists(st.sampled_from(OPTIONS), min_size=1, max_size=6, unique=True)
CHANGES = st.tuples(NAMES, st.sampled_from([True, True, False])).flatmap(lambda drawn: changed(*drawn))


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.fixture(scope="module")
def tally() -> dict[int, int]:
    """How often a run ended with each code."""
    return {}


def tried(changes: dict[str, Any], data: Path, folder: Path) -> int:
    """The exit code of one iteration."""
    options: dict[str, Any] = {
        "model": {**TINY, "transparent_classes": [10, 12]},
        "data": {"path": [str(data)], "workers": 0},
        "training": {"batch_size": 2, "device": "cpu", "preview_samples": 2},
        "metrics": {"samples": 16, "part_samples": 4, "path_samples": 4, "edit_samples": 2, "batch_size": 4},
    }
    for name, value in changes.items():
        section, _, option = name.partition(".")
        options.setdefault(section, {})[option] = value
    path = folder / "run.yaml"
    path.write_text(yaml.dump(options, Dumper=_Plain))
    verdict = run(lambda: train.main(["--config", str(path), "--dry-run"]))
    assert "Traceback" not in verdict.said, (changes, verdict)
    assert verdict.code in (0, 2), (changes, verdict)
    if verdict.code == 2:
        lines = [line for line in verdict.said.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, (changes, verdict)
        assert len(lines[0]) < 700, (changes, verdict)
    return verdict.code


def checked(data: Path, folder: Path, tally: dict[int, int], examples: int, part: int = 0) -> None:
    @seed(part)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CHANGES)
    def any_combination(changes: dict[str, Any]) -> None:
        code = tried(changes, data, folder)
        tally[code] = tally.get(code, 0) + 1

    any_combination()
    print(f"{sum(tally.values())} configurations: {tally.get(0, 0)} trained, {tally.get(2, 0)} were refused")


@pytest.fixture(scope="module", autouse=True)
def _warm(faces_32: Path, tmp_path_factory) -> None:
    """Imports everything that a first iteration does, before processes are forked."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    path = tmp_path_factory.mktemp("warm") / "run.yaml"
    path.write_text("")
    options = [f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in TINY.items()]
    train.main(["--config", str(path), "--dry-run", f"data.path={faces_32}", "training.batch_size=2", *options])


def test_some_configurations(faces_32: Path, tmp_path: Path, tally) -> None:
    checked(faces_32, tmp_path, tally, 15)
    assert tally[0] > 2
    assert tally[2] > 5


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
def test_500_configurations(part: int, faces_32: Path, tmp_path: Path) -> None:
    counts: dict[int, int] = {}
    checked(faces_32, tmp_path, counts, 50, part)
    assert sum(counts.values()) == 50


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_alone(option: str, faces_32: Path, tmp_path: Path) -> None:
    """The largest, the smallest, and another type: refused, or trained with."""
    kind = KINDS[option]
    extremes = {int: [10**9, -1], float: [1e30, -1.0]}.get(kind, [None])
    for value in extremes:
        tried({option: value}, faces_32, tmp_path)
