"""The declared type says how a value is read, on the command line and in files; what is stored reads back equal."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import yaml

from configs import RunConfig, load_config, to_yaml
from configs.loader import load_options, option_types
from configs.values import OverrideText, coerce
from editing.encoder_config import EncoderRun
from models import ModelConfig
from utils.errors import ConfigError
from utils.sizes import Resolution

HOME = os.path.expanduser("~")
LITERAL = [
    "2024_11",
    "2024-11-01",
    "2001-99-99",
    "010",
    "0x10",
    "1:30",
    "1e3",
    ".5",
    "1_000",
    "+5",
    "nan",
    ".inf",
    "on",
    "yes",
    "no",
    "true",
    "null",
    "Null",
    "None",
    "=",
    "<<",
    "/x/set #2",
    "#2",
    "/x/a: b",
    "a:",
    "- a",
    "? a",
    "a, b",
    "{a}",
    "{a: b}",
    "&a",
    "*a",
    "!a",
    "!!int 3",
    "|",
    ">",
    "%a",
    "@a",
    "`a`",
    "it's",
    "'a'",
    '"a"',
    '"',
    "'",
    "a\\b",
    "\\",
    "a=b",
    "$HOME/x",
    "${HOME}",
    "~nobody-of-this-name/x",
    "./~",
    "./[a]",
    "a[1]",
    "[a",
    "a]",
    " a",
    "a ",
    "  ",
    "a  b",
    "---",
    "...",
    "é",
    "mu\u0308ller",
    "a\u00a0b\u202fc\u3000d",
    "\U0001f469\u200d\U0001f680",
    "\ufeffa",
    "１２",
    "word " * 60,
    "x" * 4096,
]
TEXTS = ["model.init_from", "data.path", "data.masks", "data.classes"]


@pytest.fixture
def load(tmp_path):
    def load(*overrides: str, text: str = "", schema: type = RunConfig) -> Any:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_options(schema, path, overrides)

    return load


def option(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("text", LITERAL)
def test_text_is_literal_and_reads_back(load, text):
    config = load(f"data.path={text}", f"data.masks={text}", f"data.classes={text}", f"model.init_from={text}")
    for name in TEXTS:
        assert option(config, name) in (text, (text,)), name
        assert type(option(config, name)) in (str, tuple)
    assert all(type(path) is str for path in config.data.path)
    assert load(text=to_yaml(config)) == config
    encoder = load(f"data.path={text}", schema=EncoderRun)
    assert encoder.data.path == (text,)
    assert load(text=to_yaml(encoder), schema=EncoderRun) == encoder


@pytest.mark.parametrize("text", [text for text in LITERAL[:20] if text.lower() != "null"])
def test_plain_text_of_files_is_as_written(load, text):
    config = load(text=f"data:\n  path: {text}\n  masks: {text}\n  classes: {text}\n")
    assert (config.data.path, config.data.masks, config.data.classes) == ((text,), text, text)
    assert load(text=f"data: {{path: [{text}, b]}}").data.path == (text, "b")


def test_empty_text(load):
    assert load("model.init_from=", text="model: {init_from: a}").model.init_from == ""
    assert load(text="data: {masks: ''}") == load("data.masks=") == RunConfig()
    with pytest.raises(
        ConfigError, match=r"data.path = '': expected text or a list of texts; write \[\] for an empty list"
    ):
        load("data.path=", text="data: {path: a}")
    assert load("data.path=[]", text="data: {path: a}").data.path == ()


def test_home_folders(load):
    assert load("data.path=~/a", "data.masks=~").data == load(text="data: {path: ~/a, masks: '~'}").data
    assert load("data.path=[~/a, '~/b']").data.path == (f"{HOME}/a", f"{HOME}/b")
    assert load("data.masks=~root/x").data.masks == os.path.expanduser("~root/x")
    config = load("data.path=~/a", "metrics.segmenter=~/b", "model.init_from=~/c")
    assert load(text=to_yaml(config)) == config


def test_a_checkpoint_in_the_home_folder(tmp_path):
    (tmp_path / "a.yaml").touch()
    asked: list[str] = []

    def stored(source: str) -> Any:
        asked.append(source)
        return ModelConfig()

    load_config(tmp_path / "a.yaml", ["model.init_from=~/1_0"], stored)
    assert asked == [f"{HOME}/1_0"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[a, b]", ("a", "b")),
        (" [ a ,b ] ", ("a", "b")),
        ("[a b, c #2, d: e]", ("a b", "c #2", "d: e")),
        ("[010, yes, ~x-y-z, null]", ("010", "yes", "~x-y-z", "null")),
        ('["a, b", c]', ("a, b", "c")),
        ("['a, b', \"[c]\"]", ("a, b", "[c]")),
        ("['it''s', \"a\"\"b\", it's]", ("it's", 'a"b', "it's")),
        ("[a,]", ("a",)),
        ("[]", ()),
        ("['']", ("",)),
        ("[a\\b]", ("a\\b",)),
        ("a, b", ("a, b",)),
        ("./[a, b]", ("./[a, b]",)),
        ("[a]/b", ("[a]/b",)),
    ],
)
def test_lists_of_the_command_line(load, text, items):
    config = load(f"data.path={text}")
    assert config.data.path == items
    assert load(text=to_yaml(config)) == config


@pytest.mark.parametrize("text", ["[a,,b]", "[,]", "[a]/[b]", "[[a]]", "['a]", "['a'b]", "[a, [b, c]]"])
def test_lists_that_cannot_be_read(load, text):
    with pytest.raises(ConfigError, match=r"data.path = .* quote items") as raised:
        load(f"data.path={text}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("010", 10), ("1_000", 1000), ("+5", 5), (" 5 ", 5), ("4.8e6", 4_800_000), ("13.0", 13), ("1e3", 1000), ("5.", 5)],
)
def test_whole_numbers_are_decimal(load, text, number):
    for config in (load(f"training.total_images={text}"), load(text=f"training: {{total_images: {text}}}")):
        assert config.training.total_images == number
        assert type(config.training.total_images) is int
    assert load(f"model.transparent_classes=[{number % 13}]").model.transparent_classes == (number % 13,)


def test_large_whole_numbers_are_exact(load):
    assert load(f"training.total_images={2**63 - 1}").training.total_images == 2**63 - 1
    assert load("model.transparent_classes=[010, 1_1]").model.transparent_classes == (10, 11)


NO_WHOLE_NUMBERS = [
    "0x10",
    "0o10",
    "0b1",
    "1:30",
    "1.5",
    "nan",
    ".nan",
    "inf",
    ".inf",
    "-inf",
    "1e400",
    "1e-400",
    "1__0",
    "_1",
    "1_",
    "１２",
    "yes",
    "true",
    "null",
    "~",
    "[1]",
    "2024-11-01",
    "1,5",
    "1#2",
]


@pytest.mark.parametrize("text", [*NO_WHOLE_NUMBERS, "", " ", "1 000", "1 # 2", str(2**63), "9" * 5000])
def test_no_whole_numbers(load, text):
    with pytest.raises(ConfigError, match=r"training.total_images.*(expected a whole number|choose above 0)") as raised:
        load(f"training.total_images={text}")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", 0.001), (".5", 0.5), ("5.", 5.0), ("010.5", 10.5), ("1_0.5", 10.5), ("1E+1", 10.0)]
)
def test_numbers(load, text, number):
    for config in (load(f"losses.mask={text}"), load(text=f"losses: {{mask: {text}}}")):
        assert config.losses.mask == number
        assert type(config.losses.mask) is float


@pytest.mark.parametrize("text", ["1:30", "nan", "NaN", ".inf", "Infinity", "1e400", "0x1p3", "１.５", "1,5", "", "a"])
def test_no_numbers(load, text):
    with pytest.raises(ConfigError, match=r"losses.mask = .*expected a number"):
        load(f"losses.mask={text}")


def test_truths(load):
    for text in ("true", "True", "TRUE", " true "):
        assert load(f"data.mirror={text}").data.mirror is True
        assert load(text=f"data: {{mirror: {text}}}").data.mirror is True
    assert load("model.residual_masks=False").model.residual_masks is False
    for text in ("yes", "no", "on", "off", "y", "1", "0", "", "null"):
        with pytest.raises(ConfigError, match=r"data.mirror = .*: expected true or false"):
            load(f"data.mirror={text}")


def test_choices(load):
    assert load("training.precision=bfloat16 ", "ops=native").ops == "native"
    for text in ("on", "Native", "", "null", "[native]"):
        with pytest.raises(ConfigError, match=r"ops = .*: expected one of auto, native, compiled"):
            load(f"ops={text}")
    assert coerce("a", "2", Literal[1, 2]) == 2


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x1b[2J", "a\u2028b", "\ud800", "x" * 4097])
def test_no_line_of_text(load, text):
    for name in ("data.masks", "data.path"):
        with pytest.raises(ConfigError, match=f"{name} = .*expected text") as raised:
            load(f"{name}={text}")
        assert str(raised.value).isprintable()


def test_paths_that_are_no_utf8(load):
    name = os.fsdecode(b"/x/caf\xe9")
    config = load(f"data.path={name}")
    assert config.data.path == (name,)
    assert load(text=to_yaml(config)) == config


def test_the_last_of_two_overrides_counts(load):
    assert load("training.seed=1", "data.path=a", "training.seed=2").training.seed == 2


def test_sections_are_no_values(load):
    for text in ("{resolution: 64}", "3", "", "null"):
        with pytest.raises(ConfigError, match="model must be a section of options"):
            load(f"model={text}")


def test_null_sections_are_empty(load):
    for nothing in ("", "null", "~", "{}"):
        assert load(text=f"model: {nothing}\ndata:\n  path: a\n").data.path == ("a",)
    with pytest.raises(ConfigError, match="model must be a section of options, not 'null'"):
        load(text="model: 'null'")


def other_values(kind: Any) -> list[Any]:
    """Values of a type that files could spoil."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) is tuple:
        return [(), *((value,) for value in other_values(get_args(kind)[0]))]
    return {
        str: [*LITERAL, "", "null", "a\\'\"b"],
        int: [0, 8, 10, 2**53 + 1, 2**63 - 1],
        float: [0.0, 1e-30, 0.1, 1 / 3, 1e22, 1e300],
        bool: [True, False],
        Resolution: [64, (64, 128), (512, 384)],
    }[kind]


