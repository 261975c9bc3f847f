"""Everything the user sees: messages, progress bars and tables.

Only results that a command was asked to print go to standard output; all else goes to standard error.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from denoise_cli.errors import UnwritableFile

if TYPE_CHECKING:
    from denoise_cli.pipeline.outcome import Summary

# What a terminal would obey, and what would end a line: control characters, separators of lines and paragraphs, and the
# marks that reverse the direction of text.
_OBEYED = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HARMLESS = {code: ascii(chr(code))[1:-1] for code in _OBEYED}
DIGITS = 6  # of measurements: PSNR to a ten-thousandth of a decibel
PIPE_WIDTH = 160  # characters per line of a table that no terminal shows, so that its cells are not wrapped
stderr = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def error(message: str) -> None:
    """Print an error on standard error, as one line."""
    stderr.print("denoise: " + harmless(" ".join(message.splitlines())), style="red" if stderr.is_terminal else None)


def status(message: str) -> None:
    """Print a line on standard error."""
    stderr.print(harmless(message))


def output(text: str) -> None:
    """Print a line of results on standard output.

    Raises:
        UnwritableFile: it is closed, or its disk is full.
    """
    with _writing_to_stdout():
        sys.stdout.write(harmless(text) + "\n")
        sys.stdout.flush()


def measured(record: Mapping[str, Any]) -> None:
    """Print a record of measurements as JSON, rounded to `DIGITS` significant digits; counts stay whole.

    Raises:
        UnwritableFile: as for `output`.
    """
    output(json.dumps(_significant(record)))


def _significant(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.0f}" if abs(value) >= 10**DIGITS else f"{value:.{DIGITS}g}")  # counts stay whole
    return {key: _significant(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def sum_up(summary: "Summary", quiet: bool, as_json: bool) -> None:
    """End a run over several files: the sum and what failed on standard error, and the sum as the last record."""
    if not quiet:
        status(summary.line())
        for _, error in summary.failures:
            status(f"  failed: {' '.join(error.splitlines())}")
    if as_json:
        output(json.dumps(summary.record()))


@contextmanager
def summed_up_if_interrupted(summary: "Summary", is_single: bool, quiet: bool, as_json: bool) -> Iterator[None]:
    """Sum up a run over several files that Ctrl-C or a signal ends, once what it has opened is closed."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        summary.interrupted = True
        if not is_single:
            sum_up(summary, quiet, as_json)
        raise


def harmless(text: str) -> str:
    """The text in one line, with what a terminal would obey (a file may be named so) as Python writes it."""
    return text.translate(HARMLESS).encode(errors="backslashreplace").decode()


def abandon_output() -> None:
    """Send what standard output has not taken nowhere, or Python would complain of it once more at the end."""
    with suppress(OSError):
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)


@contextmanager
def _writing_to_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # whoever reads it has seen enough, as `head` has
        raise
    except OSError as error:
        abandon_output()
        raise UnwritableFile("standard output", f"cannot write: {error.strerror}") from error


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print a table on standard output; the columns named in `numbers` are right-aligned."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(harmless, row))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    with _writing_to_stdout():
        Console(markup=False, highlight=False, emoji=False, width=width).print(drawn)


@dataclass(frozen=True)
class ProgressBar:
    """Progress through a number of items, usually files, each of which can report its own fraction."""

    progress: Progress
    task: TaskID

    def start(self, name: str) -> None:
        """Begin an item and show its name."""
        self.describe(name)
        self.set_fraction(0)

    def describe(self, text: str) -> None:
        """Replace the text beside the bar."""
        self.progress.update(self.task, description=harmless(text))

    def set_fraction(self, fraction: float) -> None:
        """Set how much of the current item is done, 0 to 1."""
        self.progress.update(self.task, completed=self._finished + fraction)

    def finish(self) -> None:
        """Count the current item as finished."""
        self.progress.update(self.task, finished=self._finished + 1)
        self.set_fraction(0)

    def jump_to(self, finished: int, fraction: float) -> None:
        """Set the number of finished items and the fraction of all work, 0 to 1, where items differ in cost."""
        total = self.progress.tasks[0].total or 0
        self.progress.update(self.task, finished=finished, completed=fraction * total)

    @property
    def _finished(self) -> int:
        return int(self.progress.tasks[0].fields["finished"])


@contextmanager
def progress_bar(total: int, quiet: bool) -> Iterator[ProgressBar]:
    """Show a bar on standard error if that is a terminal, and nothing if it is not, or if `quiet`."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[finished]}/{task.total:.0f}"),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=quiet or not stderr.is_terminal,
    )
    with progress:
        yield ProgressBar(progress, progress.add_task("", total=total, finished=0))
