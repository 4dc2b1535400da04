"""Files that the page offers for saving, returned as bytes so that no user data stays on disk."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

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
DOWNLOADS = {  # file name and MIME type, by the label of the button
    "Image": ("image.png", "image/png"),
    "Mask": ("mask.png", "image/png"),
    "Codes": ("codes.npy", "application/octet-stream"),
    "Animation": ("animation.gif", "image/gif"),
}


def make_download(kind: str, model: StudioModel, session: Session) -> bytes:
    """Return the content of a file for the current image; `kind` is a key of DOWNLOADS.

    The mask contains class ids and has the class colours as palette. The codes can be given to generate.py --latents.
    """
    with TemporaryDirectory(prefix="studio_") as folder:
        path = Path(folder) / DOWNLOADS[kind][0]
        if kind == "Image":
            save_png(model.generate(session.current).image, path)
        elif kind == "Mask":
            save_label_png(model.generate(session.current).labels, model.classes.palette(), path)
        elif kind == "Codes":
            save_codes(session.current.codes, path)
        else:
            save_animation(_animation_frames(model, session), path, "gif", FPS)
        return path.read_bytes()


def _animation_frames(model: StudioModel, session: Session) -> Iterator[np.ndarray]:
    """Yield frames (image | mask) from the original to the current image and back, all with the current background."""
    first, last = session.original, session.current
    if first.codes.equal(last.codes) and first.placement == last.placement:
        raise EditError(
            "there is nothing to animate yet: change a part, zoom or shift first (switched-off parts are not animated)"
        )
    ends = torch.cat([first.codes, last.codes])
    all_codes = loop(ends, FRAMES, torch.arange(ends.shape[1]), model.config).split(1)
    for index, codes in enumerate(all_codes):
        position = 1 - abs(1 - index / FRAMES)  # 0 for the original, 1 for the current image
        pairs = zip(first.placement, last.placement, strict=True)
        scene = model.scene(last, Placement(*(start + position * (end - start) for start, end in pairs)))
        [sample] = generate(model.generator, codes, torch.tensor([last.shown]), scene=scene)
        yield frame(sample, model.classes.palette())
