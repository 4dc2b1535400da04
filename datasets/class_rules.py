"""Rules in class tables that can never apply, that contradict a class, or that YAML has rewritten."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

import yaml

from datasets.labels import COLOR_CODE, ClassTable, Code, hex_color
from datasets.mask_codes import PAINTING_ORDER
from utils.errors import DataError
from utils.reading.checks import brief, label

_UNQUOTED = re.compile(r"""(?:^|[:,\[{-])\s*(\#[0-9a-fA-F]{3,8})\b(?=\s*(?:$|[,:}\]\#]))""")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_NAME = re.compile(r"""\bname\s*:\s*["']?([^,"'}\]]+)""")
_COMMENTED_RULE = re.compile(r"\s*(#[0-9a-fA-F]{6})\s*:\s*\S")
_SEXAGESIMAL, _OCTAL = re.compile(r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+"), re.compile(r"[-+]?0[0-7_]+")


def unquoted_color(text: str) -> str:
    """Return what to say of a table that is no YAML because of a colour without quotes; "" if it has none."""
    for number, line in enumerate(text.splitlines(), 1):
        bare = _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line)
        if not bare.lstrip().startswith("#") and (color := _UNQUOTED.search(bare)):
            name = _NAME.search(line)
            whose = f" of class {label(name[1].strip())}" if name else ""
            return (
                f"YAML reads {color[1]}{whose} in line {number} as a comment; quote it: '#ff0000', or write [255, 0, 0]"
            )
    return ""


def rewritten(text: str) -> str:
    """Return what to say of what YAML reads otherwise than it looks, as a comment or another number; "" of others."""
    for number, line in enumerate(text.splitlines(), 1):
        if rule := _COMMENTED_RULE.match(line):
            return (
                f"YAML reads {rule[1]} in line {number} as a comment;"
                f" quote it: '{rule[1]}', or put a space after # if it is a comment"
            )
    before = ""
    for token in yaml.scan(text, yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken):
            if token.plain and before != "color" and _misread(token.value):
                line = token.start_mark.line + 1
                return (
                    f"YAML reads {label(token.value)} in line {line} as a different number;"
                    " write it without leading zeros, or quote it if it is a name"
                )
            before = token.value
        elif not isinstance(token, yaml.ValueToken):
            before = ""
    return ""


def _misread(text: str) -> bool:
    """Return whether YAML takes digits for another number than the decimal one."""
    if _SEXAGESIMAL.fullmatch(text):
        return True
    digits = text.replace("_", "")
    return bool(_OCTAL.fullmatch(text)) and int(digits, 8) != int(digits)


def check_codes(codes: Iterable[Any]) -> None:
    """Raise a DataError for a code that no mask can hold: it would never apply."""
    for code in codes:
        if type(code) is int:
            continue
        if not isinstance(code, str):
            raise DataError(
                f"class table: {brief(code)} is neither an id nor a colour nor a part; write ids without quotes"
                " and as whole numbers, colours and names in quotes: '#ff0000'"
            )
        if code.startswith("#") or code.lower() in PAINTING_ORDER:
            continue
        if _is_number(code):
            raise DataError(
                f"class table: the code '{label(code)}' is text and can never match; remove the quotes to make it an id"
                f"{' (a colour is written with #)' if re.fullmatch('[0-9]{6}', code) else ''}"
            )
        if COLOR_CODE.fullmatch(f"#{code.lower()}"):
            raise DataError(f"class table: the code {label(code)} is no colour; write '#{label(code.lower())}'")
        near = difflib.get_close_matches(code.lower(), PAINTING_ORDER, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "write the id, or the colour like '#ff0000'"
        raise DataError(
            f"class table: the code {brief(code)} is neither an id nor a colour nor a part of CelebAMask-HQ; {remedy}"
        )


def check_rules(table: ClassTable) -> None:
    """Raise a DataError for a rule that takes its own id, colour or part from a class."""
    rules: list[tuple[Code, int]] = [*table.remap, *((code, 0) for code in table.ignore)]
    for code, k in rules:
        owners = _owners(code, table)
        if not owners or k in owners:
            continue
        kind, own = _kind(code), owners[0]
        if kind != "colour" and any(other == own for rule, other in rules if _kind(rule) == kind and rule != code):
            continue  # the masks number or name classes otherwise, and the class has another code there
        where = f"remapped to {table.names[k]}" if (code, k) in table.remap else "ignored"
        raise DataError(
            f"class table: the {kind} {label(code)} is that of class {table.names[own]}, but it is {where};"
            " take the rule or the class out, or say which code in the masks means the class"
        )


def _owners(code: Code, table: ClassTable) -> list[int]:
    """The classes whose own code it is."""
    if isinstance(code, int):
        return [code] if code < table.num_classes else []
    if code.startswith("#"):
        colors = [hex_color(color) for color in table.colors]
        return [k for k, color in enumerate(colors) if color == code and k not in table.uncolored]
    return [k for k, name in enumerate(table.names) if name == code]


def _kind(code: Code) -> str:
    return "id" if isinstance(code, int) else "colour" if code.startswith("#") else "part"


def _is_number(text: str) -> bool:
    """Return whether a reader would take it for a number: decimal, hexadecimal, octal or a fraction."""
    for convert in (lambda text: int(text, 0), int, float):
        try:
            convert(text)
        except ValueError:
            continue
        return True
    return False
