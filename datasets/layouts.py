"""The keys of the two LMDB layouts, ours and foreign programs' alike.

Pairs: `image-0000000` (JPEG bytes), `label-0000000` (PNG bytes, 8-bit class ids), `image-length` and `label-length`
(ASCII digits). Images alone: `<size>-00000` (JPEG bytes) and `length`. Ours add `meta`, JSON with the class table and
where the data come from; other readers of the layouts ignore it.
"""

import io
import json
from typing import Any

import numpy as np
from PIL import Image

from datasets.labels import ClassTable

META_KEY = "meta"
META_FILE = "meta.json"  # beside an LMDB of someone else's, into which nothing is written
META_VERSION = 1
TOOL = "semantic-stylegan 1.0"
_JPEG_QUALITY = 95


def record_keys(index: int) -> tuple[str, str]:
    """Keys of the image and the label of one record."""
    return f"image-{index:07d}", f"label-{index:07d}"


def image_key(size: int, index: int) -> str:
    """Key of an image of a set without labels."""
    return f"{size}-{index:05d}"


def pair_records(index: int, jpeg: bytes, png: bytes) -> list[tuple[bytes, bytes]]:
    """What one pair adds to an LMDB."""
    image, label = record_keys(index)
    return [(image.encode(), jpeg), (label.encode(), png)]


def closing_records(meta: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """What completes an LMDB: the number of its records and its description."""
    length = str(meta["count"]).encode()
    keys = ("length",) if meta["classes"] is None else ("image-length", "label-length")
    return [*((key.encode(), length) for key in keys), (META_KEY.encode(), json.dumps(meta).encode())]


def describe(classes: ClassTable | None, resolution: int, count: int, source: str) -> dict[str, Any]:
    """The `meta` of a data set, plain data; without classes it is one of images alone."""
    return {
        "classes": None if classes is None else classes.to_dict(),
        "resolution": resolution,
        "count": count,
        "source": source,
        "version": META_VERSION,
        "tool": TOOL,
    }


def encode_image(image: np.ndarray) -> bytes:
    """JPEG bytes of image uint8 [R, R, 3]."""
    jpeg = io.BytesIO()
    # 4:4:4: halved colour would bleed over the edges of the parts, which the masks draw to the pixel.
    Image.fromarray(image).save(jpeg, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return jpeg.getvalue()


def encode_pair(image: np.ndarray, label: np.ndarray) -> tuple[bytes, bytes]:
    """JPEG bytes of image uint8 [R, R, 3] and PNG bytes of label uint8 [R, R]."""
    png = io.BytesIO()
    Image.fromarray(label).save(png, format="PNG")
    return encode_image(image), png.getvalue()
