"""Session files: everything comes back, and damaged files are refused."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts.studio_page.model import CodeSelection, StudioModel
from scripts.studio_page.session import Photo, Placement, Session
from scripts.studio_page.session_file import pack, unpack
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError

HAIR = CodeSelection("hair", "both")


@pytest.fixture
def full(model: StudioModel, session: Session) -> Session:
    """A session with everything that a session can hold."""
    image = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    photo = Photo(image, b"a JPEG file", (16.0, 17.5, 20.0, -3.0))
    features = torch.rand(1, CONFIG.feature_channels, *CONFIG.coarse_size)
    opened = session.open("anna.png", model.codes(3), photo).pin()
    blended = model.blend(model.toggle(opened, "hair"), CodeSelection("background", "shape"), 5, 0.3)
    behind = blended.edit("background: b.png", lambda step: replace(step, background=features))
    return replace(model.place(behind, Placement(0.6, 0.1, -0.2)).undo().lock(1), other=opened.current)


def test_everything_comes_back(model, full, tmp_path):
    path = tmp_path / "a.ssgan"
    path.write_bytes(pack(full, model.generator))
    back = unpack(path, model.generator)
    assert (back.position, back.locked, len(back.pins)) == (full.position, full.locked, 1)
    assert back.pins[0] is back.steps[1]
    assert back.other is back.steps[1]
    for one, other in zip(full.steps, back.steps, strict=True):
        assert (one.name, one.shown, one.placement) == (other.name, other.shown, other.placement)
        assert (one.is_original, one.slider_state) == (other.is_original, other.slider_state)
        assert torch.equal(one.codes, other.codes)
        assert (one.background is None) == (other.background is None)
        assert (one.photo is None) == (other.photo is None)
        np.testing.assert_array_equal(model.generate(one).image, model.generate(other).image)
        if one.photo is not None:
            np.testing.assert_array_equal(one.photo.image, other.photo.image)
            assert one.photo[1:] == other.photo[1:]
    assert back.steps[1].photo is back.steps[2].photo  # stored once
    assert pack(back, model.generator) == pack(full, model.generator)


def test_the_other_face_is_kept_when_it_is_no_step(model, session, tmp_path):
    alone = replace(session, other=model.begin(9).current)
    path = tmp_path / "a.ssgan"
    path.write_bytes(pack(alone, model.generator))
    back = unpack(path, model.generator)
    assert len(back.steps) == 1
    assert torch.equal(back.other.codes, alone.other.codes)


def test_a_session_of_another_model_is_refused(model, full, tmp_path):
    path = tmp_path / "a.ssgan"
    path.write_bytes(pack(full, model.generator))
    other = tiny_generator()
    with torch.no_grad():
        next(other.mapping.parameters()).add_(1)
    with pytest.raises(EditError, match=r"^a.ssgan is a session of another model: start the studio with that"):
        unpack(path, other)


def changed(content: bytes, **fields) -> bytes:
    """Return a session file with other fields of its JSON text, or other arrays."""
    arrays = dict(np.load(io.BytesIO(content)))
    text = json.loads(str(arrays["session"]))
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            text[name] = value
    arrays["session"] = np.asarray(json.dumps(text))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"position": 99},
        {"position": -1},
        {"position": 0.5},
        {"history": []},
        {"history": [77]},
        {"history": [0] * 41},
        {"steps": []},
        {"steps": [{}]},
        {"steps": 3},
        {"locked": [50]},
        {"pins": "abc"},
        {"codes": np.zeros((9, 2, 3), np.float32)},
        {"codes": np.full((3, CONFIG.num_codes, CONFIG.latent_dim), np.nan, np.float32)},
        {"photos": np.zeros((1, 5, 5, 3), np.uint8)},
        {"wholes": np.zeros(3, np.uint8)},
        {"squares": np.full((1, 4), np.inf)},
        {"backgrounds": np.zeros((1, 1, 1, 1), np.float32)},
    ],
)
def test_damaged_files_are_refused(model, full, tmp_path, fields):
    path = tmp_path / "a.ssgan"
    path.write_bytes(changed(pack(full, model.generator), **fields))
    with pytest.raises(EditError, match=r"^a.ssgan is not a session file, or is damaged: open a file that the studio"):
        unpack(path, model.generator)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("placement", [10**400, 0, 0]),
        ("placement", [1e300, 0, 0]),
        ("placement", [1, 9, 0]),
        ("sliders", [["directions", "hair", "both"], [1.0]]),
        ("sliders", [["blend", "hair", "both", 5], []]),
        ("sliders", [["blend", "hair", "both", 5], [float("nan")]]),
        ("sliders", [["unknown"], [1.0]]),
        ("sliders", [[["hair"]], [1.0]]),
    ],
)
def test_steps_that_would_break_the_page_are_refused(model, full, tmp_path, field, value):
    content = pack(full, model.generator)
    steps = json.loads(str(np.load(io.BytesIO(content))["session"]))["steps"]
    steps[0][field] = value
    (tmp_path / "a.ssgan").write_bytes(changed(content, steps=steps))
    with pytest.raises(EditError, match=r"^a.ssgan is not a session file, or is damaged"):
        unpack(tmp_path / "a.ssgan", model.generator)


def test_names_are_printable(model, session, tmp_path):
    content = pack(session, model.generator)
    steps = json.loads(str(np.load(io.BytesIO(content))["session"]))["steps"]
    steps[0]["name"] = "a\ud800\n\x1b[2J"
    (tmp_path / "a.ssgan").write_bytes(changed(content, steps=steps))
    name = unpack(tmp_path / "a.ssgan", model.generator).current.name
    assert name.isprintable()
    assert name.encode()


def test_deep_nesting_is_refused(model, session, tmp_path):
    arrays = dict(np.load(io.BytesIO(pack(session, model.generator))))
    arrays["session"] = np.asarray("[" * 200_000)
    with (tmp_path / "a.ssgan").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(EditError, match=r"^a.ssgan is not a session file, or is damaged"):
        unpack(tmp_path / "a.ssgan", model.generator)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_other_files_are_refused(model, tmp_path, content):
    (tmp_path / "a.ssgan").write_bytes(content)
    with pytest.raises(EditError, match=r"^a.ssgan is not a session file"):
        unpack(tmp_path / "a.ssgan", model.generator)


def test_another_version_is_refused(model, session, tmp_path):
    (tmp_path / "a.ssgan").write_bytes(changed(pack(session, model.generator), version=2))
    with pytest.raises(EditError, match=r"^a.ssgan is a session of another version"):
        unpack(tmp_path / "a.ssgan", model.generator)
