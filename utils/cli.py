"""Shared by all commands: the option parser, the device, and errors that end a command.

An error that the user can fix, or a shortage of the machine (`utils.shortages`), is one line on stderr and exit code 2;
other errors keep their traceback. Training runs have exit codes of their own: see docs/reliability.md.
"""

import argparse
import codecs
import difflib
import io
import math
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from utils.errors import ConfigError, ExitCode, RunError, UserError, printable
from utils.shortages import shortage  # imported now: once file handles run out, no module can be imported


class Parser(argparse.ArgumentParser):
    """ArgumentParser that shows a module's docstring unchanged, and raises ConfigError for mistakes."""

    def __init__(self, description: str | None = None, **options: Any) -> None:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec and spec.name.startswith("scripts."):  # the command as the user typed it, in place of the file's name
            options.setdefault("prog", f"python -m {spec.name}")
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=layout, allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse; refuse empty arguments, and expand ~ in --option=~/path, which shells do not expand.

        Unknown options are reported before missing ones, with the nearest valid name.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        num_options = arguments.index("--") if "--" in arguments else len(arguments)  # all others are positional
        for i, argument in enumerate(arguments):
            option, equals, value = argument.partition("=")
            is_assignment = bool(equals) and option.startswith("--")
            if not argument or (is_assignment and not value):
                after = option or (arguments[i - 1] if i else "")
                self.error(f"empty argument after '{after}': give a value or leave the option out")
            if i < num_options and not self._subparsers:  # the parser of a subcommand checks its own options
                self._check_option(option)
            if is_assignment:
                arguments[i] = f"{option}={os.path.expanduser(value)}"
        return super().parse_known_args(arguments, namespace)

    def _check_option(self, option: str) -> None:
        known = self._option_string_actions
        if option not in known and re.fullmatch(r"--?[A-Za-z]\S*", option):  # not a negative number
            names = [name.removeprefix("--") for name in known if name.startswith("--")]
            near = difflib.get_close_matches(option.lstrip("-"), names, n=1)
            self.error(f"unknown option {option}" + (f"; did you mean --{near[0]}?" if near else ""))

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({self.prog} --help lists all options)")


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its return value, or after an error that needs no traceback, with that error's code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may have characters that the terminal cannot encode
        codecs.register_error("semantic_stylegan.escape", _escape_unencodable)
        sys.stdout.reconfigure(errors="semantic_stylegan.escape")
    try:
        _exit_with_result_of(main)
    except BaseException as error:
        if dist.is_initialized() and dist.get_backend() != "gloo":
            _exit_without_shutdown(error)
        raise


def _exit_with_result_of(main: Callable[[], int | None]) -> NoReturn:
    try:
        sys.exit(main() or 0)
    except UserError as error:
        _print_error(_one_line(error))
        sys.exit(ExitCode.MISTAKE)
    except RunError as error:
        _print_error(str(error))
        sys.exit(error.exit_code)
    except torch.OutOfMemoryError as error:
        _print_error(f"{_one_line(error)} Choose smaller batches")
        sys.exit(ExitCode.MISTAKE)
    except (OSError, RuntimeError, MemoryError) as error:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler raises an error whenever a worker exits
        if (message := shortage(error)) is None:
            raise
        _kill_workers()
        _print_error(message)
        sys.exit(ExitCode.MISTAKE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)


def _exit_without_shutdown(error: BaseException) -> NoReturn:
    """Exit as Python would after an exception, but without the interpreter's shutdown.

    During shutdown the destructor of NCCL's process group could wait forever for collectives that other ranks are in:
    nothing would be printed, and torchrun would not notice that this process has failed.
    """
    code = 1
    try:
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            code = error.code or 0
        elif isinstance(error, SystemExit):
            print(error.code, file=sys.stderr)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        _kill_workers()
    finally:  # exit whatever fails above
        os._exit(code)


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Error handler for `codecs`: escape characters, and bytes of file names, that a stream cannot encode."""
    assert isinstance(error, UnicodeEncodeError)
    text = printable(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode(), error.end


def positive(text: str) -> int:
    """Convert an argument to an integer above 0; for `add_argument(type=positive)`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def finite(text: str) -> float:
    """Convert an argument to a finite number; for `add_argument(type=finite)`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def usable_device(name: str | None) -> torch.device:
    """Return the device of that name; without a name a GPU if there is one, else the CPU.

    Raises:
        ConfigError: if the device is unknown or absent.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # torchrun: one GPU for each process
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:  # unknown, not compiled in, or absent
        raise ConfigError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def _print_error(message: str) -> None:
    """Print an error to stderr; of torchrun's processes only the first one with this message prints it.

    They share messages through torchrun's own store, which also works before the processes have joined a process group
    and after they have lost each other.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        key = f"printed/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}/{message}"
        try:
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            if dist.TCPStore(*address, is_master=False, timeout=timedelta(seconds=10)).add(key, 1) > 1:
                return
        except (RuntimeError, KeyError, ValueError):  # no store: print it too often rather than never
            pass
    print(f"error: {printable(message)}", file=sys.stderr)


def _kill_workers() -> None:
    """Kill data loader and pool workers: exiting would wait for them, and they would print tracebacks of their own."""
    for child in multiprocessing.active_children():
        child.kill()


def _one_line(error: Exception) -> str:
    """Return the message of an error; of one that a data loader's worker raised, without the worker's traceback."""
    message = str(error).strip()
    if not message.startswith("Caught "):
        return message
    last = message.splitlines()[-1]  # module.Error: message
    return last.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")
