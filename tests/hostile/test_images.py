"""Hostile image files, in folders of users and as --background."""

import functools
import io
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.class_files import celebamask13
from datasets.data_config import FolderOptions
from datasets.decoding import read_image, read_label
from datasets.find import find_source
from datasets.inspection import inspect_source
from editing.photos import read_photo
from tests.hostile import samples
from tests.hostile.child import refused, refused_all, run


def chunk(kind: bytes, data: bytes, claimed: int | None = None) -> bytes:
    length = len(data) if claimed is None else claimed
    return struct.pack(">I", length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, rows: bytes = b"", depth: int = 8, color: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body + chunk(b"IEND", b"")


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def moving(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[Image.new("RGB", (32, 32), (k, 9, 9)) for k in (9, 99)])


@functools.cache
def bomb() -> bytes:
    """A header of 20000 x 20000 pixels with the first hundred lines; readers must stop before."""
    return png(20_000, 20_000, rows=bytes(100 * 60_001))


ROWS = bytes(32 * 97)
MEBIBYTE = 2**20
IMAGES: Mapping[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello",
    "a header alone": lambda: b"\x89PNG\r\n\x1a\n",
    "a huge header": lambda: png(60_000, 60_000),
    "the hugest header": lambda: png(2**31 - 1, 2**31 - 1),
    "no width": lambda: png(0, 32),
    "a bomb": bomb,
    "a long line": lambda: png(2**31 - 1, 1),
    "compressed text": lambda: png(32, 32, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 * MEBIBYTE))), rows=ROWS),
    "international text": lambda: png(
        32, 32, chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(64 * MEBIBYTE))), rows=ROWS
    ),
    "much text": lambda: png(32, 32, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MEBIBYTE - 9)))] * 99, rows=ROWS),
    "a compressed profile": lambda: png(
        32, 32, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 * MEBIBYTE))), rows=b""
    ),
    "a chunk that claims 2 GB": lambda: png(32, 32, chunk(b"tEXt", b"a\0b", 2**31 - 1), rows=ROWS),
    "no such depth": lambda: png(32, 32, depth=77, rows=ROWS),
    "damaged rows": lambda: png(32, 32, rows=ROWS).replace(zlib.compress(ROWS), b"\0" * len(zlib.compress(ROWS))),
    "cut JPEG": lambda: encoded("JPEG")[:300],
    "cut JPEG header": lambda: encoded("JPEG")[:30],
    "huge JPEG": lambda: encoded("JPEG").replace(struct.pack(">HH", 32, 32), struct.pack(">HH", 65_500, 65_500)),
    "cut PNG": lambda: encoded("PNG")[:500],
    "cut WebP": lambda: encoded("WEBP", lossless=True)[:200],
    "cut TIFF": lambda: encoded("TIFF")[:100],
    "TIFF that points at itself": lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "TIFF of many entries": lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(12) * 9,
    "huge BMP": lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
    "moving PNG": lambda: moving("PNG"),
    "moving WebP": lambda: moving("WEBP"),
    "moving GIF": lambda: moving("GIF"),
    "PostScript": lambda: (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(canary) (w) file\n%%EOF\n"
    ),
    "PDF": lambda: b"%PDF-1.4\n" + bytes(999),
    "ICO": lambda: encoded("ICO"),
    "PPM": lambda: b"P6 32 32 255\n" + bytes(3 * 32 * 32),
    "PPM that claims": lambda: b"P6 99999999 99999999 255\n",
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(999),
    "a pickle": lambda: b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
}


def file_of(what: str) -> samples.Maker:
    return lambda path: path.write_bytes(IMAGES[what]())


READERS = {"image": read_image, "mask": read_label, "photo": read_photo}


@pytest.mark.parametrize("reader", READERS)
def test_hostile_images(reader: str, tmp_path: Path) -> None:
    table = celebamask13()
    more = {"image": (), "mask": (table,), "photo": (None, table, 32, "center")}[reader]
    made = samples.write_all({what: file_of(what) for what in IMAGES} | samples.PLACES, tmp_path)
    refused_all({what: partial(READERS[reader], path, *more) for what, path in made.items()})


@pytest.mark.parametrize("what", ["a bomb", "moving PNG", "PostScript", "pipe", "endless device", "link to itself"])
def test_a_folder_with_a_hostile_image(what: str, tmp_path: Path) -> None:
    """The survey reports the hostile file by name and still checks the others."""
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG"))
    if what in IMAGES:
        (tmp_path / "b.png").write_bytes(IMAGES[what]())
    else:
        samples.PLACES[what](tmp_path / "b.png")

    def check() -> None:
        found = inspect_source(find_source(tmp_path, FolderOptions(images_only=True)), workers=0)
        assert list(found.good) == [0]
        assert [str(tmp_path / "b.png") in problem for problem in found.problems] == [True]

    outcome = run(check)
    assert outcome.code == 0, outcome
    assert outcome.memory < 96, outcome


def test_links_to_a_parent_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG"))
    for name in ("x", "y"):
        os.symlink(tmp_path, tmp_path / name)
    assert "is reached twice" in refused(lambda: find_source(tmp_path))
