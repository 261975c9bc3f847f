"""docs/cli.md names every command and every option, and none that is not there."""

import re
from pathlib import Path
from typing import Any

import typer.main

from denoise_cli.cli.app import app

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
EVERYWHERE = {"--help", "-h"}


def sections() -> dict[str, str]:
    parts = re.split(r"^## `denoise (\w+).*`$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def program() -> Any:
    """The command line as click has it; typer may bring a click of its own."""
    return typer.main.get_command(app)


def options_of(command: Any) -> set[str]:
    own = {name for parameter in command.params if parameter.param_type_name == "option" for name in parameter.opts}
    below = getattr(command, "commands", {}).values()
    return own.union(*(options_of(sub) for sub in below)) - EVERYWHERE


def test_every_command_has_its_section() -> None:
    assert set(sections()) == set(program().commands)


def test_every_option_is_documented_and_every_documented_option_exists() -> None:
    for name, text in sections().items():
        documented = set(re.findall(r"`(-{1,2}[a-z][a-z-]*)`", text))
        assert documented == options_of(program().commands[name]), name
