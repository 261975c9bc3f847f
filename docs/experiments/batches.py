"""What interrupted runs over many photos leave, and how much memory long ones take.

    python docs/experiments/batches.py kills [--count 1000] [--overwrite] [--seed 0]
    python docs/experiments/batches.py memory [--few 200] [--many 2000]

`kills` runs `denoise image --skip-done` over a folder of small photos again and again, and ends each run at a random
moment by a random signal: SIGKILL, SIGTERM, SIGINT or SIGHUP. After each, every file must be whole: the result of an
undisturbed run or, with `--overwrite`, the file that was there before; and no signal but SIGKILL may leave a temporary
file. When a run gets to its end, every result must have the bytes of an undisturbed run, and it starts again with an
empty folder. The exit code is 1 if anything else is found; a line names it.

`memory` runs `denoise image` over a folder of small photos and prints its resident memory after a few and after many.
The exit code is 1 if it has grown by more than 5 %.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DENOISE = [sys.executable, "-m", "denoise_cli", "image", "--model", "mallenet-s", "--noise", "20"]
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PHOTOS = 24  # in the folder whose runs are ended
SIDE = 96  # pixels
MOST_GROWTH = 0.05
AFTER_LAST = 8  # photos that are still to be denoised when the memory is measured
OLD = b"a file that was here before"


def make_photos(folder: Path, count: int, seed: int) -> None:
    """Write noisy JPEGs."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        noisy = 120 + 40 * np.sin(np.arange(SIDE) / 9)[:, None, None] + rng.normal(0, 20, (SIDE, SIDE, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{index:05}.jpg", quality=92)


def kills(count: int, overwrite: bool, seed: int) -> int:
    """End `count` runs; returns how often something was wrong."""
    rng = np.random.default_rng(seed)
    faults, seen = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        photos, undisturbed, out = (Path(name, part) for part in ("photos", "undisturbed", "out"))
        make_photos(photos, PHOTOS, seed)
        subprocess.run(
            [*DENOISE, "-q", photos, "-o", f"{undisturbed}/"], check=True
        )  # compiles the network, if need be
        shutil.rmtree(undisturbed)
        began = time.monotonic()
        subprocess.run([*DENOISE, "-q", photos, "-o", f"{undisturbed}/", "--skip-done"], check=True)
        length = time.monotonic() - began
        expected = {path.name: path.read_bytes() for path in undisturbed.glob("*.jpg")}
        command = [*DENOISE, "-q", photos, "-o", f"{out}/", "--skip-done", *["--overwrite"] * overwrite]
        start_again(out, expected, overwrite)
        while sum(seen.values()) - seen["finished"] < count:
            number = SIGNALS[rng.integers(len(SIGNALS))]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                _, said = process.communicate(timeout=rng.uniform(0, length))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                _, said = process.communicate()
            ended = "finished" if process.returncode == 0 else number.name
            seen[ended] += 1
            # Before Python has reached the program's first line, it answers SIGINT with a traceback of its own.
            interrupted = number == signal.SIGINT and said.strip().endswith("KeyboardInterrupt")
            starting = interrupted and f"denoise_cli{os.sep}" not in said
            if process.returncode not in (0, -number, 128 + number) and not starting:
                faults += complain(f"{ended}: exit code {process.returncode}: {said}")
            faults += check(out, expected, ended, overwrite)
            if ended == "finished":
                start_again(out, expected, overwrite)
    print(", ".join(f"{many} {what}" for what, many in sorted(seen.items())) + f": {faults} faults")
    return faults


def start_again(out: Path, expected: dict[str, bytes], overwrite: bool) -> None:
    """Empty the folder of the results, or fill it with other files."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for name in expected if overwrite else ():
        (out / name).write_bytes(OLD)


def check(out: Path, expected: dict[str, bytes], ended: str, overwrite: bool) -> int:
    """Whether a run has left nothing but what it may; returns the number of faults."""
    faults = 0
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if path.name.startswith(".denoise-"):
            if ended != "SIGKILL":
                faults += complain(f"{ended}: left {path.name}")
            elif path.suffix == ".part":
                path.unlink()  # a later run would, once it is a minute old
        elif path.suffix == ".jpg" and path.read_bytes() not in [expected[path.name], *[OLD] * overwrite]:
            faults += complain(f"{ended}: {path.name} is neither the result nor what was there before")
    if ended == "finished":
        for name, data in expected.items():
            if not (out / name).exists() or (out / name).read_bytes() != data:
                faults += complain(f"finished: {name} is not as in an undisturbed run")
    return faults


def complain(line: str) -> int:
    """Name a fault; returns 1, to be counted."""
    print(line, file=sys.stderr)
    return 1


def memory(few: int, many: int) -> float:
    """How much the resident memory of a run grows from the photo `few` to the photo `many`, as a share."""
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        make_photos(photos, many + AFTER_LAST, seed=0)
        found = {}
        command = [*DENOISE, "-q", "--json", photos, "-o", f"{name}/out/"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for number, _ in enumerate(process.stdout, start=1):
                if number in (few, many):
                    found[number] = resident(process.pid)
    growth = found[many] / found[few] - 1
    print(f"resident memory after {few} photos {found[few] / 1e6:.1f} MB, after {many} {found[many] / 1e6:.1f} MB: "
          f"{growth:+.1%}")  # fmt: skip
    return growth


def resident(process: int) -> int:
    """The resident memory of a process in bytes, as Linux says it."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_kills = commands.add_parser("kills")
    of_kills.add_argument("--count", type=int, default=1000)
    of_kills.add_argument("--overwrite", action="store_true")
    of_kills.add_argument("--seed", type=int, default=0)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--few", type=int, default=200)
    of_memory.add_argument("--many", type=int, default=2000)
    options = parser.parse_args(arguments)
    if options.command == "kills":
        sys.exit(bool(kills(options.count, options.overwrite, options.seed)))
    sys.exit(memory(options.few, options.many) > MOST_GROWTH)


if __name__ == "__main__":
    main()
