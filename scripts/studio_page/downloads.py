"""Files that the page offers for saving, returned as bytes so that no user data stays on disk.

Shapes: H x W images; images are uint8 [H, W, 3].
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple, get_args
from xml.sax.saxutils import quoteattr

import numpy as np
import torch
from PIL import Image

from editing.animation import save_animation
from editing.codes import save_codes
from editing.generation import generate
from editing.image_grids import frame
from editing.mixing import loop
from scripts.studio_page.model import StudioModel
from scripts.studio_page.session import EditStep, Placement, Session
from scripts.studio_page.session_file import SESSION_SUFFIX, pack
from scripts.studio_page.uploads import UPLOAD_SUFFIXES
from utils.errors import EditError
from utils.images import save_label_png

FRAMES, FPS = 12, 12  # frames from the original to the current image, and as many back
SCALE = 4
Size = Literal["1x", "4x, pixels", "4x, smooth"]
SIZES: tuple[Size, ...] = get_args(Size)
_MAX_NAME = 60  # characters of a file name without its ending
_THUMBNAIL = (256, 256)


class Download(NamedTuple):
    """A file to save."""

    name: str
    content: bytes


def make_download(kind: str, size: Size, model: StudioModel, session: Session) -> Download:
    """Return a file for the current step; `kind` is a key of DOWNLOADS.

    Raises:
        EditError: if there is nothing to animate.
    """
    suffix, make = DOWNLOADS[kind]
    scaled = f"_{SCALE}x" if size != "1x" and kind not in UNSCALED else ""
    return Download(f"{file_stem(session, session.current)}{scaled}{suffix}", make(model, session, size))


def file_stem(session: Session, step: EditStep) -> str:
    """Return the start of the names of a step's files, such as "face-0_hair-off"."""
    names = [session.original.name] * (step is not session.original) + [step.name]
    paths = (Path(name) for name in names)
    names = [path.name.removesuffix(path.suffix if path.suffix.lower() in UPLOAD_SUFFIXES else "") for path in paths]
    return "_".join(map(_slug, names))[:_MAX_NAME].strip("-_") or "face"


def _slug(name: str) -> str:
    """Return a name with hyphens in place of all characters but letters, digits and underscores."""
    return re.sub(r"\W+", "-", name).strip("-")


def _image(model: StudioModel, session: Session, size: Size) -> bytes:
    return _png(_scaled(Image.fromarray(model.generate(session.current).image), size))


def _mask(model: StudioModel, session: Session, size: Size) -> bytes:
    """Return a PNG of class ids, with the class colours as palette."""
    labels = model.generate(session.current).labels
    scale = 1 if size == "1x" else SCALE
    with TemporaryDirectory(prefix="studio_") as folder:
        path = Path(folder) / "mask.png"
        save_label_png(labels.repeat(scale, 0).repeat(scale, 1), model.classes.palette(), path)
        return path.read_bytes()


def _codes(model: StudioModel, session: Session, size: Size) -> bytes:
    """Return a file for generate.py --latents."""
    with TemporaryDirectory(prefix="studio_") as folder:
        path = Path(folder) / "codes.npy"
        save_codes(session.current.codes, path)
        return path.read_bytes()


def _animation(model: StudioModel, session: Session, size: Size) -> bytes:
    with TemporaryDirectory(prefix="studio_") as folder:
        path = Path(folder) / "animation.gif"
        save_animation(_animation_frames(model, session), path, "gif", FPS)
        return path.read_bytes()


def _layers(model: StudioModel, session: Session, size: Size) -> bytes:
    """Return an archive with one RGBA PNG for each part that the mask shows."""
    return _archive(_layer_files(model, session.current, size))


def _openraster(model: StudioModel, session: Session, size: Size) -> bytes:
    """Return an OpenRaster file, which GIMP, Krita and MyPaint open, with a layer for each part."""
    layers = _layer_images(model, session.current, size)
    merged = _scaled(Image.fromarray(model.generate(session.current).image), size)
    small = merged.copy()
    small.thumbnail(_THUMBNAIL)
    entries = "".join(
        f'<layer name={quoteattr(name)} src="data/{index}.png" x="0" y="0"/>'
        for index, (name, _) in reversed(list(enumerate(layers)))
    )
    stack = f'<?xml version="1.0" encoding="UTF-8"?><image version="0.0.3" w="{merged.width}" h="{merged.height}">'
    files = {
        "mimetype": b"image/openraster",  # has to be the first file, and not compressed
        "stack.xml": f"{stack}<stack>{entries}</stack></image>".encode(),
        **{f"data/{index}.png": _png(layer) for index, (_, layer) in enumerate(layers)},
        "mergedimage.png": _png(merged),
        "Thumbnails/thumbnail.png": _png(small),
    }
    return _archive(files)


