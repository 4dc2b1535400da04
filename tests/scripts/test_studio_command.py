"""What the command refuses, in this process, before anything is served."""

import importlib.util
import re
import socket
import sys

import pytest

from configs.cli import run
from scripts import studio

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
