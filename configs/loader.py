"""Strict loading: YAML files that hold differences, then `section.option=value`, checked against the schema."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from configs.errors import ConfigError
from configs.schema import RunConfig
from datasets.reading import ReadingError, brief, label
from datasets.reading.plain import parse_yaml, read_yaml
from models.config import ModelConfig

Options = TypeVar("Options")

_LONGEST_NAME = 80  # that is looked for among the options
_LONGEST_TEXT = 4096  # the longest path that there can be


def load_config(
    path: str | Path, overrides: Sequence[str] = (), stored_model: Callable[[str], ModelConfig] | None = None
) -> RunConfig:
    """The run that a YAML file and `section.option=value` overrides describe; the rest are the defaults.

    Args:
        path: of the file.
        overrides: what holds in place of the file's options.
        stored_model: tells the architecture of the checkpoint that `model.init_from` names; None: for commands that
            do not start from checkpoints.

    Raises:
        ConfigError: unknown option (with the nearest valid name), wrong type, or values that do not fit together.
    """
    values = _read_options(path, overrides)
    model = values.get("model")
    if isinstance(model, dict) and isinstance(source := model.get("init_from"), str) and source:
        if stored_model is None:
            raise ConfigError(f"model.init_from = {source} is for train.py: leave it out and say what the model is")
        values["model"] = _completed(model, stored_model(source))
    return build(values)


def build(values: Mapping[str, Any]) -> RunConfig:
    """RunConfig from nested plain data.

    Raises:
        ConfigError: as `load_config`.
    """
    return build_options(RunConfig, values)


def load_options(schema: type[Options], path: str | Path, overrides: Sequence[str] = ()) -> Options:
    """As `load_config`, for another dataclass of sections.

    Raises:
        ConfigError: as `load_config`.
    """
    return build_options(schema, _read_options(path, overrides))


def build_options(schema: type[Options], values: Mapping[str, Any]) -> Options:
    """A dataclass of sections from nested plain data.

    Raises:
        ConfigError: as `load_config`.
    """
    options: Options = _build(schema, values, "", schema)
    return options


def to_yaml(config: Any) -> str:
    """Every option of a dataclass of sections, readable by `load_config` or `load_options`."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def option_names(schema: Any = RunConfig, prefix: str = "") -> Iterator[str]:
    """The dotted name of every option."""
    for name, kind in get_type_hints(schema).items():
        if is_dataclass(kind):
            yield from option_names(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def changed_options(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`section.option` of nested options that differ."""
    for name, value in new.items():
        if isinstance(value, Mapping):
            yield from changed_options(old.get(name) or {}, value, f"{prefix}{name}.")
        elif old.get(name) != value:
            yield prefix + name


def _read_options(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    values = _read_yaml(path)
    for override in overrides:
        _apply_override(values, override)
    return values


def _read_yaml(path: str | Path) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except ReadingError as error:
        raise ConfigError(f"{path}: {error}; give the path of a YAML file") from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: the file must hold `section: options` pairs")
    return {name: {} if section is None else section for name, section in (values or {}).items()}


def _apply_override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{brief(override)} is not an override: write section.option=value")
    try:
        value = parse_yaml(text)
    except ReadingError:
        raise ConfigError(f"{brief(override)}: the value is not YAML; quote it") from None
    *sections, option = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{brief(override)}: {label(section)} is not a section of options")
    values[option] = value


def _completed(given: Mapping[str, Any], stored: ModelConfig) -> dict[str, Any]:
    """The section of a model whose architecture is a checkpoint's.

    Raises:
        ConfigError: if an option that was given is another in the checkpoint.
    """
    kinds, options = get_type_hints(ModelConfig), asdict(stored)
    for name in (name for name in given if name in options):
        value = _coerce(f"model.{name}", given[name], kinds[name])
        if value != options[name]:
            raise ConfigError(
                f"model.{name} = {_plain(value)}, but in {given['init_from']} it is {_plain(options[name])}: leave it "
                "out, the checkpoint tells the architecture"
            )
    return {**options, **given}


def _build(schema: Any, values: Any, prefix: str, root: Any) -> Any:
    """`schema` from its part of the values; `root` is the schema of all of them."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} must be a section of options, not {brief(values)}")
    kinds = get_type_hints(schema)
    for name in values:
        if name not in kinds:
            raise _unknown(f"{prefix}{name}"[:_LONGEST_NAME], root)
    arguments = {
        name: _build(kinds[name], value, f"{prefix}{name}.", root)
        if is_dataclass(kinds[name])
        else _coerce(f"{prefix}{name}", value, kinds[name])
        for name, value in values.items()
    }
    try:
        return schema(**arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _unknown(name: str, root: Any) -> ConfigError:
    sections = [field.name for field in fields(root)]
    by_last_part = {full.rpartition(".")[2]: full for full in option_names(root)}
    near = difflib.get_close_matches(name, [*option_names(root), *sections], 1)
    near += [by_last_part[last] for last in difflib.get_close_matches(name.rpartition(".")[2], by_last_part, 1)]
    return ConfigError(
        f"unknown option {label(name)}: {f'did you mean {near[0]}?' if near else f'sections are {sections}'}"
    )


def _coerce(name: str, value: Any, kind: Any) -> Any:
    """`value` as the declared type: YAML reads 1e-3 as text and 4.8e6 as a float."""
    error = ConfigError(f"{name} = {brief(value)}: expected {_describe(kind)}")
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise error
    if get_origin(kind) is tuple:
        if kind == tuple[str, ...] and isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple):
            raise error
        return tuple(_coerce(name, item, get_args(kind)[0]) for item in value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_TEXT:
        return value
    if kind is str or kind is bool:
        raise error
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or (kind is int and not number.is_integer()) or number - number != 0:
        raise error
    return value if type(value) is kind else kind(number)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind == tuple[str, ...]:
        return "text or a list of texts"
    if get_origin(kind) is tuple:
        return f"a list, each {_describe(get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text of one line"}[kind]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
