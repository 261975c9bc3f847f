"""What interrupted runs over many photos leave, how much memory long runs and large photos take, and how fast they are.

    python docs/experiments/batches.py kills [--count 1000] [--overwrite] [--workers 1] [--seed 0]
    python docs/experiments/batches.py memory [--few 200] [--many 2000] [--workers 1]
    python docs/experiments/batches.py large [--megapixels 100]
    python docs/experiments/batches.py speed [--against CHECKOUT] [--workers 1 2 auto] [--photos small] [--repeats 3]

`kills` runs `denoise image --skip-done` over a folder of small photos again and again, and ends each run at a random
moment by a random signal: SIGKILL, SIGTERM, SIGINT or SIGHUP. After each, every file must be whole: the result of an
undisturbed run or, with `--overwrite`, the file that was there before; and no signal but SIGKILL may leave a temporary
file. With several workers, none of them may go on for long. When a run gets to its end, every result must have the
bytes of an undisturbed run, and it starts again with an empty folder. The exit code is 1 if anything else is found; a
line names it.

`memory` runs `denoise image` over a folder of small photos and prints its resident memory after a few and after many,
that of its workers included. The exit code is 1 if it has grown by more than 5 %.

`large` runs `denoise image` with its defaults on one large photo in each of some formats, and prints a table of the
peak memory. The exit code is 1 if the peak is above 12 bytes for each pixel.

`speed` runs `denoise image` over 400 PNGs of 512 x 512 (`small`), or 24 JPEGs of 12 megapixels (`large`), with each
number of workers in turns, and before each round the same with another checkout of the project, without `--workers`. A
first round is not counted, in which networks are compiled. It prints the photos per second, and how many times as fast
as the first in the table each was: medians over the rounds.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.benchmark.programs import Program, time_program

HERE = Path(__file__).parents[2]
DENOISE = [sys.executable, "-m", "denoise_cli", "image", "--model", "mallenet-s", "--noise", "20"]
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PHOTOS = 24  # in the folder whose runs are ended
SIDE = 96  # pixels
MOST_GROWTH = 0.05
MOST_BYTES = 12  # for each pixel of a large photo
PATCH = 1000  # pixels, the side of the parts of a large photo
AFTER_LAST = 8  # photos that are still to be denoised when the memory is measured
LONGEST, LONGEST_AFTER_KILL = 5, 60  # seconds that a worker may outlast its run, however busy the machine is
OLD = b"a file that was here before"


def make_photos(folder: Path, count: int, seed: int) -> None:
    """Write noisy JPEGs."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        noisy = 120 + 40 * np.sin(np.arange(SIDE) / 9)[:, None, None] + rng.normal(0, 20, (SIDE, SIDE, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{index:05}.jpg", quality=92)


def kills(count: int, overwrite: bool, workers: int, seed: int) -> int:
    """End `count` runs; returns how often something was wrong."""
    rng = np.random.default_rng(seed)
    faults, seen = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        photos, undisturbed, out = (Path(name, part) for part in ("photos", "undisturbed", "out"))
        make_photos(photos, PHOTOS, seed)
        denoise = [*DENOISE, "-q", "--workers", str(workers), photos]
        subprocess.run([*denoise, "-o", f"{undisturbed}/"], check=True)  # compiles the network, if need be
        shutil.rmtree(undisturbed)
        began = time.monotonic()
        subprocess.run([*denoise, "-o", f"{undisturbed}/", "--skip-done"], check=True)
        length = time.monotonic() - began
        expected = {path.name: path.read_bytes() for path in undisturbed.glob("*.jpg")}
        command = [*denoise, "-o", f"{out}/", "--skip-done", *["--overwrite"] * overwrite]
        start_again(out, expected, overwrite)
        while sum(seen.values()) - seen["finished"] < count:
            number = SIGNALS[rng.integers(len(SIGNALS))]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                _, said = process.communicate(timeout=rng.uniform(0, length))
            except subprocess.TimeoutExpired:
                said, new = end(process, number)
                faults += new
            ended = "finished" if process.returncode == 0 else number.name
            seen[ended] += 1
            # Before Python has reached the program's first line, it answers SIGINT with a traceback of its own.
            interrupted = number == signal.SIGINT and said.strip().endswith("KeyboardInterrupt")
            starting = interrupted and f"denoise_cli{os.sep}" not in said
            if process.returncode not in (0, -number, 128 + number) and not starting:
                faults += complain(f"{ended}: exit code {process.returncode}: {said}")
            elif "Traceback" in said and not starting and number != signal.SIGKILL:
                faults += complain(f"{ended}: {said}")
            faults += check(out, expected, ended, overwrite)
            if ended == "finished":
                start_again(out, expected, overwrite)
    print(", ".join(f"{many} {what}" for what, many in sorted(seen.items())) + f": {faults} faults")
    return faults


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> tuple[str, int]:
    """End a run; returns what it has said on standard error, and 1 if one of its workers has gone on for long."""
    process.send_signal(number)
    process.wait()
    try:
        # Each worker holds standard error open until it ends, which a killed run cannot wait for.
        return process.communicate(timeout=LONGEST_AFTER_KILL if number == signal.SIGKILL else LONGEST)[1], 0
    except subprocess.TimeoutExpired:
        fault = complain(f"{number.name}: a worker goes on")
    return process.communicate()[1], fault


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


