import io

import numpy as np
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.distributed import Process
from training.log import WIDEST, Log
from training.run_folder import RunFolder


def test_event_files_take_small_sheets(tmp_path):
    folder = RunFolder(tmp_path)
    folder.previews.mkdir()
    with Log(folder, Process(torch.device("cpu")), 8, 0) as log:
        log.preview(np.full((64, 3 * WIDEST + 5, 3), 200, np.uint8), 4)
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    [event] = events.Images("samples")
    assert Image.open(io.BytesIO(event.encoded_image_string)).width <= WIDEST
    with Image.open(folder.previews / "images_000000004.png") as whole:
        assert whole.width == 3 * WIDEST + 5
