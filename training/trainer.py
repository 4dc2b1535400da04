"""The training loop, as verbs: read, iterate, log, preview, save, measure."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ops
from configs import RunConfig, changed_options
from datasets.labels import ClassTable
from datasets.opening import ImagesOnlyDataset
from models.checkpoint import networks_from_dict, read_file
from training import memory
from training.batches import Batches
from training.data import check_files, check_meaning, open_material, refuse_output
from training.discriminator_inputs import Records
from training.evaluation.evaluator import Evaluation
from training.evaluation.measuring import Measuring
from training.finetune import Origin
from training.precision import prepare_device
from training.previews import Previews
from training.run.collapse import DUPLICATES, SETTLED, CollapseWatch, score_gap
from training.run.faults import LOSS_SCALE, Faults
from training.run.log import Log
from training.run.nonfinite import Evidence
from training.run.preemption import InterruptionError, Preemption, preempted
from training.run.run_folder import RunFolder
from training.run.saving import Saver
from training.run.stop import MASK_DRIFT, DriftLimit, Ending, Limit, TimeLimit
from training.run.sync import Beat, Pulse
from training.state import build_state
from training.stats import Stats
from training.steps import Phases
from utils.distributed import Process, any_process, from_main, gather, report_lost_ranks
from utils.errors import ConfigError, DataError, ModelError


class Trainer:
    """One process of a run. Building it opens the data and the networks, and writes nothing.

    Raises:
        ConfigError, DataError, MetricError: if batch, processes, data, model and metrics do not fit together.
    """

    def __init__(self, config: RunConfig, process: Process) -> None:
        self.config = config
        self.process = process
        origin = Origin(config.model.init_from) if config.model.init_from else None
        self.dataset, self.classes, self.view = open_material(config, process, origin.classes if origin else None)
        self.batches = Batches(config, self.dataset, self.view, process)
        ops.set_mode(config.ops, process.device.type)
        prepare_device(process.device, config.training)
        self.state = build_state(config, process)
        self.start = origin.hand_over(self.state, self.batches.pass_size) if origin else None
        self.stats = Stats(process.device)
        self.ending: Ending | None = None
        self.phases = Phases(self.state, config.losses, config.training, self.stats, self.view)
        self.evaluation = self._prepare_evaluation() if config.metrics.every_images else None
        self.previews = Previews(
            config.training.preview_samples, config.model.latent_dim, self.classes, self.batches.pass_size
        )

    def fit(self, folder: RunFolder, resume: str = "auto", preemption: Preemption | None = None) -> int:
        """Trains to `training.total_images` or until something ends the run, from the start or from a checkpoint.

        Args:
            folder: of the run, which no other uses meanwhile.
            resume: see `RunFolder.resume_from`.
            preemption: what tells that the run is to end.

        Returns:
            The exit code: 0, or `ExitCode.PREEMPTED`.

        Raises:
            ConfigError, ModelError: if the folder, or the checkpoint to resume from, cannot be used.
            RunError: if numbers went bad, or other processes were lost.
        """
        self.preemption = preemption or Preemption()
        with folder.claimed(self.process), report_lost_ranks(self.process, self._place):
            self.resume = resume
            self._begin(folder, from_main(self.process, lambda: folder.resume_from(resume)))
            if not self._is_done():
                with self.preemption.deferred(), self.log:
                    self._train()
                self.saver.conclude()
                if self._is_done():  # whatever asked it to end, there was nothing left to do
                    self.ending = None
        if self.process.is_main:
            print(self._conclusion())
        return self.ending.exit_code if self.ending else 0

    def _begin(self, folder: RunFolder, checkpoint: Path | None) -> None:
        """Takes over a checkpoint, and prepares what lasts as long as the run."""
        self.folder = folder
        if not all(gather(checkpoint is None or checkpoint.is_file())):
            raise ConfigError(f"{checkpoint} is not there for all processes: --output must be one folder for all nodes")
        if checkpoint:
            self._restore(checkpoint)
        elif self.start and self.process.is_main:
            print(self.start.announcement)
        if checkpoint is None or self.resume not in ("auto", "none"):  # a run that goes on has checked its data
            refuse_output(self.dataset, folder.path)
            check_files(self.dataset, self.config, self.process)
        training, state = self.config.training, self.state
        from_main(self.process, lambda: folder.prepare(self.config, state.images))
        self.measuring = (
            Measuring(self.evaluation, folder, self.config, self.process, state.images) if self.evaluation else None
        )
        self.log = Log(folder, self.process, training.total_images, state.images)
        drift_limit = DriftLimit(training.max_mask_drift)
        self.ending = drift_limit.exceeded(self._drift())  # of a run that was ended by it and is resumed
        self.limits: list[Limit] = [TimeLimit(training.max_minutes, self.process.device), drift_limit]
        self.pulse: Pulse[Evidence] = Pulse(self.process.device, training.collective_minutes)
        self.faults = Faults(state, self.batches, self.process, training, self.phases.guard, self._warn)
        self.watch = CollapseWatch()
        self.saver = Saver(folder, self.process, training, state.images, self._warn)

    def _is_done(self) -> bool:
        """Every process must ask."""
        return self.state.images >= self.config.training.total_images and not self._lacks_measurement()

    def _train(self) -> None:
        if self._lacks_measurement():
            self._measure()
        batches = self.batches.after(self.state.images)
        while self.state.images < self.config.training.total_images and not self.ending:
            self.phases.iterate(self._next(batches), self.config.training.batch_size)
            self.log.advance(self.config.training.batch_size)
            self._heed(self.pulse.send(self.preemption.requested, *self.phases.guard.found()))
            self._write_due()
        self._heed(self.pulse.rest())
        self._save_rest()

    def _next(self, batches: Iterator[list[Records]]) -> list[Records]:
        try:
            return next(batches)
        except DataError:  # of a record that cannot be read; the networks are as they should be
            if self.process.world_size == 1:  # others do not know of it
                self._save_rest()
            raise

    def dry_run(self) -> str:
        """One iteration with every penalty; the report says what it took. Nothing is written."""
        memory.reset_peak(self.process.device)
        start = time.perf_counter()
        self.phases.iterate(next(self.batches.after(self.state.images)), self.config.training.batch_size)
        values = self.stats.tick()
        seconds = time.perf_counter() - start
        phases = ", ".join(
            f"{name.split('/')[1]} {s:.2f} s" for name, s in values.items() if name.startswith("seconds")
        )
        batches, process = self.batches, self.process
        return (
            f"dry run: one iteration of {self.config.training.batch_size} images in {seconds:.2f} s ({phases}); "
            f"{batches.passes} passes of {batches.pass_size} images in each of {process.world_size} processes; "
            f"peak memory {memory.peak(process.device) / 2**30:.2f} GiB on {process.device}"
        )

    def _write_due(self) -> None:
        training, images = self.config.training, self.state.images
        last = images >= training.total_images

        def due(every: int) -> bool:
            return last or images % every < training.batch_size

        if due(training.log_every_images) and not self.ending:
            exceeded = self._exceeded(self._tick())
            self.ending = exceeded or self.ending
            last = last or exceeded is not None
        if due(training.preview_every_images) and self.process.is_main:
            sheet, alike = self.previews.generate(self.state.generator_ema)
            self.log.preview(sheet, images)
            self.log.numbers({DUPLICATES: alike}, images)
            self._look_for_collapse({DUPLICATES: alike})
        if due(training.checkpoint_every_images):
            self._save()  # before measuring, which may take long or fail
        if not self.ending and self._lacks_measurement():
            self._measure()

    def _heed(self, beats: list[Beat[Evidence]]) -> None:
        """What processes tell each other: that they are to end, that numbers went bad."""
        for beat in beats:
            self.faults.judge(beat)
            if beat.stop:
                self.ending = preempted()

    def _tick(self) -> dict[str, float]:
        """Logs the means since the last one."""
        self._heed(self.pulse.rest())  # first: what makes a mean bad is known then
        values = self.stats.tick() | self._loss_scale() | self._drift()
        values |= score_gap(values) | self.faults.tick(values)
        self.log.tick(values, self.state.images)
        self._look_for_collapse(values)
        return values

    def _look_for_collapse(self, values: dict[str, float]) -> None:
        settled = self.state.iteration > SETTLED * self.config.losses.path_length_every
        for warning in self.watch.warnings(values, self.state.path_mean.item() if settled else 0.0):
            self._warn(warning)

    def _warn(self, message: str) -> None:
        self.log.warn(message, self.state.images)

    def _place(self) -> str:
        """Where this process is, for messages."""
        return f"iteration {self.state.iteration}, phase {self.stats.running or 'between the steps'}"

    def _loss_scale(self) -> dict[str, float]:
        """In float16 only; it halves whenever a step is left out."""
        scaler = self.state.loss_scaler
        return {LOSS_SCALE: scaler.get_scale()} if scaler.is_enabled() else {}

    def _conclusion(self) -> str:
        images, total = self.state.images, self.config.training.total_images
        if self.ending:
            how = "" if self.resume == "auto" else " with --resume auto"
            return f"{self.ending.reason} at {images} of {total} images; {self.ending.remedy}{how}: {self.folder.path}"
        return f"trained on {images} images: {self.folder.path}"

    def _exceeded(self, values: dict[str, float]) -> Ending | None:
        """Of the limits that all processes, which look at the same iteration, find exceeded the first."""
        return next(filter(None, [limit.exceeded(values) for limit in self.limits]), None)

    def _drift(self) -> dict[str, float]:
        """Of the masks, where there is a model that they can have drifted from."""
        if not self.start:
            return {}
        drift = self.start.drift
        return {MASK_DRIFT: from_main(self.process, lambda: drift.measure(self.state.generator_ema))}

    def _prepare_evaluation(self) -> Evaluation:
        assert not isinstance(self.dataset, ImagesOnlyDataset), "RunConfig refuses to measure without masks"
        return Evaluation(self.config.metrics, self.dataset, self.process, workers=self.config.data.workers)

    def _lacks_measurement(self) -> bool:
        """Also where the run was stopped between the checkpoint that it goes on from and the measurement due there."""
        return self.measuring is not None and self.measuring.lacks(self.state.images)

    def _measure(self) -> None:
        assert self.measuring
        start = time.perf_counter()
        try:
            report = self.measuring.measure(self.state.generator_ema, self.state.images, self._pause)
        except InterruptionError:  # the run that goes on will measure
            self.ending = preempted()
            return
        self.log.leave_out(time.perf_counter() - start)
        self.log.metrics(report)
        if self.measuring.is_best(report):
            self.saver.save_best({**self.contents(), "metrics": report.to_dict()})
        if failure := self.measuring.keep(report):  # last: what is kept is not measured again
            self._warn(failure)

    def _pause(self) -> None:
        if any_process(self.preemption.requested, self.process.device):
            raise InterruptionError

    def _save(self) -> None:
        """A checkpoint ends what a log counts: the run that goes on from it counts what comes after."""
        if self.stats.reported:
            self._tick()
        self.log.flush()
        self.saver.save(self.contents(), self.state.images)

    def _save_rest(self) -> None:
        if self.saver.images != self.state.images:
            self._save()

    def contents(self) -> dict[str, Any]:
        """What a checkpoint holds; every process takes part."""
        return {
            **self.state.networks(self.classes.to_dict()).to_dict(),
            "data": self.dataset.provenance,
            "start": self.start and self.start.to_dict(),
            "config": asdict(self.config),
            "training": self.state.to_dict(),
        }

    def _restore(self, path: Path) -> None:
        contents = read_file(path)
        try:
            networks = networks_from_dict(contents)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        if not {"training", "config"} <= contents.keys():
            raise ConfigError(f"{path} holds networks but no training state: --resume takes a run's checkpoints")
        if networks.classes:
            check_meaning(ClassTable.from_dict(networks.classes), self.classes, str(path), self.config)
        if self.start:
            self.start.check_same(contents.get("start"))
        try:
            changed = changed_options(contents["config"], self.config)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        self.state.restore(networks, contents["training"], self.process, str(path))
        if not self.config.augment.target:
            self.state.augment_probability.fill_(self.config.augment.probability)
        if self.process.is_main:
            told = ", ".join(changed) or "none"
            print(f"resuming {path} at {self.state.images} images; options that changed: {told}")
