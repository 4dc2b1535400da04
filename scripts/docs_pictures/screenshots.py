"""Screenshots of the studio: a portrait with the hair of another one, and the page on a phone."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.docs_pictures.commands import PORTRAITS, ROOT, run
from utils.errors import ConfigError

LAPTOP, PHONE = (1366, 768), (390, 844)  # pixels
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60_000  # milliseconds


def make_studio(folder: Path) -> None:
    """Make studio.png and studio_phone.png."""
    run("-m", "scripts.make_faces", folder / "portraits", *PORTRAITS)
    mine, other = (folder / "portraits" / "images" / f"{name}.png" for name in ("00000", "00001"))
    with running_studio() as address, browser() as chromium:
        page = _open(chromium, address, LAPTOP)
        _upload(page, other)
        page.click("#studio-use-current")
        page.wait_for_selector(f".studio-source[alt='{other.name}']")
        _upload(page, mine)
        page.click("#studio-pin")
        page.click("#studio-choice label:has(input[value=hair])")
        page.click("#studio-copy:has-text('hair')")
        _wait_for_status(page, f"hair: from {other.name}")
        page.click("#studio-paint label:has(input[value=brush])")
        mask = page.locator('[data-panel="mask"] img.now').bounding_box()
        page.mouse.move(mask["x"] + 0.3 * mask["width"], mask["y"] + 0.7 * mask["height"])
        page.screenshot(path=folder / "studio.png")
        phone = _open(chromium, address, PHONE, has_touch=True, is_mobile=True)
        phone.click("#studio-choice label:has(input[value=hair])")
        phone.wait_for_selector("#studio-resample:has-text('hair')")
        phone.screenshot(path=folder / "studio_phone.png")


@contextmanager
def running_studio() -> Iterator[str]:
    """Yield the address of a studio with the bundled model, which stops at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "scripts.studio", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        try:
            if not re.search(r"http://\S+", process.stdout.readline()):
                raise ConfigError("the studio did not start: run python -m scripts.studio to see why")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def browser() -> Iterator[Any]:
    """Yield the Chromium of this system, driven by Playwright; raise ConfigError if one of them is missing."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise ConfigError("playwright is not installed: pip install -r requirements-dev.txt") from None
    if program is None:
        raise ConfigError("Chromium is not installed: install it, for example with apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def _open(chromium: Any, address: str, size: tuple[int, int], **options: Any) -> Any:
    page = chromium.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), **options).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("[data-studio=ready]")
    return page


def _upload(page: Any, path: Path) -> None:
    page.set_input_files("#studio-head input[type=file]", path)
    _wait_for_status(page, rf"^{re.escape(path.name)}")
    page.wait_for_selector("#studio-stop", state="hidden")


def _wait_for_status(page: Any, pattern: str) -> None:
    page.wait_for_function(
        "pattern => RegExp(pattern).test(document.querySelector('.studio-status')?.innerText)", arg=pattern
    )
