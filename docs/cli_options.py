"""Write the tables of options in docs/cli.md: `python docs/cli_options.py`.

The tables stand between `<!-- options: COMMAND -->` and `<!-- end -->`. Names, help and defaults come from the program.
With `--check`, nothing is written, and the exit code is 1 if the page and the program differ.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import typer.main

from denoise_cli.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
TABLE = re.compile(r"(<!-- options: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEADER = "| option | meaning | default |\n|---|---|---|\n"


def with_tables(text: str) -> str:
    """The text of the page, with a new table between each pair of markers."""
    return TABLE.sub(lambda found: f"{found[1]}\n{_table(find_command(found[2]))}\n{found[3]}", text)


def find_command(name: str) -> Any:
    """A command by its name, such as "image" or "models show", as click has it (typer may bring its own click)."""
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    return command


def _table(command: Any) -> str:
    rows = [(_name(one), _meaning(one), _default(one)) for one in command.params]
    return HEADER + "".join(f"| {name} | {meaning} | {default} |\n" for name, meaning, default in rows)


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}{'...' if parameter.nargs < 0 else ''}`"
    names = sorted(parameter.opts, key=len)  # the short one first
    value = "" if parameter.is_flag else f" {parameter.metavar}"
    return ", ".join(f"`{name}`" for name in [*names[:-1], names[-1] + value])


def _meaning(parameter: Any) -> str:
    limits = "" if parameter.max is None else f" From {parameter.min:g} to {parameter.max:g}."
    variable = f" Also read from the environment variable `{parameter.envvar}`." if parameter.envvar else ""
    return f"{parameter.help}{limits}{variable}".replace("|", r"\|")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default in (None, False, []):
        return ""
    return f"{parameter.default:.10g}" if isinstance(parameter.default, float) else str(parameter.default)


def main(arguments: list[str], page: Path = PAGE) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; exit with 1 if the tables are outdated.")
    check = parser.parse_args(arguments).check
    text = page.read_text(encoding="utf-8")
    current = with_tables(text)
    if not check:
        page.write_text(current, encoding="utf-8")
    elif text != current:
        sys.exit(f"{page}: the tables of options are outdated: run python docs/cli_options.py")


if __name__ == "__main__":
    main(sys.argv[1:])
