"""Loading and preparing data.

Pairs per second of the loader and of a float one-hot loader done the usual way, on one core; the time to prepare a
folder with one process, two, and so on; the time to read a record of small and large sets. Everything is drawn for the
purpose into a temporary folder.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from configs import ConfigError
from datasets import (
    ImageMaskDataset,
    InfiniteSampler,
    LmdbWriter,
    celebamask13,
    draw_face,
    encode_pair,
    make_loader,
    save_label_png,
)
from datasets.layouts import record_keys
from datasets.lmdb_reading import decode
from scripts.benchmarks.report import Column, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn, ratios, seconds_of

_CPU = torch.device("cpu")
_ROOT = Path(__file__).parents[2]
_BATCH = 8
_ROUNDS = 5
_DISTINCT = 32  # faces drawn; larger sets repeat them
_SMALL = 16  # side of the records in the test of growing sets
_READS = 2000


class FloatOneHotDataset(Dataset[tuple[Tensor, Tensor]]):
    """The usual way: decoded, then a plane for each class in double precision, then float tensors.

    image float [3, R, R] in [-1, 1] and segmentation float [K, R, R] of -1 and 1. The planes are stacked last, as
    torchvision's ToTensor takes pictures, or first, which spares a transposition.
    """

    def __init__(self, path: Path, num_classes: int, length: int, planes_last: bool) -> None:
        from torchvision.transforms import Compose, Normalize, ToTensor  # here, for it takes seconds to import

        self.path = path
        self.num_classes = num_classes
        self.length = length
        self.planes_last = planes_last
        self.to_planes = ToTensor()
        self.to_floats = Compose([self.to_planes, Normalize([0.5] * 3, [0.5] * 3)])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, picture = (decode(self.path, key) for key in record_keys(index))
        label = np.array(picture)
        planes = [(label == k).astype(np.float64) for k in range(self.num_classes)]
        if self.planes_last:
            return self.to_floats(image), self.to_planes(np.stack(planes, axis=-1)).float() * 2 - 1
        return self.to_floats(image), torch.from_numpy(np.stack(planes)).float() * 2 - 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The subject's options."""
    parser.add_argument("--resolution", type=int, default=512, help="of the loaders' pairs (default 512)")
    parser.add_argument("--pairs", type=int, default=64, help="read by each loader in a round (default 64)")
    parser.add_argument("--prepare", type=int, default=2000, help="pairs to prepare at 256 pixels (default 2000)")
    parser.add_argument(
        "--records", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the growing set"
    )
    parser.set_defaults(device="cpu")


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for numbers out of range."""
    for option, value in (("--pairs", args.pairs), ("--prepare", args.prepare), ("--records", min(args.records))):
        if value < _BATCH:
            raise ConfigError(f"{option} {value}: give {_BATCH} or more")


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """Loading, preparing, and reading of growing sets."""
    with tempfile.TemporaryDirectory() as folder:
        yield compare_loaders(Path(folder), args.resolution, args.pairs)
        yield time_preparing(Path(folder), args.prepare)
        yield time_reading(Path(folder), args.records)


def compare_loaders(folder: Path, resolution: int, pairs: int) -> Table:
    """Pairs per second and bytes per pair of this loader and the usual ones, on one core, in turn."""
    classes = celebamask13()
    path = folder / "pairs"
    with LmdbWriter(path, resolution, classes, "scripts.benchmark") as writer:
        faces = [encode_pair(*draw_face(0, index, resolution)) for index in range(min(pairs, _DISTINCT))]
        for index in range(pairs):
            writer.add_encoded(*faces[index % len(faces)])
    loaders = {"this loader": make_loader(ImageMaskDataset(path), InfiniteSampler(pairs), _BATCH)}
    for name, planes_last in (("float, planes last", True), ("float, planes first", False)):
        usual = FloatOneHotDataset(path, classes.num_classes, pairs, planes_last)
        loaders[name] = DataLoader(usual, _BATCH, sampler=InfiniteSampler(pairs))
    batches = pairs // _BATCH
    with _one_core():
        seconds = in_turn({name: _reader(x, batches) for name, x in loaders.items()}, _CPU, rounds=_ROUNDS)
    rows = [
        {
            "loader": name,
            "speed": Spread.of([batches * _BATCH / each for each in seconds[name]]),
            "megabytes": sum(x.nbytes for x in next(iter(loader))) / _BATCH / 1e6,
            "gain": ratios(seconds[name], seconds["this loader"]),
        }
        for name, loader in loaders.items()
    ]
    columns = [
        Column("loader"),
        Column("speed", "{0.median:.1f} pairs/s"),
        Column("megabytes", "{:.3f} MB a pair to the device"),
        Column("gain", "this loader: {:.1f} times"),
    ]
    size = f"{resolution} pixels, {classes.num_classes} classes"
    return Table(f"loading pairs of {size}, one core, {_ROUNDS} rounds in turn", columns, rows)


def time_preparing(folder: Path, pairs: int) -> Table:
    """How long `scripts.prepare_data` takes with one worker, two, ... up to the cores, once it has started."""
    source = _draw_folder(folder / "source", pairs, 256)
    start = seconds_of(partial(_prepare_data, ["--help"]))
    cores = os.cpu_count() or 1
    rows: list[dict[str, Any]] = []
    for workers in sorted({1, *(2**k for k in range(cores.bit_length()) if 2**k < cores), cores}):
        options = ["--resolution", "256", "--workers", str(workers), "--skip-bad"]
        arguments = [str(source), str(folder / f"prepared_{workers}"), *options]
        seconds = seconds_of(partial(_prepare_data, arguments)) - start
        rows.append({"workers": workers, "seconds": seconds, "speed": pairs / seconds})
        rows[-1]["gain"] = rows[0]["seconds"] / seconds
    columns = [
        Column("workers", "{} workers"),
        Column("seconds", "{:.1f} s"),
        Column("speed", "{:.0f} pairs/s"),
        Column("gain", "{:.2f} times"),
    ]
    title = f"preparing {pairs} pairs of 256 pixels: checking and writing, without the {start:.1f} s to start Python"
    return Table(title, columns, rows)


def time_reading(folder: Path, sizes: Sequence[int]) -> Table:
    """The time to read records in random order of sets that differ in length only."""
    jpeg, png = encode_pair(np.full((_SMALL, _SMALL, 3), 127, np.uint8), np.zeros((_SMALL, _SMALL), np.uint8))
    readings = {}
    for size in sizes:
        with LmdbWriter(folder / f"records_{size}", _SMALL, celebamask13(), "scripts.benchmark") as writer:
            for _ in range(size):
                writer.add_encoded(jpeg, png)
        order = np.random.default_rng(0).integers(0, size, _READS).tolist()
        readings[str(size)] = partial(_read, ImageMaskDataset(folder / f"records_{size}"), order)
    seconds = in_turn(readings, _CPU, rounds=_ROUNDS, warm_up=0)
    rows = [
        {"records": int(size), "microseconds": Spread.of([each / _READS * 1e6 for each in rounds])}
        for size, rounds in seconds.items()
    ]
    columns = [Column("records", "{} records"), Column("microseconds", "{0.median:.1f} µs a record")]
    title = f"reading {_READS} records of {_SMALL} pixels in random order, median of {_ROUNDS} rounds in turn"
    return Table(title, columns, rows)


def _prepare_data(arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "scripts.prepare_data", *arguments]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=_ROOT)
    if result.returncode:
        raise ConfigError(f"scripts.prepare_data failed: {result.stderr.strip().splitlines()[-1]}")


def _draw_folder(folder: Path, pairs: int, resolution: int) -> Path:
    """JPEG images and palette masks."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    palette = celebamask13().palette()
    faces = [draw_face(0, index, resolution) for index in range(min(pairs, _DISTINCT))]
    for index in range(pairs):
        image, label = faces[index % len(faces)]
        Image.fromarray(image).save(folder / "images" / f"{index:06d}.jpg", quality=95)
        save_label_png(label, palette, folder / "masks" / f"{index:06d}.png")
    return folder


def _read(dataset: ImageMaskDataset, order: Sequence[int]) -> None:
    for index in order:
        dataset[index]


def _reader(loader: DataLoader[Any], batches: int) -> Callable[[], None]:
    """Reads so many batches, of a loader that has been opened."""
    endless = iter(loader)
    next(endless)

    def read() -> None:
        for _ in range(batches):
            next(endless)

    return read


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """This process and PyTorch on one core."""
    threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(1)
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)
