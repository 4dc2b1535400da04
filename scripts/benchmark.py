"""Measures speed on this machine: `python -m scripts.benchmark data`.

data: pairs per second of the loader and of a float one-hot loader done the usual way, on one core; the time to prepare
a folder with one process, two, and so on; the time to read a record of small and large sets. Everything is drawn for
the purpose into a temporary folder.
"""

import argparse
import contextlib
import io
import os
import platform
import statistics
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
from scripts import prepare_data

_BATCH = 8
_ROUNDS = 5
_DISTINCT = 32  # faces drawn; larger sets repeat them
_SMALL = 16  # side of the records in the test of growing sets
_READS = 2000
_LOADERS = ("this loader", "float one-hot")


class FloatOneHotDataset(Dataset[tuple[Tensor, Tensor]]):
    """The usual way: decoded, then a plane for each class in double precision, then float tensors.

    image float [3, R, R] in [-1, 1] and segmentation float [K, R, R] of -1 and 1.
    """

    def __init__(self, path: Path, num_classes: int, length: int) -> None:
        self.path = path
        self.num_classes = num_classes
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = (np.array(decode(self.path, key)) for key in record_keys(index))
        planes = np.stack([(label == k).astype(np.float64) for k in range(self.num_classes)])
        picture = torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 127.5 - 1
        segmentation = torch.from_numpy(planes * 2 - 1).float()
        return picture, segmentation


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
    """Prints pairs per second and bytes per pair of both loaders, on one core, round by round in turn."""
    classes = celebamask13()
    path = folder / "pairs"
    with LmdbWriter(path, resolution, classes, "scripts.benchmark") as writer:
        faces = [encode_pair(*draw_face(0, index, resolution)) for index in range(min(pairs, _DISTINCT))]
        for index in range(pairs):
            writer.add_encoded(*faces[index % len(faces)])
    ours = make_loader(ImageMaskDataset(path), InfiniteSampler(pairs), _BATCH)
    usual = DataLoader(FloatOneHotDataset(path, classes.num_classes, pairs), _BATCH, sampler=InfiniteSampler(pairs))
    with _one_core():
        rates = [(_rate(ours, pairs), _rate(usual, pairs)) for _ in range(_ROUNDS)]
    print(f"\nloading pairs of {resolution} pixels, {classes.num_classes} classes, one core, {_ROUNDS} rounds in turn")
    for name, loader, speeds in zip(_LOADERS, (ours, usual), zip(*rates, strict=True), strict=True):
        size = sum(x.nbytes for x in next(iter(loader))) / _BATCH / 1e6
        print(f"  {name:<14} {statistics.median(speeds):8.1f} pairs/s   {size:6.3f} MB a pair to the device")
    ratios = [mine / theirs for mine, theirs in rates]
    print(f"  ratio          {statistics.median(ratios):8.1f}           ({min(ratios):.1f} to {max(ratios):.1f})")


def time_preparing(folder: Path, pairs: int) -> None:
    """Prints how long `scripts.prepare_data` takes with one worker, two, ... up to the cores."""
    source = _draw_folder(folder / "source", pairs, 256)
    print(f"\npreparing {pairs} pairs of 256 pixels: checking and writing")
    cores = os.cpu_count() or 1
    alone = None
    for workers in sorted({1, *(2**k for k in range(cores.bit_length()) if 2**k < cores), cores}):
        command = [str(source), str(folder / f"prepared_{workers}"), "--resolution", "256", "--workers", str(workers)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            seconds = _seconds(prepare_data.main, [*command, "--skip-bad"])
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
