"""The files around the code say what the code, the README and each other say."""

import re
import tomllib
from pathlib import Path

import denoise_cli
from tests.test_gate import CHECKS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = ".github/workflows/ci.yml"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def found(pattern: str, name: str) -> list[str]:
    return re.findall(pattern, text(name), re.MULTILINE)


def readme_command() -> str:
    (command,) = found(r"^<!-- tests -->\n```sh\n(.+)\n```$", "README.md")
    return command


def test_hosted_ci_runs_the_test_command_of_the_readme() -> None:
    on_windows = readme_command().replace("python3 ", "python ").replace(".venv/bin/", ".venv/Scripts/")
    commands = found(r"^ +run: (.+)$", WORKFLOW)
    assert "bash .ci/run" in commands  # reads it from the README
    assert on_windows in commands


def test_hosted_ci_tries_the_oldest_and_the_newest_python() -> None:
    pythons = [
        name.removeprefix("Programming Language :: Python :: ")
        for name in PROJECT["project"]["classifiers"]
        if name.startswith("Programming Language :: Python :: 3.")
    ]
    assert PROJECT["project"]["requires-python"] == f">={pythons[0]}"
    assert found(r"^ +python: (.+)$", WORKFLOW) == [f'["{pythons[0]}", "{pythons[-1]}"]']


def test_hosted_ci_audits_every_version_that_is_installed() -> None:
    (command,) = (line for line in found(r"^ +run: (.+)$", WORKFLOW) if "pip_audit" in line)
    assert command.endswith("-r constraints.txt")
    assert all("==" in line for line in text("constraints.txt").splitlines() if line and not line.startswith("#"))
    assert found(r"^ +- cron: (.+)$", WORKFLOW)


def test_newer_pythons_get_the_imagecodecs_with_a_newer_libpng() -> None:
    floors = dict(re.findall(r"\"imagecodecs>=([\d.]+); python_version ([<>=]+ '3\.12')\"", text("pyproject.toml")))
    pins = dict(
        re.findall(r"^imagecodecs==([\d.]+); python_version ([<>=]+ '3\.12')$", text("constraints.txt"), re.MULTILINE)
    )
    assert [*floors.values()] == [*pins.values()] == ["< '3.12'", ">= '3.12'"]
    for floor, pin in zip(floors, pins, strict=True):
        assert tuple(map(int, floor.split("."))) <= tuple(map(int, pin.split(".")))


def test_without_an_nvidia_driver_the_readme_installs_pytorch_for_cpus() -> None:
    command = found(r"^```sh\n(python3 -m venv .+)\n```$", "README.md")[0]
    choice, rest = re.fullmatch(r"python3 -m venv \.venv && \{ (.+) \|\| true; \} && (.+)", command).groups()  # type: ignore[union-attr]
    without_driver, installation = choice.split(" || ")
    assert without_driver.startswith("nvidia-smi ")
    assert installation.endswith(" --index-url https://download.pytorch.org/whl/cpu torch")
    # One look at one index, which ends soon: with dependencies, each of them would wait for it.
    assert " --no-deps --retries 1 --timeout 10 " in installation
    assert "https://download.pytorch.org/whl/cpu" in text("Dockerfile")
    assert rest.startswith(".venv/bin/pip install -q -c constraints.txt . && ")


def test_containers_are_said_to_pass_on_gpl_code() -> None:
    for page in ("README.md", "Dockerfile"):
        assert "GPL" in text(page), page
        assert "PyAV" in text(page), page


def test_contributors_are_given_the_test_command_of_the_readme() -> None:
    assert f"```sh\n{readme_command()}\n```" in text("CONTRIBUTING.md")


def test_shortcuts_run_the_checks_of_the_gate() -> None:
    (recipe,) = found(r"^check:\n((?: {4}.+\n)+)", "justfile")
    assert [line.strip() for line in recipe.splitlines()] == [" ".join(command) for command in CHECKS.values()]


def test_hooks_run_the_checks_of_the_gate() -> None:
    # A hook is given the files, and formats them rather than refuse them.
    without_options = [
        " ".join(word for word in command if word != "." and not word.startswith("-")) for command in CHECKS.values()
    ]
    assert found(r"^ +entry: (.+)$", ".pre-commit-config.yaml") == without_options


def test_the_version_to_cite_is_the_program_s() -> None:
    assert found(r"^version: (.+)$", "CITATION.cff") == [denoise_cli.__version__]


def test_an_image_is_built_from_all_that_the_installation_reads() -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    folders = {setuptools["package-dir"].get(name, name.split(".")[0]) for name in setuptools["packages"]}
    files = {"pyproject.toml", "constraints.txt", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert set(found(r"^!(.+)$", ".dockerignore")) == folders | files
