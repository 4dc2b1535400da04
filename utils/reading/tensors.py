"""Files of `torch.save`: tensors and plain data, and never more memory than the file is long, a few times over.

`torch.load(weights_only=True)` runs no code of a file. It does inflate compressed records, make byte arrays of any
size and build tensors that claim more elements than they store, so the archive and its pickle are looked at before,
and what came out of them after.
"""

import argparse
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from utils.errors import ReadingError
from utils.reading.pickles import claimed_storages
from utils.reading.plain import LARGEST_NUMBER
from utils.reading.regular import check_regular

MAX_PLAIN_BYTES = 2**23  # of the pickle beside the tensors; that of a training of ours has 0.2 MiB
_MAX_DIRECTORY_BYTES = 2**23
_SHARING = 8  # times that a file's bytes may stand in its tensors: an average may be the network itself
_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_BYTES, _END_64_BYTES, _LOCATOR_BYTES = 22, 56, 20


def load_tensors(path: str | Path) -> Any:
    """What `torch.save` wrote of tensors, plain data and `argparse.Namespace`: on the CPU, dicts and lists.

    Raises:
        ReadingError: if it is no regular file or no such archive, is damaged, or holds or claims anything else.
    """
    size = check_regular(path)
    try:
        with open(path, "rb") as file:
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                _check_records(archive, size)
        with torch.serialization.safe_globals([argparse.Namespace]):
            contents = torch.load(path, map_location="cpu", weights_only=True)
        return _Plain(_SHARING * size).copy(contents)
    except ReadingError:
        raise
    except OSError as error:
        raise ReadingError(f"cannot be read ({error.strerror or 'damaged'})") from None
    except Exception as error:  # torch.load raises whatever a damaged archive trips over
        # Its own words are left to the traceback's cause: they would advise to run the file's code.
        raise ReadingError("is no file of tensors and plain data, or damaged") from error


def _check_directory(file: BinaryIO, size: int) -> None:
    """The archive ends with its directory, so that all who read it find the same one, and it is not too long."""
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES - _END_64_BYTES))
    tail = file.read()
    end, before = tail[-_END_BYTES:], tail[:-_END_BYTES]
    if len(end) < _END_BYTES or not end.startswith(_END) or end[20:] != b"\0\0":
        raise ReadingError("is no archive of torch.save (of PyTorch 1.6 or later), or truncated")
    length, start = struct.unpack("<II", end[12:20])
    stop = size - _END_BYTES
    if before[-_LOCATOR_BYTES:].startswith(_LOCATOR_64):
        stop -= _LOCATOR_BYTES + _END_64_BYTES
        record = before[-_LOCATOR_BYTES - _END_64_BYTES : -_LOCATOR_BYTES]
        if not record.startswith(_END_64) or struct.unpack("<Q", before[-12:-4])[0] != stop:
            raise ReadingError("is an archive with a directory out of place")
        length, start = struct.unpack("<QQ", record[40:56])
    if start + length != stop or length > _MAX_DIRECTORY_BYTES:
        raise ReadingError("is an archive with a directory out of place")


def _check_records(archive: zipfile.ZipFile, size: int) -> None:
    """Records are stored as they are, do not overlap, and hold what the pickle claims of them."""
    records = archive.infolist()
    folders = {record.filename.partition("/")[0] for record in records}
    if len(folders) != 1 or len({record.filename.lower() for record in records}) != len(records):
        raise ReadingError("is no archive of torch.save")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ReadingError("has compressed records, which torch.save does not write")
    if sum(record.file_size for record in records) > size:
        raise ReadingError(f"claims more than its {size} bytes")
    folder = folders.pop()
    plain = archive.getinfo(f"{folder}/data.pkl")
    if plain.file_size > MAX_PLAIN_BYTES:
        raise ReadingError(f"has {plain.file_size} bytes beside its tensors, more than {MAX_PLAIN_BYTES}")
    sizes = {record.filename: record.file_size for record in records}
    for key, claimed in claimed_storages(archive.read(plain)).items():
        if sizes.get(f"{folder}/data/{key}", -1) < claimed:
            raise ReadingError("has tensors that claim more elements than it stores")


class _Plain:
    """Copies containers as dicts, lists and tuples, and counts what the tensors in them claim.

    A container that stands in several places stays one.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._known: dict[int, Any] = {}

    def copy(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self._count(value)
            return value.detach()
        if value is None or isinstance(value, str | bool | float | int | bytes):
            if isinstance(value, int) and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
                raise ReadingError(f"has a number of {value.bit_length()} bits")
            return value
        if id(value) not in self._known:
            self._known[id(value)] = self._container(value)
        return self._known[id(value)]

    def _container(self, value: Any) -> Any:
        if type(value) in (dict, OrderedDict):
            return {self.copy(key): self.copy(item) for key, item in dict.items(value)}
        if isinstance(value, list):
            return [self.copy(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self.copy(item) for item in value)
        if type(value) is argparse.Namespace:
            return argparse.Namespace(**self.copy(vars(value)))
        raise ReadingError(f"holds a {type(value).__name__}")

    def _count(self, value: Tensor) -> None:
        if value.layout != torch.strided or value.device.type != "cpu":
            raise ReadingError("holds a tensor that is not on the CPU, or sparse")
        stored = value.untyped_storage().nbytes()
        self._left -= value.nbytes
        if value.nbytes > stored or self._left < 0:
            raise ReadingError("has tensors that claim more elements than it stores")
