"""When a run measures, and what it keeps of that."""

from collections.abc import Callable

from configs import RunConfig
from metrics.report import Report
from models import Generator
from training.evaluation.evaluator import Evaluation
from training.evaluation.metric_history import MetricHistory
from training.run.run_folder import RunFolder
from utils.distributed import Process, from_main


class Measuring:
    """Of the generators of one run. Every process must ask for the same.

    Args:
        evaluation: what measures.
        folder: of the run.
        config: of the run.
        process: this one.
        images: seen by the networks that the run begins with; what was measured after more of them is forgotten.

    Raises:
        ConfigError: if the folder holds measurements that no run made.
    """

    def __init__(
        self, evaluation: Evaluation, folder: RunFolder, config: RunConfig, process: Process, images: int
    ) -> None:
        self._evaluation = evaluation
        self._history = MetricHistory(folder.metrics, config.metrics.best)
        self._config = config
        self._process = process
        from_main(process, lambda: self._history.rewind(images))

    def lacks(self, images: int) -> bool:
        """Whether the networks that have seen so many images are to be measured, and were not."""
        training, every = self._config.training, self._config.metrics.every_images
        due = images >= training.total_images or (images > 0 and images % every < training.batch_size)
        return due and not from_main(self._process, lambda: self._history.knows(images))

    def measure(self, generator: Generator, images: int, pause: Callable[[], None]) -> Report:
        """See `Evaluation.measure`."""
        return self._evaluation.measure(generator, images, pause)

    def is_best(self, report: Report) -> bool:
        return from_main(self._process, lambda: self._history.is_best(report))

    def keep(self, report: Report) -> str | None:
        """Add a measurement to the run's, so that it is not made again. Returns what the user must be told, if any."""
        failure = from_main(self._process, lambda: self._history.add(report))
        left_out = [f"{name} was not measured: {why}" for name, why in report.left_out.items()]
        return "; ".join(filter(None, [*left_out, failure])) or None
