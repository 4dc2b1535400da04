"""Strict loading of configurations: a YAML file and overrides `section.option=value`, checked against the schema."""

import difflib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from configs.schema import RunConfig
from configs.values import OverrideText, coerce
from models.model_config import ModelConfig
from utils.cli import Parser
from utils.errors import ConfigError, ReadingError
from utils.reading.checks import brief, label, read_text, suggest
from utils.reading.plain import MAX_YAML_BYTES, read_yaml

Options = TypeVar("Options")

_MAX_NAME = 80  # characters of an unknown option's name that are compared and shown


def load_config(
    path: str | Path, overrides: Sequence[str] = (), stored_model: Callable[[str], ModelConfig] | None = None
) -> RunConfig:
    """Load a run's configuration from a YAML file and overrides; all other options keep their defaults.

    Args:
        path: the YAML file.
        overrides: texts `section.option=value`, which replace the file's values; the last value of an option counts.
        stored_model: function that takes the value of `model.init_from` and returns the checkpoint's architecture; None
            for commands that refuse this option.

    Raises:
        ConfigError: if the file cannot be read, or an option is unknown (the message suggests a valid name), has the
            wrong type, is out of range, or contradicts another.
    """
    values = _read_options(path, overrides)
    model = values.get("model")
    if isinstance(model, dict) and "init_from" in model:
        origin = _origin(model["init_from"], path)
        model["init_from"] = source = coerce("model.init_from", model["init_from"], str)
        if source and stored_model is None:
            raise ConfigError(
                f"model.init_from = {source}: this command starts from no checkpoint; remove model.init_from "
                f"from {origin}, and set the other options of model"
            )
        if source and stored_model:
            values["model"] = _with_stored_architecture(model, stored_model(source), path)
    return _build(RunConfig, values, "", RunConfig)


def load_options(schema: type[Options], path: str | Path, overrides: Sequence[str] = ()) -> Options:
    """Load a configuration of any schema (a dataclass of sections); raise ConfigError like `load_config`."""
    return _build(schema, _read_options(path, overrides), "", schema)


def check_data(config: str | Path, data: Sequence[str]) -> None:
    """Raise ConfigError for a missing data set if the header of the configuration has the command that makes it."""
    for line in read_text(config, MAX_YAML_BYTES).splitlines():
        for path in data if line.startswith("# Data:") else ():
            if path in line.split() and not os.path.exists(path):
                raise ConfigError(f"data.path: {path} does not exist; make it with: {line[7:].strip()}")


def to_yaml(config: Any) -> str:
    """Return all options of a configuration as YAML text, which `load_config` and `load_options` can read."""
    return yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False)  # JSON turns tuples into lists


def option_types(schema: Any = RunConfig, prefix: str = "") -> dict[str, Any]:
    """Return {"section.option": declared type} for every option of a schema."""
    types: dict[str, Any] = {}
    for name, kind in get_type_hints(schema).items():
        types |= option_types(kind, f"{prefix}{name}.") if is_dataclass(kind) else {prefix + name: kind}
    return types


def add_overrides(parser: Parser, schema: Any = RunConfig) -> None:
    """Add the arguments `section.option=value`, which override options of the --config file."""
    shown = f"options that override the file: {', '.join(option_types(schema))}"
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help=shown)
    parser.unknown_override = lambda name, value: _unknown_option(name, schema, f"={value}")


def changed_options(stored: Any, config: Any) -> dict[str, str]:
    """Return {"section.option": "OLD -> NEW"} for every option that differs from a stored configuration.

    Args:
        stored: the earlier configuration, from `asdict` or read from YAML as text; missing options have their defaults.
        config: the current configuration, a dataclass of sections.

    Raises:
        ConfigError: if `stored` is not a mapping, or has an unknown option or a value of the wrong type.
    """
    types, new = option_types(type(config)), _by_dotted_name(asdict(config))
    old = _by_dotted_name(asdict(type(config)()))  # the defaults
    if not isinstance(stored, Mapping):
        raise ConfigError(f"its configuration is {brief(stored)}, not a mapping of sections to options")
    for name, value in _by_dotted_name(stored).items():
        if name not in types:
            raise ConfigError(
                f"its configuration has the option {label(name)}, which this version does not know: "
                "use the version that wrote it or a newer one"
            )
        old[name] = coerce(name, value, types[name])
    return {name: f"{_shown(old[name])} -> {_shown(new[name])}" for name in new if new[name] != old[name]}


