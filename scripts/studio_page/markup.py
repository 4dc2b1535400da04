"""What the page shows, as HTML: pictures travel inside it, so that none lies in a file that others could fetch.

Shapes: R resolution; pictures are uint8 [R, R, 3].
"""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scripts.studio_page.downloads import File
from scripts.studio_page.session import Session
from scripts.studio_page.uploads import View
from scripts.studio_page.workshop import Picture, Workshop
from utils.images import colorize, overlay

FOLDER = Path(__file__).parent
STYLE = FOLDER / "studio.css"
SCRIPT = FOLDER / "studio.js"
THUMBNAIL = 64  # pixels
OPACITY = 0.65  # of the chosen part's colour
_PIXELATED = 128  # models below this are shown with the pixels they draw


class Panel(NamedTuple):
    caption: str
    now: np.ndarray
    before: np.ndarray


def data_uri(content: bytes, mime: str) -> str:
    """The content as an address."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def file_data(file: File) -> dict[str, str]:
    """What the page's script saves."""
    return {"name": file.name, "href": data_uri(file.content, file.mime)}


def view(workshop: Workshop, session: Session, part: str) -> str:
    """Image, mask, and the chosen part laid over the image; each also as it was before."""
    palette = workshop.classes.palette()
    now, before = workshop.picture(session.now), workshop.picture(session.before)
    chosen = (_overlay(picture, palette, workshop, part) for picture in (now, before))
    return panels(
        [
            Panel("image", now.image, before.image),
            Panel("mask", colorize(now.labels, palette), colorize(before.labels, palette)),
            Panel(part if workshop.is_part(part) else "all parts", *chosen),
        ]
    )


def _overlay(picture: Picture, palette: np.ndarray, workshop: Workshop, part: str) -> np.ndarray:
    mask = colorize(picture.labels, palette)
    if not workshop.is_part(part):
        return overlay(picture.image, mask)
    where = (picture.labels == workshop.classes.names.index(part))[..., None]
    return np.where(where, overlay(picture.image, mask, OPACITY), picture.image)


def progress(view: View) -> str:
    """What the work has come to."""
    return panels([Panel(caption, picture, picture) for caption, picture in view.pictures.items()])


def panels(shown: Sequence[Panel]) -> str:
    """Pictures side by side."""
    return f'<div class="studio-panels">{"".join(map(_panel, shown))}</div>'


def _panel(panel: Panel) -> str:
    kind = "pixels" if len(panel.now) < _PIXELATED else ""
    caption = html.escape(panel.caption)
    now, before = (data_uri(_encoded(picture, "PNG"), "image/png") for picture in (panel.now, panel.before))
    return (
        f'<figure class="{kind}"><img class="now" src="{now}" alt="{caption}" draggable="false">'
        f'<img class="before" src="{before}" alt="{caption} before" draggable="false">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def strip(workshop: Workshop, session: Session) -> str:
    """A small picture of every step."""
    steps = []
    for position, step in enumerate(session.steps):
        current = ' aria-current="step"' if position == session.position else ""
        name = html.escape(f"{position + 1}. {step.name}")
        picture = thumbnail(workshop.picture(step).image)
        steps.append(
            f'<button type="button" data-step="{position}" title="{name}" aria-label="{name}"{current}>'
            f'<img src="{picture}" alt="" draggable="false"></button>'
        )
    return f'<div class="studio-strip" role="group" aria-label="history">{"".join(steps)}</div>'


def source(workshop: Workshop, seed: int) -> str:
    """The face of a seed, that parts can be taken from."""
    image = workshop.picture(workshop.begin(seed).now).image
    return f'<img class="studio-source" src="{thumbnail(image)}" alt="face {seed}">'


def thumbnail(image: np.ndarray) -> str:
    """A small picture's address."""
    side = min(THUMBNAIL, len(image))
    small = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    return data_uri(_encoded(small, "JPEG"), "image/jpeg")


def status(text: str) -> str:
    """A line that screen readers speak."""
    return f'<p class="studio-status" role="status">{html.escape(text)}</p>'


def swatches(workshop: Workshop) -> str:
    """CSS that gives each part's button its colour in the mask."""
    first = len(workshop.choices) - workshop.config.num_classes + 1
    return "".join(
        f'#studio-part label:nth-child({first + index})::before {{ content: ""; background: rgb{tuple(color)}; }}\n'
        for index, color in enumerate(workshop.classes.colors)
    )


def _encoded(picture: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=kind, compress_level=1, quality=85)
    return stream.getvalue()
