"""What the tests in a browser do with the page."""

from pathlib import Path
from typing import Any

import numpy as np

from scripts.studio_page.model import StudioModel

STATUS = ".studio-status"
IMAGES = "#studio-view img.now"
OPEN = "#studio-head input[type=file]"
BEHIND = "#studio-scene input[type=file]"
WARNING = ".studio-warning"
TOAST = "[data-testid=toast-body]"
READY = "[data-studio=ready]"
STEPS = "#studio-steps [data-step]"


def wait_for_status(page: Any, pattern: str) -> str:
    """Wait until the status line matches; return it."""
    page.wait_for_function(
        "([selector, pattern]) => RegExp(pattern).test(document.querySelector(selector)?.innerText)",
        arg=[STATUS, pattern],
    )
    return page.inner_text(STATUS)


def image_uris(page: Any) -> list[str]:
    """Return the data URIs of image and mask."""
    return [image.get_attribute("src") for image in page.locator(IMAGES).all()]


def choose(page: Any, part: str, label: str = "") -> None:
    """Select a part, and wait for the answer."""
    pick(page, part)
    page.wait_for_selector(f"#studio-resample:has-text('New random {label or part}')")


def pick(page: Any, choice: str) -> None:
    """Click the label, as users do, and wait: the page updates its state only after the click."""
    page.click(f"#studio-choice label:has(input[value={choice}])")
    page.wait_for_selector(f"#studio-choice label.selected:has(input[value={choice}])")


def position_of(model: StudioModel, part: str, seed: int = 0) -> tuple[float, float]:
    """Return x and y, from 0 to 1, of a pixel of a part."""
    labels = model.generate(model.begin(seed).current).labels
    where = np.argwhere(labels == model.classes.names.index(part))
    row, column = where[len(where) // 2]
    return (column + 0.5) / len(labels), (row + 0.5) / len(labels)


def place_of(page: Any, x: float, y: float, panel: str = "mask") -> tuple[float, float]:
    """Return the position on the screen of a position, from 0 to 1, in a panel."""
    box = page.locator(f'[data-panel="{panel}"] img.now').bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def center_of(element: Any, right: float = 0.0) -> tuple[float, float]:
    """Return the position on the screen of a point that is some pixels right of an element's centre."""
    box = element.bounding_box()
    return box["x"] + box["width"] / 2 + right, box["y"] + box["height"] / 2


def saved(page: Any, name: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path
