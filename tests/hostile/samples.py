"""Files made to harm their reader, by kind of attack. Each maker writes a file to the given path."""

import argparse
import functools
import io
import os
import pickle
import socket
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.checkpoint import FORMAT
from tests.editing.tiny import CLASSES, CONFIG, tiny_generator

Maker = Callable[[Path], object]
FAR = 10**12


class Call:
    """Object that calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def contents() -> dict[str, Any]:
    """Return the contents of a valid checkpoint."""
    state = dict(tiny_generator().state_dict())
    model = {**vars(CONFIG)}
    return {"format": FORMAT, "model": model, "classes": dict(CLASSES), "generator_ema": state}


def changed(**entries: Any) -> Maker:
    """A valid checkpoint except for these entries."""
    return lambda path: torch.save({**contents(), **entries}, path)


def model(**options: Any) -> Maker:
    return changed(model={**vars(CONFIG), **options})


def weight(change: Callable[[torch.Tensor], object], name: str = "compositing.weight") -> Maker:
    def write(path: Path) -> None:
        valid = contents()
        valid["generator_ema"][name] = change(valid["generator_ema"][name])
        torch.save(valid, path)

    return write


def canary(path: Path) -> Path:
    """Return the path of the file that a sample would create if its code were executed."""
    return path.with_name("canary")


def calling(wrap: Callable[[Any], Any], **options: Any) -> Maker:
    return lambda path: torch.save(wrap(Call(os.system, f"touch {canary(path)}")), path, **options)


def evaluating(path: Path) -> None:
    torch.save({**contents(), "classes": Call(eval, f"open({str(canary(path))!r}, 'w')")}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Call(os.system, f"touch {canary(path)}")))


def repacked(change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED, tail: bytes = b"") -> Maker:
    """A valid archive with changed records."""

    def write(path: Path) -> None:
        stored = io.BytesIO()
        torch.save(contents(), stored)
        with zipfile.ZipFile(stored) as source, zipfile.ZipFile(path, "w", method) as target:
            for record in source.infolist():
                target.writestr(record.filename, change(record.filename, source.read(record)))
        with path.open("ab") as file:
            file.write(tail)

    return write


def raw_pickle(content: bytes) -> Maker:
    return repacked(lambda name, data: content if name.endswith("data.pkl") else data)


def with_pickle(text: bytes) -> Maker:
    """An archive with one entry given as pickle code, which must leave one object on the stack."""
    return repacked(lambda name, data: b"\x80\x02}X\1\0\0\0x" + text + b"s." if name.endswith("data.pkl") else data)


def inflating(path: Path) -> None:
    """200 MiB of zeros compressed to 0.2 MiB."""
    path.write_bytes(_inflating())


@functools.cache
def _inflating() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bomb"
        _write_inflating(path)
        return path.read_bytes()


def _write_inflating(path: Path) -> None:
    repacked(lambda name, data: bytes(200 * 2**20) if name.endswith("data/0") else data, zipfile.ZIP_DEFLATED)(path)


def claiming(size: int) -> Maker:
    """An archive with a directory that gives this size for each storage."""

    def write(path: Path) -> None:
        repacked(lambda name, data: data)(path)
        content = bytearray(path.read_bytes())
        place = content.find(b"PK\1\2")
        while place >= 0:
            struct.pack_into("<II", content, place + 20, size, size)
            place = content.find(b"PK\1\2", place + 4)
        path.write_bytes(content)

    return write


def overlapping(path: Path) -> None:
    """An archive with one record of 1 MiB that its directory lists a thousand times."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/data/0", bytes(2**20))
        for index in range(1, 1000):
            info = zipfile.ZipInfo(f"a/data/{index}")
            info.file_size = info.compress_size = 2**20
            info.header_offset, info.CRC = archive.infolist()[1].header_offset, archive.infolist()[1].CRC
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
        archive._didModify = True


