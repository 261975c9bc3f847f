"""Ctrl-C before the program has begun, and users without a home: no traceback, and nothing where it does not belong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli, Outcome

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and users are those of POSIX")
NOBODY = 54321  # a user without a name, and so without a home
# Interrupts the program when it is about to import a module.
INTERRUPTED = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[-1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass  # so that Python looks after signals
sys.meta_path.insert(0, Interrupting())
from denoise_cli.__main__ import main
sys.argv[1:-1] = ["--version"]
main()
"""


@pytest.mark.parametrize(
    "module", ["denoise_cli.cli", "denoise_cli.cli.exit_codes", "typer", "rich", "denoise_cli.cli.image"]
)
def test_ctrl_c_while_the_program_is_imported_ends_it_without_a_word(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "x", module]
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # also if it is ignored here
    done = subprocess.run(command, capture_output=True, text=True, check=False, **heeding)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr, done.stdout) == (-signal.SIGINT, "", "")


def test_ctrl_c_in_the_background_of_a_script_is_ignored_from_the_start() -> None:
    command = [sys.executable, "-c", INTERRUPTED, "x", "denoise_cli.cli.exit_codes"]
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **ignoring)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("denoise ")


def test_ctrl_c_while_the_parser_is_built_ends_the_program_without_a_word(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as in the background of a script")
    monkeypatch.setattr("typer.main.get_params_from_function", lambda _: signal.raise_signal(signal.SIGINT))
    assert cli("models") == Outcome(128 + signal.SIGINT, "", "")


# Gets a signal while an object is finalised, or while a class is made.
STRUCK = """
import signal, sys, time
from denoise_cli.cli import exit_codes
class Struck:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))
class Named:
    def __set_name__(self, owner, name):
        signal.raise_signal(int(sys.argv[1]))
def finalise():
    Struck()
    time.sleep(30)
def make():
    class Owner:
        part = Named()
exit_codes.app = globals()[sys.argv[2]]
exit_codes.run()
"""


@pytest.mark.parametrize("moment", ["finalise", "make"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_whatever_moment_ends_the_program(number: signal.Signals, moment: str) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as under nohup")
    command = [sys.executable, "-c", STRUCK, str(int(number)), moment]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (128 + number, b"")


def run_at_home(
    home: dict[str, str], folder: Path, photo: Path, **options: object
) -> "subprocess.CompletedProcess[str]":
    """The program on a photo, for a user with no more of a home than these variables say."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "USER")}
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "denoise_cli", "image", str(photo), "-o", str(folder / "clean.png"), "-q"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=kept | {"PYTHONPATH": root} | home,
        **options,
    )  # type: ignore[call-overload]


@pytest.mark.parametrize("home", ["missing", "a file", "closed"])
def test_without_a_place_for_the_cache_photos_are_denoised_all_the_same(home: str, photo: Path, tmp_path: Path) -> None:
    folder, place = tmp_path / "work", tmp_path / "place"
    folder.mkdir()
    if home == "a file":
        place.write_bytes(b"")
    elif home == "closed":
        place.mkdir(mode=0o500)
    done = run_at_home({"HOME": str(place), "XDG_CACHE_HOME": str(place / "cache")}, folder, photo)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["clean.png"]
    with Image.open(folder / "clean.png") as clean:
        assert clean.size == (96, 80)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_home_gets_results_and_no_folder_called_tilde(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for path in (*tmp_path.parents, tmp_path):
        if path.stat().st_uid == 0 and path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o755)
    os.chown(folder, NOBODY, NOBODY)
    photo.chmod(0o644)
    can_read = ["test", "-r", __file__, "-a", "-x", sys.executable]
    if subprocess.run(can_read, user=NOBODY, check=False).returncode:
        pytest.skip("other users may not read the checkout")
    done = run_at_home({}, folder, photo, user=NOBODY, group=NOBODY, extra_groups=[])
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["clean.png"]
