"""Keyboard, screen sizes, contrast and several users, in a browser."""

import pytest

from tests.scripts.browser.conftest import ROOT
from tests.scripts.browser.pages import IMAGES, STATUS, STEPS, choose, image_uris, wait_for_status

pytestmark = pytest.mark.browser


# WCAG contrast of every visible text, and of slider thumbs, with what is behind them.
CONTRAST = """() => {
    const parse = text => (text.match(/[0-9.]+/g) || []).map(Number);
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = color => {  // also of color-mix() and the like
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const over = (top, below) =>
        top.slice(0, 3).map((value, i) => value * top[3] / 255 + below[i] * (1 - top[3] / 255));
    const light = ([r, g, b]) => [r, g, b].map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        const layers = [];
        for (let each = element; each; each = each.parentElement) {
            layers.unshift(rgba(getComputedStyle(each).backgroundColor));
        }
        return layers.reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const ratio = (one, other) => {
        const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
        return (high + 0.05) / (low + 0.05);
    };
    const found = [];
    for (const element of document.querySelectorAll(".gradio-container *")) {
        const text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!text || !element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
        if (element.closest(":disabled, [disabled], .sr-only, style, script")) continue;
        const back = behind(element);
        const front = over(rgba(getComputedStyle(element).color), back);
        found.push([element.textContent.trim().slice(0, 40), ratio(front, back)]);
    }
    for (const slider of document.querySelectorAll("input[type=range]")) {
        if (!slider.checkVisibility()) continue;
        const thumb = rgba(getComputedStyle(slider).accentColor);
        found.push(["slider " + slider.id, ratio(thumb, behind(slider.parentElement)) * 4.5 / 3]);
    }
    return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(visit, theme):
    page = visit(color_scheme=theme)
    choose(page, "hair")
    found = page.evaluate(CONTRAST)
    assert len(found) > 40
    assert [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5] == []


def test_everything_fits_a_small_laptop(visit):
    page = visit(1366, 768)
    choose(page, "hair")
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size[0] <= 1366
    assert size[1] <= 768
    page.click("#studio-more button")  # when tools need more room, the images stay
    page.set_viewport_size({"width": 1366, "height": 640})
    page.mouse.wheel(0, 400)
    page.wait_for_function("document.scrollingElement.scrollTop > 60")
    assert 0 <= page.locator(IMAGES).first.bounding_box()["y"] < 50


def test_keyboard(page):
    page.get_by_role("radio", name="cloth", exact=True).focus()
    page.keyboard.press("Space")
    page.wait_for_selector("#studio-resample:has-text('New random cloth')")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#studio-resample:has-text('New random glasses')")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#studio-resample:has-text('New random hat')")
    assert page.evaluate("document.activeElement.value") == "hat"
    assert page.locator("#studio-part input[tabindex='0']").count() == 1
    group = page.get_by_role("radiogroup", name="Part", exact=True)
    assert group.get_by_role("radio").count() == 15
    page.focus("#studio-resample")
    page.keyboard.press("Enter")
    wait_for_status(page, "^hat: random")
    page.keyboard.press("Control+z")
    wait_for_status(page, "^face 0$")
    page.keyboard.press("Control+y")
    wait_for_status(page, "^hat: random")
    page.keyboard.press("Delete")
    wait_for_status(page, "^hat: off$")
    page.keyboard.press("b")
    assert page.locator("input[name=studio-tool]:checked").get_attribute("value") == "brush"
    page.focus("#studio-zoom input[type=range]")
    page.keyboard.press("ArrowLeft")
    wait_for_status(page, "^zoom 0.95")
    steps = page.locator(STEPS)
    assert steps.count() == 4
    steps.nth(0).focus()
    page.keyboard.press("Enter")
    wait_for_status(page, "^face 0$")
    page.wait_for_function("document.activeElement.dataset.step === '0'")


def test_users_do_not_see_each_others_images(visit, address):
    anna, ben = visit(), visit()
    first = image_uris(ben)
    anna.click("#studio-resample")
    wait_for_status(anna, "random")
    choose(ben, "hair")
    ben.click("#studio-toggle")
    wait_for_status(ben, "^hair: off$")
    assert anna.locator(STEPS).count() == ben.locator(STEPS).count() == 2
    assert ben.locator(STEPS).nth(1).get_attribute("title") == "2. hair: off"
    ben.click("#studio-undo")
    wait_for_status(ben, "^face 0$")
    assert image_uris(ben) == first
    assert image_uris(visit()) == first
    answer = anna.request.get(f"{address}/gradio_api/file={ROOT / 'README.md'}")
    assert answer.status in (403, 404)


def test_a_phone_needs_no_horizontal_scrolling(visit):
    page = visit(width=390, height=844)
    for _ in range(9):  # a history longer than the screen is wide
        page.click("#studio-resample")
    page.wait_for_function("document.querySelectorAll('#studio-steps [data-step]').length === 10")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#studio-save").scroll_into_view_if_needed()
    image = page.locator(IMAGES).first.bounding_box()
    assert image["width"] > 150
    assert 0 <= image["y"] < 100  # it stays visible
    status = page.locator(STATUS).bounding_box()
    assert image["y"] + image["height"] < status["y"] < 400  # as does the status line
    for name in ("Image", "Mask", "Codes", "Animation"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 390
