"""A small untrained model, and a session with it."""

import pytest

from datasets.labels import ClassTable
from scripts.studio_page.model import StudioModel
from scripts.studio_page.session import Session
from tests.editing.tiny import CLASSES, tiny_generator


@pytest.fixture(scope="module")
def model() -> StudioModel:
    return StudioModel(tiny_generator(), ClassTable.from_dict(CLASSES))


@pytest.fixture
def session(model: StudioModel) -> Session:
    return model.begin(0)
