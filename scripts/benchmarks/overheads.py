"""Time everything in a run except its steps: waiting for data, averaging weights, logs, previews, checkpoints.

"of the time" is the time that each takes, divided by that of the iterations from one such event to the next. Files
go to the system's temporary folder. "waiting for data" is the host's waiting time; a GPU may be busy then.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from scripts.benchmarks import trainers
from scripts.benchmarks.tables import BenchmarkReport, Column
from scripts.benchmarks.timing import Spread, time_call, time_in_turn
from training.run.run import Run
from training.run.run_folder import RunFolder
from training.run.stop import Preemption
from utils.distributed import process_group

_COLUMNS = (
    Column("what", width=17),
    Column("ms", "{:.2f}", "ms each time", width=28),
    Column("every_images", "{:,}", "every ... images"),
    Column("share", "{:.2%}", "of the time"),
)

check = trainers.load_run


def measure(args: argparse.Namespace, device: torch.device, report: BenchmarkReport) -> None:
    """Add rows to the report: an iteration, each cost besides the steps, and the sum of these costs."""
    with ExitStack() as stack:
        stack.enter_context(process_group(device.type))
        temporary = stack.enter_context(TemporaryDirectory())
        config = trainers.with_data(trainers.load_run(args), temporary)
        trainer, training = trainers.build_trainer(config, device), config.training
        state, batches = trainer.state, trainer.data.batches(0)
        folder = RunFolder(Path(temporary) / "run")
        run = Run(trainer, folder, "none", Preemption())
        with redirect_stderr(StringIO()):  # the progress bar keeps using this stream
            log = stack.enter_context(run.log)
        period = trainers.penalty_period(config)
        waiting: list[float] = []  # seconds per iteration in each round
        averaging: list[float] = []
        ms_per_image: list[float] = []  # first of an iteration, then of each cost

        def iterate(iterations: int = period) -> None:
            waiting.append(0.0)
            for _ in range(iterations):
                start = time.perf_counter()
                batch = next(batches)
                waiting[-1] += (time.perf_counter() - start) / iterations
                trainer.steps.iterate(batch)

        def write_log() -> None:
            values = trainer.stats.tick()
            averaging.append(values["seconds/ema"])
            with redirect_stderr(StringIO()):
                log.tick(values, state.images)

        def preview() -> None:
            log.preview(run.previews.generate(state.generator_ema)[0], state.images)

        def add(what: str, seconds: Sequence[float], every: int) -> None:
            spread = Spread.of([1000 * each for each in seconds[-args.rounds :]])
            ms_per_image.append(spread.median / every)
            share = ms_per_image[-1] / ms_per_image[0]
            report.add({"what": what, "ms": spread, "every_images": every, "share": share})

        title = f"costs besides the steps, {args.rounds} rounds of {period} iterations and a log; aim: 3% together"
        report.begin(title, _COLUMNS, {"config": config})
        if report.has_time("iterations"):
            iterate(trainers.warm_up(trainer))
            write_log()
            seconds = time_in_turn({"iterations": iterate, "log": write_log}, device, args.rounds, warm_up=0)
            add("iteration", [each / period for each in seconds["iterations"]], training.batch_size)
            add("waiting for data", waiting, training.batch_size)
            add("averaging weights", averaging, training.batch_size)
            add("log", seconds["log"], training.log_every_images)
        if report.has_time("preview"):
            add("preview", time_call(preview, device, args.rounds), training.preview_every_images)
        if report.has_time("checkpoint"):
            saving = time_call(lambda: run.saver.save(run.contents(), state.images), device, args.rounds)
            add("checkpoint", saving, training.checkpoint_every_images)
        if report.has_time("together"):
            report.add({"what": "together", "share": sum(ms_per_image[1:]) / ms_per_image[0]})