@pytest.mark.parametrize("schema", [RunConfig, EncoderRun])
def test_every_option_reads_back_from_files_and_checkpoints(schema, tmp_path):
    kinds, path = option_types(schema), tmp_path / "config.yaml"
    tried = 0
    for index, (name, kind) in enumerate(kinds.items()):
        values = other_values(kind)
        for value in values[index % 6 :: 6] if len(values) > 20 else values:  # many texts: some for each option
            section, _, last = name.rpartition(".")
            try:
                changed = {last: value}
                config = replace(
                    schema(), **{section: replace(getattr(schema(), section), **changed)} if section else changed
                )
            except ValueError:  # does not fit the other options
                continue
            path.write_text(to_yaml(config), encoding="utf-8")
            assert load_options(schema, path) == config, (name, value)
            tried += 1
    assert tried > (200 if schema is RunConfig else 60)


def test_stored_options_are_plain(load, tmp_path):
    config = load("data.path=[1_0, 'a, b']", "data.masks=010", "metrics.names=fid", "training.precision=float16")
    torch.save(asdict(config), tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True) == asdict(config)
    yaml.safe_load(to_yaml(config))


def test_override_text_is_a_list_only_in_brackets():
    assert OverrideText("a, b").items() is None
    assert OverrideText("[a, b]").items() == ["a", "b"]


def test_commands_read_files_alike(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("data: {path: 2024_11}\ntraining: {total_images: 010}\nlosses: {mask: 1e-3}\n")
    config = load_config(path)
    assert (config.data.path, config.training.total_images, config.losses.mask) == (("2024_11",), 10, 0.001)
