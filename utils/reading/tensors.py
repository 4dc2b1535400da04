"""Safe loading of `torch.save` files: only tensors and plain data, with memory limited by the size of the file.

`torch.load(weights_only=True)` runs no code from the file. But it decompresses records, allocates byte arrays of any
size, and builds tensors with more elements than are stored. Therefore this module checks the archive and its pickle
before loading, and the contents afterwards.
"""

import argparse
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from utils.errors import ReadingError
from utils.reading.checks import check_regular, label
from utils.reading.plain import LARGEST_NUMBER

MAX_PLAIN_BYTES = 2**23  # of everything but the tensors; 0.2 MiB in a checkpoint of a training run
_MAX_DIRECTORY_BYTES = 2**23
_MAX_SHARING = 8  # largest ratio of the tensors' bytes to the file's; above 1, as tensors may share storage
_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"  # signatures of a ZIP archive
_END_BYTES, _END_64_BYTES, _LOCATOR_BYTES = 22, 56, 20
_STORAGES = {  # bytes per element, by the storage's class
    f"torch {kind}Storage": size
    for size, kinds in {1: ("Char", "Byte", "Bool"), 2: ("Half", "BFloat16", "Short"), 4: ("Float", "Int")}.items()
    for kind in kinds
} | {"torch DoubleStorage": 8, "torch LongStorage": 8}
_GLOBALS = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "collections OrderedDict",
    "argparse Namespace",
    *_STORAGES,
}
_MARK = object()

StateDict = Mapping[str, Tensor]


def load_tensors(path: str | Path) -> Any:
    """Load a `torch.save` file of tensors, which go to the CPU, plain data and `argparse.Namespace` objects.

    Raises:
        ReadingError: if the file is not a readable, undamaged archive of torch.save, or contains anything else.
    """
    size = check_regular(path)
    try:
        with open(path, "rb") as file:
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                _check_records(archive, size)
        with torch.serialization.safe_globals([argparse.Namespace]):
            contents = torch.load(path, map_location="cpu", weights_only=True)
        return _PlainCopy(_MAX_SHARING * size).copy(contents)
    except ReadingError:
        raise
    except OSError as error:
        raise ReadingError(f"cannot be read ({error.strerror or 'it is damaged'})") from None
    except Exception as error:  # torch.load raises errors of any type for damaged archives
        # PyTorch's own message is not repeated: it would advise the user to run the file's code.
        raise ReadingError("is damaged, or contains more than tensors and plain data") from error


def _check_directory(file: BinaryIO, size: int) -> None:
    """Check that the archive's directory is at the end of the file, where all readers find it, and not too large."""
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES - _END_64_BYTES))
    tail = file.read()
    end, before = tail[-_END_BYTES:], tail[:-_END_BYTES]
    if len(end) < _END_BYTES or not end.startswith(_END) or end[20:] != b"\0\0":
        raise ReadingError("is not an archive of torch.save (PyTorch 1.6 or later), or is truncated")
    length, start = struct.unpack("<II", end[12:20])
    stop = size - _END_BYTES
    if before[-_LOCATOR_BYTES:].startswith(_LOCATOR_64):
        stop -= _LOCATOR_BYTES + _END_64_BYTES
        record = before[-_LOCATOR_BYTES - _END_64_BYTES : -_LOCATOR_BYTES]
        if not record.startswith(_END_64) or struct.unpack("<Q", before[-12:-4])[0] != stop:
            raise ReadingError("is damaged: its archive directory is not where it should be")
        length, start = struct.unpack("<QQ", record[40:56])
    if start + length != stop or length > _MAX_DIRECTORY_BYTES:
        raise ReadingError("is damaged: its archive directory is too large or not where it should be")


def _check_records(archive: zipfile.ZipFile, size: int) -> None:
    """Check that records are uncompressed, do not overlap, and have all the bytes that the pickle claims."""
    records = archive.infolist()
    folders = {record.filename.partition("/")[0] for record in records}
    if len(folders) != 1 or len({record.filename.lower() for record in records}) != len(records):
        raise ReadingError("is not an archive of torch.save")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ReadingError("has compressed records, which torch.save does not write; save it again")
    if sum(record.file_size for record in records) > size:
        raise ReadingError(f"is damaged: its records add up to more than the file's {size} bytes")
    folder = folders.pop()
    plain = archive.getinfo(f"{folder}/data.pkl")
    if plain.file_size > MAX_PLAIN_BYTES:
        raise ReadingError(f"has {plain.file_size} bytes besides its tensors; at most {MAX_PLAIN_BYTES} are allowed")
    sizes = {record.filename: record.file_size for record in records}
    for key, claimed in _claimed_storages(archive.read(plain)).items():
        if sizes.get(f"{folder}/data/{key}", -1) < claimed:
            raise ReadingError("is damaged: its tensors have more elements than the file stores")


