"""The command: what it refuses before anything is served, and the environment in which it serves."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import studio
from tests.processes import PATIENCE
from utils.cli import run

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="Gradio is missing: pip install -r requirements-studio.txt"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The line of a command that ends with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["studio", *options])
    with pytest.raises(SystemExit) as ended:
        run(studio.main)
    [line] = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    return line


@needs_gradio
def test_a_port_in_use_is_told(monkeypatch, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refusal(monkeypatch, capsys, "--port", str(port))
    assert re.fullmatch(rf"error: cannot listen on 127.0.0.1, port {port}: Address already in use; choose .*", line)


@needs_gradio
def test_other_bad_options_are_told(monkeypatch, capsys, tmp_path):
    assert "--port 70000: choose one from 1" in refusal(monkeypatch, capsys, "--port", "70000")
    assert "cannot listen on 192.0.2.1" in refusal(monkeypatch, capsys, "--host", "192.0.2.1")
    assert "--seed -1: choose one from 0" in refusal(monkeypatch, capsys, "--seed", "-1")
    port = str(free_port())
    missing = str(tmp_path / "none.pt")
    assert f"{missing}: no such file" in refusal(monkeypatch, capsys, "--port", port, "--checkpoint", missing)


def test_a_missing_package_is_told(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(monkeypatch, capsys) == (
        "error: the studio needs Gradio, which is not installed: pip install -r requirements-studio.txt"
    )


@contextmanager
def served(environment: Mapping[str, str], host: str = "127.0.0.1") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The page of a studio, asked for without a proxy, and the process, which is ended."""
    port = free_port()
    options = ["--host", host, "--port", str(port), "--device", "cpu", "--ops", "native"]
    command = [sys.executable, "-m", "scripts.studio", *options]
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        page, deadline = "", time.monotonic() + PATIENCE
        while not page and process.poll() is None and time.monotonic() < deadline:
            try:
                page = direct.open(f"http://{host}:{port}/", timeout=5).read().decode()
            except OSError:
                time.sleep(0.2)
        yield page, process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


@needs_gradio
def test_the_environment_of_other_programs_does_not_reach_it():
    """Proxies above all: its own address is none of theirs."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.setblocking(False)
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = {name: f"http://127.0.0.1:{proxy.getsockname()[1]}" for name in names}
        environment |= {"no_proxy": "example.com", "SSL_CERT_FILE": "/nowhere.pem", "MPLBACKEND": "none"}
        environment |= {f"GRADIO_{name}": "x" for name in ("SERVER_NAME", "SERVER_PORT", "NUM_WORKERS")}
        environment |= {"GRADIO_SHARE": "true", "GRADIO_ANALYTICS_ENABLED": "True", "GRADIO_WATCH_DIRS": "/"}
        environment |= {"WEB_CONCURRENCY": "x", "HF_HUB_ETAG_TIMEOUT": "x", "SYSTEM": "spaces", "SPACE_ID": "a/b"}
        with served(environment) as (page, process):
            assert "SemanticStyleGAN Studio" in page
            said = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE)[0] == "closed\n"
            assert process.returncode == 0
            assert "(Ctrl-C ends it)" in said
        with pytest.raises(BlockingIOError):
            proxy.accept()


@needs_gradio
@pytest.mark.long
@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_addresses_of_ipv6():
    with served({}, "[::1]") as (page, _):
        assert "SemanticStyleGAN Studio" in page