def shared(path: Path) -> None:
    """A thousand names for one tensor of 1 MiB."""
    one = torch.zeros(2**18)
    torch.save({**contents(), "generator": {str(index): one for index in range(1000)}}, path)


def views(path: Path) -> None:
    one = torch.zeros(2**18)
    torch.save({**contents(), "generator": {str(index): one.view(512, 512) for index in range(1000)}}, path)


def laughs(levels: int = 40) -> Any:
    """Return a list that would print as 2^levels items."""
    item: Any = ["ha"]
    for _ in range(levels):
        item = [item, item]
    return item


def nested(levels: int = 100_000) -> bytes:
    return b"]" * levels + b"a" * (levels - 1)


def itself() -> list[Any]:
    item: list[Any] = []
    item.append(item)
    return item


def truncated(share: float, whole: Maker) -> Maker:
    def write(path: Path) -> None:
        whole(path)
        os.truncate(path, int(share * path.stat().st_size))

    return write


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    place = os.getcwd()
    os.chdir(path.parent)  # socket paths must be short
    with socket.socket(socket.AF_UNIX) as file:
        file.bind(path.name)
    os.chdir(place)


PLACES: Mapping[str, Maker] = {  # things in place of the expected file
    "nothing": lambda path: None,
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("hello"),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "folder": lambda path: path.mkdir(),
    "pipe": fifo,
    "socket": listening,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to a long name": lambda path: path.symlink_to("x" * 4000),
}


def sparse(path: Path) -> None:
    changed(x=torch.sparse_coo_tensor(torch.tensor([[FAR - 1]]), torch.ones(1), (FAR,)))(path)


def quantized(path: Path) -> None:
    changed(x=torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8))(path)


def released(**changes: Any) -> Maker:
    """A file that claims to be a released checkpoint."""
    return lambda path: torch.save({"g": {}, "g_ema": {"a": torch.zeros(1)}, "d": {}, **changes}, path)


ARCHIVES: Mapping[str, Maker] = {  # archives of torch.save for any reader
    "calls a program": calling(lambda call: {**contents(), "classes": call}),
    "calls a program for its weights": calling(lambda call: {**contents(), "generator_ema": {"a": call}}),
    "calls a program at once": calling(lambda call: call),
    "calls a program by protocol 4": calling(lambda call: call, pickle_protocol=4),
    "calls a program in the old format": calling(lambda call: call, _use_new_zipfile_serialization=False),
    "calls a program as a released file": calling(lambda call: {"g": {}, "g_ema": {}, "d": {}, "args": call}),
    "calls a program in released options": calling(
        lambda call: {"g": {}, "g_ema": {}, "d": {}, "args": argparse.Namespace(size=call)}
    ),
    "evaluates": evaluating,
    "is a pickle": plain_pickle,
    "names a module": with_pickle(b"cthis\ns\n"),
    "reconstructs an array": changed(classes=np.zeros(3)),
    "is an object of ours": changed(classes=CONFIG),
    "makes a large byte array": with_pickle(b"cbuiltins\nbytearray\n(L100000000000L\ntR"),
    "makes a large tensor": with_pickle(b"ctorch\nFloatTensor\n(L100000000000L\ntR"),
    "is sparse": sparse,
    "is of no device": changed(x=torch.empty(FAR, device="meta")),
    "is quantized": quantized,
    "inflates": inflating,
    "is compressed": repacked(lambda name, data: data, zipfile.ZIP_DEFLATED),
    "claims 4 GB a record": claiming(2**32 - 2),
    "claims a byte more": repacked(lambda name, data: data[:-1] if "data/" in name else data),
    "enters a record often": overlapping,
    "expands a number": changed(x=torch.zeros(1).expand(10**6, 10**6)),
    "overlaps itself": changed(x=torch.zeros(10**4).as_strided((9000, 900), (1, 1))),
    "names a tensor often": shared,
    "names a storage often": views,
    "has a long pickle": changed(x="x" * 9_000_000),
    "is nested": with_pickle(nested()),
    "holds itself": changed(x=itself()),
    "has a long number": changed(x=10**5000),
    "has no end of its pickle": raw_pickle(b"\x80\x02}"),
    "has an empty pickle": raw_pickle(b""),
    "reads an unknown memo": raw_pickle(b"\x80\x02h\5."),
    "is followed by more": repacked(lambda name, data: data, tail=b"more"),
    "is followed by a directory": repacked(lambda name, data: data, tail=b"PK\5\6" + bytes(18)),
    "is cut in half": truncated(0.5, changed()),
    "lacks its end": truncated(0.999, changed()),
}

