"""Test the helpers for child processes in tests/processes.py."""

import os
import sys

import psutil
import pytest

from tests.processes import end_all_but, run_command, running, wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are adopted on Linux only")

ORPHAN = "import os, sys, time\nos.setsid()\nif os.fork() == 0:\n open(sys.argv[1], 'w')\n time.sleep(600)"
SHOW = "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP))"
SHOW_IN_CHILD = f"""
import subprocess, sys
from tests.processes import default_signals_for_children
default_signals_for_children()
subprocess.run([sys.executable, "-c", {SHOW!r}])
"""
LEAVING = """
import subprocess
from tests.processes import no_process_left
def test_left(): print("pid", subprocess.Popen(["sleep", "600"]).pid)
def test_failed(): print("pid", subprocess.Popen(["sleep", "600"]).pid); assert False
"""


def test_an_orphan_in_its_own_session_is_killed(tmp_path):
    known = running()
    run_command([sys.executable, "-c", ORPHAN, tmp_path / "orphan"], check=True)
    wait_for((tmp_path / "orphan").exists)
    [process] = running() - known
    assert process.ppid() == os.getpid()
    [line] = end_all_but(known, grace=0.1)
    assert line.startswith(f"{process.pid} ")
    assert not psutil.pid_exists(process.pid)


def test_a_test_that_leaves_a_process_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(LEAVING)
    command = [sys.executable, "-m", "pytest", "--rootdir", tmp_path, "-c", os.devnull, "-rA", tmp_path / "test_it.py"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    shown = run_command(command, capture_output=True, env=environment).stdout
    pids = {int(line.split()[1]) for line in shown.splitlines() if line.startswith("pid ")}
    assert "1 failed, 1 passed, 2 errors" in shown, shown
    assert len(pids) == 2
    assert not any(map(psutil.pid_exists, pids))


def test_ignored_signals_are_not_inherited():
    ignoring = ["sh", "-c", 'trap "" INT HUP; exec "$0" "$@"', sys.executable, "-c"]
    usual = run_command([sys.executable, "-c", SHOW], capture_output=True).stdout
    assert "default_int_handler" in usual
    assert run_command([*ignoring, SHOW], capture_output=True).stdout != usual
    assert run_command([*ignoring, SHOW_IN_CHILD], capture_output=True).stdout == usual
