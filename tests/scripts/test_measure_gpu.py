import os
import re

import pytest

from scripts import benchmark
from tests.processes import ROOT, run_command

SCRIPT = ROOT / "scripts" / "measure_gpu.sh"
PARTS = {
    "1": ["machine", "doctor", "tests", "ops"],
    "2": ["train"],
    "3": ["profile", "overheads", "growth", "compiled"],
}


def measure(call, folder, code=0):
    """Run a call with stubs for Python, which records its arguments, and for `timeout`, which records the limit."""
    stubs = {
        "python3": '[ "$2" = "import pytest, torch" ] && exit 0\n'
        f'printf "%s\\0" "$@" >> "{folder}/calls"; echo >> "{folder}/calls"; echo output; exit {code}',
        "timeout": f'echo "$1 $2 $3" >> "{folder}/limits"; shift 3; exec "$@"',
        "nvidia-smi": "echo a card",
        "nvcc": "echo a compiler",
    }
    (folder / "bin").mkdir()
    for name, body in stubs.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHON": "python3"}
    done = run_command(["bash", SCRIPT, call, folder / "my logs"], capture_output=True, env=environment, cwd=folder)
    calls = (folder / "calls").read_text().split("\0\n")[:-1] if (folder / "calls").exists() else []
    return done, [call.split("\0") for call in calls]


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("call", PARTS)
def test_all_parts_run_in_order_and_are_summarized(call, code, tmp_path):
    done, calls = measure(call, tmp_path, code)
    assert done.returncode == (1 if code else 0), done.stderr
    assert re.findall(r"^== (\w+): exit code (\d+), \d+ s$", done.stdout, re.MULTILINE) == [
        (part, str(code)) for part in PARTS[call]
    ]
    assert len(calls) == len(PARTS[call])
    assert done.stdout.count("\noutput\n") == len(PARTS[call])
    for part in PARTS[call]:
        assert (tmp_path / "my logs" / f"{part}.log").read_text().endswith("output\n")


@pytest.mark.parametrize("call", PARTS)
def test_the_limits_add_up_to_less_than_nine_minutes(call, tmp_path):
    measure(call, tmp_path)
    limits = [re.fullmatch(r"-k (\d+) (\d+)", line) for line in (tmp_path / "limits").read_text().splitlines()]
    assert len(limits) == len(PARTS[call])
    assert sum(int(limit[1]) + int(limit[2]) for limit in limits) < 540


@pytest.mark.parametrize("call", PARTS)
def test_the_project_accepts_every_command(call, tmp_path):
    measured = 0
    for module, *arguments in (call[1:] for call in measure(call, tmp_path)[1] if call[0] == "-m"):
        if module == "scripts.benchmark":
            args = benchmark.parse(arguments)
            benchmark.BENCHMARKS[args.benchmark].check(args)
            assert args.device == "cuda"
            assert args.json.parent == tmp_path / "my logs"
            assert args.seconds > 0
            measured += 1
        elif module == "pytest":
            assert all((ROOT / path).is_file() for path in arguments if path.startswith("tests/"))
        else:
            assert module == "scripts.doctor"
    assert measured == {"1": 1, "2": 1, "3": 4}[call]


def test_a_part_that_takes_too_long_is_stopped(tmp_path):
    """Run with the real `timeout`."""
    script = tmp_path / "scripts" / "measure_gpu.sh"
    script.parent.mkdir()
    script.write_text(re.sub(r"\b(part|benchmark) (\w+) \d+", r"\1 \2 0.2", SCRIPT.read_text()))
    ready = '[ "$2" = "import pytest, torch" ] && exit 0'
    for name, body in (("python3", f"{ready}\necho started\nexec sleep 60"), ("nvidia-smi", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment.pop("PYTHON", None)
    done = run_command(["bash", script, "3"], capture_output=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("exit code 124") == 2 * len(PARTS["3"])
    assert (tmp_path / "measurements" / "profile.log").read_text() == "started\n"


def test_a_machine_without_a_gpu_or_pytest(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/bash\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "false"}
    for message in ("no GPU: nvidia-smi lists none", "false lacks pytest or torch: pip install -r"):
        done = run_command(["bash", SCRIPT, "1", tmp_path / "logs"], capture_output=True, env=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
        (tmp_path / "nvidia-smi").write_text("#!/bin/bash\n")
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("call", ["4", "12", ""])
def test_an_unknown_call(call, tmp_path):
    done, calls = measure(call, tmp_path)
    assert (done.returncode, done.stdout, calls) == (2, "", [])
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "my logs").exists()
