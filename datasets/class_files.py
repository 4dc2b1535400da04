"""Class tables as YAML files: those that ship with the program, and users' own.

classes:                                     # one entry for each class 0..K-1; class 0 is the background
  - {id: 0, name: background, color: [0, 0, 0]}
  - {id: 1, name: left_eye, color: "#2c699a", partner: right_eye}
  - {id: 2, name: right_eye, color: "#048ba8", partner: left_eye}
  - {id: 3, name: glasses, color: [234, 114, 71], transparent: true}
remap: {7: glasses, "#ff8000": glasses}      # id, colour or part in the masks -> class
ignore: [255, "#ffffff"]                     # pixels that nobody labelled: they become class 0

A color may be left out. The partner of a class is the one it changes places with when a picture is mirrored.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from datasets.errors import DataError
from datasets.labels import MAX_CLASSES, ClassTable, Code, numbered_table
from datasets.reading import ReadingError, brief, label
from datasets.reading.plain import read_yaml

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
        return _table(read_yaml(file))
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
    spare = numbered_table(len(entries)).colors
    return ClassTable.from_dict(
        {
            "names": names,
            "colors": [_color(entry.get("color", color)) for entry, color in zip(entries, spare, strict=True)],
            "transparent": [entry["id"] for entry in entries if entry.get("transparent", False)],
            "partners": _partners(entries, names),
            "remap": [(code, _class(k, names)) for code, k in _mapping(contents.get("remap")).items()],
            "ignore": _listing(contents.get("ignore")),
        }
    )


def _entry(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not {"id", "name"} <= entry.keys() <= _FIELDS:
        raise DataError(f"class table: {brief(entry)} must hold id and name, and may hold color, transparent, partner")
    if not isinstance(entry["name"], str):
        raise DataError(
            f"class table: the name {brief(entry['name'])} of class {label(entry['id'])} is not text; quote it"
        )
    if not isinstance(entry.get("transparent", False), bool):
        raise DataError(f"class table: transparent of {label(entry['name'])} must be true or false")
    return entry


def _color(value: Any) -> Sequence[int]:
    if not isinstance(value, str):
        return value
    try:
        red, green, blue = bytes.fromhex(value.removeprefix("#"))
    except ValueError:
        raise DataError(f"class table: colour {label(value)} must be written like '#00ff7f' or [0, 255, 127]") from None
    return red, green, blue


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
    if value in names:
        return names.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value
    raise DataError(f"class table: {brief(value)} is no class; choose from {', '.join(names)}")


def _mapping(value: Any) -> Mapping[Code, Any]:
    if value is not None and not isinstance(value, dict):
        raise DataError("class table: remap must hold `code in the masks: class` pairs")
    return value or {}


def _listing(value: Any) -> Sequence[Code]:
    if value is not None and not isinstance(value, list):
        raise DataError("class table: ignore must be a list of codes in the masks")
    return value or []
