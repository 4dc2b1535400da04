"""Hostile YAML in configurations, class tables and overrides."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from configs import load_config
from datasets.class_files import load_table
from tests.hostile import samples
from tests.hostile.child import refused_all

LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
TEXTS = {
    "calls a program": "a: !!python/object/apply:os.system ['touch {canary}']",
    "makes an object": "a: !!python/object/new:subprocess.Popen [[touch, '{canary}']]",
    "names a function": "a: !!python/name:os.system",
    "imports": "a: !!python/module:os",
    "laughs": LAUGHS,
    "merges": MERGES,
    "holds itself": "a: &a [*a]",
    "is nested": "a: " + "[" * 100_000,
    "is nested and closed": "a: " + "[" * 900 + "]" * 900,
    "is nested by lines": "\n".join(" " * i + "a:" for i in range(400)),
    "is long": "a: " + "b" * 2**20,
    "is many lines": "\n".join(f"a{i}: 1" for i in range(100_000)),
    "has a long number": "a: 1" + "0" * 6000,
    "has a long hexadecimal number": "a: 0x" + "f" * 6000,
    "has a number beyond 64 bits": "training: {seed: 99999999999999999999}",
    "has an exponent": "training: {seed: 1.0e+400}",
    "has no date": "a: 2001-99-99",
    "has no time": "a: 2001-01-01 99:99:99",
    "has no number": "a: !!int ''",
    "has no truth": "a: !!bool 3",
    "has no binary": "a: !!binary '#'",
    "has bytes": "a: !!binary aGVsbG8=",
    "has a set": "a: !!set {b, c}",
    "has a key twice": "training: {seed: 1, seed: 2}",
    "has a section twice": "training: {seed: 1}\ntraining: {seed: 2}",
    "has a list for a key": "? [a, b]\n: 1",
    "has a mapping for a key": "? {a: b}\n: 1",
    "has numbers for keys": "1: {2: 3}",
    "has no keys": "null: {null: null}",
    "is a list": "[1, 2]",
    "is a word": "hello",
    "is two documents": "a: 1\n---\nb: 2",
    "has a directive": "%YAML 9.9\n---\na: 1",
    "has controls": "a: '\x1b[31m'",
    "has NUL": 'data: {path: "a\\0b"}',
    "has lines for a path": 'data: {path: "a\\nb"}',
    "has an anchor at its end": "a: &",
    "is not UTF-8": "a: \udcff",
    "wants a billion of all": "training: {batch_size: 1.0e+18}",
}
READERS: dict[str, Callable[[Path], object]] = {"configuration": load_config, "class table": load_table}


def write(what: str) -> samples.Maker:
    def to(path: Path) -> None:
        text = TEXTS[what].replace("{canary}", str(samples.canary(path)))
        path.write_text(text, encoding="utf-8", errors="surrogateescape")

    return to


@pytest.mark.parametrize("reader", READERS)
def test_hostile_yaml(reader: str, tmp_path: Path) -> None:
    places = {what: make for what, make in samples.PLACES.items() if what != "empty"}
    made = samples.write_all({what: write(what) for what in TEXTS} | places, tmp_path)
    refused_all({what: partial(READERS[reader], path) for what, path in made.items()})
    assert not samples.canary(tmp_path / "any").exists()


def test_hostile_overrides(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.touch()
    texts = {what: text.replace("{canary}", str(samples.canary(path))) for what, text in TEXTS.items()}
    refused_all({what: partial(load_config, path, [f"training.seed={text}"]) for what, text in texts.items()})
    refused_all({what: partial(load_config, path, [text]) for what, text in texts.items()})
    assert not samples.canary(path).exists()


CLASS = "{id: 0, name: a}, {id: 1, name: b}"


TABLES = (
    "classes: []",
    "classes: [{id: 0, name: a}]",
    "classes: [" + ", ".join(f"{{id: {i}, name: c{i}}}" for i in range(5000)) + "]",
    f"classes: [{CLASS}, {{id: 10000000000, name: c}}]",
    "classes: [{id: 0, name: [a]}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a}, {id: 1, name: 'b\\n'}]".replace("'b", '"b').replace("n'", 'n"'),
    "classes: [{id: 0, name: ''}, {id: 1, name: b}]",
    f"classes: [{{id: 0, name: {'a' * 9999}}}, {{id: 1, name: b}}]",
    "classes: [{id: 0, name: a, color: 7}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, color: [1, 2]}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, color: [.inf, .nan, 0]}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, color: [-1, 0, 0]}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, color: [[1], [2], [3]]}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, color: '#12'}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, partner: a}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, partner: [b]}, {id: 1, name: b}]",
    "classes: [{id: 0, name: a, transparent: 1}, {id: 1, name: b}]",
    "classes: [{id: true, name: a}, {id: 1, name: b}]",
    f"classes: [{CLASS}]\nremap: {{-1: a}}",
    f"classes: [{CLASS}]\nremap: {{99999: a}}",
    f"classes: [{CLASS}]\nremap: {{1.5: a}}",
    f"classes: [{CLASS}]\nremap: {{7: [a]}}",
    f"classes: [{CLASS}]\nremap: [7]",
    f"classes: [{CLASS}]\nremap: {{7: a}}\nignore: [7]",
    f"classes: [{CLASS}]\nignore: [[7]]",
    f"classes: [{CLASS}]\nignore: 7",
    f"classes: [{CLASS}]\nignore: ['#zzzzzz']",
    f"classes: [{CLASS}]\nmore: 1",
    f"classes: [{CLASS}]\n1: 1",
)


def test_absurd_class_tables(tmp_path: Path) -> None:
    made = samples.write_all({text: partial(Path.write_text, data=text) for text in TABLES}, tmp_path)
    refused_all({text: partial(load_table, path) for text, path in made.items()})
