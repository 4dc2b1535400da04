"""Write animations: GIF with Pillow, MP4 (H.264) with PyAV, an optional requirement.

Frames are uint8 [H, W, 3], all of the same size; MP4 needs an even height and width.
"""

import importlib.util
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from utils.errors import EditError
from utils.files import replacing

Format = Literal["gif", "mp4"]
FORMATS: tuple[Format, ...] = get_args(Format)
MAX_GIF_FPS = 50  # viewers slow down faster GIFs


def require_format(kind: Format) -> None:
    """Raise EditError if the package that writes a format is not installed."""
    if kind == "mp4" and importlib.util.find_spec("av") is None:
        raise EditError(
            "MP4 needs PyAV, which is not installed: pip install -r requirements-editing.txt, or choose --format gif"
        )


def save_animation(frames: Iterable[np.ndarray], path: Path, kind: Format, fps: int) -> None:
    """Write a GIF that loops forever, or an MP4, frame by frame; raise EditError if the file cannot be written."""
    with replacing(path) as partial:
        if kind == "gif":
            images = (Image.fromarray(frame).quantize(256) for frame in frames)
            first_image = next(images)
            duration = 10 * round(100 / fps)  # ms; GIF stores hundredths of a second
            options: dict[str, Any] = {"save_all": True, "append_images": images, "duration": duration, "loop": 0}
            first_image.save(partial, format="GIF", **options)
            return
        import av  # an optional requirement

        with av.open(str(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "17"})
            stream.pix_fmt = "yuv420p"  # the only pixel format that every player supports
            video_frames = (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames)
            first = next(video_frames)
            stream.width, stream.height = first.width, first.height
            for video_frame in chain([first], video_frames):
                container.mux(stream.encode(video_frame))
            container.mux(stream.encode())  # flush the encoder
