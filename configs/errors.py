"""How commands end that cannot go on: exceptions whose message is one line, and exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Of a command, so that scripts can tell what to do. 69, 70 and 75 are those of sysexits.h: nobody else's."""

    MISTAKE = 2  # its line tells how to mend it
    LOST = 69  # EX_UNAVAILABLE: the other processes were
    BAD_NUMBERS = 70  # EX_SOFTWARE
    PREEMPTED = 75  # EX_TEMPFAIL: nothing is wrong, the same command goes on; a scheduler can requeue by it
    INTERRUPTED = 130  # a shell's for Ctrl-C


class ConfigError(ValueError):
    """An unknown option, a value of the wrong type, or options that do not fit together."""


class RunError(Exception):
    """A run could not go on, for reasons that are no mistake of a command line's; the message is one line.

    Attributes:
        exit_code: by which scripts tell the reasons apart.
    """

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message, exit_code)  # both, for it is sent to other processes
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])
