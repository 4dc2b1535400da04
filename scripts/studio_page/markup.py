"""HTML of the page. Images are embedded in it, because other users could request image files.

Shapes: H x W images; images are uint8 [H, W, 3].
"""

import base64
import html
import io
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.studio_page.model import EditedImage, StudioModel
from scripts.studio_page.session import Session
from scripts.studio_page.uploads import UploadProgress
from utils.images import colorize, overlay

STYLE = Path(__file__).with_name("studio.css")
SCRIPT = Path(__file__).with_name("studio.js")
THUMBNAIL = 64  # maximum side length in pixels
OPACITY = 0.65  # of the colour over the selected part
_PIXELATED = 128  # images of fewer pixels a side are enlarged without smoothing


def image_panels(model: StudioModel, session: Session, part: str) -> str:
    """Return HTML of image, mask and coloured part: those of the current step and, to compare, of its original."""
    palette = model.classes.palette()
    current, original = model.generate(session.current), model.generate(session.original)
    overlays = (_overlay(image, palette, model, part) for image in (current, original))
    return _row(
        _panel("image", current.image, original.image),
        _panel("mask", colorize(current.labels, palette), colorize(original.labels, palette)),
        _panel(part if model.is_part(part) else "all parts", *overlays),
    )


def _overlay(edited: EditedImage, palette: np.ndarray, model: StudioModel, part: str) -> np.ndarray:
    mask = colorize(edited.labels, palette)
    if not model.is_part(part):
        return overlay(edited.image, mask)
    is_part = (edited.labels == model.classes.names.index(part))[..., None]
    return np.where(is_part, overlay(edited.image, mask, OPACITY), edited.image)


def progress_panels(progress: UploadProgress) -> str:
    """Return HTML that shows previews of a running optimization."""
    return _row(*(_panel(caption, image, image) for caption, image in progress.images.items()))


def _row(*panels: str) -> str:
    return f'<div class="studio-panels">{"".join(panels)}</div>'


def _panel(caption: str, current: np.ndarray, original: np.ndarray) -> str:
    kind = "pixels" if len(current) < _PIXELATED else ""
    caption = html.escape(caption)
    return (
        f'<figure class="{kind}"><img class="now" src="{_image_uri(current, "png")}" alt="{caption}" draggable="false">'
        f'<img class="before" src="{_image_uri(original, "png")}" alt="{caption} before" draggable="false">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def history(model: StudioModel, session: Session) -> str:
    """Return HTML with a thumbnail for each step, which is a button to go to the step."""
    buttons = []
    for position, step in enumerate(session.steps):
        current = ' aria-current="step"' if position == session.position else ""
        name = html.escape(f"{position + 1}. {step.name}")
        image = thumbnail(model.generate(step).image)
        buttons.append(
            f'<button type="button" data-step="{position}" title="{name}" aria-label="{name}"{current}>'
            f'<img src="{image}" alt="" draggable="false"></button>'
        )
    return f'<div class="studio-strip" role="group" aria-label="history">{"".join(buttons)}</div>'


def source_face(model: StudioModel, seed: int) -> str:
    """Return HTML with a thumbnail of the face of a seed, from which the user can copy parts."""
    image = model.generate(model.begin(seed).current).image
    return f'<img class="studio-source" src="{thumbnail(image)}" alt="face {seed}">'


def thumbnail(image: np.ndarray) -> str:
    """Return a data URI of the image, its sides reduced to at most THUMBNAIL pixels."""
    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=None)
    return _image_uri(np.asarray(small), "jpeg")


def status(text: str) -> str:
    """Return HTML of the status line, which screen readers announce when it changes."""
    return f'<p class="studio-status" role="status">{html.escape(text)}</p>'


def model_style(model: StudioModel) -> str:
    """Return CSS with the shape of the images, and with the colour that each part's button shows and masks have."""
    height, width = model.config.image_size
    first = len(model.part_names) - model.config.num_classes + 1
    return f":root {{ --tall: {height / width}; }}\n" + "".join(
        f'#studio-part label:nth-child({first + index})::before {{ content: ""; background: rgb{tuple(color)}; }}\n'
        for index, color in enumerate(model.classes.colors)
    )


def _image_uri(image: np.ndarray, kind: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format=kind, compress_level=1, quality=85)
    return data_uri(stream.getvalue(), f"image/{kind}")


def data_uri(content: bytes, mime: str) -> str:
    """Return a data URI, a link that contains the content of a file."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
