"""Session files (`.ssgan`): all steps of a session with their photos, as an archive of arrays that executes no code.

Shapes: n distinct codes, M vectors of a W+ code, D latent width, b backgrounds of F feature channels, h x w coarse
maps, p photos, H x W images.
"""

import io
import json
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from editing.direction_files import fingerprint
from models import Generator
from scripts.studio_page.model import NUM_DIRECTIONS
from scripts.studio_page.session import (
    MAX_PINS,
    MAX_SHIFT,
    MAX_STEPS,
    MAX_STRENGTH,
    MAX_ZOOM,
    MIN_ZOOM,
    EditStep,
    Photo,
    Placement,
    Session,
    SliderState,
)
from utils.errors import EditError, ReadingError, printable
from utils.reading.arrays import read_arrays

SESSION_SUFFIX = ".ssgan"
VERSION = 1
_FIELDS = ("session", "codes", "backgrounds", "photos", "wholes", "squares")
_MAX_TEXT = 2**20  # characters

Value = TypeVar("Value")


def pack(session: Session, generator: Generator) -> bytes:
    """Return the content of a session file."""
    codes, backgrounds = _Distinct[Tensor](), _Distinct[Tensor]()
    photos = _Distinct[Photo]()

    def to_dict(step: EditStep) -> dict[str, Any]:
        return {
            "name": step.name,
            "codes": codes.add(step.codes),
            "shown": step.shown,
            "placement": step.placement,
            "background": backgrounds.add(step.background),
            "photo": photos.add(step.photo),
            "is_original": step.is_original,
            "sliders": step.slider_state and [step.slider_state.sliders, step.slider_state.values],
        }

    other = () if session.other is None else (session.other,)
    all_steps = list({id(step): step for step in (*session.pins, *session.steps, *other)}.values())
    places = {id(step): place for place, step in enumerate(all_steps)}
    content = {
        "version": VERSION,
        "model": fingerprint(generator),
        "steps": [to_dict(step) for step in all_steps],
        "history": [places[id(step)] for step in session.steps],
        "pins": [places[id(step)] for step in session.pins],
        "position": session.position,
        "locked": sorted(session.locked),
        "other": None if session.other is None else places[id(session.other)],
    }
    content["wholes"] = [len(photo.whole) for photo in photos.values]  # bytes of each, one after the other
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        session=np.asarray(json.dumps(content)),
        codes=_stack([value[0].float().cpu().numpy() for value in codes.values]),
        backgrounds=_stack([value[0].float().cpu().numpy() for value in backgrounds.values]),
        photos=_stack([photo.image for photo in photos.values]),
        wholes=np.frombuffer(b"".join(photo.whole for photo in photos.values), np.uint8),
        squares=np.array([photo.square for photo in photos.values], np.float64).reshape(-1, 4),
    )
    return stream.getvalue()


def unpack(path: Path, generator: Generator) -> Session:
    """Read a session file; raise EditError if it is damaged, or of another model."""
    damaged = EditError(f"{path.name} is not a session file, or is damaged: open a file that the studio saved")
    try:
        arrays = read_arrays(path, _FIELDS)
        text = arrays["session"]
        if text.dtype.kind != "U" or text.shape != () or len(str(text)) > _MAX_TEXT:
            raise damaged
        content = json.loads(str(text))
        version, model = content["version"], content["model"]
    except (ReadingError, ValueError, KeyError, TypeError, RecursionError):
        raise damaged from None
    if version != VERSION:
        raise EditError(f"{path.name} is a session of another version of the studio: open it with that version")
    if model != fingerprint(generator):
        raise EditError(f"{path.name} is a session of another model: start the studio with that model's --checkpoint")
    try:
        session = _parse(content, arrays, generator)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        raise damaged from None
    return session


