"""Errors that commands report in one line, and the exit codes of commands."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the commands; 69, 70 and 75 are those of sysexits.h."""

    MISTAKE = 2  # a UserError, or a lack of memory, disk space or other resources
    LOST = 69  # EX_UNAVAILABLE: other processes of the run died or stopped responding
    BAD_NUMBERS = 70  # EX_SOFTWARE: losses or weights are not finite
    PREEMPTED = 75  # EX_TEMPFAIL: a signal ended the run; rerun the same command to continue
    INTERRUPTED = 130  # Ctrl-C, as shells report it


class UserError(ValueError):
    """Base class of errors that the user can fix. `utils.cli.run` prints the message and exits with code 2.

    The message is one line that says what is wrong, where, and what to do.
    """


class ConfigError(UserError):
    """An invalid option, options that contradict each other, or a run folder or checkpoint that cannot be used."""


class DataError(UserError):
    """Images, masks or data sets that cannot be used, or an image that cannot be written."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises a worker's error again with a traceback ("Caught DataError in ..."): keep its lines.
        super().__init__(message if message.startswith("Caught ") else printable(message))


class ContradictionError(DataError):
    """Files that contradict themselves or each other about the classes of pixels, so that the user must choose."""


class ModelError(UserError):
    """Architecture options that contradict each other, a tensor of the wrong shape, or an unusable network file."""


class MetricError(UserError):
    """A metric that cannot be measured because of a missing file or package, too few samples, or wrong options."""


class EditError(UserError):
    """Generation or editing that cannot be done as requested, or an output file that cannot be written."""


class OpsUnavailable(UserError):  # noqa: N818 - names a state
    """Compiled kernels that are required but cannot be built or loaded."""


class ReadingError(ValueError):
    """A file that cannot be read, has the wrong format or is damaged.

    The message does not name the file. Callers raise a `UserError` with the file name in front of the message.
    """


class RunError(Exception):
    """A training run that cannot continue although its options are valid. The message is one line."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message, exit_code)  # both, so that the error can be pickled and sent to other processes
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


NOT_UTF8 = range(0xDC80, 0xDD00)  # surrogates with which Python represents the bytes of file names that are not UTF-8


def printable(text: object) -> str:
    """Return `str(text)` on one line, with unprintable characters and undecodable bytes escaped, e.g. as '\\xe9'."""

    def escaped(character: str) -> str:
        if ord(character) in NOT_UTF8:
            return f"\\x{ord(character) - 0xDC00:02x}"
        return character.encode("unicode_escape").decode()

    return "".join(c if c.isprintable() else escaped(c) for c in str(text))
