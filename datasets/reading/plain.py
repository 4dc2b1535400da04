"""YAML and JSON as plain data of a bounded size: no objects, no aliases, no keys given twice.

The safe loader of YAML runs no code, but aliases make gigabytes of a hundred bytes, and it passes on whatever a number,
a date or a nesting trips over.
"""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node

from datasets.reading.errors import ReadingError
from datasets.reading.regular import read_text

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


def parse_yaml(text: str) -> Any:
    """Plain data of a YAML document.

    Raises:
        ReadingError: if it is none, too long or too deep, or has objects, aliases, doubled keys or numbers beyond
            64 bits.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ReadingError(f"has {len(text)} characters, more than {MAX_YAML_BYTES}")
    try:
        data = yaml.load(text, _Loader)  # a safe loader
    except Exception as error:  # numbers and dates that are none raise errors of Python's own
        raise ReadingError(f"is not YAML: {' '.join(str(error).split())[:300]}") from None
    _check_numbers(data)
    return data


def read_yaml(path: str | Path) -> Any:
    """As `parse_yaml`, of a file.

    Raises:
        ReadingError: as `parse_yaml`, and if it is no regular file.
    """
    return parse_yaml(read_text(path, MAX_YAML_BYTES))


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


def _check_numbers(data: Any, depth: int = 0) -> None:
    """Also the depth, which JSON's reader leaves to Python's."""
    if depth > MAX_DEPTH:
        raise ReadingError(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(data, int) and not -LARGEST_NUMBER <= data < LARGEST_NUMBER:
        raise ReadingError(f"has a number of {data.bit_length()} bits")
    for item in [*data.keys(), *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else ():
        _check_numbers(item, depth + 1)
