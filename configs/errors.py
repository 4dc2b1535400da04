"""The exception of this package: its message is one line that names what is wrong and the remedy."""


class ConfigError(ValueError):
    """An unknown option, a value of the wrong type, or options that do not fit together."""


class RunError(Exception):
    """A run could not go on, for reasons that are no mistake of a command line's; the message is one line.

    Attributes:
        exit_code: by which scripts tell the reasons apart.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, exit_code)  # both, for it is sent to other processes
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])