def read_sections(path: str | Path) -> dict[str, Any]:
    """Return the sections of a YAML file, with scalars as text; raise ConfigError if it cannot be read as a mapping."""
    try:
        values = read_yaml(path, as_text=True)
    except ReadingError as error:
        remedy = suggest(path, "*.y*ml")
        if str(error).startswith("is not YAML"):
            remedy = "correct the file; quote text that contains `: ` or ` #`"
        elif os.path.isfile(path):
            remedy = "correct the file"
        elif not os.path.isdir(path) and os.path.isfile(bundled := f"configs/{Path(path).stem}.yaml"):
            remedy = f"did you mean {bundled}?"
        remedy = remedy or "give a readable YAML file"
        raise ConfigError(f"{path}: {error}; {remedy}") from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: the file must hold `section: options` pairs")
    return {name: {} if section is None else section for name, section in (values or {}).items()}


def _read_options(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    values = read_sections(path)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{brief(override)} is not an override: write section.option=value")
        *sections, option = name.split(".")
        options = values
        for section in sections:
            options = options.setdefault(section, {})
            if not isinstance(options, dict):
                value = f"{label(section)} has the value {brief(options)} instead of options"
                raise ConfigError(f"{brief(override)}: {value}; correct the override or {path}")
        options[option] = OverrideText(text)
    return values


def _with_stored_architecture(model: Mapping[str, Any], stored: ModelConfig, path: str | Path) -> dict[str, Any]:
    """Complete the model section with a checkpoint's architecture; raise ConfigError if a given option differs."""
    types, options = get_type_hints(ModelConfig), asdict(stored)
    given = {name: coerce(f"model.{name}", model[name], types[name]) for name in model if name in options}
    if wrong := [name for name in given if given[name] != options[name]]:
        differences = [f"model.{name} = {_shown(options[name])}, not {_shown(given[name])}" for name in wrong]
        origins = {name: _origin(model[name], path) for name in wrong}
        remedies = [
            f"{', '.join(f'model.{name}' for name in wrong if origins[name] == origin)} from {origin}"
            for origin in dict.fromkeys(origins.values())
        ]
        raise ConfigError(
            f"model.init_from = {model['init_from']}: the checkpoint has {'; '.join(differences)}: "
            f"remove {' and '.join(remedies)}, because the checkpoint defines the architecture"
        )
    return {**options, **model}


def _origin(value: Any, path: str | Path) -> str:
    return "the command line" if isinstance(value, OverrideText) else str(path)


def _build(schema: Any, values: Any, prefix: str, root: Any) -> Any:
    """Return an instance of `schema`. In messages, `prefix` precedes its options, and `root` gives the valid names."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} must be a section of options, not {brief(values)}")
    types, arguments = get_type_hints(schema), {}
    for name, value in values.items():
        if name not in types:
            raise _unknown_option(f"{prefix}{name}"[:_MAX_NAME], root)
        if is_dataclass(types[name]):
            arguments[name] = _build(types[name], value, f"{prefix}{name}.", root)
        else:
            arguments[name] = coerce(f"{prefix}{name}", value, types[name])
    try:
        return schema(**arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _unknown_option(name: str, root: Any, value: str = "") -> ConfigError:
    """Return the error for an unknown option, or for an argument --NAME VALUE; then `value` is "=VALUE"."""
    sections = [field.name for field in fields(root)]
    names = [*option_types(root), *([] if value or "." in name else sections)]
    by_last_part = {full.rpartition(".")[2]: full for full in reversed(names)}  # training.seed before metrics.seed
    key = name.lstrip("-").replace("-", "_")
    near = [by_last_part[key]] if key in by_last_part else difflib.get_close_matches(key, names, 1)
    near += [by_last_part[last] for last in difflib.get_close_matches(key.rpartition(".")[2], by_last_part, 1)]
    written = f"write section.option{value}; " if value else ""
    remedy = f"did you mean {near[0]}{value}?" if near else f"{written}the sections are {', '.join(sections)}"
    return ConfigError(f"unknown option {label(name)}: {remedy}")


def _by_dotted_name(sections: Mapping[Any, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, section in sections.items():
        if isinstance(section, Mapping):
            values |= {f"{name}.{option}": value for option, value in section.items()}
        else:
            values[name] = section
    return values


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
