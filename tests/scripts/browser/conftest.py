"""A running studio with the bundled model; no request may go to another host, and no script may fail."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.loading import load_model
from models.checkpoint import bundled_model
from scripts.studio_page.model import StudioModel
from tests.scripts.browser.pages import READY

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def model() -> Iterator[StudioModel]:
    """The model that the page uses."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the studio does
    yield StudioModel(*load_model(bundled_model(), torch.device("cpu")))
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def uploads_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Temporary folder of the studio."""
    return tmp_path_factory.mktemp("temporary")


@contextmanager
def running_studio(port: int, temporary: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a studio at a port; it must stop on SIGTERM and leave no files behind."""
    command = [sys.executable, "-m", "scripts.studio", "--port", str(port), "--steps", "8", "--device", "cpu", *options]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port} " in line, "the studio did not start"
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert list(temporary.glob("studio_*")) == []
    finally:
        process.kill()
        process.stdout.close()


@pytest.fixture(scope="session")
def address(uploads_folder: Path) -> Iterator[str]:
    """Address of a running studio."""
    for package in ("gradio", "playwright"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -r requirements-dev.txt")
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    port = free_port()
    with running_studio(port, uploads_folder):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
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

    def open_page(width: int = 1366, height: int = 768, script: str = "", url: str = address, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        own = (f"{url}/", "data:", "blob:")
        context.on("request", lambda request: request.url.startswith(own) or foreign.append(request.url))
        page = context.new_page()
        page.add_init_script(script)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("websocket", lambda websocket: foreign.append(websocket.url))
        page.goto(url)
        page.wait_for_selector(READY)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert foreign == []
    assert failures == []


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    return visit()
