"""The ffmpeg program, for what FFmpeg's libraries in PyAV do not do."""

import re
import shutil
import subprocess
from pathlib import Path

from denoise_cli.errors import DenoiseError, MissingDependency

PATIENCE = 60.0  # seconds without anything written by a program that is to write a file
LOG_PREFIX = re.compile(r"^(\[[^]]*\] *)+")  # in front of FFmpeg's messages


def ffmpeg_program() -> str:
    """The path of the ffmpeg program.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingDependency("writing video with sound", "imageio-ffmpeg") from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def program_with_filter(name: str, option: str) -> str:
    """The path of an ffmpeg program that has a filter: the usual one, or else that on the user's PATH.

    Args:
        name: of the filter.
        option: that needs it, for the message.

    Raises:
        DenoiseError: neither has it.
        MissingDependency: no ffmpeg program is installed.
    """
    usual = ffmpeg_program()
    for program in (usual, shutil.which("ffmpeg")):
        if program is not None:
            listed = subprocess.run(
                [program, "-v", "error", "-filters"], capture_output=True, text=True, errors="replace", check=False
            )
            if any(line.split()[1:2] == [name] for line in listed.stdout.splitlines()):
                return program
    raise DenoiseError(
        f"{option} needs an ffmpeg program with {name}, which {usual} lacks: name one in IMAGEIO_FFMPEG_EXE"
    )


def run_ffmpeg(*words: str, target: Path | None = None) -> str | None:
    """Run the ffmpeg program.

    Args:
        words: its arguments.
        target: a file that it writes: it is stopped if that does not grow for `PATIENCE`. None to let it take its time.

    Returns:
        None, or its first message if it fails.
    """
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *words]
    size = 0
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as run:
        while True:
            try:
                _, messages = run.communicate(timeout=None if target is None else PATIENCE)
                break
            except subprocess.TimeoutExpired:
                before, size = size, target.stat().st_size if target is not None and target.exists() else 0
                if size == before:
                    run.kill()
                    return f"no progress for {PATIENCE:g} s"
            except BaseException:
                run.kill()
                raise
    if not run.returncode:
        return None
    said = next((line for line in messages.splitlines() if line.strip()), f"exit code {run.returncode}")
    return LOG_PREFIX.sub("", said).rstrip(".")
