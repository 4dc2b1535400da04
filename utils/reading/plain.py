"""YAML and JSON as plain data of a bounded size: no objects, no aliases, no keys given twice.

The safe loader of YAML runs no code, but aliases make gigabytes of a hundred bytes, and it passes on whatever a number,
a date or a nesting trips over.
"""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from yaml.nodes import MappingNode, Node

from utils.errors import ReadingError
from utils.reading.names import brief, label
from utils.reading.regular import read_text

MAX_YAML_BYTES = 2**18  # those that ship have 4 KiB at most
MAX_JSON_BYTES = 2**22
MAX_DEPTH = 32
LARGEST_NUMBER = 2**63  # whole numbers lie below


class _Loader(yaml.SafeLoader):
    """Refuses, as YAML's errors, what the safe loader lets pass."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read: write it out")
        if self.depth == MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAX_DEPTH} deep")
        self.depth += 1
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        seen = set[str]()
        for key, (where, _) in zip(map(repr, keys), node.value, strict=True):
            if key in seen:
                raise yaml.YAMLError(f"{key} is given twice, again in line {where.start_mark.line + 1}")
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


class _TextLoader(_Loader):
    """Keeps scalars as the text of the file; only null, ~ and nothing at all resolve, to None."""

    yaml_implicit_resolvers = {  # noqa: RUF012, as the parent has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """Plain data of a YAML document.

    Args:
        text: the document.
        as_text: return scalars as they are written, not as YAML 1.1 reads them (010 is 8, 1:30 is 90, yes is true).

    Raises:
        ReadingError: if it is none, too long or too deep, or has objects, aliases, doubled keys or numbers beyond
            64 bits.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ReadingError(f"has {len(text)} characters, more than {MAX_YAML_BYTES}")
    try:
        data = yaml.load(text, _TextLoader if as_text else _Loader)  # safe loaders
    except Exception as error:  # numbers and dates that are none raise errors of Python's own
        raise ReadingError(f"is not YAML: {' '.join(str(error).split())[:300]}") from None
    _check_numbers(data)
    return data


def read_yaml(path: str | Path, as_text: bool = False) -> Any:
    """As `parse_yaml`, of a file.

    Raises:
        ReadingError: as `parse_yaml`, and if it is no regular file.
    """
    return parse_yaml(read_text(path, MAX_YAML_BYTES), as_text)


def parse_json(text: bytes) -> Any:
    """Plain data of a JSON document of ours.

    Raises:
        ReadingError: if it is none, too long or too deep, or has numbers beyond 64 bits.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ReadingError(f"has {len(text)} bytes, more than {MAX_JSON_BYTES}")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ReadingError("is not JSON") from None
    _check_numbers(data)
    return data


def stored_options(schema: type, values: Any) -> Mapping[str, Any]:
    """Options of a dataclass as a file of ours stores them, checked by name and declared type; some may be missing.

    Raises:
        ReadingError: if `values` are no options, or one is unknown or of another type.
    """
    if not isinstance(values, dict):
        raise ReadingError(f"has {brief(values)} for its configuration")
    kinds = get_type_hints(schema)
    for name, value in values.items():
        if name not in kinds:
            raise ReadingError(
                f"has the option {label(name)}, which this version does not know: use the version that wrote it, "
                "or a newer one"
            )
        if not _is_of_kind(value, kinds[name]):
            raise ReadingError(f"has {name} = {brief(value)}{_remedy(kinds[name])}")
    return values


def _is_of_kind(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return type(value) is tuple and all(_is_of_kind(item, get_args(kind)[0]) for item in value)
    return type(value) is kind


def _remedy(kind: Any) -> str:
    if get_origin(kind) is not Literal:
        return ""
    known = ", ".join(map(str, get_args(kind)))
    return f", but this version has only {known}: use the version that wrote it, or a newer one"


def _check_numbers(data: Any, depth: int = 0) -> None:
    """Also the depth, which JSON's reader leaves to Python's."""
    if depth > MAX_DEPTH:
        raise ReadingError(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(data, int) and not -LARGEST_NUMBER <= data < LARGEST_NUMBER:
        raise ReadingError(f"has a number of {data.bit_length()} bits")
    for item in [*data.keys(), *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else ():
        _check_numbers(item, depth + 1)
