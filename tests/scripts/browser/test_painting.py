"""Painting on the mask, in a browser."""

import numpy as np
import pytest
from PIL import Image

from tests.scripts.browser.pages import STEPS, choose, image_uris, place_of, position_of, saved, wait_for_status

pytestmark = pytest.mark.browser
FOLLOWED = r"painted \(\d+% of the painted pixels follow\)$"


def use(page, tool):
    page.click(f"#studio-paint label:has(input[value={tool}])")


def paint(page, *points):
    """Paint a stroke through points, from 0 to 1."""
    first, *others = (place_of(page, *point) for point in points)
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point, steps=5)
    page.mouse.up()


def ids_on_canvas(page, model):
    """Return the class ids of the painting, [H, W]."""
    page.wait_for_selector("#studio-canvas")
    pixels = page.evaluate(
        "() => { const canvas = document.querySelector('#studio-canvas');"
        " return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; }"
    )
    height, width = model.config.image_size
    colors = np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]
    return (colors[..., None, :] == model.classes.palette()).all(-1).argmax(-1)


def part_of(model, name):
    return model.classes.names.index(name)


def test_a_stroke_moves_the_image(page, model, tmp_path):
    before = model.generate(model.begin(0).current).labels
    hair = part_of(model, "hair")
    choose(page, "hair")
    first = image_uris(page)
    use(page, "brush")
    page.fill("#studio-brush", "6")
    paint(page, (0.7, 0.4), (0.7, 0.7))  # below the hair
    painted = ids_on_canvas(page, model)
    wait_for_status(page, FOLLOWED)
    page.wait_for_selector("#studio-canvas", state="detached")
    assert image_uris(page)[0] != first[0]
    assert (painted != before).sum() > 50
    assert set(painted[painted != before]) == {hair}
    reached = np.asarray(Image.open(saved(page, "Mask", tmp_path)))
    changed = painted != before
    assert (reached == hair)[changed].mean() > (before == hair)[changed].mean()
    page.keyboard.press("Control+z")  # undo by stroke
    wait_for_status(page, "^face 0$")
    page.wait_for_function("src => document.querySelector('#studio-view img.now').src === src", arg=first[0])


def test_eraser_fill_and_drag(page, model):
    before = model.generate(model.begin(0).current).labels
    hair, cloth = part_of(model, "hair"), part_of(model, "cloth")
    page.evaluate("() => { window.studioSubmit = () => {}; }")  # the server is not asked
    choose(page, "hair")
    use(page, "eraser")
    paint(page, position_of(model, "hair"))
    erased = ids_on_canvas(page, model)
    assert set(before[erased != before]) == {hair}
    assert hair not in set(erased[erased != before])
    page.evaluate("window.studioPainted()")
    choose(page, "hair")
    use(page, "move")
    x, y = position_of(model, "hair")
    paint(page, (x, y), (x + 4 / 64, y + 2 / 64))
    moved = ids_on_canvas(page, model)
    rows, columns = np.nonzero(before == hair)
    inside = (rows + 2 < 64) & (columns + 4 < 64)
    assert (moved[rows[inside] + 2, columns[inside] + 4] == hair).all()
    page.evaluate("window.studioPainted()")
    choose(page, "cloth")
    use(page, "fill")
    paint(page, position_of(model, "neck"))
    filled = ids_on_canvas(page, model)
    assert set(before[filled != before]) == {part_of(model, "neck")}
    assert set(filled[filled != before]) == {cloth}


def test_strokes_while_the_model_follows_are_not_lost(page):
    choose(page, "hair")
    use(page, "brush")
    page.fill("#studio-brush", "6")
    paint(page, (0.7, 0.4), (0.7, 0.7))
    wait_for_status(page, "^(Following|In the queue)")
    paint(page, (0.26, 0.2), (0.26, 0.5))
    page.wait_for_function(f"document.querySelectorAll('{STEPS}').length === 3")
    wait_for_status(page, FOLLOWED)
    page.wait_for_selector("#studio-canvas", state="detached")


def test_painting_needs_a_part(page):
    use(page, "brush")
    paint(page, (0.2, 0.4), (0.2, 0.5))
    wait_for_status(page, "^Select a single part first, then paint.$")
    assert page.locator(STEPS).count() == 1


def test_painting_by_touch_on_a_phone(visit):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True)
    choose(page, "hair")
    page.locator("#studio-paint").scroll_into_view_if_needed()
    use(page, "brush")
    page.locator("#studio-view").scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    page.fill("#studio-brush", "6")
    x, y = place_of(page, 0.7, 0.45)
    client = page.context.new_cdp_session(page)
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 6):
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + 8 * step}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for_status(page, FOLLOWED)
    assert page.evaluate("scrollY") == scrolled
