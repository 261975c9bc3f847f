"""Sequences of numbered files: the frames of a clip, each in a file of its own.

A sequence is named by a pattern as FFmpeg's and Blender's users know them, `frames/%04d.png`, or by its folder.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from denoise_cli.errors import UnreadableFile, UsageError
from denoise_cli.files import irregular
from denoise_cli.io.formats import is_left_by_system, is_photo
from denoise_cli.io.missing import GLOB

NUMBER = re.compile(r"%(?:0(\d+))?d")  # printf's conversion of an integer, with leading zeros or without
CONVERSION = re.compile(r"%(?:%|\d*d)")
LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
FEWEST = 2  # pictures of one name that a folder needs to hold a sequence: a single one may be any photo
MOST_NAMED = 4  # sequences, files or gaps in a message


@dataclass(frozen=True)
class Numbered:
    """The files of a sequence.

    Attributes:
        name: what the user calls it: a pattern or a folder.
        files: the frames by their numbers, in ascending order; at least one.
        others: names of what else is in its folder; empty for a pattern, which says what is meant.
    """

    name: Path
    files: Mapping[int, Path]
    others: tuple[str, ...] = ()

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The first and the last number of each gap in the numbering."""
        return [(before + 1, after - 1) for before, after in pairwise(self.files) if after > before + 1]


def is_sequence(path: Path) -> bool:
    """Whether a path stands for numbered files: a folder, or a pattern that is not itself the name of a file."""
    return os.path.isdir(path) or (is_pattern(path) and not os.path.exists(path))  # noqa: PTH110, PTH112 - never raise


def pattern_for(file: Path) -> Path | None:
    """The pattern of the sequence that a file would be a frame of; None if there is no number in its name.

    >>> str(pattern_for(Path("take/a_0007.png")))
    'take/a_%04d.png'
    """
    found = LAST_NUMBER.fullmatch(file.stem)
    if found is None:
        return None
    before, digits, behind = found.groups()
    return file.with_name(_pattern_of(before, behind, file.suffix, {int(digits): file}))


def frames_advice(path: Path) -> str:
    """How to name the frames of a clip, if a name looks like a pattern that the shell was kept from; else "".

    >>> frames_advice(Path("take/a_*.png"))
    'frames of a clip are meant by their folder, take, or by a pattern, such as take/a_%04d.png'
    """
    if not GLOB.search(path.name) or not is_photo(path):
        return ""
    pattern = path.with_name(GLOB.sub("%04d", path.name, count=1))
    return f"frames of a clip are meant by their folder, {path.parent}, or by a pattern, such as {pattern}"


def sequences_in(folder: Path) -> dict[Path, list[Path]]:
    """The sequences of a folder: pictures that have all but their numbers in common, by their patterns.

    Raises:
        UsageError: two of them have the same number.
        UnreadableFile: the folder cannot be read.
    """
    groups, _ = _groups(folder)
    found = {folder / _pattern_of(*key, files): files for key, files in sorted(groups.items())}
    return {pattern: [files[number] for number in sorted(files)] for pattern, files in found.items()}


def is_pattern(path: Path) -> bool:
    """Whether the last part of a path holds a number as `printf` writes it, such as %d or %04d."""
    return any(text != "%%" for text in CONVERSION.findall(path.name))


def named(pattern: Path, number: int) -> Path:
    """The file with a number.

    >>> str(named(Path("out/a_%04d.png"), 7))
    'out/a_0007.png'

    Raises:
        UsageError: the pattern has not exactly one number, or something else behind a %.
    """
    return pattern.with_name(_name(pattern, number))


def find(path: Path) -> Numbered:
    """The files of a sequence.

    Args:
        path: a pattern, or a folder with a single sequence in it, of two pictures or more. The number of a file is the
            last one in its name.

    Raises:
        UsageError: the pattern is none, or the folder holds several sequences.
        UnreadableFile: there are no such files, or the folder cannot be read.
    """
    return _in_folder(path) if path.is_dir() else _by_pattern(path)


def notes_on(found: Numbered) -> list[str]:
    """What the user should hear about a sequence."""
    notes = []
    if found.gaps:
        missing = in_words(found.gaps)
        notes.append(f"the numbering has gaps ({missing}): the frames around them are taken to follow each other")
    if found.others:
        names = ", ".join(found.others[:MOST_NAMED]) + (", ..." if len(found.others) > MOST_NAMED else "")
        notes.append(f"left out what is no frame: {names}")
    return notes


