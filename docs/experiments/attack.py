"""Attack the program: kills, full disks, targets that cannot be written, damaged files, and too little memory.

    python docs/experiments/attack.py [--parts NAME ...] [--short] [--mutants N] [--kills N] [--seed N]

Makes photos and clips by code in a temporary folder, runs `denoise image` and `denoise video` on them, and reads
mutants of files (`mutants.py`) in worker processes, whose memory and time are limited. It prints a table, and a line
for each breach: a part of a file under a result's name, a changed input, a temporary file that stays, a traceback, an
exit code that is not one of docs/cli.md, an exception that is no `DenoiseError`, or a mutant that takes too long. The
exit code is then 1. Crashes in a decoder's own code are counted in a column of their own; their files are not kept.
"""

import argparse
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mutants
import numpy as np
from mutants import make_clip, scene
from numpy.random import Generator
from PIL import Image

from denoise_cli.errors import DenoiseError
from denoise_cli.io.video import Reader

DENOISE = (sys.executable, "-m", "denoise_cli")
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGKILL": -9}
EARLY = {-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP}  # before the program has begun, by the system's own default
TEMPORARY = ".denoise-*"
WAIT = 600  # seconds for a command, on a busy machine
FRAMES = 40
MEGABYTE = 2**20
MEMORY = (500, 800, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 4000)  # megabytes of addresses


@dataclass
class Outcome:
    """What an attack came to: a row of the table.

    Attributes:
        name: of the attack.
        whole: runs that gave whole results, or files that were read.
        refused: runs that ended with one line or by the signal that they got, or files that were refused.
        crashes: of native code.
        breaches: what must not happen, in words.
        skipped: why the attack was not made; empty if it was.
    """

    name: str
    whole: int = 0
    refused: int = 0
    crashes: int = 0
    breaches: list[str] = field(default_factory=list)
    skipped: str = ""

    def row(self) -> str:
        """A line of the table."""
        if self.skipped:
            return f"| {self.name} | skipped: {self.skipped} | | | |"
        return f"| {self.name} | {self.whole} | {self.refused} | {self.crashes} | {len(self.breaches)} |"


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    kills: int
    mutants: int
    memory: Sequence[int]


