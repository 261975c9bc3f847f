"""How long whole programs take for a photo or a clip, and how much memory, each measured in its own process."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.benchmark.timing import max_rss_bytes
from denoise_cli.errors import DenoiseError, MissingDependency
from denoise_cli.imaging import tiling
from denoise_cli.io import image
from denoise_cli.io.encode import CONTAINERS
from denoise_cli.io.mux import ffmpeg_program
from denoise_cli.io.photo import Photo
from denoise_cli.io.video import url

# The classical method that photographers have at hand, with its documented defaults; it reads and writes JPEG as we do.
NON_LOCAL_MEANS = (
    "import cv2, sys; "
    "cv2.imwrite(sys.argv[2], cv2.fastNlMeansDenoisingColored(cv2.imread(sys.argv[1])), [cv2.IMWRITE_JPEG_QUALITY, 95])"
)
CLIP_FILTER = "nlmeans"  # FFmpeg's, with its documented defaults
# All programs encode in the same way.
ENCODER = "libx264"
CRF = "18"
PRESET = "medium"
PARAMETERS = "mbtree=0"


@dataclass(frozen=True)
class Timing:
    """How long a program took, how long its threads computed, all together, and its peak memory."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def enlarge(photo: Photo, megapixels: float) -> Photo:
    """A photo mirrored at its borders until it has about so many megapixels, keeping its aspect ratio."""
    H, W, _ = photo.pixels.shape
    scale = (megapixels * 1e6 / (H * W)) ** 0.5
    y = tiling.reflected(0, round(H * scale), H)
    x = tiling.reflected(0, round(W * scale), W)
    return Photo(photo.pixels[y[:, None], x], None, photo.kind)


def time_photo(photo: Photo, models: Sequence[str], device: str) -> Iterator[Timing]:
    """Time OpenCV's non-local means, then `denoise image` with each model, from a JPEG to a JPEG.

    Raises:
        MissingDependency: OpenCV is not installed.
        DenoiseError: a program failed.
    """
    if importlib.util.find_spec("cv2") is None:
        raise MissingDependency("the comparison with non-local means", "opencv-python-headless")
    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder, "noisy.jpg")), str(Path(folder, "clean.jpg"))
        image.write(Path(source), photo, "jpeg", "denoise bench")
        yield _time("OpenCV non-local means", [sys.executable, "-c", NON_LOCAL_MEANS, source, target])
        for model in models:
            yield _time(model, [*_denoise("image", source, target), "--model", model, "--device", device])


def time_clip(clip: Path, models: Sequence[str], device: str) -> Iterator[Timing]:
    """Time FFmpeg's non-local means, then `denoise video` with each model, from the clip to an H.264 file.

    Raises:
        MissingDependency: the ffmpeg program is not installed.
        DenoiseError: a program failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, suffix = str(clip.resolve()), clip.suffix.lower()
        _, encoders = CONTAINERS.get(suffix, ("", ()))
        target = str(Path(folder, f"clean{suffix if ENCODER in encoders else '.mkv'}"))
        filtered = [ffmpeg_program(), "-nostdin", "-v", "error", "-i", url(clip), "-map", "0:v:0", "-vf", CLIP_FILTER]
        encoded = ["-c:v", ENCODER, "-crf", CRF, "-preset", PRESET, "-x264-params", PARAMETERS, "-y", target]
        yield _time("FFmpeg non-local means", [*filtered, *encoded])
        encoded = ["--codec", ENCODER, "--crf", CRF, "--preset", PRESET]
        for model in models:
            yield _time(model, [*_denoise("video", source, target), *encoded, "--model", model, "--device", device])


def _denoise(command: str, source: str, target: str) -> list[str]:
    return [sys.executable, "-m", "denoise_cli", command, source, "-o", target, "--overwrite", "--quiet"]


def _time(name: str, command: list[str]) -> Timing:
    with tempfile.TemporaryFile() as messages:
        started = time.perf_counter()
        process = subprocess.Popen(command, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)  # unlike Popen.wait, it returns this process's own peak
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise DenoiseError(f"{name}: exit code {process.returncode}: {lines[-1]}")
    return Timing(name, seconds, usage.ru_utime + usage.ru_stime, max_rss_bytes(usage))
