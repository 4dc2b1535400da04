import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from datasets.class_files import celebamask13
from datasets.find import find_source
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.synthetic_faces import draw_face
from tests.hostile import samples
from tests.hostile.child import refused, refused_all, run
from tests.hostile.test_images import IMAGES


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "faces"
    with LmdbWriter(path, 32, celebamask13(), "tests") as writer:
        for index in range(300):
            writer.add_encoded(*encode_pair(*draw_face(0, index % 4, 32)))
    return path


def read_all(path: Path) -> None:
    """Read all samples, as scripts.inspect_data does."""
    source = find_source(path)
    for index in range(len(source)):
        source.read(index)


def changed(valid: Path, folder: Path, records: Mapping[str, bytes | None]) -> Path:
    path = folder / "data"
    folder.mkdir(exist_ok=True)
    shutil.copytree(valid, path)
    with lmdb.open(str(path), map_size=2**30, lock=False) as environment, environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.delete(key.encode())
            if value is not None:
                transaction.put(key.encode(), value)
    return path


def meta(valid: Path, **entries: object) -> bytes:
    with lmdb.open(str(valid), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return json.dumps({**json.loads(transaction.get(b"meta")), **entries}).encode()


def test_a_valid_lmdb_is_read(valid: Path) -> None:
    outcome = run(lambda: read_all(valid))
    assert outcome.code == 0, outcome


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated(share: float, valid: Path, tmp_path: Path) -> None:
    path = changed(valid, tmp_path, {})
    os.truncate(path / "data.mdb", int(share * (path / "data.mdb").stat().st_size))
    refused(lambda: read_all(path))


def test_other_files_instead_of_an_lmdb(tmp_path: Path) -> None:
    made = samples.write_all(samples.PLACES, tmp_path)
    refused_all({what: partial(read_all, path) for what, path in made.items()})
    refused_all({what: partial(ImageMaskDataset, path) for what, path in made.items()})
    for what, path in made.items():
        (tmp_path / what).mkdir()
        os.rename(path, tmp_path / what / "data.mdb") if what != "nothing" else None
    refused_all({what: partial(read_all, tmp_path / what) for what in made})


@pytest.mark.parametrize("copies", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_wrong_bytes_never_kill_the_process(copies: int, valid: Path, tmp_path: Path) -> None:
    """Change eight bytes per copy, half of them at page and node headers, which the LMDB library trusts."""
    whole, chance, codes = (valid / "data.mdb").read_bytes(), random.Random(copies), Counter[int]()
    for _ in range(copies):
        content = bytearray(whole)
        for _ in range(8):
            page, anywhere = chance.randrange(len(whole) // 4096) * 4096, chance.randrange(len(whole))
            content[chance.choice((anywhere, page + chance.randrange(64)))] = chance.randrange(256)
        (tmp_path / "data.mdb").write_bytes(content)
        outcome = run(lambda: read_all(tmp_path))
        codes[outcome.code] += 1
        assert outcome.code in (0, 2), outcome
        assert (outcome.code == 2) == outcome.stderr.startswith("error: "), outcome
    print(codes)
    assert codes[2] > copies // 2


@pytest.mark.parametrize("size", [2**40, 2**62, 2**64 - 1])
def test_a_map_larger_than_all_memory(size: int, valid: Path, tmp_path: Path) -> None:
    path = changed(valid, tmp_path, {})
    content = bytearray((path / "data.mdb").read_bytes())
    for page in (0, 4096):
        place = content.index(b"\xde\xc0\xef\xbe", page)
        content[place + 16 : place + 24] = size.to_bytes(8, "little")
    (path / "data.mdb").write_bytes(content)
    outcome = run(lambda: read_all(path))  # only the used part of the map takes memory
    assert outcome.code in (0, 2), outcome
    assert outcome.memory < 96, outcome


METAS: Mapping[str, object] = {
    "no JSON": b"{",
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "nested": b"[" * 200_000,
    "nested and closed": b'{"classes":' * 900 + b"1" + b"}" * 900,
    "a long number": b'{"count": 1' + b"0" * 6000 + b"}",
    "a number beyond 64 bits": {"source": 2**70},
    "5 MB": {"source": "x" * 5_000_000},
    "an infinite count": {"count": float("inf")},
    "a count of text": {"count": "300"},
    "another count": {"count": 10**12},
    "a resolution of text": {"resolution": "32"},
    "a huge resolution": {"resolution": 10**12},
    "a version of lists": {"version": [[1]]},
    "a later version": {"version": 10**15},
    "a source of lists": {"source": [1]},
    "a tool of mappings": {"tool": {}},
    "classes of text": {"classes": "many"},
    "no classes": {"classes": {}},
    "infinite colors": {"classes": {"names": ["a", "b"], "colors": [[float("inf")] * 3] * 2}},
    "a thousand classes": {"classes": {"names": [str(i) for i in range(1000)], "colors": [[0, 0, 0]] * 1000}},
    "nested names": {"classes": {"names": [[["a"]], "b"], "colors": [[0, 0, 0]] * 2}},
    "fewer classes": {"classes": {"names": ["a", "b"], "colors": [[0, 0, 0], [1, 1, 1]]}},
}


def test_hostile_metadata(valid: Path, tmp_path: Path) -> None:
    made = {}
    for what, value in METAS.items():
        stored = value if isinstance(value, bytes) else meta(valid, **value)  # type: ignore[arg-type]
        made[what] = partial(read_all, changed(valid, tmp_path / what, {"meta": stored}))
    refused_all(made)


DIGITS = (b"", b"-1", b"0", b"1e3", b"9" * 6000, b"999999999999", b"\xff", "٣".encode())


@pytest.mark.parametrize("keys", [("image-length", "label-length"), ("length",)])
def test_hostile_lengths(keys: tuple[str, ...], valid: Path, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("meta", "image-length", "label-length"))
    refused_all(
        {
            str(digits[:9]): partial(
                read_all, changed(valid, tmp_path / str(index), {**nothing, **dict.fromkeys(keys, digits)})
            )
            for index, digits in enumerate(DIGITS)
        }
    )


@pytest.mark.parametrize("key", ["image-0000000", "label-0000007"])
def test_hostile_records(key: str, valid: Path, tmp_path: Path) -> None:
    records = {what: make() for what, make in IMAGES.items()} | {"nothing": None}
    refused_all(
        {
            what: partial(read_all, changed(valid, tmp_path / str(index), {key: record}))
            for index, (what, record) in enumerate(records.items())
        }
    )


def test_labels_outside_the_classes(valid: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32), 200, np.uint8)).save(file, "PNG")
    refused(lambda: read_all(changed(valid, tmp_path, {"label-0000003": file.getvalue()})))
