"""The trainer, which builds data, networks and steps from a configuration, and runs the training loop."""

import time
from typing import TYPE_CHECKING

from configs import RunConfig
from training import memory
from training.data import TrainingData
from training.finetune import Pretrained
from training.precision import prepare_device
from training.run.run import Run
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from utils.distributed import Process, report_lost_ranks

if TYPE_CHECKING:
    from training.evaluation.evaluator import Evaluation
    from training.run.run_folder import RunFolder
    from training.run.stop import Preemption


class Trainer:
    """The trainer of one process. The constructor opens the data and creates the networks, but writes no files.

    Raises:
        ConfigError, DataError, MetricError, ModelError, OpsUnavailable: if options, data, networks or device cannot be
            used, or do not fit together.
    """

    def __init__(self, config: RunConfig, process: Process) -> None:
        self.config = config
        self.process = process
        self.pretrained = Pretrained(config.model.init_from) if config.model.init_from else None
        self.data = TrainingData(config, process, self.pretrained.classes if self.pretrained else None)
        prepare_device(process.device, config)
        self.state = build_state(config, process)
        if self.pretrained:
            self.pretrained.initialize(self.state)
        self.stats = Stats(process.device)
        self.steps = TrainingSteps(self.state, config.losses, config.training, self.stats, *self.data.inputs)
        self.evaluation = _evaluation(config, self.data, process)

    def train(self, folder: "RunFolder", resume: str, preemption: "Preemption") -> int:
        """Resume from a checkpoint, if there is one, and train until `training.total_images` or a stop condition.

        Args:
            folder: folder of the run, which stays locked during training.
            resume: see `RunFolder.resume_from`.
            preemption: records signals that ask the run to stop.

        Returns:
            The exit code: 0, or `ExitCode.PREEMPTED`.

        Raises:
            ConfigError, DataError, ModelError: if the folder, the checkpoint or a data file cannot be used.
            RunError: if gradients, losses or weights are not finite, or contact with another process is lost.
        """
        with folder.claimed(self.process), report_lost_ranks(self.process, self._position):
            with Run(self, folder, resume, preemption) as run:
                batches = self.data.batches(self.state.images)
                while not run.should_stop:
                    self.steps.iterate(next(batches))
                    run.after_iteration()
            return run.finish()

    def dry_run(self) -> str:
        """Check the data files, run one iteration with all its steps, and return one line about time and memory.

        No file is written.
        """
        if self.process.is_main:
            print(f"dry run on {self.process.device}: checking the data, then one iteration", flush=True)
        self.data.check_files()
        memory.reset_peak(self.process.device)
        start = time.perf_counter()
        self.steps.iterate(next(self.data.batches(self.state.images)))
        values = self.stats.tick()
        seconds = time.perf_counter() - start
        phases = ", ".join(
            f"{name.split('/')[1]} {value:.2f} s" for name, value in values.items() if name.startswith("seconds")
        )
        data, process = self.data, self.process
        return (
            f"dry run: one iteration of {self.config.training.batch_size} images in {seconds:.2f} s ({phases}); "
            f"processes: {process.world_size}, micro-batches per process: {data.micro_batches}, images in each: "
            f"{data.micro_batch_size}; peak memory {memory.peak(process.device) / 2**30:.2f} GiB on {process.device}"
        )

    def _position(self) -> str:
        return f"iteration {self.state.iteration}, phase {self.stats.running or 'none'}"


def _evaluation(config: RunConfig, data: TrainingData, process: Process) -> "Evaluation | None":
    if not config.metrics.every_images:
        return None
    from training.evaluation.evaluator import Evaluation

    return Evaluation(config.metrics, data.reference(), process, workers=config.data.workers)
