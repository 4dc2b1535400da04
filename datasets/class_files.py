"""Class tables as YAML files: the built-in ones and users' own.

classes:                                     # one entry for each class 0..K-1; class 0 is the background
  - {id: 0, name: background, color: [0, 0, 0]}
  - {id: 1, name: left_eye, color: "#2c699a", partner: right_eye}
  - {id: 2, name: right_eye, color: "#048ba8", partner: left_eye}
  - {id: 3, name: glasses, color: [234, 114, 71], transparent: true}
remap: {7: glasses, "#ff8000": glasses}      # id, colour or part in the masks -> class
ignore: [255, "#ffffff"]                     # unlabelled pixels: they become class 0

`color` is optional. `partner` is the class that a class is swapped with when an image is mirrored. YAML reads an
unquoted # as a comment: quote colours.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from datasets.labels import COLOR_CODE, PAINTING_ORDER, ClassTable, Code, hex_color, numbered_table
from utils.errors import DataError, ReadingError
from utils.reading.checks import brief, label, normalized, read_text, suggest
from utils.reading.plain import MAX_YAML_BYTES, parse_yaml

CLASSES_FILE = "classes.yaml"  # the class table in a folder of images and masks
_TABLES = Path(__file__).parent / "tables"
_FIELDS = {"id", "name", "color", "transparent", "partner"}
_UNQUOTED_COLOR = re.compile(r"""(?:^|[:,\[{-])\s*(\#[0-9a-fA-F]{3,8})\b(?=\s*(?:$|[,:}\]\#]))""")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_NAME = re.compile(r"""\bname\s*:\s*["']?([^,"'}\]]+)""")
_COMMENTED_RULE = re.compile(r"\s*(#[0-9a-fA-F]{6})\s*:\s*\S")
_BOOLEANS = {"true": True, "false": False}


def load_table(path: str | Path) -> ClassTable:
    """Return the class table in a YAML file, or a built-in one by its name, such as "celebamask13".

    Raises:
        DataError: if the file cannot be read or is not a valid class table; the message names the file.
    """
    built_in = {table.stem: table for table in _TABLES.glob("*.yaml")}
    file = Path(path) if os.path.exists(path) else built_in.get(str(path), Path(path))
    try:
        return _table(_parse(read_text(file, MAX_YAML_BYTES)))
    except ReadingError as error:
        remedy = suggest(path, "*.y*ml") or f"give a YAML file or one of {', '.join(sorted(built_in))}"
        remedy = "correct the file" if os.path.isfile(file) else remedy
        raise DataError(f"class table {label(str(path))}: {error}; {remedy}") from None
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def to_yaml(table: ClassTable) -> str:
    """Return the names, colours, transparency and partners of a table as YAML text, which `load_table` can read."""
    partner = dict(table.partners) | {right: left for left, right in table.partners}
    entries: list[dict[str, Any]] = []
    for k, (name, color) in enumerate(zip(table.names, table.colors, strict=True)):
        entries.append({"id": k, "name": name, "color": hex_color(color)})
        entries[-1] |= {"transparent": True} if k in table.transparent else {}
        entries[-1] |= {"partner": table.names[partner[k]]} if k in partner else {}
    return yaml.safe_dump({"classes": entries}, sort_keys=False, allow_unicode=True)


@cache
def celebamask13() -> ClassTable:
    """Return the 13 classes of CelebAMask-HQ that the paper trains on."""
    return load_table(_TABLES / "celebamask13.yaml")


def default_table(num_classes: int) -> ClassTable:
    """Return the table for data without one: that of CelebAMask-HQ for 13 classes, else a `numbered_table`."""
    table = celebamask13()
    return table if num_classes == table.num_classes else numbered_table(num_classes)


def _parse(text: str) -> Any:
    try:
        contents = parse_yaml(text, as_text=True)
    except ReadingError:
        if hint := _unquoted_color(text):  # YAML's own message is about braces
            raise DataError(f"class table: {hint}") from None
        raise
    if hint := _commented_rule(text):
        raise DataError(f"class table: {hint}")
    return contents


def _table(contents: Any) -> ClassTable:
    if not isinstance(contents, dict) or not isinstance(contents.get("classes"), list):
        raise DataError("class table: needs `classes`, a list of {id, name, color, transparent, partner}")
    if unknown := contents.keys() - {"classes", "remap", "ignore"}:
        raise DataError(
            f"class table: unknown section {label(sorted(map(str, unknown))[0])}; choose from classes, remap and ignore"
        )
    spare = numbered_table(len(contents["classes"])).colors  # refuses too few and too many classes
    entries = [_entry(entry) for entry in contents["classes"]]
    names = [entry["name"] for entry in entries]
    for k, entry in enumerate(entries):
        if entry["id"] != k:
            raise DataError(f"class table: entry {k} has the id {entry['id']}; number the classes from 0, in order")
    if len({normalized(name) for name in names}) < len(names):
        raise DataError("class table: names must be distinct; rename classes that have the same name")
    for name in names:
        if name == "base" or name.isdecimal() or "," in name or name != name.strip():
            raise DataError(
                f"class table: the name {label(name)} cannot be used with --parts: choose one that is neither base nor"
                " a number, without commas, and without blanks at its ends"
            )
    remap = _section(contents, "remap", {}, "must hold `code in the masks: class` pairs")
    ignore = _section(contents, "ignore", [], "must be a list of codes in the masks")
    remap = [(_code(code), _class(k, names)) for code, k in remap.items()]
    ignore = [_code(code) for code in ignore]
    table = ClassTable.from_dict(
        {
            "names": names,
            "colors": [_color(entry, color) for entry, color in zip(entries, spare, strict=True)],
            "transparent": [entry["id"] for entry in entries if entry["transparent"]],
            "partners": _partners(entries, names),
            "remap": remap,
            "ignore": ignore,
        }
    )
    table = replace(table, uncolored=tuple(entry["id"] for entry in entries if "color" not in entry))
    _check_rules(table)
    return table


def _section(contents: Mapping[str, Any], name: str, default: Any, requirement: str) -> Any:
    value = contents.get(name, default)
    if value is None:
        raise DataError(f"class table: {name} is empty; remove it, or write its colours in quotes: '#ff0000'")
    if not isinstance(value, type(default)):
        raise DataError(f"class table: {name} {requirement}")
    return value


def _entry(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not {"id", "name"} <= entry.keys() <= _FIELDS:
        raise DataError(f"class table: {brief(entry)} must hold id and name, and may hold color, transparent, partner")
    name, number, transparent = entry["name"], _number(entry["id"]), entry.get("transparent", "false")
    if not isinstance(name, str):
        raise DataError(f"class table: the name of class {brief(entry['id'])} is {brief(name)}; write text")
    if number is None:
        raise DataError(f"class table: the id {brief(entry['id'])} of {label(name)} is not a whole number")
    if not isinstance(transparent, str) or transparent.lower() not in _BOOLEANS:
        raise DataError(f"class table: transparent of {label(name)} must be true or false")
    return {**entry, "id": number, "transparent": _BOOLEANS[transparent.lower()]}


def _number(text: Any) -> int | None:
    """Return the value of decimal digits, or of hexadecimal ones after 0x; None if `text` is anything else."""
    if not isinstance(text, str) or not re.fullmatch("[0-9]{1,18}|0x[0-9a-fA-F]{1,8}", text):
        return None
    return int(text, 16 if text.startswith("0x") else 10)


def _color(entry: Mapping[str, Any], spare: tuple[int, int, int]) -> Sequence[int]:
    value = entry.get("color", spare)
    if isinstance(value, str):
        with suppress(ValueError):
            red, green, blue = bytes.fromhex(value.removeprefix("#"))
            return red, green, blue
    elif isinstance(value, list | tuple) and len(value) == 3:
        numbers = [c if isinstance(c, int) else _number(c) for c in value]
        if all(number is not None and number <= 255 for number in numbers):
            return [number for number in numbers if number is not None]
    raise DataError(
        f"class table: the colour of class {label(entry['name'])} is {'empty' if value is None else label(value)};"
        " write it in quotes, like '#00ff7f', or as three numbers in 0..255, like [0, 255, 127]"
    )


def _partners(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the ids (left, right) of classes that swap in mirrored images; raise a DataError for a one-sided pair."""
    partner = {entry["id"]: _class(entry["partner"], names) for entry in entries if "partner" in entry}
    for ours, theirs in partner.items():
        if ours == theirs or partner.get(theirs) != ours:
            raise DataError(
                f"class table: {names[ours]} has the partner {names[theirs]};"
                " partners must be two different classes that name each other"
            )
    return sorted((ours, theirs) for ours, theirs in partner.items() if ours < theirs)


def _class(value: Any, names: Sequence[str]) -> int:
    if isinstance(value, str):
        known = [normalized(name) for name in names]
        if normalized(value) in known:
            return known.index(normalized(value))
    number = _number(value)
    if number is not None and number < len(names):
        return number
    raise DataError(f"class table: {brief(value)} is no class; choose from {', '.join(names)}")


def _unquoted_color(text: str) -> str:
    """Return a message about the first colour without quotes; "" if there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        bare = _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line)
        if not bare.lstrip().startswith("#") and (color := _UNQUOTED_COLOR.search(bare)):
            name = _NAME.search(line)
            owner = f" of class {label(name[1].strip())}" if name else ""
            return (
                f"YAML reads {color[1]}{owner} in line {number} as a comment; quote it: '#ff0000', or write [255, 0, 0]"
            )
    return ""


def _commented_rule(text: str) -> str:
    """Return a message about the first rule that YAML reads as a comment; "" if there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if rule := _COMMENTED_RULE.match(line):
            return (
                f"YAML reads {rule[1]} in line {number} as a comment;"
                f" quote it: '{rule[1]}', or put a space after # if it is a comment"
            )
    return ""


def _code(value: Any) -> Code:
    """Return a code in the masks: an id as a number, a colour or a part as text; raise DataError for anything else."""
    number = _number(value)
    if number is not None:
        return number
    if isinstance(value, str) and (value.startswith("#") or value.lower() in PAINTING_ORDER):
        return value
    code = value.lower() if isinstance(value, str) else ""
    if COLOR_CODE.fullmatch(f"#{code}"):
        raise DataError(f"class table: the colour {label(code)} lacks its #; write '#{label(code)}'")
    near = difflib.get_close_matches(code, PAINTING_ORDER, n=1)
    remedy = f"did you mean '{near[0]}'?" if near else "write the id, or the colour like '#ff0000'"
    raise DataError(
        f"class table: the code {brief(value)} is neither an id nor a colour nor a part of CelebAMask-HQ; {remedy}"
    )


def _check_rules(table: ClassTable) -> None:
    """Raise a DataError for a rule that takes a class's colour away, or its id or name without giving it another."""
    for code, k in table.rules:
        owners = _owners(code, table)
        if not owners or k in owners:
            continue
        kind, own = _kind(code), owners[0]
        if kind != "colour" and any(
            other == own for rule, other in table.rules if _kind(rule) == kind and rule != code
        ):
            continue  # the masks number or name the classes differently: another code stands for this class
        action = f"remapped to {table.names[k]}" if (code, k) in table.remap else "ignored"
        remedy = "change its colour" if kind == "colour" else f"add a rule that remaps another {kind} to it"
        raise DataError(
            f"class table: the {kind} {label(code)} is that of class {table.names[own]}, but it is {action};"
            f" remove the rule or the class, or {remedy}"
        )


def _owners(code: Code, table: ClassTable) -> list[int]:
    """Return the classes that have the code as their own id, colour or name."""
    own = {"id": range(table.num_classes), "colour": map(hex_color, table.colors), "part": table.names}
    is_colour = _kind(code) == "colour"
    return [k for k, one in enumerate(own[_kind(code)]) if one == code and not (is_colour and k in table.uncolored)]


def _kind(code: Code) -> str:
    return "id" if isinstance(code, int) else "colour" if code.startswith("#") else "part"
