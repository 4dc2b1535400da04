"""The errors that a command reports in one line, and the exit codes.

A `UserError` is something the user can fix: its message is one line that says what is wrong, where, and the remedy.
`utils.cli.run` prints it and exits with code 2. Other exceptions keep their traceback.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the commands. 69, 70 and 75 are taken from sysexits.h."""

    MISTAKE = 2  # a UserError
    LOST = 69  # EX_UNAVAILABLE: other processes of the run died or stopped responding
    BAD_NUMBERS = 70  # EX_SOFTWARE: losses or weights are not finite
    PREEMPTED = 75  # EX_TEMPFAIL: a signal ended the run; rerun the same command to continue
    INTERRUPTED = 130  # Ctrl-C, as shells report it


class UserError(ValueError):
    """Base class of errors that the user can fix."""


class ConfigError(UserError):
    """An unknown option, a value of the wrong type, or options that contradict each other."""


class DataError(UserError):
    """Training data that cannot be used."""

    def __init__(self, message: str) -> None:
        # A DataLoader re-raises a worker's error with its traceback, "Caught DataError in ...": keep that unchanged.
        super().__init__(message if message.startswith("Caught ") else printable(message))


class ContradictionError(DataError):
    """A file states the same thing twice in different ways, so that the user has to choose."""


class ModelError(UserError):
    """Sizes that do not match, tensors of the wrong shape, or a file without a usable network."""


class MetricError(UserError):
    """A metric that cannot be measured: a missing file or package, too few samples, or contradicting options."""


class EditError(UserError):
    """A request that generation or editing cannot fulfil, or an output file that cannot be written."""


class OpsUnavailable(UserError):  # noqa: N818 - names a state
    """Compiled kernels are required but cannot be built or loaded; the message has the reason and the remedy."""


class ReadingError(ValueError):
    """A file that has the wrong format or is damaged.

    The message continues a line that starts with the file's name; callers raise a `UserError` from it.
    """


class RunError(Exception):
    """A training run that cannot continue, for reasons other than a mistake in its options. The message is one line.

    Attributes:
        exit_code: tells scripts the reason.
    """

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message, exit_code)  # both, so that it can be pickled and sent to other processes
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


NOT_UTF8 = range(0xDC80, 0xDD00)  # the surrogates by which os.fsdecode represents bytes that are not valid UTF-8


def printable(text: object) -> str:
    """Return `str(text)` as one printable line.

    Non-printable characters and undecodable bytes are escaped: byte 0xE9 becomes '\\xe9'.
    File names may have bytes that are not valid UTF-8: Python represents them as surrogates, which cannot be encoded.
    """

    def escaped(character: str) -> str:
        if ord(character) in NOT_UTF8:
            return f"\\x{ord(character) - 0xDC00:02x}"
        return character.encode("unicode_escape").decode()

    return "".join(c if c.isprintable() else escaped(c) for c in str(text))
