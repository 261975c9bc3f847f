"""docs/cli.md says of every command and every option what the program says, and of none that does not exist."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
TEXT = PAGE.read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(ROOT / "docs" / "cli_options.py"))


def commands(command: Any = None, name: str = "") -> dict[str, Any]:
    """Every command and subcommand by its name, such as "models show"; the program itself is ""."""
    command = command or SCRIPT["find_command"]("")
    below = {f"{name} {word}".strip(): one for word, one in getattr(command, "commands", {}).items()}
    return {name: command} | {key: value for word, one in below.items() for key, value in commands(one, word).items()}


def options(command: Any) -> set[str]:
    return {name for parameter in command.params if parameter.param_type_name == "option" for name in parameter.opts}


def test_the_tables_are_those_of_the_program() -> None:
    SCRIPT["main"](["--check"])


def test_an_outdated_table_is_reported_and_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "cli.md"
    page.write_text(TEXT.replace("| `--overwrite` |", "| `--clobber` |", 1), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        SCRIPT["main"](["--check"], page)
    assert ended.value.code == f"{page}: the tables of options are outdated: run python docs/cli_options.py"
    assert "--clobber" in page.read_text(encoding="utf-8")
    SCRIPT["main"]([], page)
    assert page.read_text(encoding="utf-8") == TEXT


def test_every_command_has_its_section() -> None:
    sections = re.findall(r"^## `denoise (\w+).*`$", TEXT, re.MULTILINE)
    assert sorted(sections) == sorted(SCRIPT["find_command"]("").commands)


def test_every_command_with_options_has_its_table() -> None:
    tables = re.findall(r"^<!-- options: (.+) -->$", TEXT, re.MULTILINE)
    assert sorted(tables) == sorted(name for name, command in commands().items() if name and command.params)


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md"])
def test_pages_mention_no_option_that_does_not_exist(page: str) -> None:
    text = re.sub("<!--.*?-->", "", (ROOT / page).read_text(encoding="utf-8"))
    known = {"--help"}.union(*(options(command) for command in commands().values()))
    others = {"--nproc-per-node", "--index-url", "--extra-index-url"}  # of torchrun and pip
    others |= {"--fgs-table", "--array", "--no-deps", "--retries", "--timeout"}  # of SvtAv1EncApp, sbatch and pip
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known | others
