"""The errors that commands report in one line, and their exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the commands; 69, 70 and 75 are those of sysexits.h."""

    MISTAKE = 2  # a UserError
    LOST = 69  # EX_UNAVAILABLE: other processes of the run died or stopped responding
    BAD_NUMBERS = 70  # EX_SOFTWARE: losses or weights are not finite
    PREEMPTED = 75  # EX_TEMPFAIL: a signal ended the run; rerun the same command to continue
    INTERRUPTED = 130  # Ctrl-C, as shells report it


class UserError(ValueError):
    """Base class of errors that the user can fix; `utils.cli.run` prints the message and exits with code 2.

    The message is one line that says what is wrong, where, and the remedy.
    """


class ConfigError(UserError):
    """An unknown option, a value of the wrong type, or options that contradict each other."""


class DataError(UserError):
    """Training data that cannot be used."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises a worker's error again with its traceback, "Caught DataError in ...": keep that unchanged.
        super().__init__(message if message.startswith("Caught ") else printable(message))


class ContradictionError(DataError):
    """A file that states the same thing in two different ways, so that the user must choose."""


class ModelError(UserError):
    """Architecture options that contradict each other, a tensor of the wrong shape, or a file without a network."""


class MetricError(UserError):
    """A metric that cannot be measured: a missing file or package, too few samples, or contradictory options."""


class EditError(UserError):
    """Generation or editing that cannot be done as requested, or an output file that cannot be written."""


class OpsUnavailable(UserError):  # noqa: N818 - names a state
    """Compiled kernels that are required but cannot be built or loaded."""


class ReadingError(ValueError):
    """A file that has the wrong format or is damaged.

    The message does not name the file: callers put the name in front of it, in the message of a `UserError`.
    """


class RunError(Exception):
    """A training run that cannot continue, for a reason other than its options. The message is one line."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message, exit_code)  # both, so that the error can be pickled and sent to other processes
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


NOT_UTF8 = range(0xDC80, 0xDD00)  # surrogates with which Python represents the bytes of file names that are not UTF-8


def printable(text: object) -> str:
    """Return `str(text)` as one line of printable characters; others are escaped, undecodable byte 0xE9 as '\\xe9'."""

    def escaped(character: str) -> str:
        if ord(character) in NOT_UTF8:
            return f"\\x{ord(character) - 0xDC00:02x}"
        return character.encode("unicode_escape").decode()

    return "".join(c if c.isprintable() else escaped(c) for c in str(text))
