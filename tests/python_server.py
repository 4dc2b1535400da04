"""Run Python commands in forks of a process that has imported PyTorch, to save its import time for each command.

As a script, it reads one JSON job per line, with `arguments` (those of the interpreter), `folder`, `environment` and
`output` (a file for stdout and stderr), and prints the exit code of each. The project itself is not imported here.
"""

import atexit
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class PythonServer:
    """Client of the server process."""

    def __init__(self, process: "subprocess.Popen[str]", patience: float) -> None:
        self.process = process
        self.patience = patience

    def __call__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run the interpreter with these arguments; `stdout` of the result includes stderr."""
        assert self.process.stdin
        assert self.process.stdout
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
            names = {"folder": str(folder), "environment": dict(environment), "output": output.name}
            print(json.dumps({"arguments": list(arguments), **names}), file=self.process.stdin, flush=True)
            if not select.select([self.process.stdout], [], [], self.patience)[0]:
                self.process.kill()  # its late answer must not be taken for that of the next command
                raise TimeoutError(f"{arguments} did not finish in {self.patience} seconds")
            return subprocess.CompletedProcess(arguments, int(self.process.stdout.readline()), output.read())


@contextmanager
def python_server(patience: float) -> Iterator[PythonServer]:
    """Start a server and kill it at the end of the block; a command may take `patience` seconds."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, __file__], env=environment, **pipes) as process:
        yield PythonServer(process, patience)
        process.kill()


def run(job: dict[str, Any]) -> int:
    """Run one job in this process and return its exit code."""
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(source, descriptor)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[0] = job["folder"]
    first, *rest = job["arguments"]
    try:
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            exec(rest[0], {"__name__": "__main__"})
        else:
            sys.argv = job["arguments"]
            runpy.run_path(first, run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    import torch.utils.tensorboard  # noqa: F401
    import torchvision  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = run(json.loads(line))
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
