"""What a run has logged, read from TensorBoard's files."""

import math
from itertools import pairwise
from pathlib import Path

from tensorboard.backend.event_processing.directory_watcher import DirectoryDeletedError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def training_seconds(folder: Path, images: int) -> float:
    """Return the seconds in which the run of a folder trained on so many images, by the speeds that it logged.

    Without what is done between steps, such as checkpoints and metrics; nan if there are no logs.
    """
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    try:
        speeds = events.Reload().Scalars("speed/images_per_second")
    except (DirectoryDeletedError, KeyError):
        return math.nan
    ticks = [(0, math.inf), *((speed.step, speed.value) for speed in speeds if speed.step <= images)]
    return sum((end - start) / speed for (start, _), (end, speed) in pairwise(ticks))