def memory(few: int, many: int, workers: int) -> float:
    """How much the resident memory of a run grows from the photo `few` to the photo `many`, as a share."""
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        make_photos(photos, many + AFTER_LAST, seed=0)
        found = {}
        command = [*DENOISE, "-q", "--json", "--workers", str(workers), photos, "-o", f"{name}/out/"]
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
    """The resident memory of a process and of those that it has started, in bytes, as Linux says it."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in started)


def large(megapixels: int) -> bool:
    """Print the memory for a photo of so many megapixels in each format; returns whether any is too much."""
    rows = round(megapixels**0.5)
    rng = np.random.default_rng(0)
    photo = np.vstack([np.hstack([noisy(PATCH, PATCH, rng) for _ in range(rows)]) for _ in range(rows)])
    pixels, too_much = photo[..., 0].size, False
    with tempfile.TemporaryDirectory() as name:
        part = Path(name, "part.png")
        Image.fromarray(photo[: 2 * PATCH, : 2 * PATCH]).save(part)
        subprocess.run([*DENOISE[:4], part, "-o", Path(name, "clean.png"), "-q"], check=True)  # compiles the network
        print("| from, to | size of the file, MB | peak, MB |\n|---|---|---|")
        for words, suffix, options in (
            ("PNG to PNG", "png", None),
            ("TIFF to TIFF", "tif", {}),
            ("TIFF to TIFF, compressed by Deflate", "tif", {"compression": "adobe_deflate", "rowsperstrip": 64}),
            ("JPEG to JPEG", "jpg", None),
        ):
            source = Path(name, f"large.{suffix}")
            if options is None:
                Image.fromarray(photo).save(source, compress_level=1, quality=92)
            else:
                tifffile.imwrite(source, photo, photometric="rgb", predictor="compression" in options, **options)
            command = [*DENOISE[:4], source, "-o", Path(name, f"clean-{suffix}.{suffix}"), "-q", "--overwrite"]
            peak = time_program(Program(words, list(map(str, command)))).peak_bytes
            too_much |= peak > MOST_BYTES * pixels
            size = source.stat().st_size
            print(f"| {pixels / 1e6:.0f} MP, {words} | {size / 1e6:.0f} | {peak / 1e6:.0f} |", flush=True)
    return too_much


def make_pngs(folder: Path) -> None:
    """Write 400 noisy PNGs of 512 x 512."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(400):
        Image.fromarray(noisy(512, 512, rng)).save(folder / f"{index:05}.png")


def make_jpegs(folder: Path) -> None:
    """Write 24 noisy JPEGs of 12 megapixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        Image.fromarray(noisy(3000, 4000, rng)).save(folder / f"{index:05}.jpg", quality=92)


def noisy(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Waves of many lengths in other directions in each channel, with white noise: (height, width, 3)."""
    y, x = (axis[..., None] for axis in np.mgrid[:height, :width].astype(np.float32))
    lengths, turns = rng.uniform(4, 400, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))
    waves = sum(
        np.sin((x * np.cos(turn) + y * np.sin(turn)) / length) for length, turn in zip(lengths, turns, strict=True)
    )
    light = 128 + 40 * waves + 15 * rng.standard_normal((height, width, 3), np.float32)
    return light.clip(0, 255).astype(np.uint8)


MAKERS = {"small": make_pngs, "large": make_jpegs}


def speed(against: Path | None, workers: Sequence[str], photos: str, repeats: int) -> None:
    """Time runs with each number of workers, in turns, and print the table."""
    variants = {f"--workers {number}": (HERE, ["--workers", number]) for number in workers}
    if against is not None:
        variants = {str(against): (against, [])} | variants
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name, "photos"), Path(name, "out")
        MAKERS[photos](source)
        count = len(list(source.iterdir()))
        for _ in range(repeats + 1):
            for variant, (checkout, options) in variants.items():
                command = [sys.executable, "-m", "denoise_cli", "image", source, "-o", f"{out}/", "-q", *options]
                paths = [str(checkout.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
                began = time.monotonic()
                subprocess.run(
                    command, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}, check=True
                )
                seconds[variant].append(time.monotonic() - began)
                shutil.rmtree(out)
    first, *_ = variants
    print(f"| {photos} photos | photos/s | times as fast as the first |\n|---|---|---|")
    for variant, runs in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[first][1:], runs[1:], strict=True))
        print(f"| {variant} | {count / statistics.median(runs[1:]):.2f} | {ratio:.2f} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_kills = commands.add_parser("kills")
    of_kills.add_argument("--count", type=int, default=1000)
    of_kills.add_argument("--overwrite", action="store_true")
    of_kills.add_argument("--workers", type=int, default=1)
    of_kills.add_argument("--seed", type=int, default=0)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--few", type=int, default=200)
    of_memory.add_argument("--many", type=int, default=2000)
    of_memory.add_argument("--workers", type=int, default=1)
    of_large = commands.add_parser("large")
    of_large.add_argument("--megapixels", type=int, default=100)
    of_speed = commands.add_parser("speed")
    of_speed.add_argument("--against", type=Path, help="another checkout of the project, such as a worktree of git")
    of_speed.add_argument("--workers", nargs="+", default=["1", "2", "auto"])
    of_speed.add_argument("--photos", choices=MAKERS, default="small")
    of_speed.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.command == "kills":
        sys.exit(bool(kills(options.count, options.overwrite, options.workers, options.seed)))
    if options.command == "memory":
        sys.exit(memory(options.few, options.many, options.workers) > MOST_GROWTH)
    if options.command == "large":
        sys.exit(large(options.megapixels))
    speed(options.against, options.workers, options.photos, options.repeats)


if __name__ == "__main__":
    main()
