"""What can be saved: each function gives a file's name and its bytes, so that nothing of a visitor's stays on the disk.

Shapes: M = B + 2K vectors of a W+ code, D latent width.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from editing.animation import save_animation
from editing.codes import save_codes
from editing.generation import generate
from editing.image_grids import frame
from editing.mixing import loop
from scripts.studio_page.session import Place, Session
from scripts.studio_page.workshop import Workshop
from utils.errors import EditError
from utils.images import save_label_png, save_png

FRAMES, FPS = 12, 12  # from one image to the other


class File(NamedTuple):
    name: str
    mime: str
    content: bytes


def image_file(workshop: Workshop, session: Session) -> File:
    """The image, as drawn."""
    image = workshop.picture(session.now).image
    return _file("image.png", "image/png", lambda path: save_png(image, path))


def mask_file(workshop: Workshop, session: Session) -> File:
    """Class ids, with a palette."""
    labels, palette = workshop.picture(session.now).labels, workshop.classes.palette()
    return _file("mask.png", "image/png", lambda path: save_label_png(labels, palette, path))


def codes_file(workshop: Workshop, session: Session) -> File:
    """The codes [1, M, D], for generate.py --latents or for opening them again."""
    return _file("codes.npy", "application/octet-stream", lambda path: save_codes(session.now.codes, path))


def animation_file(workshop: Workshop, session: Session) -> File:
    """From the image that was opened to the one now, and back: image | mask, before the background now.

    Raises:
        EditError: if their codes and places are the same.
    """
    before, now = session.before, session.now
    ends = torch.cat([before.codes, now.codes])
    if ends[0].equal(ends[1]) and before.place == now.place:
        raise EditError("nothing moves yet: change the image, then save the animation of it")
    shown = torch.tensor([now.shown])
    steps = loop(ends, FRAMES, torch.arange(ends.shape[1]), workshop.config).split(1)
    shares = [1 - abs(1 - index / FRAMES) for index in range(len(steps))]  # 0 at the one end, 1 at the other
    drawings = (
        next(
            generate(
                workshop.generator, codes, shown, scene=workshop.scene(now, _between(before.place, now.place, share))
            )
        )
        for codes, share in zip(steps, shares, strict=True)
    )
    frames = (frame(drawing, workshop.classes.palette()) for drawing in drawings)
    return _file("animation.gif", "image/gif", lambda path: save_animation(frames, path, "gif", FPS))


FILES: Mapping[str, Callable[[Workshop, Session], File]] = {
    "Image": image_file,
    "Mask": mask_file,
    "Codes": codes_file,
    "Animation": animation_file,
}


def _between(one: Place, other: Place, share: float) -> Place:
    return Place(*(start + share * (end - start) for start, end in zip(one, other, strict=True)))


def _file(name: str, mime: str, write: Callable[[Path], None]) -> File:
    with TemporaryDirectory(prefix="studio_") as folder:
        path = Path(folder) / name
        write(path)
        return File(name, mime, path.read_bytes())
