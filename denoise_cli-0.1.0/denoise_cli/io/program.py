"""The ffmpeg program, for what FFmpeg's libraries in PyAV do not do."""

import re
import subprocess

from denoise_cli.errors import MissingDependency

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


def run_ffmpeg(*words: str) -> str | None:
    """Run the ffmpeg program.

    Returns:
        None, or its first message if it fails.
    """
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if not done.returncode:
        return None
    said = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
    return LOG_PREFIX.sub("", said).rstrip(".")
