"""The command: options that it refuses before serving the page, and the environment it serves in."""

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
    """Return the line on stderr of a command that exits with 2."""
    monkeypatch.setattr(sys, "argv", ["studio", *options])
    with pytest.raises(SystemExit) as exit_:
        run(studio.main)
    [line] = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2
    return line


@needs_gradio
def test_a_port_in_use_is_refused(monkeypatch, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refusal(monkeypatch, capsys, "--port", str(port))
    assert re.fullmatch(rf"error: cannot listen on 127.0.0.1, port {port}: Address already in use; choose .*", line)


@needs_gradio
def test_other_bad_options_are_refused(monkeypatch, capsys, tmp_path):
    assert "--port 70000 is out of range: choose 1" in refusal(monkeypatch, capsys, "--port", "70000")
    assert "cannot listen on 192.0.2.1" in refusal(monkeypatch, capsys, "--host", "192.0.2.1")
    assert "--seed -1 is out of range: choose 0" in refusal(monkeypatch, capsys, "--seed", "-1")
    port = str(free_port())
    missing = str(tmp_path / "none.pt")
    assert f"{missing}: no such file" in refusal(monkeypatch, capsys, "--port", port, "--checkpoint", missing)


def test_a_missing_package_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(monkeypatch, capsys) == (
        "error: the studio needs Gradio, which is not installed: pip install -r requirements-studio.txt"
    )


@contextmanager
def served(environment: Mapping[str, str], host: str = "127.0.0.1") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start a studio; yield its page, requested without a proxy, and its process, which is killed afterwards."""
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
def test_variables_of_other_programs_have_no_effect():
    """Above all, no request to the studio itself may go to a proxy."""
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
            line = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE)[0] == "stopped\n"
            assert process.returncode == 0
            assert "(press Ctrl-C to stop)" in line
        with pytest.raises(BlockingIOError):
            proxy.accept()


@needs_gradio
@pytest.mark.long
@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_ipv6_addresses():
    with served({}, "[::1]") as (page, _):
        assert "SemanticStyleGAN Studio" in page
