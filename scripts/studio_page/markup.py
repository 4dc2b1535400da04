"""HTML of the page. Images are embedded in it, because other users could request image files.

Shapes: H x W images; images are uint8 [H, W, 3].
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from editing.direction_files import fingerprint
from scripts.studio_page.model import CodeSelection, EditedImage, Source, StudioModel, name_of
from scripts.studio_page.session import Photo, Session
from scripts.studio_page.turns import Preview
from utils.images import colorize, overlay

STYLE = Path(__file__).with_name("studio.css")
PAGE_SCRIPTS = [Path(__file__).with_name(name) for name in ("page.js", "paint.js", "crop.js")]  # for the whole page
SCRIPT = Path(__file__).with_name("studio.js")  # for images, history and variations
THUMBNAIL = 64  # maximum side length in pixels
OPACITY = 0.65  # of the colour over the selected part
_PIXELATED = 128  # images of fewer pixels a side are enlarged without smoothing

PAINT_TOOLS = {  # label and key by name
    "select": ("Select", "s"),
    "brush": ("Brush", "b"),
    "eraser": ("Eraser", "e"),
    "fill": ("Fill", "f"),
    "move": ("Drag", "d"),
}
LAYERS = {"start": "Start", "photo": "Photo", "parts": "Parts"}  # what the image can be compared with


def image_panels(model: StudioModel, session: Session, part: str) -> str:
    """Return HTML of image and mask of the current step, below the layers to compare them with."""
    palette = model.classes.palette()
    step, current, original = session.current, model.generate(session.current), model.generate(session.original)
    layers = {"start": original.image, "parts": _overlay(current, palette, model, part)}
    if step.photo is not None:
        layers["photo"] = step.photo.image
    masks = {"start": colorize(original.labels, palette)}
    ids = f'<img class="studio-ids" src="{_image_uri(current.labels, "png")}" alt="" hidden>'
    return _row(_panel("image", current.image, layers), _panel("mask", colorize(current.labels, palette), masks, ids))


def _overlay(edited: EditedImage, palette: np.ndarray, model: StudioModel, part: str) -> np.ndarray:
    mask = colorize(edited.labels, palette)
    if not model.is_part(part):
        return overlay(edited.image, mask)
    is_part = (edited.labels == model.classes.names.index(part))[..., None]
    return np.where(is_part, overlay(edited.image, mask, OPACITY), edited.image)


def progress_panels(preview: Preview) -> str:
    """Return HTML that shows previews of a running optimization."""
    return _row(*(_panel(caption, image, {}) for caption, image in preview.images.items()))


def _row(*panels: str) -> str:
    return f'<div class="studio-panels">{"".join(panels)}</div>'


def _panel(caption: str, current: np.ndarray, layers: Mapping[str, np.ndarray], extra: str = "") -> str:
    kind = "pixels" if len(current) < _PIXELATED else ""
    caption = html.escape(caption)
    now = f'<img class="now" src="{_image_uri(current, "png")}" alt="{caption}" draggable="false">'
    others = "".join(
        f'<img class="layer" data-layer="{name}" src="{_image_uri(image, "png")}" alt="" draggable="false">'
        for name, image in layers.items()
    )
    return (
        f'<figure class="{kind}" data-panel="{caption}"><div>{now}{others}{extra}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def crop_tool(photo: Photo, automatic: Sequence[float], shape: float) -> str:
    """Return HTML that shows a whole photo, and its crop of height / width `shape` to move; see crop.js.

    A button moves the crop to `automatic`, a `Square` in pixels of `photo.whole`.
    """
    numbers = {**dict(zip(("x", "y", "size", "angle"), photo.square, strict=True)), "shape": shape}
    data = " ".join(f'data-{name}="{value}"' for name, value in numbers.items())
    data += f' data-automatic="{json.dumps(list(automatic))}"'
    whole = data_uri(photo.whole, "image/jpeg")
    label = "crop; move it with the arrow keys"
    return (
        f'<div class="studio-crop" {data}>'
        f'<div class="studio-whole"><img src="{whole}" alt="the whole photo" draggable="false">'
        f'<div class="studio-square" tabindex="0" role="application" aria-label="{label}"></div></div>'
        '<div class="studio-crop-tools"><label>Size <input data-field="size" type="range"></label>'
        '<label>Turn <input data-field="angle" type="range" min="-180" max="180" step="1"></label>'
        '<button type="button" data-action="automatic">Automatic</button>'
        '<button type="button" data-action="use">Use this crop</button>'
        '<button type="button" data-action="close">Close</button>'
        "<p>Drag the square. Another crop starts again from the photo; edits stay in the history.</p></div></div>"
    )


def paint_tools() -> str:
    """Return HTML of the tools that paint on the mask (paint.js), and of those that compare images (page.js)."""
    tools = "".join(
        f'<label><input type="radio" name="studio-tool" value="{name}" data-key="{key}"'
        f'{" checked" * (name == "select")}><span title="{label} ({key.upper()})">{label}</span></label>'
        for name, (label, key) in PAINT_TOOLS.items()
    )
    layers = "".join(f'<option value="{name}">{label}</option>' for name, label in LAYERS.items())
    return (
        '<div id="studio-paint" role="radiogroup" aria-label="Tool on the mask">'
        f'{tools}<label class="studio-size">Brush size '
        '<input id="studio-brush" type="range" min="1" max="12" value="3"></label></div>'
        '<div id="studio-layers">'
        f'<label>Compare with <select id="studio-layer">{layers}</select></label>'
        '<input id="studio-reveal" type="range" min="0" max="100" value="0" aria-label="How much of it is shown">'
        '<button type="button" id="studio-compare">Hold to compare</button></div>'
    )


def history(model: StudioModel, session: Session) -> str:
    """Return HTML with a thumbnail for each step and each pinned step, which is a button to go to the step."""
    steps = [
        _thumbnail_button(
            "step", index, f"{index + 1}. {step.name}", model.generate(step).image, step is session.current
        )
        for index, step in enumerate(session.steps)
    ]
    pins = [
        _thumbnail_button("pin", index, f"pinned: {step.name}", model.generate(step).image, step is session.current)
        for index, step in enumerate(session.pins)
    ]
    strip = f'<div class="studio-strip" role="group" aria-label="history">{"".join(steps)}</div>'
    return strip + (
        f'<div class="studio-strip studio-pins" role="group" aria-label="pinned">{"".join(pins)}</div>' * bool(pins)
    )


def variations(model: StudioModel, session: Session, selection: CodeSelection, seeds: Sequence[int]) -> str:
    """Return HTML with a thumbnail for each seed: the current image with the selected part of the seed's face."""
    images = [model.generate(model.copy(session, selection, seed).current).image for seed in seeds]
    buttons = [
        _thumbnail_button("seed", seed, f"{selection} of face {seed}", image, False)
        for seed, image in zip(seeds, images, strict=True)
    ]
    return f'<div class="studio-variations" role="group" aria-label="variations">{"".join(buttons)}</div>'


