"""Safe reading of YAML and JSON: only plain data of limited size; no YAML with objects, aliases or duplicate keys.

PyYAML's safe loader runs no code. But aliases can expand a hundred bytes to gigabytes, and malformed numbers, malformed
dates and deep nesting raise errors of many types.
"""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from yaml.nodes import MappingNode, Node

from utils.errors import ReadingError
from utils.reading.checks import brief, label, read_text

MAX_YAML_BYTES = 2**18  # bundled files have at most 4 KiB
MAX_JSON_BYTES = 2**22
MAX_DEPTH = 32
LARGEST_NUMBER = 2**63  # integers are at least -LARGEST_NUMBER, and less than LARGEST_NUMBER
_OTHER_VERSION = "use the version that wrote the file, or a newer one"


class _RefusedError(Exception):
    """The reason why YAML is refused although it is valid."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases, nesting deeper than MAX_DEPTH, and duplicate keys."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _RefusedError("has an alias (*name), which is not supported: write the value out")
        if self.depth == MAX_DEPTH:
            raise _RefusedError(f"is nested more than {MAX_DEPTH} levels deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key_node, _ in node.value:
            key = repr(self.construct_object(key_node, deep=True))
            if key in seen:
                raise _RefusedError(f"gives {key} twice, the second time in line {key_node.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)


class _TextLoader(_Loader):
    """Loader that keeps scalars as text, except that null, ~ and empty values become None."""

    yaml_implicit_resolvers = {  # noqa: RUF012, an attribute of the parent
        first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """Parse a YAML document to plain data.

    If `as_text` is True, scalars other than null stay text; YAML 1.1 would read 010 as 8, 1:30 as 90 and yes as true.

    Raises:
        ReadingError: if the text is not YAML, is too long or nested too deep, or has objects, aliases, duplicate keys,
            or integers outside the range of int64.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ReadingError(f"has {len(text)} characters; at most {MAX_YAML_BYTES} are allowed")
    try:
        data = yaml.load(text, _TextLoader if as_text else _Loader)  # both are safe loaders
    except _RefusedError as error:
        raise ReadingError(str(error)) from None
    except Exception as error:  # malformed numbers and dates raise Python's own errors
        raise ReadingError(f"is not YAML: {_yaml_problem(error)[:300]}") from None
    _check_numbers(data)
    return data


def _yaml_problem(error: Exception) -> str:
    """Return a parser's error as one line, without its excerpt of the document."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark, problem = error.problem_mark, str(error.problem)
        if problem.startswith("but "):  # continues the context
            problem = f"{error.context}, {problem}"
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return " ".join(str(error).split())


def read_yaml(path: str | Path, as_text: bool = False) -> Any:
    """Parse a YAML file as `parse_yaml` does; also raise ReadingError if the file is unreadable or not UTF-8."""
    return parse_yaml(read_text(path, MAX_YAML_BYTES), as_text)


def parse_json(text: bytes) -> Any:
    """Parse JSON to plain data; raise ReadingError if it is invalid, too long or deep, or an integer exceeds int64."""
    if len(text) > MAX_JSON_BYTES:
        raise ReadingError(f"has {len(text)} bytes; at most {MAX_JSON_BYTES} are allowed")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ReadingError("is not JSON") from None
    _check_numbers(data)
    return data


def stored_options(schema: type, values: Any) -> Mapping[str, Any]:
    """Return `values`, stored options of a dataclass; raise ReadingError for an unknown name, wrong type or choice."""
    if not isinstance(values, dict):
        raise ReadingError(f"has {brief(values)} instead of a dict of options")
    kinds = get_type_hints(schema)
    for name, value in values.items():
        if name not in kinds:
            raise ReadingError(f"has the option {label(name)}, which this version does not know: {_OTHER_VERSION}")
        if not _has_kind(value, kinds[name]):
            remedy = ", which has the wrong type"
            if get_origin(kinds[name]) is Literal:
                choices = ", ".join(map(str, get_args(kinds[name])))
                remedy = f", but this version has only {choices}: {_OTHER_VERSION}"
            raise ReadingError(f"has {name} = {brief(value)}{remedy}")
    return values


def _has_kind(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(kind, UnionType):
        return any(_has_kind(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if type(value) is tuple and kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return type(value) is tuple and len(value) == len(kinds) and all(map(_has_kind, value, kinds))
    return type(value) is kind


def _check_numbers(data: Any, depth: int = 0) -> None:
    """Raise ReadingError for integers outside int64 or nesting deeper than MAX_DEPTH; the parsers accept both."""
    if depth > MAX_DEPTH:
        raise ReadingError(f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(data, int) and not -LARGEST_NUMBER <= data < LARGEST_NUMBER:
        raise ReadingError(f"has an integer of {data.bit_length()} bits, outside the range of int64")
    for item in [*data.keys(), *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else ():
        _check_numbers(item, depth + 1)
