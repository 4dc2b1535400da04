"""Class tables as YAML files: those that ship with the program, and users' own.

classes:                                     # one entry for each class 0..K-1; class 0 is the background
  - {id: 0, name: background, color: [0, 0, 0]}
  - {id: 1, name: left_eye, color: "#2c699a", partner: right_eye}
  - {id: 2, name: right_eye, color: "#048ba8", partner: left_eye}
  - {id: 3, name: glasses, color: [234, 114, 71], transparent: true}
remap: {7: glasses, "#ff8000": glasses}      # id, colour or part in the masks -> class
ignore: [255, "#ffffff"]                     # pixels that nobody labelled: they become class 0

A color may be left out. The partner of a class is the one it changes places with when a picture is mirrored. YAML
reads an unquoted # as a comment, 010 as 8 and no as false: quote colours, do not quote ids.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from datasets.class_rules import check_codes, check_rules, rewritten, unquoted_color
from datasets.labels import MAX_CLASSES, ClassTable, Code, numbered_table
from utils.errors import DataError, ReadingError
from utils.reading.checks import brief, label, normalized, read_text
from utils.reading.plain import MAX_YAML_BYTES, parse_yaml

_TABLES = Path(__file__).parent / "tables"
_FIELDS = {"id", "name", "color", "transparent", "partner"}


def load_table(path: str | Path) -> ClassTable:
    """The class table in a YAML file, or one that ships with the program by its name: "celebamask13".

    Raises:
        DataError: if the file cannot be read or its rules do not fit together; the message names file and class.
    """
    shipped = {table.stem: table for table in _TABLES.glob("*.yaml")}
    file = Path(path) if os.path.exists(path) else shipped.get(str(path), Path(path))
    try:
        return _table(_parse(read_text(file, MAX_YAML_BYTES)))
    except ReadingError as error:
        names = ", ".join(sorted(shipped))
        raise DataError(f"class table {label(str(path))}: {error}; give a YAML file or one of {names}") from None
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


@cache
def celebamask13() -> ClassTable:
    """The 13 classes of CelebAMask-HQ that the paper trains on."""
    return load_table(_TABLES / "celebamask13.yaml")


def default_table(num_classes: int) -> ClassTable:
    """The table assumed for data that bring none: CelebAMask-HQ for 13 classes, numbered names otherwise.

    Raises:
        DataError: for fewer than 2 or more than 64 classes.
    """
    table = celebamask13()
    return table if num_classes == table.num_classes else numbered_table(num_classes)


def _parse(text: str) -> Any:
    try:
        contents = parse_yaml(text)
    except ReadingError:
        if hint := unquoted_color(text):  # what YAML says of it is about braces
            raise DataError(f"class table: {hint}") from None
        raise
    if hint := rewritten(text):
        raise DataError(f"class table: {hint}")
    return contents


def _table(contents: Any) -> ClassTable:
    if not isinstance(contents, dict) or not isinstance(contents.get("classes"), list):
        raise DataError("class table: needs `classes`, a list of {id, name, color, transparent, partner}")
    if unknown := contents.keys() - {"classes", "remap", "ignore"}:
        raise DataError(
            f"class table: unknown section {label(sorted(map(str, unknown))[0])}; there are classes, remap and ignore"
        )
    if len(contents["classes"]) > MAX_CLASSES:
        raise DataError(f"class table: {len(contents['classes'])} classes; 2 to {MAX_CLASSES} are supported")
    entries = [_entry(entry) for entry in contents["classes"]]
    names = [entry["name"] for entry in entries]
    if [entry["id"] for entry in entries] != list(range(len(entries))):
        raise DataError(f"class table: the ids must count up from 0 to {len(entries) - 1}, one class each")
    if len({normalized(name) for name in names}) < len(names):
        raise DataError("class table: names must be distinct")
    for name in names:
        if name == "base" or name.isdecimal() or "," in name or name != name.strip():
            raise DataError(
                f"class table: the name {label(name)} cannot be given as a part: choose one that is neither base nor a "
                "number, without commas, and without blanks at its ends"
            )
    remap, ignore = _mapping(contents), _listing(contents)
    check_codes([*remap, *ignore])
    spare = numbered_table(len(entries)).colors
    colors = [_color(entry, color) for entry, color in zip(entries, spare, strict=True)]
    table = ClassTable.from_dict(
        {
            "names": names,
            "colors": colors,
            "transparent": [entry["id"] for entry in entries if entry.get("transparent", False)],
            "partners": _partners(entries, names),
            "remap": [(code, _class(k, names)) for code, k in remap.items()],
            "ignore": ignore,
        }
    )
    table = replace(table, uncolored=tuple(entry["id"] for entry in entries if "color" not in entry))
    check_rules(table)
    return table


def _entry(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not {"id", "name"} <= entry.keys() <= _FIELDS:
        raise DataError(f"class table: {brief(entry)} must hold id and name, and may hold color, transparent, partner")
    if not isinstance(entry["name"], str):
        raise DataError(
            f"class table: the name {brief(entry['name'])} of class {label(entry['id'])} is not text; quote it"
        )
    if type(entry["id"]) is not int:
        raise DataError(
            f"class table: the id {brief(entry['id'])} of {label(entry['name'])} is no whole number;"
            " write it without quotes"
        )
    if not isinstance(entry.get("transparent", False), bool):
        raise DataError(f"class table: transparent of {label(entry['name'])} must be true or false")
    return entry


def _color(entry: Mapping[str, Any], spare: tuple[int, int, int]) -> Sequence[int]:
    value = entry.get("color", spare)
    if isinstance(value, str):
        try:
            red, green, blue = bytes.fromhex(value.removeprefix("#"))
        except ValueError:
            pass
        else:
            return red, green, blue
    elif isinstance(value, list | tuple) and len(value) == 3 and all(type(c) is int and 0 <= c <= 255 for c in value):
        return value
    raise DataError(
        f"class table: colour {'(nothing)' if value is None else label(value)} of class {label(entry['name'])} must be"
        " written like '#00ff7f' or [0, 255, 127]: write the colour in quotes, '#ff0000', or as [255, 0, 0]"
    )


def _partners(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of ids; a partner is named by both classes, or both could not be meant."""
    partner = {entry["id"]: _class(entry["partner"], names) for entry in entries if "partner" in entry}
    for ours, theirs in partner.items():
        if ours == theirs or partner.get(theirs) != ours:
            raise DataError(
                f"class table: {names[ours]} has the partner {names[theirs]};"
                f" name {names[ours]} as the partner of {names[theirs]}, too"
            )
    return sorted((ours, theirs) for ours, theirs in partner.items() if ours < theirs)


def _class(value: Any, names: Sequence[str]) -> int:
    if isinstance(value, str):
        known = [normalized(name) for name in names]
        if normalized(value) in known:
            return known.index(normalized(value))
    if type(value) is int and 0 <= value < len(names):
        return value
    quoting = "" if isinstance(value, str | int) and not isinstance(value, bool) else " (quote a name that is no text)"
    raise DataError(f"class table: {brief(value)} is no class{quoting}; choose from {', '.join(names)}")


def _mapping(contents: Mapping[str, Any]) -> Mapping[Code, Any]:
    value = _section(contents, "remap", {})
    if not isinstance(value, dict):
        raise DataError("class table: remap must hold `code in the masks: class` pairs")
    return value


def _listing(contents: Mapping[str, Any]) -> Sequence[Code]:
    value = _section(contents, "ignore", [])
    if not isinstance(value, list):
        raise DataError("class table: ignore must be a list of codes in the masks")
    return value


def _section(contents: Mapping[str, Any], name: str, default: Any) -> Any:
    value = contents.get(name, default)
    if value is None:
        raise DataError(f"class table: {name} is empty; take it out, or write its colours in quotes: '#ff0000'")
    return value
