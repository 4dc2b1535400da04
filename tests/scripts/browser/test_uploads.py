"""Photos, codes and bad files, opened in a browser."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.synthetic_faces import draw_face
from editing.generation import generate
from tests.scripts.browser.pages import (
    BEHIND,
    OPEN,
    STATUS,
    STEPS,
    TOAST,
    WARNING,
    center_of,
    choose,
    image_uris,
    saved,
    wait_for_status,
)
from utils.images import save_png

pytestmark = pytest.mark.browser


def opened(name: str) -> str:
    """Pattern of the status after a photo was inverted, with a warning or without: a few steps give poor images."""
    return rf"(^|\.\s*){re.escape(name)}$"


# Record all texts of some elements: a busy machine may miss those that appear only briefly.
OBSERVE = """selectors => {
    window.seen = [];
    const record = () => document.querySelectorAll(selectors).forEach(element => window.seen.push(element.innerText));
    new MutationObserver(record).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""
# Click an element as soon as it exists.
CLICK_AT_ONCE = """selector => new MutationObserver((_, observer) => {
    const button = document.querySelector(selector);
    if (button) { observer.disconnect(); setTimeout(() => button.click()); }
}).observe(document.body, {childList: true, subtree: true})"""


def test_background_photo(page, tmp_path):
    save_png(draw_face(999, 5, 80)[0], tmp_path / "beach.png")
    first = image_uris(page)
    page.wait_for_selector("#studio-remove-background:disabled")
    page.evaluate(OBSERVE, [STATUS, "figcaption"])
    page.set_input_files(BEHIND, tmp_path / "beach.png")
    wait_for_status(page, "^background: beach.png$")
    assert {"Matching beach.png as the background: 0%", "background only", "photo"} <= set(page.evaluate("window.seen"))
    behind = image_uris(page)
    assert behind[0] != first[0]
    image = np.asarray(Image.open(saved(page, "Image", tmp_path)))
    page.click("#studio-remove-background")
    wait_for_status(page, "^background photo removed$")
    assert image_uris(page) == first
    page.wait_for_selector("#studio-remove-background:disabled")
    page.click("#studio-undo")
    wait_for_status(page, "^background: beach.png$")
    assert image_uris(page) == behind
    np.testing.assert_array_equal(np.asarray(Image.open(saved(page, "Image", tmp_path))), image)
    choose(page, "background")
    page.click("#studio-copy")
    wait_for_status(page, "^background: from face 1$")
    page.wait_for_selector("#studio-remove-background:disabled")


def test_uploaded_photos_are_inverted(page, model, uploads_folder, tmp_path):
    save_png(draw_face(999, 3, 80)[0], tmp_path / "anna.png")
    first = image_uris(page)
    page.evaluate(OBSERVE, [STATUS, "figcaption"])
    page.set_input_files(OPEN, tmp_path / "anna.png")
    wait_for_status(page, opened("anna.png"))
    seen = page.evaluate("window.seen")
    assert {"Matching anna.png: 0%", "reconstruction", "photo"} <= set(seen)
    assert image_uris(page)[0] != first[0]
    page.wait_for_selector("#studio-stop", state="hidden")
    assert [path for path in uploads_folder.rglob("*") if path.is_file() and path.stat().st_size] == []
    path = saved(page, "Codes", tmp_path)
    codes = torch.from_numpy(np.load(path))
    inverted = image_uris(page)
    page.select_option("#studio-layer", "photo")
    page.fill("#studio-reveal", "100")
    assert page.locator('img[data-layer="photo"]').is_visible()
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    page.set_input_files(OPEN, path)
    wait_for_status(page, f"^{path.name}$")
    assert image_uris(page) == inverted
    [sample] = generate(model.generator, codes)
    image = np.asarray(Image.open(saved(page, "Image", tmp_path))).astype(int)
    assert np.abs(image - sample.image).max() <= 1


def test_the_crop_of_a_photo_is_moved(page, tmp_path):
    save_png(draw_face(999, 3, 80)[0], tmp_path / "anna.png")
    page.set_input_files(OPEN, tmp_path / "anna.png")
    wait_for_status(page, opened("anna.png"))
    first = image_uris(page)
    page.click("#studio-move-crop")
    page.wait_for_selector("#studio-view", state="hidden")
    crop = page.locator(".studio-crop")
    automatic = crop.get_attribute("data-x")
    page.mouse.move(*center_of(page.locator(".studio-whole")))
    page.mouse.down()
    page.mouse.move(*center_of(page.locator(".studio-whole"), right=40), steps=3)
    page.mouse.up()
    assert float(crop.get_attribute("data-x")) > float(automatic)
    page.click("[data-action=automatic]")
    assert float(crop.get_attribute("data-x")) == pytest.approx(float(automatic), abs=1)
    crop.locator("[data-field=angle]").fill("30")
    box = page.locator("[data-action=use]").bounding_box()
    assert box["y"] + box["height"] <= 768
    page.click("[data-action=use]")
    page.wait_for_function("src => document.querySelector('#studio-view img.now').src !== src", arg=first[0])
    page.wait_for_function(f"document.querySelectorAll('{STEPS}').length === 3")
    wait_for_status(page, opened("anna.png"))
    assert image_uris(page)[0] != first[0]
    page.click("#studio-move-crop")
    page.wait_for_selector(".studio-crop[data-angle^='30']")


def test_two_users_upload_the_same_file(visit, tmp_path):
    save_png(draw_face(999, 6, 80)[0], tmp_path / "anna.png")
    users = [visit(), visit()]
    for page in users:
        page.set_input_files(OPEN, tmp_path / "anna.png")
    wait_for_status(users[1], r"^In the queue \(1 ahead\)$|" + opened("anna.png"))
    for page in users:
        wait_for_status(page, opened("anna.png"))
    assert image_uris(users[0]) == image_uris(users[1])


def test_an_inversion_can_be_stopped(page, tmp_path):
    save_png(draw_face(999, 4, 80)[0], tmp_path / "ben.png")
    page.evaluate(OBSERVE, [STATUS])
    page.evaluate(CLICK_AT_ONCE, "#studio-stop")
    page.set_input_files(OPEN, tmp_path / "ben.png")
    page.wait_for_function("window.seen.some(text => text.startsWith('Matching ben.png'))")
    wait_for_status(page, "^face 0$")
    page.wait_for_selector("figcaption:has-text('mask')")
    assert "ben.png" not in page.evaluate("window.seen")


def test_bad_uploads_are_reported_and_the_page_keeps_working(page, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("hello")
    np.save(tmp_path / "other.npy", np.zeros((1, 5), np.float32))
    (tmp_path / "large.png").write_bytes(bytes(21 * 2**20))
    save_png(np.zeros((9, 9, 3), np.uint8), tmp_path / "tiny.png")
    expected = {
        "bad.png": "bad.png: is not an image",
        "notes.txt": "Invalid file type: notes.txt",
        "other.npy": "other.npy holds float32 [1, 5]; expected floats",
        "large.png": "exceed the maximum allowed size of 20",
        "tiny.png": "tiny.png: makes 9x9 pixels",
    }
    for name, message in expected.items():
        page.set_input_files(OPEN, tmp_path / name)
        by_gradio = name in ("notes.txt", "large.png")
        page.wait_for_selector(f"{TOAST if by_gradio else WARNING}:has-text('{message}')")
        if by_gradio:
            page.click("[data-testid=toast-close]")
            page.wait_for_selector(TOAST, state="detached")
    page.click("#studio-resample")
    wait_for_status(page, "random")


def test_a_photo_is_dropped_onto_the_page(page, tmp_path):
    save_png(draw_face(999, 7, 80)[0], tmp_path / "carl.png")
    content = list((tmp_path / "carl.png").read_bytes())
    page.evaluate(
        """content => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(content)], "carl.png", { type: "image/png" }));
            document.querySelector("#studio-view").dispatchEvent(
                new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true })
            );
        }""",
        content,
    )
    wait_for_status(page, opened("carl.png"))
