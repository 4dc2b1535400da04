"""A training run in its folder: resuming, logs, previews, checkpoints, metrics, and reasons to stop."""

import time
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from configs import changed_options
from datasets.labels import ClassTable
from models.checkpoint import load_networks
from training.previews import Previews
from training.run.checkpoints import Saver
from training.run.collapse import DUPLICATES, MIN_STEPS, CollapseWatch, score_gap
from training.run.log import Log, print_start
from training.run.nonfinite import LOSS_SCALE, NonfinitePolicy
from training.run.run_folder import RunFolder
from training.run.stop import (
    MASK_DRIFT,
    PREEMPTED,
    InterruptionError,
    Preemption,
    StopReason,
    TimeLimit,
    drift_limit_reached,
)
from training.run.sync import IterationSync, SyncResult
from utils.distributed import any_process, from_main, gather
from utils.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from training.evaluation.metric_history import MetricHistory
    from training.mask_drift import MaskDrift
    from training.trainer import Trainer


class Run:
    """Logs, previews, checkpoints, metrics and stop conditions of a run. Every process calls the same methods.

    The constructor restores the checkpoint to resume from and prepares the folder. The training loop runs in the
    object's context, where signals only set a flag. When the loop ends, the context saves a checkpoint if needed.

    Args:
        trainer: the trainer of this process.
        folder: folder of the run, inside `RunFolder.claimed`.
        resume: see `RunFolder.resume_from`.
        preemption: records signals that ask the run to stop.

    Raises:
        ConfigError, ModelError, DataError: if the folder, the checkpoint or a data file cannot be used.
    """

    def __init__(self, trainer: "Trainer", folder: RunFolder, resume: str, preemption: Preemption) -> None:
        self.config, self.process = trainer.config, trainer.process
        self.state, self.stats, self.data, self.steps = trainer.state, trainer.stats, trainer.data, trainer.steps
        self.pretrained = trainer.pretrained
        self.folder = folder
        self.resume = resume
        self.preemption = preemption
        training, state = self.config.training, self.state
        self.drift = self._mask_drift()
        self._resume()

        from_main(self.process, lambda: folder.prepare(self.config, state.images))
        self.evaluation = trainer.evaluation
        self.history = self._metric_history()
        self.log = Log(folder, self.process, training.total_images, state.images)
        self.previews = Previews(
            training.preview_samples, self.config.model.latent_dim, self.data.classes, self.data.micro_batch_size
        )
        self.time_limit = TimeLimit(training.max_minutes, self.process.device)
        self.stop_reason = self._drift_limit_reached(self._measure_drift())  # a resumed run may already exceed it
        self.sync = IterationSync(self.process.device, training.collective_minutes)
        describe_origin = partial(self.steps.guard.describe_origin, forward=self.steps.forward)
        self.nonfinite = NonfinitePolicy(
            state, self.process, training, describe_origin, self.data.record_indices, self._warn
        )
        self.collapse = CollapseWatch()
        self.saver = Saver(folder.checkpoints, folder.best, self.process, training, state.images, self._warn)
        self._was_done = self._is_done()
        self._open = ExitStack()

    def __enter__(self) -> "Run":
        if not self._was_done:
            if self.process.is_main:
                print_start(self.config.training, self.process, len(self.data.dataset))
            with ExitStack() as stack:
                stack.enter_context(self.preemption.deferred())
                stack.enter_context(self.log)
                if self._lacks_measurement():
                    self._measure()
                self._open = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        with self._open:
            if error is None:
                self._handle(self.sync.flush())
                self._save_if_unsaved()
            elif isinstance(error, DataError) and self.process.world_size == 1:
                self._save_if_unsaved()  # a data record cannot be read; the networks are good

    @property
    def should_stop(self) -> bool:
        """True if all images have been seen, or there is a reason to stop earlier."""
        return self.state.images >= self.config.training.total_images or self.stop_reason is not None

    def after_iteration(self) -> None:
        """Exchange flags with the other processes, then write whatever is due: logs, previews, checkpoints, metrics."""
        training, images = self.config.training, self.state.images
        self.log.advance(training.batch_size)
        self._handle(self.sync.exchange(self.preemption.requested, *self.steps.guard.collect()))

        is_last = images >= training.total_images

        def is_due(every: int) -> bool:
            return is_last or images % every < training.batch_size

        if is_due(training.log_every_images) and not self.stop_reason:
            limit = self._log_means()
            self.stop_reason = limit or self.stop_reason
            is_last = is_last or limit is not None
        if is_due(training.preview_every_images) and self.process.is_main:
            self._write_preview()
        if is_due(training.checkpoint_every_images):
            self._save()  # before measuring, which may take long or fail
        if not self.stop_reason and self._lacks_measurement():
            self._measure()

    def finish(self) -> int:
        """Print how the run ended, and return its exit code: 0, or `ExitCode.PREEMPTED`.

        Raises:
            WriteError: if the last checkpoint could not be written.
        """
        if not self._was_done:
            self.saver.conclude()
            if self._is_done():  # a signal in the last iteration stopped nothing
                self.stop_reason = None
        if self.process.is_main:
            print(self._conclusion())
        return self.stop_reason.exit_code if self.stop_reason else 0

    def _conclusion(self) -> str:
        images, total, stop = self.state.images, self.config.training.total_images, self.stop_reason
        if not stop:
            return f"{'already ' * self._was_done}trained on {images} images; results are in {self.folder.path}"
        auto = "" if self.resume == "auto" else ", now with --resume auto"
        return f"{stop.reason} at {images} of {total} images; {stop.remedy}{auto}; results are in {self.folder.path}"

    def _is_done(self) -> bool:
        return self.state.images >= self.config.training.total_images and not self._lacks_measurement()

    def _warn(self, message: str) -> None:
        self.log.warn(message, self.state.images)

    # Signals and bad steps

    def _handle(self, results: list[SyncResult]) -> None:
        for result in results:
            self.nonfinite.handle(result.bad_steps, result.checks)
            if result.stop:
                self.stop_reason = PREEMPTED

    # Logs and previews

    def _log_means(self) -> StopReason | None:
        """Log the means since the last tick; return the reason to stop if a limit has been reached."""
        self._handle(self.sync.flush())  # first: a bad step explains a bad mean
        values = self.stats.tick() | self._measure_drift()
        if self.state.loss_scaler.is_enabled():  # in float16; halved when a step is skipped
            values[LOSS_SCALE] = self.state.loss_scaler.get_scale()
        values |= score_gap(values) | self.nonfinite.check_means(values)
        self.log.tick(values, self.state.images, self.time_limit.seconds_left())
        self._warn_of_collapse(values)
        return self.time_limit.reached() or self._drift_limit_reached(values)

    def _write_preview(self) -> None:
        grid, duplicates = self.previews.generate(self.state.generator_ema)
        self.log.preview(grid, self.state.images)
        self.log.scalars({DUPLICATES: duplicates}, self.state.images)
        self._warn_of_collapse({DUPLICATES: duplicates})

    def _warn_of_collapse(self, values: dict[str, float]) -> None:
        settled = self.state.iteration > MIN_STEPS * self.config.losses.path_length_every
        for warning in self.collapse.warnings(values, self.state.path_mean.item() if settled else 0.0):
            self._warn(warning)

    def _mask_drift(self) -> "MaskDrift | None":
        if not self.pretrained:
            return None
        from training.mask_drift import MaskDrift

        return MaskDrift(self.state.generator_ema, self.data.micro_batch_size)

    def _measure_drift(self) -> dict[str, float]:
        drift = self.drift
        if not drift:
            return {}
        return {MASK_DRIFT: from_main(self.process, lambda: drift.measure(self.state.generator_ema))}

    def _drift_limit_reached(self, values: dict[str, float]) -> StopReason | None:
        return drift_limit_reached(values.get(MASK_DRIFT, 0.0), self.config.training.max_mask_drift)

    # Checkpoints

    def contents(self) -> dict[str, Any]:
        """Return the contents of a checkpoint as plain data and tensors. Every process must call it."""
        return {
            **self.state.networks(self.data.classes.to_dict()).to_dict(),
            "data": self.data.provenance,
            "start": self.pretrained and self.pretrained.to_dict(),
            "config": asdict(self.config),
            "training": self.state.to_dict(),
        }

    def _save(self) -> None:
        """Log the means since the last tick, which a checkpoint does not hold, then save a checkpoint."""
        if self.stats.reported:
            self._log_means()
        self.log.flush()
        self.saver.save(self.contents(), self.state.images)

    def _save_if_unsaved(self) -> None:
        if self.saver.images != self.state.images:
            self._save()

    def _resume(self) -> None:
        """Restore the checkpoint to resume from, or start a new run; check the data unless this run did so before."""
        checkpoint = from_main(self.process, lambda: self.folder.resume_from(self.resume))
        if not all(gather(checkpoint is None or checkpoint.is_file())):
            raise ConfigError(f"not all processes can read {checkpoint}: put it and --output on a shared file system")
        if checkpoint:
            self._restore(checkpoint)
        elif self.pretrained and self.process.is_main:
            print(self.pretrained.announcement())
        if checkpoint is None or self.resume not in ("auto", "none"):  # otherwise the run has checked its data before
            self.data.check_output(self.folder.path)
            self.data.check_files()

    def _restore(self, path: Path) -> None:
        try:
            networks = load_networks(path)
        except ModelError as error:
            raise ConfigError(f"{error}; or start a new run with another --output") from None
        contents = networks.contents
        if not {"training", "config"} <= contents.keys():
            raise ConfigError(f"{path} holds networks but no training state: give --resume a checkpoint of train.py")
        networks.check_architecture(self.state.generator.config)
        if networks.classes:
            self.data.check_classes(ClassTable.from_dict(networks.classes), str(path))
        if self.pretrained:
            self.pretrained.check_same(contents.get("start"))
        try:
            changed = changed_options(contents["config"], self.config)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}; or start a new run with another --output") from None
        self.state.restore(networks, contents["training"], self.process, str(path))
        if not self.config.augment.target:
            self.state.augment_probability.fill_(self.config.augment.probability)
        if self.process.is_main:
            options = ", ".join(f"{name}: {change}" for name, change in changed.items()) or "none"
            print(f"resuming {path} at {self.state.images} images; changed options: {options}")

    # Metrics

    def _metric_history(self) -> "MetricHistory | None":
        if not self.evaluation:
            return None
        from training.evaluation.metric_history import MetricHistory

        history = MetricHistory(self.folder.metrics, self.config.metrics.best)
        from_main(self.process, lambda: history.rewind(self.state.images))
        return history

    def _lacks_measurement(self) -> bool:
        """Return True if metrics are due at this number of images, and not in the history.

        A resumed run may lack a measurement because it stopped after the checkpoint and before measuring.
        """
        images, training, history = self.state.images, self.config.training, self.history
        if not history:
            return False
        is_due = images >= training.total_images or (
            images > 0 and images % self.config.metrics.every_images < training.batch_size
        )
        return is_due and not from_main(self.process, lambda: history.knows(images))

    def _measure(self) -> None:
        evaluation, history = self.evaluation, self.history
        assert evaluation is not None
        assert history is not None
        start = time.perf_counter()
        try:
            report = evaluation.measure(self.state.generator_ema, self.state.images, self._raise_if_stopping)
        except InterruptionError:  # the resumed run will measure
            self.stop_reason = PREEMPTED
            return
        self.log.exclude(time.perf_counter() - start)
        self.log.metrics(report)
        if from_main(self.process, lambda: history.is_best(report)):
            self.saver.save_best({**self.contents(), "metrics": report.to_dict()})
        # last: once recorded, a measurement is not repeated
        failure = from_main(self.process, lambda: history.add(report))
        if warnings := list(filter(None, [*report.omissions(), failure])):
            self._warn("; ".join(warnings))

    def _raise_if_stopping(self) -> None:
        if any_process(self.preemption.requested, self.process.device):
            raise InterruptionError
