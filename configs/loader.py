"""Strict loading: YAML files that hold differences, then `section.option=value`, checked against the schema."""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from configs.schema import RunConfig
from configs.values import Given, coerce
from models.model_config import ModelConfig
from utils.errors import ConfigError, ReadingError
from utils.reading.checks import brief, label
from utils.reading.plain import read_yaml

Options = TypeVar("Options")

_LONGEST_NAME = 80  # that is looked for among the options


def load_config(
    path: str | Path, overrides: Sequence[str] = (), stored_model: Callable[[str], ModelConfig] | None = None
) -> RunConfig:
    """The run that a YAML file and `section.option=value` overrides describe; the rest are the defaults.

    The declared type of an option says how its value is read, in both: see `configs.values`.

    Args:
        path: of the file.
        overrides: what holds in place of the file's options; of two for one option the last counts.
        stored_model: tells the architecture of the checkpoint that `model.init_from` names; None: for commands that
            do not start from checkpoints.

    Raises:
        ConfigError: unknown option (with the nearest valid name), wrong type, or values that do not fit together.
    """
    values = _read_options(path, overrides)
    model = values.get("model")
    if isinstance(model, dict) and "init_from" in model:
        model["init_from"] = source = coerce("model.init_from", model["init_from"], str)
        if source and stored_model is None:
            raise ConfigError(f"model.init_from = {source} is for train.py: leave it out and say what the model is")
        if source and stored_model:
            values["model"] = _completed(model, stored_model(source))
    config: RunConfig = _build(RunConfig, values, "", RunConfig)
    return config


def load_options(schema: type[Options], path: str | Path, overrides: Sequence[str] = ()) -> Options:
    """As `load_config`, for another dataclass of sections.

    Raises:
        ConfigError: as `load_config`.
    """
    options: Options = _build(schema, _read_options(path, overrides), "", schema)
    return options


def to_yaml(config: Any) -> str:
    """Every option of a dataclass of sections, readable by `load_config` or `load_options`."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def option_names(schema: Any = RunConfig) -> Iterator[str]:
    """The dotted name of every option."""
    yield from _kinds(schema)


def changed_options(stored: Any, config: Any) -> list[str]:
    """Return the names of options that were stored with another value; one that was not stored had its default.

    Args:
        stored: plain data of sections: `asdict` of an earlier configuration, or what YAML of it holds.
        config: the dataclass of sections in force now.

    Raises:
        ConfigError: if an unknown option was stored, or a value of another type.
    """
    kinds, old, new = _kinds(type(config)), _flat(asdict(type(config)())), _flat(asdict(config))
    if not isinstance(stored, Mapping):
        raise ConfigError(f"its configuration is {brief(stored)}, no sections of options")
    for name, value in _flat(stored).items():
        if name not in kinds:
            raise ConfigError(
                f"its configuration has the option {label(name)}, which this version does not know: "
                "use the version that wrote it, or a newer one"
            )
        old[name] = coerce(name, value, kinds[name])
    return [name for name in new if new[name] != old[name]]


def _read_options(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    values = read_sections(path)
    for override in overrides:
        _apply_override(values, override)
    return values


def read_sections(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file holds by section, scalars as text and empty sections as {}.

    Raises:
        ConfigError: if it cannot be read, or holds something else.
    """
    try:
        values = read_yaml(path, as_text=True)
    except ReadingError as error:
        hint = "; quote text that contains `: ` or ` #`" if os.path.isfile(path) else ""
        raise ConfigError(f"{path}: {error}; give a YAML file{hint}") from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: the file must hold `section: options` pairs")
    return {name: {} if section is None else section for name, section in (values or {}).items()}


def _apply_override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{brief(override)} is not an override: write section.option=value")
    *sections, option = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{brief(override)}: {label(section)} is not a section of options")
    values[option] = Given(text)


def _completed(given: Mapping[str, Any], stored: ModelConfig) -> dict[str, Any]:
    """The section of a model whose architecture is a checkpoint's.

    Raises:
        ConfigError: if an option that was given is another in the checkpoint.
    """
    kinds, options = get_type_hints(ModelConfig), asdict(stored)
    for name in (name for name in given if name in options):
        value = coerce(f"model.{name}", given[name], kinds[name])
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
        else coerce(f"{prefix}{name}", value, kinds[name])
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


def _kinds(schema: Any, prefix: str = "") -> dict[str, Any]:
    """Declared types by the dotted names of options."""
    kinds: dict[str, Any] = {}
    for name, kind in get_type_hints(schema).items():
        kinds |= _kinds(kind, f"{prefix}{name}.") if is_dataclass(kind) else {prefix + name: kind}
    return kinds


def _flat(sections: Mapping[Any, Any]) -> dict[str, Any]:
    """Values by the dotted names of options."""
    flat: dict[str, Any] = {}
    for name, value in sections.items():
        flat |= (
            {f"{name}.{option}": each for option, each in value.items()}
            if isinstance(value, Mapping)
            else {name: value}
        )
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
