"""Code shared by all commands: the option parser, the device, and errors that end a command.

Errors that the user can fix, and shortages such as a full disk, end a command with one line on stderr and exit code 2.
Other errors print a traceback. Training runs have more exit codes, see docs/reliability.md.
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
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from utils.errors import ConfigError, ExitCode, RunError, UserError, printable

if TYPE_CHECKING:  # functions import it on first use, because a wrong option is reported before PyTorch is loaded
    import torch

# Endings that name a file. Other endings are accepted, as in runs/lr0.002 or faces.lmdb.
_FILE_ENDING = re.compile(
    r"\.(avi|bmp|csv|gif|jpe?g|jsonl?|mkv|mov|mp4|np[yz]|onnx|pdf|pkl|png|pt2?|pth|svg|tar|tiff?|txt|web[mp]|ya?ml|zip)",
    re.IGNORECASE,
)


class Parser(argparse.ArgumentParser):
    """ArgumentParser that keeps the line breaks of the description, and raises ConfigError for mistakes."""

    unknown_override: Callable[[str, str], ConfigError] | None = None  # the error for --NAME VALUE, see `add_overrides`

    def __init__(self, description: str | None = None, **options: Any) -> None:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec and spec.name.startswith("scripts."):  # show the command as the user typed it, not the file's name
            options.setdefault("prog", f"python -m {spec.name}")
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=layout, allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; also refuse empty arguments, and expand ~ in --option=~/path, where shells leave it.

        Unknown options are reported before missing ones, together with the most similar known option.
        """
        return super().parse_known_args(self._checked(args, namespace), namespace)

    def parse_known_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        # In new releases of Python, this does not call parse_known_args.
        return super().parse_known_intermixed_args(self._checked(args, namespace), namespace)

    def _checked(self, args: Any, namespace: Any) -> list[str]:
        arguments = list(sys.argv[1:] if args is None else args)
        options = {argument.partition("=")[0] for argument in arguments}
        num_options = arguments.index("--") if "--" in arguments else len(arguments)  # all others are positional
        lacks_config = namespace is None and "--config" in self._option_string_actions.keys() - options
        for i, argument in enumerate(arguments):
            option, equals, value = argument.partition("=")
            is_assignment = bool(equals) and option.startswith("--")
            if not argument or (is_assignment and not value):
                after = option or (arguments[i - 1] if i else "")
                self.error(f"empty argument after '{after}': give a value or leave the option out")
            if i < num_options and not self._subparsers:  # each subcommand's parser checks its own options
                self._check_option(option, value or "".join(arguments[i + 1 : i + 2]))
            if is_assignment:
                arguments[i] = f"{option}={os.path.expanduser(value)}"
            elif lacks_config and re.fullmatch(r"[^=]+\.ya?ml", argument) and not ["", *arguments][i].startswith("-"):
                self.error(f"unknown argument {argument}; did you mean --config {argument}?")
        return arguments

    def _check_option(self, option: str, value: str) -> None:
        known = self._option_string_actions
        if option not in known and re.fullmatch(r"--?[A-Za-z]\S*", option):  # not a negative number
            names = [name.removeprefix("--") for name in known if name.startswith("--")]
            near = difflib.get_close_matches(option.lstrip("-"), names, n=1)
            if not near and self.unknown_override:
                self.error(str(self.unknown_override(option, "VALUE" if not value or value[0] == "-" else value)))
            self.error(f"unknown option {option}" + (f"; did you mean --{near[0]}?" if near else ""))

    def error(self, message: str) -> NoReturn:
        if option := re.fullmatch(r"argument (--[\w-]+): expected (one|\d+|at least one) arguments?", message):
            action = self._option_string_actions[option[1]]
            if isinstance(action.metavar, tuple):
                message += f": {' '.join(action.metavar)}"
            elif action.choices:
                message += f" of {', '.join(map(str, action.choices))}"
        raise ConfigError(f"{message} ({self.prog} --help lists all options)")


def check_command_line(parse: Callable[[Sequence[str]], object]) -> None:
    """Parse the command line, and exit if it is wrong or asks for help.

    Commands call this before the imports that take seconds, and parse again in `main`.
    """
    _escape_output()
    try:
        parse(sys.argv[1:])
    except UserError as error:
        _print_error(str(error))
        sys.exit(ExitCode.MISTAKE)


def run(main: Callable[[], int | None]) -> None:
    """Call `main`, and exit with the code that it returns (None: 0) or with the code of the error that it raises."""
    import torch.distributed as dist

    _escape_output()
    try:
        _exit_with_result_of(main)
    except BaseException as error:
        if dist.is_initialized() and dist.get_backend() != "gloo":
            _exit_without_shutdown(error)
        raise


def _escape_output() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may contain characters that the terminal cannot encode
        codecs.register_error("semantic_stylegan.escape", _escape_unencodable)
        sys.stdout.reconfigure(errors="semantic_stylegan.escape")


def _exit_with_result_of(main: Callable[[], int | None]) -> NoReturn:
    import torch

    from utils.shortages import shortage

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
    """Print the error and exit as Python would, but without the interpreter's shutdown.

    During shutdown, NCCL's process group could wait forever for a collective of other ranks, and torchrun would not
    notice that this process has failed.
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
    finally:  # even if something above fails
        os._exit(code)


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Error handler for `codecs.register_error`: return the escaped text, and the position where encoding continues."""
    assert isinstance(error, UnicodeEncodeError)
    text = printable(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode(), error.end


def positive(text: str) -> int:
    """Convert an argument to an integer above 0; for `add_argument(type=positive)`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def folder(text: str) -> Path:
    """Convert an argument to the path of a folder to write to; for `add_argument(type=folder)`.

    Refuse names such as grid.png unless there is a folder of that name: a file was expected then.
    """
    path = Path(text)
    if _FILE_ENDING.fullmatch(path.suffix) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(
            f"{text} is the name of a file, but the output is a folder; give a name without {path.suffix}"
        )
    return path


def finite(text: str) -> float:
    """Convert an argument to a finite number; for `add_argument(type=finite)`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def usable_device(name: str | None) -> "torch.device":
    """Return the device of this name (default: a GPU if there is one); raise ConfigError if the device is unusable."""
    import torch

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # under torchrun, one GPU per process
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.zeros(1, device=name).item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:  # unknown, not compiled in, or missing
        raise ConfigError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def _print_error(message: str) -> None:
    """Print an error to stderr. If several of torchrun's processes have the same error, only one of them prints it.

    The processes compare errors through torchrun's own store, which works even before they have joined a process group
    and after they have lost contact.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        import torch.distributed as dist

        key = f"printed/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}/{message}"
        try:
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            if dist.TCPStore(*address, is_master=False, timeout=timedelta(seconds=10)).add(key, 1) > 1:
                return
        except (RuntimeError, KeyError, ValueError):  # no store: better printed several times than never
            pass
    print(f"error: {printable(message)}", file=sys.stderr)


def _kill_workers() -> None:
    # Otherwise exiting would wait for the workers of data loaders and pools, and these would print tracebacks.
    for child in multiprocessing.active_children():
        child.kill()


def _one_line(error: Exception) -> str:
    """Return an error's message, without the traceback that a data loader adds to an error of its workers."""
    message = str(error).strip()
    if not message.startswith("Caught "):
        return message
    last = message.splitlines()[-1]  # module.Error: message
    return last.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")
