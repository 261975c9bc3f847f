"""`--help`: instant, whole at 80 columns, and in one style."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from denoise_cli.cli.app import app

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "",
    "image",
    "video",
    "compare",
    "inspect",
    "doctor",
    "eval",
    "train",
    "export",
    "bench",
    "models",
    "models show",
]
SCRIPT = """
import sys
from denoise_cli.__main__ import main

sys.argv = ["denoise", *sys.argv[1:], "--help"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
slow = {"torch", "numpy", "PIL", "av", "onnx", "openvino"} & set(sys.modules)
assert not slow, slow
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_instant_and_fits_80_columns(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *command.split()],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert done.stdout.startswith(f"Usage: denoise {command}".rstrip())
    assert max(map(len, done.stdout.splitlines())) <= 80
    summaries = done.stdout.partition("Commands:")[2]
    assert "..." not in summaries  # where a summary is too long


def parameters(command: Any) -> list[Any]:
    below = getattr(command, "commands", {}).values()
    return [*command.params, *(parameter for sub in below for parameter in parameters(sub))]


def test_help_is_in_one_style() -> None:
    for parameter in parameters(typer.main.get_command(app)):
        assert parameter.help, parameter.name
        assert parameter.help[0].isupper(), parameter.help
        assert parameter.help.endswith("."), parameter.help
        assert parameter.metavar or parameter.is_flag, parameter.name


def test_options_of_one_name_and_kind_are_described_alike() -> None:
    shared = {"--strength", "--dry-run", "--overwrite", "--device", "--precision", "--tile", "--max-pixels"}
    helps: dict[str, set[str]] = {name: set() for name in shared | {"--quiet", "--json"}}
    for parameter in parameters(typer.main.get_command(app)):
        for name in helps.keys() & set(parameter.opts):
            helps[name].add(parameter.help)
    assert [name for name, texts in helps.items() if len(texts) != 1] == []