CHECKPOINTS: Mapping[str, Maker] = {  # valid archives with hostile contents
    "is a list": lambda path: torch.save([1], path),
    "has another format": changed(format=laughs()),
    "has no model": changed(model=None),
    "has a strange model": changed(model={1: laughs()}),
    "has a model of lists": model(latent_dim=laughs()),
    "has a model of text": model(latent_dim="16"),
    "has a model of truths": model(latent_dim=True),
    "has a billion channels": model(local_channels=10**9),
    "has many channels": model(channel_base=2**24, channel_max=2**14, feature_channels=2**14, latent_dim=2**14),
    "has a billion layers": model(mapping_layers=10**9),
    "has a billion local layers": model(local_layers=10**9, depth_layers=10**8),
    "has a billion base codes": model(base_layers=10**9),
    "has a huge resolution": model(resolution=2**40),
    "has a negative resolution": model(resolution=-32),
    "has a huge height": model(resolution=(2**40, 32)),
    "has no width": model(resolution=(32, 0)),
    "has a billion parts": model(num_classes=10**9),
    "has transparent lists": model(transparent_classes=([],)),
    "has transparent text": model(transparent_classes=("hat",)),
    "has weights of integers": weight(lambda value: value.long()),
    "has complex weights": weight(lambda value: torch.complex(value, value).to(torch.complex64)),
    "has bytes for weights": weight(lambda value: value.to(torch.uint8)),
    "has weights of NaN": weight(lambda value: value.fill_(float("nan"))),
    "has one infinite weight": weight(lambda value: value.index_fill_(0, torch.tensor([0]), float("inf"))),
    "has weights of no size": weight(lambda value: value[:0]),
    "has weights that are lists": weight(lambda value: value.tolist()),
    "has expanded weights": weight(lambda value: torch.zeros(1).expand(value.shape)),
    "has no weights": changed(generator_ema={}),
    "has a number for weights": changed(generator_ema=3),
    "has weights without names": changed(generator_ema={0: torch.zeros(1)}),
    "has weights of strange names": changed(generator_ema={"a\n\x1b[31m" * 9999: torch.zeros(1)}),
    "claims to be released": released(),
    "is released without weights": released(g_ema={}),
    "is released with text": released(g_ema="x"),
    "has released points for maps": released(
        g_ema={name: torch.tensor(0.0) for name in ("render_net.noises.noise_0", "render_net.convs.0.weight")}
    ),
    "has no classes": changed(classes=3),
    "has a million classes": changed(classes={"names": [str(k) for k in range(10**5)], "colors": []}),
    "has infinite colors": changed(classes={**CLASSES, "colors": [[float("inf")] * 3] * 4}),
    "has nested names": changed(classes={**CLASSES, "names": [laughs()] * 4}),
    "has a long name": changed(classes={**CLASSES, "names": ["a" * 10**6, "b", "c", "d"]}),
    "has a name of two lines": changed(classes={**CLASSES, "names": ["a\nb", "b", "c", "d"]}),
    "has partners far away": changed(classes={**CLASSES, "partners": [[1, 10**9]]}),
}


def write_all(makers: Mapping[str, Maker], folder: Path) -> dict[str, Path]:
    """Write a file of each kind and return their paths."""
    paths = {what: folder / f"{index}.file" for index, what in enumerate(makers)}
    for what, path in paths.items():
        makers[what](path)
    return paths