def _thumbnail_button(kind: str, value: int, name: str, image: np.ndarray, is_current: bool) -> str:
    current = ' aria-current="step"' if is_current else ""
    name = html.escape(name)
    return (
        f'<button type="button" data-{kind}="{value}" title="{name}" aria-label="{name}"{current}>'
        f'<img src="{thumbnail(image)}" alt="" draggable="false"></button>'
    )


def source_face(model: StudioModel, source: Source) -> str:
    """Return HTML with a thumbnail of the face from which the user can take parts."""
    name = html.escape(name_of(source))
    return f'<img class="studio-source" src="{thumbnail(model.image_of(source))}" alt="{name}" title="{name}">'


def thumbnail(image: np.ndarray) -> str:
    """Return a data URI of the image, its sides reduced to at most THUMBNAIL pixels."""
    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=None)
    return _image_uri(np.asarray(small), "jpeg")


def status(text: str, warning: str = "") -> str:
    """Return HTML of the status line, which screen readers announce when it changes; a warning precedes the text."""
    warning = f'<strong class="studio-warning">{html.escape(warning)}</strong> ' if warning else ""
    return f'<p class="studio-status" role="status">{warning}{html.escape(text)}</p>'


def model_style(model: StudioModel) -> str:
    """Return CSS with the shape of the images, and with the colour that each part's button shows and masks have."""
    height, width = model.config.image_size
    first = len(model.part_names) - model.config.num_classes + 1
    rules = [f":root {{ --tall: {height / width}; }}"]
    for index, (name, color) in enumerate(zip(model.classes.names, model.classes.colors, strict=True)):
        label = f"#studio-part label:nth-child({first + index})"
        rules.append(f'{label}::before {{ content: ""; background: rgb{tuple(color)}; }}')
        rules += [f"{label} {{ border-style: dashed; color: var(--quiet); }}"] * (name in model.missing)
    return "\n".join(rules)


def page_head(model: StudioModel) -> str:
    """Return HTML for the head of the page: scripts, and what they need to know of the model."""
    facts = {
        "names": model.classes.names,
        "colors": model.classes.colors,
        "id": fingerprint(model.generator),  # the browser keeps sessions for each model
    }
    text = json.dumps(facts).replace("<", "\\u003c")
    scripts = [f"window.studioModel = {text};", *(path.read_text(encoding="utf-8") for path in PAGE_SCRIPTS)]
    return "".join(f"<script>{script}</script>" for script in scripts)


def _image_uri(image: np.ndarray, kind: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format=kind, compress_level=1, quality=85)
    return data_uri(stream.getvalue(), f"image/{kind}")


def data_uri(content: bytes, mime: str) -> str:
    """Return a data URI, a link that contains the content of a file."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
