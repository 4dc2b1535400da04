"""What a run spends on other things than steps: waiting for data, averaging weights, logs, previews, checkpoints.

The share is the time of each divided by that of the iterations in its interval. Checkpoints go into the system's
temporary folder. On a GPU waiting for data is the host's, which may cost the GPU nothing.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from scripts.benchmarks import trainers
from scripts.benchmarks.tables import Column, Job, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn
from training.run.log import Log
from training.run.run_folder import RunFolder
from training.run.saving import Saver
from utils.distributed import process_group

_COLUMNS = (
    Column("what", heading="what", width=17),
    Column("ms", "{:.2f}", "ms each time", width=28),
    Column("every_images", "{:,}", "every ... images"),
    Column("share", "{:.2%}", "of the time"),
)

add_options, check = trainers.add_options, trainers.load_run


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One row for each cost, and their sum."""
    with ExitStack() as stack:
        stack.enter_context(process_group(device.type))
        config = stack.enter_context(trainers.data_for_runs())(trainers.load_run(args))
        trainer, training = trainers.our_trainer(config, device), config.training
        state, previews, batches = trainer.state, trainer.previews, trainer.batches.after(0)
        folder = RunFolder(Path(stack.enter_context(TemporaryDirectory())) / "run")
        folder.prepare(config, 0)
        with redirect_stderr(StringIO()):  # the progress bar keeps the stream that it finds
            log = stack.enter_context(Log(folder, trainer.process, training.total_images, 0))
        saver = Saver(folder, trainer.process, training, 0, print)
        period = trainers.penalty_period(config)
        waits: list[float] = []  # seconds, by round
        averaging: list[float] = []
        per_image: list[float] = []  # milliseconds

        def iterate(iterations: int = period) -> None:
            waits.append(0.0)
            for _ in range(iterations):
                start = time.perf_counter()
                batch = next(batches)
                waits[-1] += (time.perf_counter() - start) / iterations
                trainer.phases.iterate(batch, training.batch_size)

        def write_log() -> None:
            values = trainer.stats.tick()
            averaging.append(values["seconds/ema"])
            with redirect_stderr(StringIO()):
                log.tick(values, state.images)

        def cost(what: str, seconds: Sequence[float], every: int) -> Row:
            spread = Spread.of([1000 * each for each in seconds[-args.rounds :]])
            per_image.append(spread.median / every)  # first those of iterations
            return {"what": what, "ms": spread, "every_images": every, "share": per_image[-1] / per_image[0]}

        def train() -> Iterator[Row]:
            iterate(trainers.warm_up(trainer))
            write_log()
            seconds = in_turn({"iterations": iterate, "log": write_log}, device, args.rounds, warm_up=0)
            yield cost("iteration", [each / period for each in seconds["iterations"]], training.batch_size)
            yield cost("waiting for data", waits, training.batch_size)
            yield cost("averaging weights", averaging, training.batch_size)
            yield cost("log", seconds["log"], training.log_every_images)

        def other(what: str, call: Callable[[], None], every: int) -> Iterator[Row]:
            yield cost(what, in_turn({"": call}, device, args.rounds)[""], every)

        def together() -> Iterator[Row]:
            yield {"what": "together", "share": sum(per_image[1:]) / per_image[0]}

        def preview() -> None:
            log.preview(previews.sheet(state.generator_ema), state.images)

        def save() -> None:
            saver.save(trainer.contents(), state.images)

        jobs = [
            Job("iterations", train),
            Job("preview", partial(other, "preview", preview, training.preview_every_images)),
            Job("checkpoint", partial(other, "checkpoint", save, training.checkpoint_every_images)),
            Job("together", together),
        ]
        title = f"what else takes time, {args.rounds} rounds, a log after {period} iterations; aim: together 3%"
        yield Table(title, _COLUMNS, jobs, {"config": config})