def in_words(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges of numbers, each from its first to its last, for the user: "3, 7 to 9". Only a few are named.

    >>> in_words([(3, 3), (7, 9)])
    '3, 7 to 9'
    """
    found = [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges]
    return ", ".join([*found[:MOST_NAMED], "..."] if len(found) > MOST_NAMED else found)


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, each with its first and its last.

    >>> ranges([3, 7, 8, 9])
    [(3, 3), (7, 9)]
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def _name(pattern: Path, number: int) -> str:
    _check(pattern)
    width = next((digits for digits in NUMBER.findall(pattern.name.replace("%%", "")) if digits), "0")
    return CONVERSION.sub(lambda found: "%" if found[0] == "%%" else f"{number:0{width}d}", pattern.name)


def _check(pattern: Path) -> None:
    conversions = [text for text in CONVERSION.findall(pattern.name) if text != "%%"]
    left = CONVERSION.sub("", pattern.name)
    if len(conversions) != 1 or "%" in left or "%" in str(pattern.parent).replace("%%", ""):
        raise UsageError(f"{pattern}: expected a single number, as in frames/%04d.png, and %% for a percent sign")
    if not NUMBER.fullmatch(conversions[0]):
        width = conversions[0][1:-1].lstrip("0")
        right = f"%0{width}d, with leading zeros" if width else "%d"
        raise UsageError(f"{pattern}: {conversions[0]} pads numbers with spaces: write {right}")


def _by_pattern(pattern: Path) -> Numbered:
    _check(pattern)
    parts = CONVERSION.split(pattern.name)
    marks = CONVERSION.findall(pattern.name)
    expression = re.escape(parts[0])
    for mark, part in zip(marks, parts[1:], strict=True):
        expression += ("%" if mark == "%%" else r"(\d+)") + re.escape(part)
    files: dict[int, Path] = {}
    for file in _listed(pattern.parent, pattern):
        found = re.fullmatch(expression, file.name)
        if found is not None and file.name == _name(pattern, int(found[1])):
            files[int(found[1])] = file
    if not files:
        raise UnreadableFile(pattern, f"there is no such file in {pattern.parent}, for any number")
    return Numbered(pattern, dict(sorted(files.items())))


def _in_folder(folder: Path) -> Numbered:
    groups, others = _groups(folder)
    if not groups:
        raise UnreadableFile(
            folder, "holds no pictures whose names differ only in a number, such as 0001.png and 0002.png"
        )
    if len(groups) > 1:
        patterns = [str(pattern) for pattern in sequences_in(folder)]
        listed = ", ".join(patterns[:MOST_NAMED]) + (", ..." if len(patterns) > MOST_NAMED else "")
        raise UsageError(f"{folder}: holds {len(patterns)} sequences: name one of {listed}")
    (files,) = groups.values()
    return Numbered(folder, dict(sorted(files.items())), tuple(sorted(others)))


def _groups(folder: Path) -> tuple[dict[tuple[str, str, str], dict[int, Path]], list[str]]:
    """The sequences of a folder, by what is before and behind their numbers; and the names of other files."""
    groups: dict[tuple[str, str, str], dict[int, Path]] = {}
    others = []
    for file in _listed(folder, folder):
        found = LAST_NUMBER.fullmatch(file.stem)
        if file.is_dir() or is_left_by_system(file) or file.name.startswith("."):
            continue
        if found is None or not is_photo(file) or irregular(file) not in (None, "a symbolic link"):
            others.append(file.name)
            continue
        before, digits, behind = found.groups()
        group = groups.setdefault((before, behind, file.suffix), {})
        if int(digits) in group:
            raise UsageError(
                f"{folder}: {group[int(digits)].name} and {file.name} have the same number: name a pattern"
            )
        group[int(digits)] = file
    single = [file.name for group in groups.values() if len(group) < FEWEST for file in group.values()]
    return {key: group for key, group in groups.items() if len(group) >= FEWEST}, others + single


def _pattern_of(before: str, behind: str, extension: str, files: Mapping[int, Path]) -> str:
    """How the user can name some files of a folder."""
    digits = [LAST_NUMBER.fullmatch(file.stem) for file in files.values()]
    shortest = min((found[2] for found in digits if found is not None), key=len)
    number = f"%0{len(shortest)}d" if len(shortest) > 1 else "%d"
    return f"{before.replace('%', '%%')}{number}{behind.replace('%', '%%')}{extension}"


def _listed(folder: Path, name: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UnreadableFile(name, f"cannot read {folder}: {error.strerror}") from error
