"""Edits and downloads, in a browser."""

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint import bundled_model
from scripts.studio_page.downloads import FRAMES
from scripts.studio_page.model import CodeSelection
from scripts.studio_page.session import Placement
from tests.scripts.browser.conftest import free_port, running_studio
from tests.scripts.browser.pages import (
    STEPS,
    WARNING,
    choose,
    image_uris,
    pick,
    place_of,
    position_of,
    saved,
    wait_for_status,
)

pytestmark = pytest.mark.browser
# Delay answers of the server, but not requests.
SLOW_ANSWERS = """
    const plain = window.fetch;
    const wait = () => new Promise(go => setTimeout(go, 300));
    const later = {transform: async (chunk, to) => { await wait(); to.enqueue(chunk); }};
    window.fetch = async (request, ...more) => {
        const answer = await plain(request, ...more);
        if (!String(request.url ?? request).includes("queue/data")) return answer;
        return new Response(answer.body.pipeThrough(new TransformStream(later)), answer);
    };
"""


def test_click_resample_and_undo(page, model):
    first = image_uris(page)
    page.mouse.click(*place_of(page, *position_of(model, "hair"), panel="image"))
    page.wait_for_selector("#studio-part label.selected:has-text('hair')")
    assert image_uris(page) == first
    page.click("#studio-resample")
    wait_for_status(page, r"^hair: random")
    second = image_uris(page)
    assert second[0] != first[0]
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    assert image_uris(page) == first
    page.wait_for_selector("#studio-undo:disabled")
    page.click("#studio-redo")
    wait_for_status(page, r"^hair: random")
    assert image_uris(page) == second


def test_selections_made_while_the_page_is_busy_are_kept(page):
    inputs = {part: f"#studio-part input[value={part}]" for part in ("hair", "hat", "nose")}
    clicks = ["#studio-resample", inputs["hair"], inputs["hat"], inputs["nose"]]
    page.evaluate("selectors => selectors.forEach(selector => document.querySelector(selector).click())", clicks)
    page.wait_for_selector("#studio-resample:has-text('New random nose')")
    wait_for_status(page, "^whole face: random")
    assert page.locator("#studio-part input:checked").get_attribute("value") == "nose"
    page.click("#studio-resample")
    wait_for_status(page, "^nose: random")
    assert page.locator(STEPS).count() == 3


def test_lost_answers_are_fetched(visit):
    page = visit(script=SLOW_ANSWERS)
    page.click("#studio-resample")
    wait_for_status(page, "^whole face: random")
    for gap in (200, 400):  # ms; with these, the stream was closed while an answer was pending
        choose(page, "hat")
        count = page.locator(STEPS).count()
        page.evaluate(
            "([one, other, gap]) => { const click = selector => document.querySelector(selector).click();"
            " click(one); setTimeout(click, gap, other); }",
            ["#studio-part input[value=hair]", "#studio-resample", gap],
        )
        page.wait_for_function("n => document.querySelectorAll('#studio-steps [data-step]').length > n", arg=count)


def test_comparing_with_the_original(page):
    first = image_uris(page)
    page.click("#studio-resample")
    wait_for_status(page, "random")
    before = page.locator('[data-panel="image"] [data-layer="start"]')
    clip = "getComputedStyle(document.querySelector('[data-panel=image] [data-layer=start]')).clipPath"
    assert before.get_attribute("src") == first[0]
    assert page.evaluate(clip) == "inset(0px 100% 0px 0px)"
    page.fill("#studio-reveal", "40")
    assert page.evaluate(clip) == "inset(0px 60% 0px 0px)"
    box = page.locator("#studio-compare").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    assert page.evaluate(clip) == "none"
    page.mouse.up()
    assert page.evaluate(clip) == "inset(0px 60% 0px 0px)"
    page.focus("#studio-compare")
    page.keyboard.down("Space")
    assert page.evaluate(clip) == "none"
    page.keyboard.up("Space")
    page.select_option("#studio-layer", "parts")
    assert not before.is_visible()
    assert page.locator('img[data-layer="parts"]').is_visible()
    assert page.locator("#studio-layer option[value=photo]").is_disabled()


def test_parts_are_switched_off_and_on(page):
    page.wait_for_selector("#studio-toggle:disabled")
    choose(page, "hair")
    first = image_uris(page)
    page.click("#studio-toggle")
    wait_for_status(page, "^hair: off$")
    assert image_uris(page)[0] != first[0]
    page.wait_for_selector("#studio-part label.selected:has-text('hair (off)')")
    page.click("#studio-toggle:has-text('Switch on')")
    wait_for_status(page, "^hair: on$")
    assert image_uris(page) == first


