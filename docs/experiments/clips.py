"""What runs over clips take and leave: memory, room on the disk, and results after kills.

    python docs/experiments/clips.py memory [--seconds 10 100 600]
    python docs/experiments/clips.py kills [--count 100] [--seed 0]
    python docs/experiments/clips.py kept CLIP [--seconds 2]

`memory` runs `denoise video` over noisy clips of 160 x 90 at 25 frames per second, and prints the most memory that the
program and all that it starts hold together. The exit code is 1 if a clip needs over 5 % more than the shortest.

`kills` runs `denoise video --resume` over a clip, and ends so many runs, each at a random moment by a random signal;
when a run gets to its end, the result must have the bytes of an undisturbed run, and the next begins anew. The exit
code is 1 if anything else is found; a line names it.

`kept` prints how much room the frames of an unfinished segment take at most: 240 frames of the denoised clip, without
loss.
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
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from denoise_cli.io.kept_frames import CODEC, CONTAINER
from denoise_cli.io.segments import SEGMENT_LENGTH

DENOISE = [sys.executable, "-m", "denoise_cli", "video"]
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
SIZE, RATE = "160x90", 25
KILLED_LENGTH = 24.0  # seconds of the clip whose runs are ended: two segments and a half
MOST_GROWTH = 0.05
INTERVAL = 0.05  # seconds between two looks at the memory


def make_clip(path: Path, seconds: float) -> Path:
    """Write a noisy clip."""
    ffmpeg, picture = imageio_ffmpeg.get_ffmpeg_exe(), f"testsrc2=size={SIZE}:rate={RATE}:duration={seconds}"
    look = ["-f", "lavfi", "-i", f"{picture},noise=alls=20:allf=t", "-pix_fmt", "yuv420p", "-c:v", "libx264"]
    subprocess.run([ffmpeg, "-v", "error", "-y", *look, path], check=True)
    return path


def memory(lengths: Sequence[float]) -> float:
    """How much more memory the clip that needs most takes than the first one, as a share."""
    peaks = []
    print("| seconds | peak MB |\n|---|---|")
    for seconds in lengths:
        with tempfile.TemporaryDirectory() as name:
            clip = make_clip(Path(name, "in.mp4"), seconds)
            process = subprocess.Popen([*DENOISE, "-q", clip, "-o", f"{name}/out.mp4"])
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(resident, tree(process.pid))))
                time.sleep(INTERVAL)
            if process.returncode:
                sys.exit(f"{seconds:g} s: exit code {process.returncode}")
        peaks.append(peak)
        print(f"| {seconds:g} | {peak / 1e6:.1f} |", flush=True)
    growth = max(peaks) / peaks[0] - 1
    print(f"at most {growth:+.1%}")
    return growth


def tree(process: int) -> Iterator[int]:
    """A process and all the programs that it has started, directly or not."""
    yield process
    for threads in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in threads.read_text().split()]
            # What has its parent's command line is about to start a program, and its memory is the parent's still.
            programs = [child for child in children if command_line(child) != command_line(process)]
        except OSError:  # it has ended
            continue
        for child in programs:
            yield from tree(child)


def command_line(process: int) -> bytes:
    """What a process was started with, as Linux says it; nothing if it has ended."""
    return Path(f"/proc/{process}/cmdline").read_bytes()


def resident(process: int) -> int:
    """The resident memory of a process in bytes, as Linux says it; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def kills(count: int, seed: int) -> int:
    """End `count` runs; returns how often something was wrong."""
    rng = np.random.default_rng(seed)
    faults, seen = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        clip = make_clip(Path(name, "in.mp4"), KILLED_LENGTH)
        whole, out, folder = Path(name, "whole.mp4"), Path(name, "out.mp4"), Path(name, "out.mp4.parts")
        subprocess.run([*DENOISE, "-q", clip, "-o", whole, "--duration", "0.2"], check=True)  # compiles, if need be
        began = time.monotonic()
        subprocess.run([*DENOISE, "-q", clip, "-o", whole, "--overwrite"], check=True)
        length = time.monotonic() - began
        before = clip.read_bytes()
        while sum(seen.values()) - seen["finished"] < count:
            number = SIGNALS[rng.integers(len(SIGNALS))]
            command = [*DENOISE, "-q", clip, "-o", out, "--resume"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                _, said = process.communicate(timeout=rng.uniform(0, length))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                _, said = process.communicate()
            ended = "finished" if process.returncode == 0 else number.name
            seen[ended] += 1
            if process.returncode not in (0, -number, 128 + number):
                faults += complain(f"{ended}: exit code {process.returncode}: {said}")
            if clip.read_bytes() != before:
                faults += complain(f"{ended}: the clip is changed")
            if ended == "finished":
                if out.read_bytes() != whole.read_bytes() or folder.exists():
                    faults += complain("finished: not as after an undisturbed run")
                out.unlink()
            elif out.exists():  # the signal came between the move into place and the end of the process
                if out.read_bytes() != whole.read_bytes():
                    faults += complain(f"{ended}: the result is not as after an undisturbed run")
                out.unlink()
                shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{many} {what}" for what, many in sorted(seen.items())) + f": {faults} faults")
    return faults


def complain(line: str) -> int:
    """Name a fault; returns 1, to be counted."""
    print(line, file=sys.stderr)
    return 1


def kept(clip: Path, seconds: float) -> None:
    """Print how much room the frames of a segment take."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name, f"out{CONTAINER}")
        command = [*DENOISE, "-q", clip, "-o", out, "--codec", CODEC, "--duration", f"{seconds}", "--drop-data"]
        subprocess.run(command, check=True)
        with av.open(str(out)) as made:
            sizes = [packet.size for packet in made.demux(video=0) if packet.size]
            picture = made.streams.video[0].codec_context
            what = f"{picture.width} x {picture.height} {picture.pix_fmt}"
    mean = sum(sizes) / len(sizes)
    print(f"{what}: {mean / 1e6:.2f} MB per frame, {SEGMENT_LENGTH * mean / 1e6:.0f} MB for {SEGMENT_LENGTH} frames")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--seconds", type=float, nargs="+", default=[10, 100, 600])
    of_kills = commands.add_parser("kills")
    of_kills.add_argument("--count", type=int, default=100)
    of_kills.add_argument("--seed", type=int, default=0)
    of_kept = commands.add_parser("kept")
    of_kept.add_argument("clip", type=Path)
    of_kept.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args(arguments)
    if options.command == "memory":
        sys.exit(memory(options.seconds) > MOST_GROWTH)
    if options.command == "kills":
        sys.exit(bool(kills(options.count, options.seed)))
    kept(options.clip, options.seconds)


if __name__ == "__main__":
    main()