def _parse(content: dict[str, Any], arrays: dict[str, np.ndarray], generator: Generator) -> Session:
    """Return the session; raise ValueError, or what a wrong type raises, if the content contradicts itself."""
    config = generator.config
    weight = generator.compositing.weight
    codes, backgrounds = (
        [torch.from_numpy(each)[None].to(weight) for each in _finite(arrays[name])] for name in ("codes", "backgrounds")
    )
    photos = _photos(content["wholes"], arrays)
    _check(0 < len(content["steps"]) <= MAX_STEPS + MAX_PINS + 1)
    _check(all(each.shape[1:] == (config.num_codes, config.latent_dim) for each in codes))
    _check(all(each.image.dtype == np.uint8 and each.image.shape == (*config.image_size, 3) for each in photos))
    _check(all(each.shape == (1, config.feature_channels, *config.coarse_size) for each in backgrounds))

    def step(fields: dict[str, Any]) -> EditStep:
        shown = tuple(fields["shown"])
        placement = Placement(*map(float, fields["placement"]))
        _check(len(shown) == config.num_classes and {*map(type, shown)} == {bool} and any(shown))
        _check(MIN_ZOOM <= placement.zoom <= MAX_ZOOM)
        _check(abs(placement.right) <= MAX_SHIFT and abs(placement.down) <= MAX_SHIFT)
        return EditStep(
            printable(str(fields["name"])),
            codes[_index(fields["codes"])],
            shown,
            placement,
            None if fields["background"] is None else backgrounds[_index(fields["background"])],
            None if fields["photo"] is None else photos[_index(fields["photo"])],
            bool(fields["is_original"]),
            _slider_state(fields["sliders"]),
        )

    steps = [step(fields) for fields in content["steps"]]
    history = tuple(steps[_index(place)] for place in content["history"])
    pins = tuple(steps[_index(place)] for place in content["pins"])
    locked = frozenset(map(_index, content["locked"]))
    _check(len(history) <= MAX_STEPS and len(pins) <= MAX_PINS)
    _check(_index(content["position"]) < len(history) and all(part < config.num_classes for part in locked))
    other = content.get("other")  # earlier files have none
    return Session(history, content["position"], pins, locked, None if other is None else steps[_index(other)])


def _slider_state(fields: Any) -> SliderState | None:
    """Return the state of known sliders, with values in their ranges; None for None."""
    if fields is None:
        return None
    sliders, values = tuple(fields[0]), tuple(map(float, fields[1]))
    low, high, count = {
        "blend": (0.0, 1.0, 1),
        "directions": (-MAX_STRENGTH, MAX_STRENGTH, NUM_DIRECTIONS),
        "controls": (-1.0, 1.0, len(values)),
        "placement": (-MAX_SHIFT, MAX_ZOOM, len(Placement._fields)),
    }[sliders[0]]
    _check(len(values) == count and all(low <= value <= high for value in values))
    _check(all(isinstance(each, str | int) for each in sliders))
    return SliderState(sliders, values)


def _photos(lengths: list[int], arrays: dict[str, np.ndarray]) -> list[Photo]:
    images, wholes, squares = (arrays[name] for name in ("photos", "wholes", "squares"))
    _check(wholes.dtype == np.uint8 and sum(map(_index, lengths)) == len(wholes))
    _check(squares.shape == (len(lengths), 4) and bool(np.isfinite(squares).all()) and len(images) == len(lengths))
    ends = np.cumsum(lengths, dtype=np.int64)
    contents = [wholes[end - length : end].tobytes() for end, length in zip(ends, lengths, strict=True)]
    return [Photo(*each) for each in zip(images, contents, map(tuple, squares.tolist()), strict=True)]


def _index(value: Any) -> int:
    _check(type(value) is int and value >= 0)
    return int(value)


def _check(is_valid: bool) -> None:
    if not is_valid:
        raise ValueError


def _finite(values: np.ndarray) -> np.ndarray:
    _check(values.dtype == np.float32 and bool(np.isfinite(values).all()))
    return values


def _stack(values: list[np.ndarray]) -> np.ndarray:
    return np.stack(values) if values else np.zeros(0, np.float32)


class _Distinct(Generic[Value]):
    """Values without repetitions; steps that share a value refer to the same index."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self.values: list[Value] = []  # also keeps the objects, so that no other gets their id

    def add(self, value: Value | None) -> int | None:
        """Return the index of a value; None for None."""
        if value is None:
            return None
        if id(value) not in self._places:
            self._places[id(value)] = len(self.values)
            self.values.append(value)
        return self._places[id(value)]
