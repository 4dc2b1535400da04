import struct
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from editing.codes import load_codes
from tests.editing.tiny import CONFIG
from tests.hostile import samples
from tests.hostile.child import refused_all


def headed(header: str, version: tuple[int, int] = (1, 0), body: bytes = bytes(64)) -> samples.Maker:
    kind = "<H" if version == (1, 0) else "<I"
    text = header.encode() + b"\n"
    return lambda path: path.write_bytes(b"\x93NUMPY" + bytes(version) + struct.pack(kind, len(text)) + text + body)


def header(shape: str = "(1, 16)", descr: str = "'<f4'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def bomb(method: int) -> samples.Maker:
    """An archive with one array of 120 MB, though its directory says 200 bytes."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("w.npy", bytes(12 * 10**7))
        content = path.read_bytes()
        path.write_bytes(content.replace(struct.pack("<I", 12 * 10**7), struct.pack("<I", 200)))

    return make


HALF = torch.zeros(2**18, dtype=torch.bfloat16)
EIGHT = [torch.zeros(2**18)] * 8
ARRAYS: dict[str, samples.Maker] = {
    "objects": lambda path: np.save(path, np.array([samples.Call(print)]), allow_pickle=True),
    "objects that call": lambda path: np.save(
        path, np.array([samples.Call(Path.touch, samples.canary(path))]), allow_pickle=True
    ),
    "claims of objects": headed(header(descr="'|O'")),
    "a million million entries": headed(header(f"({10**12}, 16)")),
    "10 GB": headed(header(f"({160 * 10**6}, 16)")),
    "entries beyond 64 bits": headed(header(f"({2**40}, {2**40})")),
    "a long number": headed(header("(" + "9" * 5000 + ", 16)")),
    "a negative shape": headed(header("(-1, 16)")),
    "two negative sizes": headed(header("(-1, -16)")),
    "a shape of truths": headed(header("(True, 16)")),
    "a shape of text": headed(header("'ab'")),
    "records": headed(header("(8,)", "[('a', '<f4'), ('b', '<f4')]")),
    "records of records": headed(header("(1,)", "[('a', [('b', '<f4', (16,))])]")),
    "wide columns": headed(header("(1,)", f"('<f4', ({10**9},))")),
    "dates": headed(header("(8,)", "'<M8[s]'")),
    "raw bytes": headed(header("(4,)", "'|V16'")),
    "text": headed(header("(16,)", "'<U1'")),
    "no numbers at all": headed(header("(1, 16)", "'|S0'"), body=b""),
    "an unknown type": headed(header(descr="'!!'")),
    "code for a header": headed("__import__('os').system('touch canary')"),
    "a nested header": headed("(" * 5000),
    "a long header": headed(header() + " " * 10**6, (2, 0)),
    "an endless header": lambda path: path.write_bytes(b"\x93NUMPY\2\0" + b"\xff" * 4),
    "another version": headed(header(), (9, 0)),
    "more than it says": headed(header(), body=bytes(99)),
    "less than it says": headed(header(), body=bytes(60)),
    "complex numbers": lambda path: np.save(path, np.zeros((1, 16), np.complex64)),
    "NaN": lambda path: np.save(path, np.full((1, 16), np.nan)),
    "an archive of objects": lambda path: np.savez(path.open("wb"), a=np.array([samples.Call(print)], dtype=object)),
    "an archive of too many arrays": lambda path: np.savez(path.open("wb"), *[np.zeros((1, 16))] * 99),
    "a bomb": lambda path: np.savez_compressed(path.open("wb"), a=np.zeros((10**7, 16), np.uint8)),
    "a bomb of another method": bomb(zipfile.ZIP_BZIP2),
    "a bomb of a third method": bomb(zipfile.ZIP_LZMA),
    "a tensor many times": lambda path: torch.save({f"k{i}": EIGHT for i in range(100)}, path),
    "half a tensor many times": lambda path: torch.save({f"k{i}": HALF for i in range(300)}, path),
    "a bomb of codes": lambda path: np.savez_compressed(path.open("wb"), w=np.zeros((10**6, 16), np.float64)),
}


def test_hostile_codes(tmp_path: Path) -> None:
    made = samples.write_all({**ARRAYS, **samples.ARCHIVES, **samples.PLACES}, tmp_path)
    refused_all({what: partial(load_codes, path, CONFIG) for what, path in made.items()})
    assert not samples.canary(tmp_path / "any").exists()


def test_other_memory_orders_are_read_correctly(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    for stored in (np.asfortranarray(codes), codes.astype(">f4"), codes.astype(np.float64)):
        np.save(tmp_path / "codes.npy", stored)
        np.testing.assert_array_equal(load_codes(tmp_path / "codes.npy", CONFIG).numpy(), codes)
