"""The pickle in a file of `torch.save`, looked at without running it."""

import pickletools
from typing import Any

from utils.errors import ReadingError

_STORAGES = {
    f"torch {kind}Storage": size
    for size, kinds in {1: ("Char", "Byte", "Bool"), 2: ("Half", "BFloat16", "Short"), 4: ("Float", "Int")}.items()
    for kind in kinds
} | {"torch DoubleStorage": 8, "torch LongStorage": 8}  # bytes of an element
_GLOBALS = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "collections OrderedDict",
    "argparse Namespace",
    *_STORAGES,
}
_MARK = object()


def claimed_storages(content: bytes) -> dict[str, int]:
    """Return the bytes that a pickle claims of each storage, by the storage's key.

    Some releases of PyTorch believe the pickle, and read beyond the end of a record that is shorter.

    Raises:
        ReadingError: if it names anything but tensors and containers, or names storages as `torch.save` does not.
        Exception: whatever a damaged pickle trips over.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    claims: dict[str, int] = {}
    for code, argument, _ in pickletools.genops(content):
        if code.name == "GLOBAL" and argument not in _GLOBALS:
            raise ReadingError(f"holds more than tensors and data: {str(argument)[:80]!r}")
        if code.name == "BINPERSID":
            key, size = _storage(stack.pop())
            claims[key] = max(size, claims.get(key, 0))
            stack.append(None)
        elif code.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if code.name == "MEMOIZE" else argument] = stack[-1]
        elif code.name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        else:
            _follow(code, argument, stack)
    return claims


def _follow(code: pickletools.OpcodeInfo, argument: Any, stack: list[Any]) -> None:
    """Do to the stack what an opcode does to the interpreter's; of values, only constants and tuples are kept."""
    before = code.stack_before
    items: list[Any] = []
    if pickletools.markobject in before:
        while (item := stack.pop()) is not _MARK:
            items.append(item)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        items.append(stack.pop())
    if code.name == "MARK":
        stack.append(_MARK)
    elif code.name.startswith("TUPLE"):
        stack.append(tuple(reversed(items)))
    else:
        is_constant = not code.stack_before and isinstance(argument, str | int)
        stack.extend(argument if is_constant else None for _ in code.stack_after)


def _storage(named: Any) -> tuple[str, int]:
    """Key and bytes of a storage, from the tuple that names it."""
    try:
        word, kind, key, place, count = named
        if word == "storage" and isinstance(key, str) and isinstance(place, str) and type(count) is int and count >= 0:
            return key, count * _STORAGES[kind]
    except (TypeError, ValueError, KeyError):
        pass
    raise ReadingError("names its tensors otherwise than torch.save does")
