"""What can go wrong for a user, each with the exit code that the command line gives it.

A message names the file, the cause and what to do next, in one line. A programmer's mistake is a `ValueError` and is
not in this tree.
"""


class DenoiseError(Exception):
    """Something that the user can act upon."""

    exit_code = 1


class UsageError(DenoiseError):
    """The command cannot mean what was typed."""

    exit_code = 2


class UnreadableFile(DenoiseError):
    """A file that is missing, damaged, not of a kind that is read here, or too large."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class UnwritableFile(DenoiseError):
    """A result that could not be written; nothing stands under its name that was not there before."""

    def __init__(self, path: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class MissingDependency(DenoiseError):
    """A part of the program whose library is not installed."""

    def __init__(self, purpose: str, package: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: run  pip install {package}")


class UnknownModel(UsageError):
    """A model name that the zoo does not hold, or holds without weights."""


class NotExportable(UsageError):
    """A network that a format for other programs cannot hold."""


class DamagedWeights(DenoiseError):
    """A weight file that is missing, altered, truncated, or of another network."""


class DeviceUnavailable(DenoiseError):
    """A device or precision that this machine does not have."""


class OutOfMemory(DenoiseError):
    """Even the smallest tile does not fit, or a training's crops do not."""


class TrainingError(DenoiseError):
    """A run that cannot start, continue, or make sense of its folder."""