def make_photos(folder: Path, number: int, size: tuple[int, int] = (96, 128)) -> list[Path]:
    """PNGs of this height and width."""
    folder.mkdir(parents=True)
    paths = [folder / f"{index:03}.png" for index in range(number)]
    for index, path in enumerate(paths):
        Image.fromarray(scene(*size, np.random.default_rng(index))).save(path)
    return paths


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """The program, begun."""
    command = [*DENOISE, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def is_whole(path: Path, frames: int | None = None) -> bool:
    """Whether a photo, or a clip with this number of frames, can be decoded to its end."""
    try:
        if frames is None:
            with Image.open(path) as picture:
                picture.load()
            return True
        with Reader(path) as clip:
            return sum(1 for _ in clip.frames()) == frames and not clip.damaged
    except (OSError, SyntaxError, DenoiseError):
        return False


def bytes_of(paths: Sequence[Path]) -> list[bytes]:
    """What the files hold."""
    return [path.read_bytes() for path in paths]


def left_over(folder: Path) -> list[str]:
    """Temporary files in a folder."""
    return [path.name for path in folder.glob(TEMPORARY)] if folder.exists() else []


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a program, and its messages, when it has ended."""
    _, messages = process.communicate(timeout=WAIT)
    return process.returncode, messages


def killed(process: subprocess.Popen[str], name: str, after: float) -> tuple[int, str]:
    """The same, if it gets a signal after so many seconds."""
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.Signals[name])
    return said(process)


def complaints(code: int, messages: str, name: str) -> list[str]:
    """What is wrong with how a program ended that got a signal."""
    found = [f"{name}: a traceback: {messages.strip().splitlines()[-1]}"] if "Traceback" in messages else []
    if code not in (0, SIGNALS[name], *EARLY):
        found.append(f"{name}: exit code {code}: {messages.strip()[-200:]}")
    return found


def kill_images(size: Size, folder: Path, rng: Generator) -> Outcome:
    """Random signals at random moments of a run over a folder of photos."""
    outcome = Outcome("kills of `denoise image`")
    photos = make_photos(folder / "in", 12)
    before, target = bytes_of(photos), folder / "out"
    began = time.monotonic()
    code, messages = said(start("image", folder / "in", "-o", f"{target}/", "-q"))
    whole_run = time.monotonic() - began
    if code:
        outcome.breaches.append(f"not interrupted: exit code {code}: {messages}")
    for number in range(size.kills):
        shutil.rmtree(target)
        name = list(SIGNALS)[number % len(SIGNALS)]
        process = start("image", folder / "in", "-o", f"{target}/", "-q")
        code, messages = killed(process, name, rng.uniform(0, whole_run))
        outcome.breaches += complaints(code, messages, name)
        target.mkdir(exist_ok=True)
        outcome.breaches += [f"{name}: {path.name} is no photo" for path in target.glob("*.png") if not is_whole(path)]
        if name != "SIGKILL":
            outcome.breaches += [f"{name}: {temporary} is left" for temporary in left_over(target)]
        if bytes_of(photos) != before:
            outcome.breaches.append(f"{name}: an input is changed")
        outcome.whole += code == 0
        outcome.refused += code != 0
    return outcome


def kill_clips(size: Size, folder: Path, rng: Generator) -> Outcome:
    """Random signals at random moments of a clip, which then goes on to its end."""
    outcome = Outcome("kills of `denoise video`")
    folder.mkdir()
    clip, target = make_clip(folder / "in.mkv", frames=FRAMES), folder / "out.mkv"
    before = bytes_of([clip])
    began = time.monotonic()
    code, messages = said(start("video", clip, "-o", target, "-q", "--model", "mallenet-s"))
    whole_run = time.monotonic() - began
    if code or not is_whole(target, FRAMES):
        outcome.breaches.append(f"not interrupted: exit code {code}: {messages}")
    for number in range(size.kills):
        target.unlink(missing_ok=True)
        name = list(SIGNALS)[number % len(SIGNALS)]
        # A new run refuses what a killed one has left.
        process = start("video", clip, "-o", target, "-q", "--model", "mallenet-s", "--resume")
        code, messages = killed(process, name, rng.uniform(0, whole_run))
        outcome.breaches += complaints(code, messages, name)
        if target.exists() and not is_whole(target, FRAMES):
            outcome.breaches.append(f"{name}: {target.name} is a part of a clip")
        if bytes_of([clip]) != before:
            outcome.breaches.append(f"{name}: the input is changed")
        outcome.whole += code == 0
        outcome.refused += code != 0
    if size.kills:
        target.unlink(missing_ok=True)
        code, messages = said(start("video", clip, "-o", target, "-q", "--model", "mallenet-s", "--resume"))
        if code or not is_whole(target, FRAMES):
            outcome.breaches.append(f"continued after all: exit code {code}: {messages}")
    return outcome


def refused_in_one_line(process: subprocess.Popen[str], what: str) -> list[str]:
    """What is wrong with how a program ended that could not write: it must say so in one line, with code 1."""
    code, messages = said(process)
    if code == 1 and "Traceback" not in messages and len(messages.splitlines()) == 1:
        return []
    return [f"{what}: exit code {code}: {messages.strip()[-300:]}"]


def full_disks(_: Size, folder: Path, rng: Generator) -> Outcome:
    """Files that may not grow, and standard output that is full."""
    outcome = Outcome("files that may not grow; full standard output")
    (photo,) = make_photos(folder / "in", 1, (300, 400))
    clip, target = make_clip(folder / "in" / "in.mkv"), folder / "out"
    target.mkdir()
    for command, name in (("image", "a.png"), ("video", "a.mkv")):
        old = target / name
        old.write_bytes(b"old")
        source = photo if command == "image" else clip
        for limit in (0, 100, int(rng.integers(1000, 20_000))):
            process = start(
                command, source, "-o", old, "--overwrite", "-q", preexec_fn=limited(resource.RLIMIT_FSIZE, limit)
            )
            problems = refused_in_one_line(process, f"{command} with files of at most {limit} bytes")
            problems += [f"{command}: {temporary} is left" for temporary in left_over(target)]
            if old.read_bytes() != b"old":
                problems.append(f"{command}: the old result is gone")
            outcome.breaches += problems
            outcome.refused += not problems
    full = Path("/dev/full")
    if full.exists():
        for arguments in (("image", photo, "-o", "-", "--format", "png", "-q"), ("inspect", photo, "--json")):
            command = [*DENOISE, *map(str, arguments)]
            with full.open("w") as stdout:
                process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
                problems = refused_in_one_line(process, f"{arguments[0]} to /dev/full")
            outcome.breaches += problems
            outcome.refused += not problems
    return outcome


def limited(kind: int, limit: int) -> Callable[[], None]:
    """What a process does before it becomes the program, so that it has a limit."""

    def limit_it() -> None:
        resource.setrlimit(kind, (limit, limit))

    return limit_it


def small_disks(_: Size, folder: Path, __: Generator) -> Outcome:
    """A file system in memory that holds two photos of many."""
    outcome = Outcome("a disk that fills up")
    make_photos(folder / "in", 6, (300, 400))
    disk = folder / "disk"
    disk.mkdir()
    enter = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    mount = f"mount -t tmpfs -o size=300k tmpfs '{disk}'"
    inside = ["unshare", "--mount"] if not enter else [*enter, "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*inside, "sh", "-c", mount], capture_output=True).returncode:  # noqa: PLW1510
        outcome.skipped = "no file system can be mounted here"
        return outcome
    program = " ".join(f"'{word}'" for word in DENOISE)
    script = f"{mount} && {program} image '{folder}/in' -o '{disk}/' -q; echo code $? >&2; ls -a '{disk}' >&2"
    done = subprocess.run([*inside, "sh", "-c", script], capture_output=True, text=True, check=False, timeout=WAIT)
    lines = done.stderr.splitlines()
    if "code 1" not in lines or "Traceback" in done.stderr or "No space left on device" not in done.stderr:
        outcome.breaches.append(f"a full disk: {done.stderr[-300:]}")
    outcome.breaches += [f"{line} is left on a full disk" for line in lines if line.startswith(".denoise-")]
    outcome.refused += not outcome.breaches
    return outcome


def closed_targets(_: Size, folder: Path, __: Generator) -> Outcome:
    """A target that is read-only, in a folder that is, and in one that is missing."""
    outcome = Outcome("targets that cannot be written")
    (photo,) = make_photos(folder / "in", 1)
    clip = make_clip(folder / "in" / "in.mkv")
    closed = folder / "closed"
    closed.mkdir()
    for command, source in (("image", photo), ("video", clip)):
        old = folder / f"old{source.suffix}"
        old.write_bytes(b"old")
        old.chmod(0o444)
        attempts = {
            "a read-only file": start(command, source, "-o", old, "--overwrite", "-q"),
            "a missing folder": start(command, source, "-o", folder / "none" / old.name, "-q"),
        }
        if os.geteuid():  # who is not bound by permissions
            closed.chmod(0o555)
            attempts["a read-only folder"] = start(command, source, "-o", closed / old.name, "-q")
        for what, process in attempts.items():
            problems = refused_in_one_line(process, f"{command} to {what}")
            outcome.breaches += problems
            outcome.refused += not problems
        if old.read_bytes() != b"old":
            outcome.breaches.append(f"{command}: a read-only file is replaced")
    closed.chmod(0o755)
    return outcome


def little_memory(command: str) -> Callable[[Size, Path, Generator], Outcome]:
    """An attack: a command with less and less memory."""

    def attack(size: Size, folder: Path, _: Generator) -> Outcome:
        outcome = Outcome(f"memory of `denoise {command}`")
        if command == "image":
            (source,) = make_photos(folder, 1, (1536, 2048))
        else:
            folder.mkdir()
            source = make_clip(folder / "in.mkv", "1280x720", 6)
        for megabytes in size.memory:
            target = folder / f"out{source.suffix}"
            target.unlink(missing_ok=True)
            process = start(
                command, source, "-o", target, "-q", preexec_fn=limited(resource.RLIMIT_AS, megabytes * MEGABYTE)
            )
            code, messages = said(process)
            frames = None if command == "image" else 6
            if code == 0 and is_whole(target, frames):
                outcome.whole += 1
            elif code == 1 and not target.exists() and "Traceback" not in messages and len(messages.splitlines()) == 1:
                outcome.refused += 1
            else:
                outcome.breaches.append(f"{command} with {megabytes} MB: exit code {code}: {messages.strip()[-300:]}")
            outcome.breaches += [f"{command} with {megabytes} MB: {name} is left" for name in left_over(folder)]
        return outcome

    return attack


def fuzz(size: Size, folder: Path, rng: Generator) -> Outcome:
    """Mutants of files of many formats are read."""
    folder.mkdir()
    found = mutants.read_all(size.mutants, int(rng.integers(2**31)), folder)
    for name, number in found.crashes.items():
        print(f"native code has crashed on {number} mutants of {name}", file=sys.stderr)
    return Outcome("mutants of files", found.read, found.refused, sum(found.crashes.values()), found.breaches)


ATTACKS: dict[str, Callable[[Size, Path, Generator], Outcome]] = {
    "kill-images": kill_images,
    "kill-clips": kill_clips,
    "full": full_disks,
    "small-disk": small_disks,
    "targets": closed_targets,
    "fuzz": fuzz,
    "memory-images": little_memory("image"),
    "memory-clips": little_memory("video"),
}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, attack, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="NAME")
    parser.add_argument("--short", action="store_true", help="little of each, in a minute")
    parser.add_argument("--mutants", type=int, help="of files; 10000 unless stated")
    parser.add_argument("--kills", type=int, help="of photos and clips each; 100 unless stated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    full = Size(kills=100, mutants=10_000, memory=MEMORY)
    size = Size(kills=3, mutants=300, memory=(500, 1500)) if options.short else full
    size = Size(
        size.kills if options.kills is None else options.kills,
        size.mutants if options.mutants is None else options.mutants,
        size.memory,
    )
    failed = False
    print("| attack | whole | refused or ended | native crashes | breaches |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="attack-") as scratch:
        for name, number in ((name, list(ATTACKS).index(name)) for name in options.parts):
            outcome = ATTACKS[name](size, Path(scratch) / f"{number}", np.random.default_rng((options.seed, number)))
            print(outcome.row(), flush=True)
            for breach in outcome.breaches:
                print(breach, file=sys.stderr)
            failed |= bool(outcome.breaches)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
