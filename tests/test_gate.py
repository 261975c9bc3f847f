"""Formatter, linter, type checker and the floors of the house, so that one command checks everything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORT_LINTER = str(Path(sys.executable).with_name("lint-imports"))


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "ruff", "format", "--check", "--diff", "."],
        [sys.executable, "-m", "ruff", "check", "."],
        [sys.executable, "-m", "mypy"],
        [IMPORT_LINTER],
    ],
    ids=["formatter", "linter", "types", "floors"],
)
def test_the_code_is_as_it_should_be(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
