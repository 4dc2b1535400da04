"""What every command shares: a user's mistake, or a machine that lacks something (`utils.shortages`), is one line and
exit code 2; anything else keeps its traceback.

Runs have exit codes of their own: see docs/reliability.md.
"""

import argparse
import codecs
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from utils.errors import ConfigError, ExitCode, RunError, UserError, printable
from utils.shortages import shortage


class Parser(argparse.ArgumentParser):
    """Shows a module's docstring as it stands, and reports a mistake as all other mistakes are."""

    def __init__(self, description: str | None = None, **options: Any) -> None:
        started = getattr(sys.modules["__main__"], "__spec__", None)
        if started and started.name.startswith("scripts."):  # as the user typed it, not the file's name
            options.setdefault("prog", f"python -m {started.name}")
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse; refuse empty arguments, and expand ~ in --option=~/path, which shells leave as it is."""
        given = sys.argv[1:] if args is None else args
        for before, argument in zip(["", *given], given, strict=False):
            option, equals, value = argument.partition("=")
            if not argument or (option.startswith("--") and equals and not value):
                self.error(f"an argument is empty, behind '{option or before}': give a value or leave the option out")
        return super().parse_known_args([_expand_home(argument) for argument in given], namespace)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({self.prog} --help lists all options)")


def _expand_home(argument: str) -> str:
    option, equals, value = argument.partition("=")
    return f"{option}={os.path.expanduser(value)}" if equals and option.startswith("--") else argument


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its return value; with 2, after a line on stderr, for errors that the user can fix."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold what a terminal's encoding lacks
        codecs.register_error("semantic_stylegan.shown", _escape)
        sys.stdout.reconfigure(errors="semantic_stylegan.shown")
    try:
        _exit_with(main)
    except BaseException as ending:
        if dist.is_initialized() and dist.get_backend() != "gloo":
            _leave(ending)
        raise


def _exit_with(main: Callable[[], int | None]) -> NoReturn:
    try:
        sys.exit(main() or 0)
    except UserError as error:
        _tell_once(_one_line(error))
        sys.exit(ExitCode.MISTAKE)
    except RunError as error:
        _tell_once(str(error))
        sys.exit(error.exit_code)
    except torch.OutOfMemoryError as error:
        _tell_once(f"{_one_line(error)} Take smaller batches")
        sys.exit(ExitCode.MISTAKE)
    except (OSError, RuntimeError, MemoryError) as error:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler raises an error whenever a worker ends
        if (told := shortage(error)) is None:
            raise
        _end_workers()
        _tell_once(told)
        sys.exit(ExitCode.MISTAKE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)


def _leave(ending: BaseException) -> NoReturn:
    """End the process as Python would, but without its shutdown.

    There the destructor of NCCL's process group, which an exception has left behind, could wait without end for
    collectives that other processes are in: nothing would be shown, and torchrun would see no exit.
    """
    code = 1
    try:
        if isinstance(ending, SystemExit) and isinstance(ending.code, int | None):
            code = ending.code or 0
        elif isinstance(ending, SystemExit):
            print(ending.code, file=sys.stderr)
        else:
            sys.excepthook(type(ending), ending, ending.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        _end_workers()
    finally:  # whatever fails
        os._exit(code)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape what a stream cannot encode: bytes of file names, and characters, as in caf\\xe9."""
    assert isinstance(error, UnicodeEncodeError)
    text = printable(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode(), error.end


def usable_device(name: str | None) -> torch.device:
    """The device of that name; without a name CUDA where there is a GPU, else the CPU.

    Raises:
        ConfigError: if there is no such device.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one GPU for each of torchrun's processes
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:  # unknown, not built in, not there
        raise ConfigError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def _tell_once(message: str) -> None:
    """To stderr; of torchrun's processes the first one that has this to say says it.

    They ask the store through which torchrun brought them together: it is there also where a mistake shows before
    they have joined, and after they have lost each other.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        key = f"told/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}/{message}"
        try:
            where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            if dist.TCPStore(*where, is_master=False, timeout=timedelta(seconds=10)).add(key, 1) > 1:
                return
        except (RuntimeError, KeyError, ValueError):  # no store: better twice than never
            pass
    print(f"error: {printable(message)}", file=sys.stderr)


def _end_workers() -> None:
    """Kill the workers of a loader or pool that failed: exit would wait for them, and they would add tracebacks."""
    for child in multiprocessing.active_children():
        child.kill()


def _one_line(error: Exception) -> str:
    message = str(error).strip()
    if not message.startswith("Caught "):
        return message
    # A data loader's worker sends its traceback along; the last line is `module.Error: message`.
    last = message.splitlines()[-1]
    return last.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")
