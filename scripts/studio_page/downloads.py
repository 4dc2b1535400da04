"""Files that the page offers for saving, made in memory so that no user data stays on disk.

Shapes: M = B + 2K vectors of a W+ code, D latent width.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from editing.animation import save_animation
from editing.codes import save_codes
from editing.generation import generate
from editing.image_grids import frame
from editing.mixing import loop
from scripts.studio_page.model import StudioModel
from scripts.studio_page.session import Placement, Session
from utils.errors import EditError
from utils.images import save_label_png, save_png

FRAMES, FPS = 12, 12  # frames from the original to the current image, and as many back


class DownloadFile(NamedTuple):
    name: str
    mime: str
    content: bytes


def image_file(model: StudioModel, session: Session) -> DownloadFile:
    """Return the current image as PNG."""
    image = model.generate(session.current).image
    return _download("image.png", "image/png", lambda path: save_png(image, path))


def mask_file(model: StudioModel, session: Session) -> DownloadFile:
    """Return the current mask as PNG: class ids, with the class colours as palette."""
    labels, palette = model.generate(session.current).labels, model.classes.palette()
    return _download("mask.png", "image/png", lambda path: save_label_png(labels, palette, path))


def codes_file(model: StudioModel, session: Session) -> DownloadFile:
    """Return the current codes [1, M, D], for generate.py --latents or to open them in the studio again."""
    return _download("codes.npy", "application/octet-stream", lambda path: save_codes(session.current.codes, path))


def animation_file(model: StudioModel, session: Session) -> DownloadFile:
    """Return a GIF of image and mask from the original image to the current one and back.

    All frames have the current background and the current parts.

    Raises:
        EditError: if the two images have the same codes and placement.
    """
    first, last = session.original, session.current
    if first.codes.equal(last.codes) and first.placement == last.placement:
        raise EditError(
            "there is nothing to animate yet: change a part, zoom or shift first (switching parts off is not animated)"
        )
    frames = _animation_frames(model, session)
    return _download("animation.gif", "image/gif", lambda path: save_animation(frames, path, "gif", FPS))


def _animation_frames(model: StudioModel, session: Session) -> Iterator[np.ndarray]:
    first, last = session.original, session.current
    ends = torch.cat([first.codes, last.codes])
    all_codes = loop(ends, FRAMES, torch.arange(ends.shape[1]), model.config).split(1)
    for index, codes in enumerate(all_codes):
        position = 1 - abs(1 - index / FRAMES)  # 0 for the original, 1 for the current image
        pairs = zip(first.placement, last.placement, strict=True)
        scene = model.scene(last, Placement(*(start + position * (end - start) for start, end in pairs)))
        [sample] = generate(model.generator, codes, torch.tensor([last.shown]), scene=scene)
        yield frame(sample, model.classes.palette())


DOWNLOADS: Mapping[str, Callable[[StudioModel, Session], DownloadFile]] = {
    "Image": image_file,
    "Mask": mask_file,
    "Codes": codes_file,
    "Animation": animation_file,
}


def _download(name: str, mime: str, write: Callable[[Path], None]) -> DownloadFile:
    with TemporaryDirectory(prefix="studio_") as folder:
        path = Path(folder) / name
        write(path)
        return DownloadFile(name, mime, path.read_bytes())
