"""The page in a browser, with the bundled model; no request may go to another host, and no script may fail."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.synthetic_faces import draw_face
from editing.generation import generate
from editing.loading import load_model
from models.checkpoint import bundled_model
from scripts.studio_page.downloads import FRAMES
from scripts.studio_page.model import CodeSelection, StudioModel
from scripts.studio_page.session import Placement
from utils.images import save_png

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
STATUS = ".studio-status"
IMAGES = "#studio-view img.now"
OPEN = "#studio-head input[type=file]"
BEHIND = "#studio-scene input[type=file]"
WARNING = "[data-testid=toast-body]"
# Record all texts of some elements: a busy machine may miss those that appear only briefly.
OBSERVE = """selectors => {
    window.seen = [];
    const record = () => document.querySelectorAll(selectors).forEach(element => window.seen.push(element.innerText));
    new MutationObserver(record).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""
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
# Click an element as soon as it exists.
CLICK_AT_ONCE = """selector => new MutationObserver((_, observer) => {
    const button = document.querySelector(selector);
    if (button) { observer.disconnect(); setTimeout(() => button.click()); }
}).observe(document.body, {childList: true, subtree: true})"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def model() -> Iterator[StudioModel]:
    """The model that the page uses."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the studio does
    yield StudioModel(*load_model(bundled_model(), torch.device("cpu")))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uploads_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Temporary folder of the studio."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(uploads_folder: Path) -> Iterator[str]:
    """Address of a running studio, which must stop on SIGTERM and leave no files behind."""
    for package in ("gradio", "playwright"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -r requirements-dev.txt")
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    port = free_port()
    command = [sys.executable, "-m", "scripts.studio", "--port", str(port), "--steps", "8", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(uploads_folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port} " in line, "the studio did not start"
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert list(uploads_folder.glob("studio_*")) == []
    finally:
        process.kill()
        process.stdout.close()


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page in a browser context of its own."""
    foreign: list[str] = []
    failures: list[str] = []
    contexts = []

    def open_page(width: int = 1280, height: int = 1000, script: str = "") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(60_000)
        contexts.append(context)
        own = (f"{address}/", "data:", "blob:")
        context.on("request", lambda request: request.url.startswith(own) or foreign.append(request.url))
        page = context.new_page()
        page.add_init_script(script)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("websocket", lambda websocket: foreign.append(websocket.url))
        page.goto(address)
        page.wait_for_selector("[data-studio=ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert foreign == []
    assert failures == []


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    return visit()


def wait_for_status(page: Any, pattern: str) -> str:
    """Wait until the status line matches; return it."""
    page.wait_for_function(
        "([selector, pattern]) => RegExp(pattern).test(document.querySelector(selector)?.innerText)",
        arg=[STATUS, pattern],
    )
    return page.inner_text(STATUS)


def image_uris(page: Any) -> list[str]:
    """Return the data URIs of image, mask and overlay."""
    return [image.get_attribute("src") for image in page.locator(IMAGES).all()]


def choose(page: Any, part: str) -> None:
    pick(page, part)
    caption_is(page, part)


def pick(page: Any, choice: str) -> None:
    """Click the label, as users do, and wait: the page updates its state only after the click."""
    page.click(f"#studio-choice label:has(input[value={choice}])")
    page.wait_for_selector(f"#studio-choice label.selected:has(input[value={choice}])")


def caption_is(page: Any, text: str) -> None:
    page.wait_for_function("text => document.querySelectorAll('figcaption')[2].innerText === text", arg=text)


def position_of(model: StudioModel, part: str, seed: int = 0) -> tuple[float, float]:
    """Return x and y, from 0 to 1, of a pixel of a part."""
    labels = model.generate(model.begin(seed).current).labels
    where = np.argwhere(labels == model.classes.names.index(part))
    row, column = where[len(where) // 2]
    return (column + 0.5) / len(labels), (row + 0.5) / len(labels)


def test_click_resample_and_undo(page, model):
    box = page.locator(IMAGES).first.bounding_box()
    x, y = position_of(model, "hair")
    first = image_uris(page)
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.wait_for_selector("#studio-part label.selected:has-text('hair')")
    assert image_uris(page)[:2] == first[:2]
    assert image_uris(page)[2] != first[2]
    page.click("#studio-resample")
    wait_for_status(page, r"^hair: resampled")
    second = image_uris(page)
    assert second[0] != first[0]
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    assert image_uris(page)[:2] == first[:2]
    page.wait_for_selector("#studio-undo:disabled")
    page.click("#studio-redo")
    wait_for_status(page, r"^hair: resampled")
    assert image_uris(page) == second


def test_keyboard(page):
    page.get_by_role("radio", name="hat", exact=True).focus()
    page.keyboard.press("Space")
    page.wait_for_selector("#studio-part label.selected:has-text('hat')")
    page.focus("#studio-resample")
    page.keyboard.press("Enter")
    wait_for_status(page, "^hat: resampled")
    page.focus("#studio-tools input[type=range]")
    page.keyboard.press("ArrowRight")
    wait_for_status(page, r"^hat: directions \+0.1")
    page.keyboard.press("ArrowRight")
    wait_for_status(page, r"^hat: directions \+0.2")
    steps = page.locator("#studio-steps button")
    assert steps.count() == 3
    steps.nth(0).focus()
    page.keyboard.press("Enter")
    wait_for_status(page, "^face 0$")
    page.wait_for_function("document.activeElement.dataset.step === '0'")


def test_selections_made_while_the_page_is_busy_are_kept(page):
    inputs = {part: f"#studio-part input[value={part}]" for part in ("hair", "hat", "nose")}
    clicks = ["#studio-resample", inputs["hair"], inputs["hat"], inputs["nose"]]
    page.evaluate("selectors => selectors.forEach(selector => document.querySelector(selector).click())", clicks)
    caption_is(page, "nose")
    wait_for_status(page, "^everything: resampled")
    assert page.locator("#studio-part input:checked").get_attribute("value") == "nose"
    page.click("#studio-resample")
    wait_for_status(page, "^nose: resampled")
    assert page.locator("#studio-steps button").count() == 3


def test_lost_answers_are_fetched(visit):
    page = visit(script=SLOW_ANSWERS)
    page.click("#studio-resample")
    wait_for_status(page, "^everything: resampled")
    for gap in (200, 400):  # ms; with these, the stream was closed while an answer was pending
        choose(page, "hat")
        count = page.locator("#studio-steps button").count()
        page.evaluate(
            "([one, other, gap]) => { const click = selector => document.querySelector(selector).click();"
            " click(one); setTimeout(click, gap, other); }",
            ["#studio-part input[value=hair]", "#studio-resample", gap],
        )
        page.wait_for_function("n => document.querySelectorAll('#studio-steps button').length > n", arg=count)


def test_holding_compare_shows_the_original(page):
    first = image_uris(page)
    page.click("#studio-resample")
    wait_for_status(page, "resampled")
    before = page.locator("#studio-view img.before")
    assert not before.first.is_visible()
    assert before.first.get_attribute("src") == first[0]
    box = page.locator("#studio-compare").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    assert before.first.is_visible()
    page.mouse.up()
    assert not before.first.is_visible()
    page.focus("#studio-compare")
    page.keyboard.down("Space")
    assert before.first.is_visible()
    page.keyboard.up("Space")
    assert not before.first.is_visible()


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
    page.wait_for_function("face => document.querySelector('.studio-source').src !== face", arg=face)
    page.focus("#studio-blend input[type=range]")
    page.keyboard.press("End")
    wait_for_status(page, "^cloth texture: blended 100% toward face 7$")
    blended = image_uris(page)
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    page.click("#studio-copy")
    wait_for_status(page, "^cloth texture: copied from face 7$")
    assert image_uris(page) == blended
    page.click("#studio-open-seed")
    wait_for_status(page, "^face 7$")
    page.fill("#studio-seed input", "")
    page.click("#studio-copy")
    page.wait_for_selector(WARNING)
    assert "the seed is empty: enter a whole number" in page.inner_text(WARNING)
    page.fill("#studio-seed input", "-1")
    wait_for_status(page, "^seed -1 is out of range: choose a whole number from 0")
    page.click("#studio-resample")
    wait_for_status(page, "resampled")


def saved(page: Any, name: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_saved_files_hold_the_image_displayed(page, model, tmp_path):
    choose(page, "hair")
    page.click("#studio-copy")
    wait_for_status(page, "^hair: copied from face 1$")
    expected = model.copy(model.begin(0), CodeSelection("hair", "both"), 1)
    edited = model.generate(expected.current)
    image = np.asarray(Image.open(saved(page, "Image", tmp_path))).astype(int)
    assert np.abs(image - edited.image).max() <= 1
    labels = np.asarray(Image.open(saved(page, "Mask", tmp_path)))
    assert (labels == edited.labels).mean() > 0.99
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
    assert page.locator("#studio-steps button").count() == 2
    image = np.asarray(Image.open(saved(page, "Image", tmp_path))).astype(int)
    expected = model.generate(model.place(model.begin(0), Placement(0.8)).current)
    assert np.abs(image - expected.image).max() <= 1
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    page.wait_for_function("document.querySelector('#studio-zoom input[type=number]').value === '1'")


def test_background_photo(page, tmp_path):
    save_png(draw_face(999, 5, 80)[0], tmp_path / "beach.png")
    first = image_uris(page)
    page.wait_for_selector("#studio-remove-background:disabled")
    page.evaluate(OBSERVE, [STATUS, "figcaption"])
    page.set_input_files(BEHIND, tmp_path / "beach.png")
    wait_for_status(page, "^background: beach.png$")
    assert {"reconstructing beach.png as the background: 0%", "background only", "photo"} <= set(
        page.evaluate("window.seen")
    )
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
    wait_for_status(page, "^background: copied from face 1$")
    page.wait_for_selector("#studio-remove-background:disabled")


def test_uploaded_photos_are_inverted(page, model, uploads_folder, tmp_path):
    save_png(draw_face(999, 3, 80)[0], tmp_path / "anna.png")
    first = image_uris(page)
    page.evaluate(OBSERVE, [STATUS, "figcaption"])
    page.set_input_files(OPEN, tmp_path / "anna.png")
    wait_for_status(page, "^anna.png$")
    seen = page.evaluate("window.seen")
    assert {"inverting anna.png: 0%", "reconstruction", "photo", "difference"} <= set(seen)
    assert image_uris(page)[0] != first[0]
    page.wait_for_selector("#studio-stop", state="hidden")
    assert [path for path in uploads_folder.rglob("*") if path.is_file() and path.stat().st_size] == []
    codes = torch.from_numpy(np.load(saved(page, "Codes", tmp_path)))
    inverted = image_uris(page)
    page.click("#studio-undo")
    wait_for_status(page, "^face 0$")
    page.set_input_files(OPEN, tmp_path / "codes.npy")
    wait_for_status(page, "^codes.npy$")
    assert image_uris(page) == inverted
    [sample] = generate(model.generator, codes)
    image = np.asarray(Image.open(saved(page, "Image", tmp_path))).astype(int)
    assert np.abs(image - sample.image).max() <= 1


def test_two_users_upload_the_same_file(visit, tmp_path):
    save_png(draw_face(999, 6, 80)[0], tmp_path / "anna.png")
    users = [visit(), visit()]
    for page in users:
        page.set_input_files(OPEN, tmp_path / "anna.png")
    for page in users:
        wait_for_status(page, "^anna.png$")
    assert image_uris(users[0]) == image_uris(users[1])


def test_an_inversion_can_be_stopped(page, tmp_path):
    save_png(draw_face(999, 4, 80)[0], tmp_path / "ben.png")
    page.evaluate(OBSERVE, [STATUS])
    page.evaluate(CLICK_AT_ONCE, "#studio-stop")
    page.set_input_files(OPEN, tmp_path / "ben.png")
    page.wait_for_function("window.seen.some(text => text.startsWith('inverting ben.png'))")
    wait_for_status(page, "^face 0$")
    page.wait_for_selector("figcaption:has-text('mask')")
    assert "ben.png" not in page.evaluate("window.seen")


def test_bad_uploads_are_reported_and_the_page_keeps_working(page, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("hello")
    np.save(tmp_path / "other.npy", np.zeros((1, 5), np.float32))
    (tmp_path / "large.png").write_bytes(bytes(11 * 2**20))
    save_png(np.zeros((9, 9, 3), np.uint8), tmp_path / "tiny.png")
    expected = {
        "bad.png": "bad.png: is not an image",
        "notes.txt": "Invalid file type: notes.txt",
        "other.npy": "other.npy holds float32 [1, 5]; expected floats",
        "large.png": "exceed the maximum allowed size of 10",
        "tiny.png": "tiny.png: is 9 pixels wide",
    }
    for name, message in expected.items():
        page.set_input_files(OPEN, tmp_path / name)
        page.wait_for_selector(f"{WARNING}:has-text('{message}')")
        page.click("[data-testid=toast-close]")
        page.wait_for_selector(WARNING, state="detached")
    wait_for_status(page, "^face 0$")
    page.click("#studio-resample")
    wait_for_status(page, "resampled")


def test_users_do_not_see_each_others_images(visit, address):
    anna, ben = visit(), visit()
    first = image_uris(ben)
    anna.click("#studio-resample")
    wait_for_status(anna, "resampled")
    choose(ben, "hair")
    ben.click("#studio-toggle")
    wait_for_status(ben, "^hair: off$")
    assert anna.locator("#studio-steps button").count() == ben.locator("#studio-steps button").count() == 2
    assert ben.locator("#studio-steps button").nth(1).get_attribute("title") == "2. hair: off"
    ben.click("#studio-undo")
    wait_for_status(ben, "^face 0$")
    assert image_uris(ben)[:2] == first[:2]
    assert image_uris(visit()) == first
    answer = anna.request.get(f"{address}/gradio_api/file={ROOT / 'README.md'}")
    assert answer.status in (403, 404)


def test_a_phone_needs_no_horizontal_scrolling(visit):
    page = visit(width=390, height=844)
    for _ in range(9):  # a history longer than the screen is wide
        page.click("#studio-resample")
    page.wait_for_function("document.querySelectorAll('#studio-steps button').length === 10")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#studio-save").scroll_into_view_if_needed()
    image = page.locator(IMAGES).first.bounding_box()
    assert image["width"] > 200
    assert 0 <= image["y"] < 100  # it stays visible
    status = page.locator(STATUS).bounding_box()
    assert image["y"] + image["height"] < status["y"] < 400  # as does the status line
    for name in ("Image", "Mask", "Codes", "Animation"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 390
