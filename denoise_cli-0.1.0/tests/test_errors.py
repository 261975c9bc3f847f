"""The drawing at the top of `errors.py` is the tree that is below it."""

import re

from denoise_cli import errors

BRANCH = re.compile(r"^    ((?:[│ ] {3})*(?:[├└]── )?)(\w+) +(\d+)", re.MULTILINE)
STEP = 4  # characters that a class is indented more than its parent


def drawn() -> list[tuple[int, str, int]]:
    """Depth, name and exit code of each line."""
    return [(len(lead) // STEP, name, int(code)) for lead, name, code in BRANCH.findall(errors.__doc__ or "")]


def defined(error: type[errors.DenoiseError] = errors.DenoiseError, depth: int = 0) -> list[tuple[int, str, int]]:
    below = [line for child in error.__subclasses__() for line in defined(child, depth + 1)]
    return [(depth, error.__name__, error.exit_code), *below]


def test_every_error_is_drawn_below_its_parent_with_its_exit_code() -> None:
    assert len(drawn()) > 5
    assert drawn() == defined()


def test_errors_that_need_a_file_name_it() -> None:
    assert str(errors.UnreadableFile("a.png", "is empty")) == "a.png: is empty"
    assert errors.UnwritableFile("b.png", "no space left").reason == "no space left"