def test_copying_from_another_face(page, model):
    choose(page, "cloth")
    pick(page, "texture")
    face = page.locator(".studio-source").get_attribute("src")
    page.fill("#studio-seed input", "7")
    page.keyboard.press("Tab")  # the number is checked when the field is left
    page.wait_for_function("face => document.querySelector('.studio-source').src !== face", arg=face)
    page.focus("#studio-blend input[type=range]")
    page.keyboard.press("End")
    wait_for_status(page, "^cloth colour: blended 100% toward face 7$")
    blended = image_uris(page)
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    page.click("#studio-copy")
    wait_for_status(page, "^cloth colour: from face 7$")
    assert image_uris(page) == blended
    page.click("#studio-open-seed")
    wait_for_status(page, "^face 7$")
    page.fill("#studio-seed input", "")
    page.click("#studio-copy")
    page.wait_for_selector(WARNING)
    assert "the seed is empty: enter a whole number" in page.inner_text(WARNING)
    page.fill("#studio-seed input", "-1")
    page.keyboard.press("Enter")
    wait_for_status(page, "^seed -1 is out of range: choose a whole number from 0")
    page.click("#studio-resample")
    wait_for_status(page, "random")


def test_parts_are_taken_from_an_image_of_the_session(page):
    choose(page, "cloth")
    pick(page, "texture")
    page.click("#studio-open-seed")
    wait_for_status(page, "^face 1$")
    page.click("#studio-use-current")
    page.wait_for_function("document.querySelector('#studio-seed input').value === ''")
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    assert page.locator(".studio-source").get_attribute("alt") == "face 1"
    page.click("#studio-copy")
    wait_for_status(page, "^cloth colour: from face 1$")
    page.fill("#studio-seed input", "7")
    page.keyboard.press("Enter")
    page.wait_for_selector(".studio-source[alt='face 7']")
    page.click("#studio-copy")
    wait_for_status(page, "^cloth colour: from face 7$")


def test_parts_are_locked(page):
    choose(page, "hair")
    page.click("#studio-lock")
    page.wait_for_selector("#studio-part label.selected:has-text('hair (locked)')")
    page.click("#studio-resample")
    wait_for_status(page, "^hair is locked: unlock it to change it")
    page.click("#studio-lock:has-text('Unlock')")
    page.wait_for_selector("#studio-lock:has-text('Lock')")
    page.click("#studio-resample")
    wait_for_status(page, "^hair: random")


def test_classes_that_are_never_generated(visit, tmp_path):
    contents = torch.load(bundled_model(), weights_only=True)
    glasses = contents["classes"]["names"].index("glasses")
    contents["generator_ema"]["render_net.to_segmentation.2.bias"][glasses] = -100
    torch.save(contents, tmp_path / "no_glasses.pt")
    port = free_port()
    with running_studio(port, tmp_path, "--checkpoint", str(tmp_path / "no_glasses.pt")):
        page = visit(url=f"http://127.0.0.1:{port}")
        assert page.inner_text("#studio-part label:has(input[value=glasses])") == "glasses (never)"
        pick(page, "glasses")
        wait_for_status(page, "^glasses: this model never generates them, 0 of 100 samples")


def test_variations(page):
    choose(page, "hair")
    page.click("#studio-vary")
    page.wait_for_function("document.querySelectorAll('.studio-variations button').length === 8")
    first = image_uris(page)
    page.locator(".studio-variations button").nth(3).click()
    wait_for_status(page, "^hair: from face")
    assert image_uris(page)[0] != first[0]
    assert page.locator(".studio-variations button").count() == 8  # another one may be better
    page.click("#studio-undo")
    page.wait_for_selector(".studio-variations", state="detached")


def test_saved_files_hold_the_image_displayed(page, model, tmp_path):
    choose(page, "hair")
    pick(page, "texture")
    page.click("#studio-copy")
    wait_for_status(page, "^hair colour: from face 1$")
    expected = model.copy(model.begin(0), CodeSelection("hair", "texture"), 1)
    edited = model.generate(expected.current)
    path = saved(page, "Image", tmp_path)
    assert path.name == "face-0_hair-colour-from-face-1_image.png"
    image = np.asarray(Image.open(path)).astype(int)
    assert np.abs(image - edited.image).max() <= 1
    page.click("#studio-size label:has(input[value='4x, pixels'])")
    labels = np.asarray(Image.open(saved(page, "Mask", tmp_path)))
    assert labels.shape == (256, 256)
    assert (labels[::4, ::4] == edited.labels).mean() > 0.99
    codes = torch.from_numpy(np.load(saved(page, "Codes", tmp_path)))
    torch.testing.assert_close(codes, expected.current.codes)
    with Image.open(saved(page, "Animation", tmp_path)) as animation:
        assert animation.n_frames == 2 * FRAMES


def test_zoom(page, model, tmp_path):
    page.focus("#studio-zoom input[type=range]")
    page.keyboard.press("ArrowLeft")
    wait_for_status(page, "^zoom 0.95,")
    page.fill("#studio-zoom input[type=number]", "0.8")
    page.keyboard.press("Tab")
    wait_for_status(page, "^zoom 0.80,")
    assert page.locator(STEPS).count() == 2
    image = np.asarray(Image.open(saved(page, "Image", tmp_path))).astype(int)
    expected = model.generate(model.place(model.begin(0), Placement(0.8)).current)
    assert np.abs(image - expected.image).max() <= 1
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    page.wait_for_function("document.querySelector('#studio-zoom input[type=number]').value === '1'")
