"""All that a person sees: lines, bars and tables. Everything goes to stderr but what a command was asked to print."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

WIDTH_IN_A_PIPE = 160  # characters: where nobody looks, lines are not folded
errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def error(message: str) -> None:
    """One line on stderr, whatever is in a file's name."""
    errors.print("denoise: " + " ".join(message.splitlines()), style="red" if errors.is_terminal else None)


def say(message: str) -> None:
    """One line on stderr."""
    errors.print(message)


def data(text: str) -> None:
    """A line of what was asked for, on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """A table on stdout; the columns named in `numbers` are aligned to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() else WIDTH_IN_A_PIPE
    Console(markup=False, highlight=False, emoji=False, width=width).print(drawn)


@dataclass(frozen=True)
class Bar:
    """Progress over several files, each of which tells how much of it is done."""

    progress: Progress
    task: TaskID

    def start(self, name: str) -> None:
        """Name the file that is worked on."""
        self.progress.update(self.task, description=name)
        self._fraction(0)

    def describe(self, text: str) -> None:
        """Say more about the current file than its name."""
        self.progress.update(self.task, description=text)

    def show(self, fraction: float) -> None:
        """How much of the current file is done, 0 to 1."""
        self._fraction(fraction)

    def finish(self) -> None:
        """Count the current file as done."""
        self.progress.update(self.task, files=self.progress.tasks[0].fields["files"] + 1)
        self._fraction(0)

    def reach(self, count: int, fraction: float) -> None:
        """How many of all are done, where they come too fast to be named, and the share of the work, 0 to 1."""
        total = self.progress.tasks[0].total or 0
        self.progress.update(self.task, files=count, completed=fraction * total)

    def _fraction(self, fraction: float) -> None:
        self.progress.update(self.task, completed=self.progress.tasks[0].fields["files"] + fraction)


@contextmanager
def bar(total: int, quiet: bool) -> Iterator[Bar]:
    """A bar on stderr while a person is looking; nothing in a pipe, or when quiet."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[files]}/{task.total:.0f}"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=quiet or not errors.is_terminal,
    )
    with progress:
        yield Bar(progress, progress.add_task("", total=total, files=0))
