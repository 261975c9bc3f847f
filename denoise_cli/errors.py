"""Everything that can go wrong for a user, with the exit code that the command line returns for it.

    DenoiseError                    1
    ├── UsageError                  2   the command line is invalid
    │   ├── UnknownModel            2   no such model, or one without weights
    │   └── NotExportable           2   a network that the format cannot represent
    ├── UnreadableFile              1   an input that is missing, damaged, of an unsupported kind, or too large
    ├── UnwritableFile              1   a result that cannot be written
    │   └── ClosedPipe            141   nobody reads standard output any longer
    ├── MissingDependency           1   a library that is not installed
    ├── DamagedWeights              1   a weight file that is missing, altered, or for another network
    ├── DeviceUnavailable           1   a device or precision that this machine lacks
    │   └── CannotCompile           1   a network that OpenVINO does not compile here
    ├── OutOfMemory                 1   even the smallest unit of work does not fit
    └── TrainingError               1   a training run that cannot start or continue

A message is one line that names the file, the cause and what to do next. A programmer's mistake is a `ValueError` and
is not in this tree.
"""


class DenoiseError(Exception):
    """An error that the user can do something about."""

    exit_code = 1


class UsageError(DenoiseError):
    """A command line that is invalid."""

    exit_code = 2


class UnreadableFile(DenoiseError):
    """A file that is missing, damaged, of an unsupported kind, or too large."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class UnwritableFile(DenoiseError):
    """A result that could not be written; an existing file of that name is unchanged."""

    def __init__(self, path: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class ClosedPipe(UnwritableFile):
    """Standard output that nobody reads any longer, as that of `| head`: no mistake, so no message is shown."""

    exit_code = 141  # 128 + SIGPIPE, by the shells' convention


class MissingDependency(DenoiseError):
    """A part of the program whose library is not installed."""

    def __init__(self, purpose: str, package: str, name: object = None) -> None:
        about = "" if name is None else f"{name}: "
        super().__init__(f"{about}{purpose} needs {package}, which is not installed: run  pip install {package}")
        self._purpose, self._package, self._name = purpose, package, name

    def about(self, name: object) -> "MissingDependency":
        """The same with the name of the file for which the library is needed, if it has none."""
        return self if self._name is not None else MissingDependency(self._purpose, self._package, name)


class UnknownModel(UsageError):
    """A model name that is not in the registry, or has no weights."""


class NotExportable(UsageError):
    """A network that a format for other programs cannot represent."""


class DamagedWeights(DenoiseError):
    """A weight file that is missing, altered, truncated, or for another network."""


class DeviceUnavailable(DenoiseError):
    """A device or precision that this machine does not have."""


class CannotCompile(DeviceUnavailable):
    """OpenVINO cannot compile a network on this machine, where PyTorch may run it."""


class OutOfMemory(DenoiseError):
    """Even the smallest tile, or a batch of training crops, does not fit into memory."""


class TrainingError(DenoiseError):
    """A training run that cannot start or continue, or whose folder is invalid."""


def raise_signal_behind(error: Exception) -> None:
    """Raise what a signal has raised, if this error was made of it: by Python 3.11 in `__set_name__`, or OpenVINO."""
    if isinstance(error.__cause__, KeyboardInterrupt | SystemExit):
        raise error.__cause__ from None
