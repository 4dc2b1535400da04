"""Runs in processes of their own, which can be killed. PyTorch is imported once, by a server that forks them."""

import multiprocessing as mp
import os
import socket
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tests.conftest import TINY_OPTIONS
from tests.processes import PATIENCE
from train import main
from utils import cli

SERVER = mp.get_context("forkserver")
OPTIONS = [
    *TINY_OPTIONS,
    "training.batch_size=4",
    "training.log_every_images=8",
    "training.preview_every_images=24",
    "training.preview_samples=2",
    "training.checkpoint_every_images=8",
    "training.device=cpu",
    "losses.r1_every=2",
    "losses.path_length_every=2",
    "data.workers=0",
    "ops=native",
]


def start(
    folder: Path, data: Path, *options: str, processes: int = 1, group: bool = False, config: Path | None = None
) -> list[BaseProcess]:
    """A run in so many processes, leading groups of their own or not; they write to RANK.txt beside the folder."""
    if config is None:
        config = folder.with_suffix(".yaml")
        config.write_text("")
    arguments = ["--config", str(config), "--output", str(folder), f"data.path={data}", *OPTIONS, *options]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    texts = [folder.with_name(f"{folder.name}_{rank}.txt") for rank in range(processes)]
    started = [
        SERVER.Process(target=_train, args=(arguments, rank, processes, port, texts[rank], group))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    return started


def _train(arguments: Sequence[str], rank: int, processes: int, port: int, text: Path, group: bool) -> None:
    if group:
        os.setpgrp()
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = text.open("w")
    cli.run(lambda: main(arguments))


def finish(processes: Sequence[BaseProcess]) -> list[int | None]:
    """Wait for the processes and return their exit codes; None for one that does not end."""
    for process in processes:
        process.join(PATIENCE)
    return [process.exitcode for process in processes]


def text(folder: Path, rank: int = 0) -> str:
    """What a process wrote."""
    return folder.with_name(f"{folder.name}_{rank}.txt").read_text()


def newest(folder: Path) -> int:
    """Images of the newest checkpoint, 0 if there is none."""
    return max((int(path.stem.split("_")[1]) for path in folder.glob("checkpoints/images_*.pt")), default=0)


def contents(folder: Path, images: int) -> dict:
    return torch.load(folder / "checkpoints" / f"images_{images:09d}.pt", weights_only=True)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.partial")]