def _session(model: StudioModel, session: Session, size: Size) -> bytes:
    return pack(session, model.generator)


def _everything(model: StudioModel, session: Session, size: Size) -> bytes:
    """Return an archive: image, mask, codes and layers of the current and each pinned step, and the session."""
    files = {f"session{SESSION_SUFFIX}": pack(session, model.generator)}
    for step in dict.fromkeys((session.current, *session.pins)):
        only = Session((step,))
        stem = file_stem(session, step)
        names = [f"{stem}-{count}" if count else stem for count in range(len(files) + 1)]
        stem = next(name for name in names if f"{name}/image.png" not in files)
        files[f"{stem}/image.png"] = _image(model, only, size)
        files[f"{stem}/mask.png"] = _mask(model, only, size)
        files[f"{stem}/codes.npy"] = _codes(model, only, size)
        files |= {f"{stem}/layers/{name}": content for name, content in _layer_files(model, step, size).items()}
    return _archive(files)


# Ending of the file name and function that makes the content, by the label of the button.
DOWNLOADS: dict[str, tuple[str, Callable[[StudioModel, Session, Size], bytes]]] = {
    "Image": ("_image.png", _image),
    "Mask": ("_mask.png", _mask),
    "Codes": ("_codes.npy", _codes),
    "Animation": ("_animation.gif", _animation),
    "Layers (PNG)": ("_layers.zip", _layers),
    "Layers (ORA)": (".ora", _openraster),
    "Session": (SESSION_SUFFIX, _session),
    "All, with pins": (".zip", _everything),
}
UNSCALED = ("Codes", "Animation", "Session")


def _layer_files(model: StudioModel, step: EditStep, size: Size) -> dict[str, bytes]:
    """Return the PNG file of each layer by a name that is safe in an archive, such as "02_hair.png"."""
    layers = _layer_images(model, step, size)
    return {f"{index:02d}_{_slug(name)}.png": _png(layer) for index, (name, layer) in enumerate(layers)}


def _layer_images(model: StudioModel, step: EditStep, size: Size) -> list[tuple[str, Image.Image]]:
    """Return (class name, RGBA image) for each class in the mask; together, the layers make the image."""
    image, labels, _ = model.generate(step)
    scaled = np.asarray(_scaled(Image.fromarray(image), size))
    ids = np.asarray(Image.fromarray(labels).resize(scaled.shape[1::-1], Image.Resampling.NEAREST))
    layers = []
    for index in np.unique(labels):
        alpha = np.where(ids == index, 255, 0).astype(np.uint8)
        layers.append((model.classes.names[index], Image.fromarray(np.dstack([scaled, alpha]))))
    return layers


def _scaled(image: Image.Image, size: Size) -> Image.Image:
    if size == "1x":
        return image
    method = Image.Resampling.LANCZOS if size == "4x, smooth" else Image.Resampling.NEAREST
    return image.resize((SCALE * image.width, SCALE * image.height), method)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="png")
    return stream.getvalue()


def _archive(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:  # the files are compressed already
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _animation_frames(model: StudioModel, session: Session) -> Iterator[np.ndarray]:
    """Yield frames (image | mask) from the original to the current image and back, all with the current background."""
    first, last = session.original, session.current
    if first.codes.equal(last.codes) and first.placement == last.placement:
        raise EditError(
            "there is nothing to animate yet: change a part, zoom or move the face first (switching parts off is not"
            " animated)"
        )
    ends = torch.cat([first.codes, last.codes])
    all_codes = loop(ends, FRAMES, torch.arange(ends.shape[1]), model.config).split(1)
    for index, codes in enumerate(all_codes):
        position = 1 - abs(1 - index / FRAMES)  # 0 for the original, 1 for the current image
        pairs = zip(first.placement, last.placement, strict=True)
        scene = model.scene(last, Placement(*(start + position * (end - start) for start, end in pairs)))
        [sample] = generate(model.generator, codes, torch.tensor([last.shown]), scene=scene)
        yield frame(sample, model.classes.palette())