def _claimed_storages(content: bytes) -> dict[str, int]:
    """Return how many bytes a pickle claims for each storage, by the storage's key, without running the pickle.

    Some releases of PyTorch trust these claims, and read beyond the end of records that are shorter.

    Raises:
        ReadingError: if the pickle uses anything but tensors and containers, or storages in an unusual form.
        Exception: of any type if the pickle is damaged.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    claims: dict[str, int] = {}
    for code, argument, _ in pickletools.genops(content):
        if code.name == "GLOBAL" and argument not in _GLOBALS:
            raise ReadingError(f"contains {str(argument)[:80]!r}, which is neither a tensor nor plain data")
        if code.name == "BINPERSID":
            key, size = _storage_key_and_bytes(stack.pop())
            claims[key] = max(size, claims.get(key, 0))
            stack.append(None)
        elif code.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if code.name == "MEMOIZE" else argument] = stack[-1]
        elif code.name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        else:
            _apply_opcode(code, argument, stack)
    return claims


def _apply_opcode(code: pickletools.OpcodeInfo, argument: Any, stack: list[Any]) -> None:
    """Change the stack as unpickling would, but keep only constants and tuples; None stands for other values."""
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


def _storage_key_and_bytes(persistent_id: Any) -> tuple[str, int]:
    match persistent_id:
        case ("storage", str(kind), str(key), str(), int(count)) if kind in _STORAGES and count >= 0:
            return key, count * _STORAGES[kind]
    raise ReadingError("is damaged, or was not written by torch.save: it refers to tensors in another way")


class _PlainCopy:
    """Copy loaded contents to plain dicts, lists and tuples, and limit the total bytes of the tensors in them.

    A container that occurs several times is copied once.
    """

    def __init__(self, max_bytes: int) -> None:
        self._bytes_left = max_bytes
        self._copies: dict[int, Any] = {}

    def copy(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self._check_tensor(value)
            return value.detach()
        if value is None or isinstance(value, str | bool | float | int | bytes):
            if isinstance(value, int) and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
                raise ReadingError(f"contains an integer of {value.bit_length()} bits, outside the range of int64")
            return value
        if id(value) not in self._copies:
            self._copies[id(value)] = self._copy_container(value)
        return self._copies[id(value)]

    def _copy_container(self, value: Any) -> Any:
        if type(value) in (dict, OrderedDict):
            return {self.copy(key): self.copy(item) for key, item in dict.items(value)}
        if isinstance(value, list):
            return [self.copy(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self.copy(item) for item in value)
        if type(value) is argparse.Namespace:
            return argparse.Namespace(**self.copy(vars(value)))
        raise ReadingError(f"contains a {type(value).__name__}, which is neither a tensor nor plain data")

    def _check_tensor(self, value: Tensor) -> None:
        if value.layout != torch.strided or value.device.type != "cpu":
            raise ReadingError("contains a tensor that is sparse or not on the CPU")
        self._bytes_left -= value.nbytes
        if value.nbytes > value.untyped_storage().nbytes() or self._bytes_left < 0:
            raise ReadingError("is damaged: its tensors have more elements than the file stores")


def check_shapes(module: nn.Module, state: StateDict) -> None:
    """Check that a file's state dict fits a module, which may be on the meta device.

    Raise ReadingError for the first tensor that is missing, unknown, of another shape or kind (float or integer).
    """
    own = module.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own:
            problem = "missing" if name in own else "unknown"
            raise ReadingError(f"does not fit the network: tensor {label(name)} is {problem}; choose another file")
        if (shape := state[name].shape) != (expected := own[name].shape):
            raise ReadingError(
                f"does not fit the network: {name} is {list(shape)}, expected {list(expected)}; choose another file"
            )
        if own[name].is_floating_point() != state[name].is_floating_point() or state[name].is_complex():
            raise ReadingError(f"is damaged: {name} has the type {state[name].dtype}, expected {own[name].dtype}")


def check_finite(state: StateDict) -> None:
    """Raise ReadingError, with the tensor's name, if a tensor has NaN or infinite values."""
    for name, value in state.items():
        if not value.isfinite().all():
            raise ReadingError(f"is damaged: {name} has NaN or infinite values; choose an earlier checkpoint")
