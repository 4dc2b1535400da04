"""Sessions that are saved, opened, and kept in the browser."""

import base64
import re
import signal
from contextlib import suppress

import pytest

from scripts.studio_page.session_file import unpack
from tests.scripts.browser.conftest import free_port, running_studio
from tests.scripts.browser.pages import OPEN, READY, STEPS, choose, image_uris, saved, wait_for_status
from utils.errors import EditError

pytestmark = pytest.mark.browser


def edit(page):
    """Make two steps, of which the first is pinned; return the images."""
    choose(page, "hair")
    page.click("#studio-resample")
    wait_for_status(page, "^hair: random")
    page.click("#studio-pin")
    page.wait_for_selector("#studio-pin:has-text('Unpin')")
    page.click("#studio-toggle")
    wait_for_status(page, "^hair: off$")
    return image_uris(page)


def wait_until_kept(page, model, folder, name):
    """Wait until the browser keeps a session whose current step has this name."""
    for _ in range(100):
        (folder / "kept.ssgan").write_bytes(base64.b64decode(page.evaluate("window.studioKept()")))
        with suppress(EditError):  # nothing is kept yet
            if re.match(name, unpack(folder / "kept.ssgan", model.generator).current.name):
                return
        page.wait_for_timeout(200)
    pytest.fail(f"the browser does not keep {name}")


def test_a_session_is_saved_and_opened(page, visit, tmp_path):
    images = edit(page)
    path = saved(page, "Session", tmp_path)
    assert path.name == "face-0_hair-off.ssgan"
    other = visit()
    other.set_input_files(OPEN, path)
    wait_for_status(other, "^opened face-0_hair-off.ssgan: 3 steps, 1 pinned; hair: off$")
    assert image_uris(other) == images
    assert (other.locator(STEPS).count(), other.locator("[data-pin]").count()) == (3, 1)
    other.click("[data-pin]")
    wait_for_status(other, "^hair: random")


def test_reloading_and_going_back_lose_nothing(page, address, model, tmp_path):
    images = edit(page)
    wait_until_kept(page, model, tmp_path, "hair: off")
    page.reload()
    page.wait_for_selector(READY)
    wait_for_status(page, "^restored from this browser: 3 steps, 1 pinned; hair: off$")
    assert image_uris(page) == images
    page.click("#studio-undo")
    wait_for_status(page, "^hair: random")
    wait_until_kept(page, model, tmp_path, "hair: random")
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(READY)
    wait_for_status(page, "^restored from this browser: 3 steps, 1 pinned; hair: random")


def test_a_new_session_keeps_pinned_steps(page):
    edit(page)
    page.click("#studio-new")  # the question is answered with no
    assert page.locator(STEPS).count() == 3
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#studio-new")
    wait_for_status(page, "^face 0$")
    assert (page.locator(STEPS).count(), page.locator("[data-pin]").count()) == (1, 1)


def test_a_restart_of_the_server_loses_nothing(visit, model, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    port = free_port()
    with running_studio(port, tmp_path) as process:
        page = visit(url=f"http://127.0.0.1:{port}")
        images = edit(page)
        wait_until_kept(page, model, kept, "hair: off")
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        wait_for_status(page, "^The connection to the studio is lost. Your session is kept")
    with running_studio(port, tmp_path):
        wait_for_status(page, "^restored from this browser: 3 steps, 1 pinned; hair: off$")
        page.wait_for_selector(READY)
        assert image_uris(page) == images
        page.click("#studio-undo")
        wait_for_status(page, "^hair: random")
