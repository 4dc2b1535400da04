"""Measures speed on this machine: `python -m scripts.benchmark data`.

data: pairs per second of the loader and of a float one-hot loader done the usual way, on one core; the time to prepare
a folder with one process, two, and so on; the time to read a record of small and large sets. Everything is drawn for
the purpose into a temporary folder.
"""

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from configs import ConfigError, cli
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
        self.path = path
        self.num_classes = num_classes
        self.length = length
        self.planes_last = planes_last
        self.to_floats = Compose([ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, picture = (decode(self.path, key) for key in record_keys(index))
        label = np.array(picture)
        planes = [(label == k).astype(np.float64) for k in range(self.num_classes)]
        if self.planes_last:
            return self.to_floats(image), ToTensor()(np.stack(planes, axis=-1)).float() * 2 - 1
        return self.to_floats(image), torch.from_numpy(np.stack(planes)).float() * 2 - 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = cli.Parser(__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="data")
    data = subjects.add_parser("data", description="Loading and preparing data.")
    data.add_argument("--resolution", type=int, default=512, help="of the loaders' pairs (default 512)")
    data.add_argument("--pairs", type=int, default=64, help="read by each loader in a round (default 64)")
    data.add_argument("--prepare", type=int, default=2000, help="pairs to prepare at 256 pixels (default 2000)")
    data.add_argument(
        "--records", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the growing set"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints machine, versions and measurements.

    Raises:
        ConfigError: for numbers out of range.
    """
    args = parse(argv)
    for option, value in (("--pairs", args.pairs), ("--prepare", args.prepare), ("--records", min(args.records))):
        if value < _BATCH:
            raise ConfigError(f"{option} {value}: give {_BATCH} or more")
    print(f"{_cpu()}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__},", end=" ")
    print(f"numpy {np.__version__}, Pillow {PIL.__version__}, lmdb {lmdb.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        compare_loaders(Path(folder), args.resolution, args.pairs)
        time_preparing(Path(folder), args.prepare)
        time_reading(Path(folder), args.records)


def compare_loaders(folder: Path, resolution: int, pairs: int) -> None:
    """Prints pairs per second and bytes per pair of this loader and the usual ones, on one core, in turn."""
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
    with _one_core():
        rounds = [[_rate(loader, pairs) for loader in loaders.values()] for _ in range(1 + _ROUNDS)][1:]
    print(f"\nloading pairs of {resolution} pixels, {classes.num_classes} classes, one core, {_ROUNDS} rounds in turn")
    for (name, loader), speeds in zip(loaders.items(), zip(*rounds, strict=True), strict=True):
        size = sum(x.nbytes for x in next(iter(loader))) / _BATCH / 1e6
        ratios = [round_[0] / speed for round_, speed in zip(rounds, speeds, strict=True)]
        print(
            f"  {name:<20} {statistics.median(speeds):7.1f} pairs/s   {size:6.3f} MB a pair to the device"
            f"   this loader: {statistics.median(ratios):4.1f} times ({min(ratios):.1f} to {max(ratios):.1f})"
        )


def time_preparing(folder: Path, pairs: int) -> None:
    """Prints how long `scripts.prepare_data` takes with one worker, two, ... up to the cores, once it has started."""
    source = _draw_folder(folder / "source", pairs, 256)
    start = _seconds(_prepare_data, ["--help"])
    print(f"\npreparing {pairs} pairs of 256 pixels: checking and writing, without the {start:.1f} s to start Python")
    cores = os.cpu_count() or 1
    alone = None
    for workers in sorted({1, *(2**k for k in range(cores.bit_length()) if 2**k < cores), cores}):
        options = ["--resolution", "256", "--workers", str(workers), "--skip-bad"]
        seconds = _seconds(_prepare_data, [str(source), str(folder / f"prepared_{workers}"), *options]) - start
        alone = alone or seconds
        print(f"  {workers:>3} workers {seconds:8.1f} s {pairs / seconds:8.0f} pairs/s   {alone / seconds:5.2f} times")


def time_reading(folder: Path, sizes: Sequence[int]) -> None:
    """Prints the time to read records in random order of sets that differ in length only."""
    print(f"\nreading {_READS} records of {_SMALL} pixels in random order, median of {_ROUNDS} rounds in turn")
    jpeg, png = encode_pair(np.full((_SMALL, _SMALL, 3), 127, np.uint8), np.zeros((_SMALL, _SMALL), np.uint8))
    datasets = []
    for size in sizes:
        with LmdbWriter(folder / f"records_{size}", _SMALL, celebamask13(), "scripts.benchmark") as writer:
            for _ in range(size):
                writer.add_encoded(jpeg, png)
        datasets.append(ImageMaskDataset(folder / f"records_{size}"))
    orders = [np.random.default_rng(0).integers(0, size, _READS).tolist() for size in sizes]
    work = list(zip(datasets, orders, strict=True))
    rounds = [[_seconds(_read, dataset, order) for dataset, order in work] for _ in range(_ROUNDS)]
    for size, seconds in zip(sizes, zip(*rounds, strict=True), strict=True):
        print(f"  {size:>8} records {statistics.median(seconds) / _READS * 1e6:8.1f} µs a record")


def _prepare_data(arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "scripts.prepare_data", *arguments]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=Path(__file__).parent.parent)
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


def _rate(loader: DataLoader[Any], pairs: int) -> float:
    batches = iter(loader)
    next(batches)  # opened, and in the cache

    def read() -> None:
        for _ in range(pairs // _BATCH):
            next(batches)

    return pairs // _BATCH * _BATCH / _seconds(read)


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


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


def _cpu() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return platform.machine()


if __name__ == "__main__":
    cli.run(main)
