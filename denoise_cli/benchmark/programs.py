"""How long whole programs take for a photo, a folder, a RAW file or a clip, each measured in its own process."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.benchmark.timing import max_rss_bytes
from denoise_cli.errors import DenoiseError, MissingDependency, UnreadableFile, UsageError
from denoise_cli.imaging import tiling
from denoise_cli.io import image
from denoise_cli.io.encode import CONTAINERS
from denoise_cli.io.libraw import silenced_stderr
from denoise_cli.io.photo import Photo
from denoise_cli.io.playlists import url
from denoise_cli.io.program import ffmpeg_program
from denoise_cli.io.raw import RawFile
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import jobs
from denoise_cli.pipeline.model_choice import AUTO, model_for, model_for_timing
from denoise_cli.pipeline.outcome import counted

DEFAULT_MEGAPIXELS = 12.0
# The classical method that photographers have at hand, with its documented defaults; it writes JPEG as we do. The
# arguments are pairs of a source and its target.
NON_LOCAL_MEANS = """
import os, sys, cv2
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    noisy = cv2.imread(source)
    if noisy is None:
        sys.exit(f"OpenCV cannot read {source}")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    cv2.imwrite(target, cv2.fastNlMeansDenoisingColored(noisy), [cv2.IMWRITE_JPEG_QUALITY, 95])
"""
# LibRaw has two kinds of noise reduction; this one works in every version that was tried. LibRaw applies it to Bayer
# mosaics only. The PNG has 16 bits, as ours has, and is compressed as little.
LIBRAW_FBDD = """
import sys, imagecodecs, rawpy
full = rawpy.FBDDNoiseReductionMode.Full
with rawpy.imread(sys.argv[1]) as raw:
    clean = raw.postprocess(fbdd_noise_reduction=full, use_camera_wb=True, output_bps=16)
with open(sys.argv[2], "wb") as target:
    target.write(imagecodecs.png_encode(clean, level=1))
"""
# A new process is at first a copy of the one that starts it, whose memory counts towards its peak. So a small process
# starts the program: without PyTorch, which is in this one.
MEASURE = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)  # unlike Popen.wait, it returns this process's own peak
seconds = time.perf_counter() - started
exit_code = os.waitstatus_to_exitcode(status)
print(json.dumps([exit_code, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
CLIP_FILTER = "nlmeans"  # FFmpeg's, with its documented defaults
# All programs encode a clip in the same way.
ENCODER = "libx264"
CRF = "18"
PRESET = "medium"
PARAMETERS = "mbtree=0"


@dataclass(frozen=True)
class Program:
    """A program to time, and its command line."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Workload:
    """Programs that denoise the same input.

    Attributes:
        peer: a program by others.
        ours: `denoise image` or `denoise video`, with each model and format.
        size: of the input, in words.
        facts: the size in numbers.
        left_out: a line for each photo of a folder that one of the programs cannot read or write: no program gets it.
    """

    peer: Program
    ours: Sequence[Program]
    size: str
    facts: Mapping[str, int]
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Timing:
    """How long a program took, how long its threads computed, all together, and its peak memory."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def workload_for(
    source: Path,
    megapixels: float | None,
    models: Sequence[str],
    device: str,
    folder: Path,
    has_peer: bool = True,
) -> Workload:
    """The programs for a photo, a folder of photos, a RAW file or a clip; what is neither is taken to be a clip.

    Args:
        source: a file or a folder.
        megapixels: the size to which a photo is enlarged by mirroring; None for `DEFAULT_MEGAPIXELS`.
        models: their names; if empty, the one that is used by default for such a file.
        device: see `device.choose_device`.
        folder: for the results; it must outlast the programs.
        has_peer: whether the program by others is timed, too: photos of a folder that it does not take are left out.

    Raises:
        UsageError: `megapixels` is for photos, or the folder holds none.
        UnreadableFile: the file is missing or damaged, no photo of the folder can be timed, or a model is not for it.
        MissingDependency: the program by others is not installed.
    """
    if source.is_dir():
        _refuse(megapixels, "a folder")
        return _folder_workload(source, models or [AUTO], device, folder, has_peer)
    if not image.is_photo(source):
        _refuse(megapixels, "a clip")
        return _clip_workload(source, models or [model_for_timing(is_photo=False)], device, folder)
    with image.opened(source) as found:
        if isinstance(found, Photo):
            photo = enlarge(found, megapixels or DEFAULT_MEGAPIXELS)
            return _photo_workload(photo, models or [model_for_timing(is_photo=True)], device, folder)
        _refuse(megapixels, "camera RAW")
        names = [model_for(found, source, name) for name in models or [AUTO]]
        return _raw_workload(source, found, names, device, folder)


def _refuse(megapixels: float | None, what: str) -> None:
    if megapixels is not None:
        raise UsageError(f"--megapixels {megapixels:g}: only with a photo: drop it for {what}")


def enlarge(photo: Photo, megapixels: float) -> Photo:
    """A photo mirrored at its borders until it has about so many megapixels, keeping its aspect ratio."""
    H, W, _ = photo.pixels.shape
    scale = (megapixels * 1e6 / (H * W)) ** 0.5
    y = tiling.reflected(0, round(H * scale), H)
    x = tiling.reflected(0, round(W * scale), W)
    return Photo(photo.pixels[y[:, None], x], None, photo.kind)


def _photo_workload(photo: Photo, models: Sequence[str], device: str, folder: Path) -> Workload:
    source, target = folder / "noisy.jpg", folder / "clean.jpg"
    image.write(source, photo, "jpeg", "denoise bench")
    H, W, _ = photo.pixels.shape
    ours = [Program(model, _denoise("image", source, target, model, device)) for model in models]
    return Workload(_non_local_means([(source, target)]), ours, _megapixels(W, H), {"width": W, "height": H})


def _folder_workload(source: Path, models: Sequence[str], device: str, folder: Path, has_peer: bool) -> Workload:
    target = folder / "clean"
    _check_opencv()
    planned = jobs.plan([str(source)], f"{target}/", recursive=True)
    reasons = [_obstacle(job) or (_obstacle_for_opencv(job) if has_peer else None) for job in planned]
    wanted = [job for job, reason in zip(planned, reasons, strict=True) if reason is None]
    left_out = [reason for reason in reasons if reason is not None]
    if not wanted:
        raise UnreadableFile(source, f"holds no photo to time programs on ({left_out[0]})")
    if left_out:
        source = _linked(wanted, folder / "photos")
    ours = [Program(model, [*_denoise("image", source, f"{target}/", model, device), "-r"]) for model in models]
    peer = _non_local_means([(job.source, job.target) for job in wanted])
    return Workload(peer, ours, jobs.PHOTOS.count(len(wanted)), {"photos": len(wanted)}, left_out)


def _obstacle(job: jobs.Job) -> str | None:
    """Why this program cannot denoise a photo; None if it can."""
    try:
        jobs.check_plan(job)
        with image.opened(job.source):
            pass
    except DenoiseError as error:
        return str(error)
    return None


def _obstacle_for_opencv(job: jobs.Job) -> str | None:
    import cv2

    try:
        with silenced_stderr():  # OpenCV prints there whatever it does not read
            is_read = cv2.imread(str(job.source)) is not None
        if not is_read:
            return f"{job.source}: left out: OpenCV cannot read it"
        if not cv2.haveImageWriter(str(job.target)):
            return f"{job.source}: left out: OpenCV cannot write {job.target.suffix}"
    except cv2.error:  # of pictures that are too large for it
        return f"{job.source}: left out: OpenCV cannot read it"
    return None


def _linked(wanted: Iterable[jobs.Job], folder: Path) -> Path:
    """A folder with links to some photos of another one."""
    for job in wanted:
        link = folder / job.below
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(job.source.resolve())
    return folder


def _raw_workload(source: Path, raw: RawFile, models: Sequence[str], device: str, folder: Path) -> Workload:
    H, W = raw.shape
    ours = [
        Program(f"{model}, to {kind.upper()}", _denoise("image", source, folder / f"clean.{kind}", model, device))
        for model in models
        for kind in ("dng", "png")
    ]
    developed = [sys.executable, "-c", LIBRAW_FBDD, str(source), str(folder / "clean.png")]
    peer = Program("LibRaw FBDD, to PNG", developed)
    return Workload(peer, ours, _megapixels(W, H), {"width": W, "height": H})


def _clip_workload(clip: Path, models: Sequence[str], device: str, folder: Path) -> Workload:
    frames, W, H = _measure_clip(clip)
    suffix = clip.suffix.lower()
    _, encoders = CONTAINERS.get(suffix, ("", ()))
    target = folder / f"clean{suffix if ENCODER in encoders else '.mkv'}"
    filtered = [ffmpeg_program(), "-nostdin", "-v", "error", "-i", url(clip), "-map", "0:v:0", "-vf", CLIP_FILTER]
    encoded = ["-c:v", ENCODER, "-crf", CRF, "-preset", PRESET, "-x264-params", PARAMETERS, "-y", str(target)]
    peer = Program("FFmpeg non-local means", [*filtered, *encoded])
    encoded = ["--codec", ENCODER, "--crf", CRF, "--preset", PRESET]
    ours = [Program(model, [*_denoise("video", clip, target, model, device), *encoded]) for model in models]
    return Workload(peer, ours, f"{counted(frames, 'frame')} of {W} x {H}", {"width": W, "height": H, "frames": frames})


def _measure_clip(source: Path) -> tuple[int, int, int]:
    """The number of frames, and their width and height in pixels."""
    with Reader(source) as clip:
        frames = sum(1 for _ in clip.frames())
        width, height = clip.stream.width, clip.stream.height
    if not frames:
        raise UnreadableFile(source, "has no frames that can be decoded")
    return frames, width, height


def _megapixels(W: int, H: int) -> str:
    return f"{H * W / 1e6:.1f} MP"


def _non_local_means(pairs: Iterable[tuple[Path, Path]]) -> Program:
    _check_opencv()
    files = [str(path) for pair in pairs for path in pair]
    return Program("OpenCV non-local means", [sys.executable, "-c", NON_LOCAL_MEANS, *files])


def _check_opencv() -> None:
    if importlib.util.find_spec("cv2") is None:
        raise MissingDependency("the comparison with non-local means", "opencv-python-headless")


def _denoise(command: str, source: Path, target: Path | str, model: str, device: str) -> list[str]:
    files = [str(source.resolve()), "-o", str(target), "--overwrite", "--quiet"]
    return [sys.executable, "-m", "denoise_cli", command, *files, "--model", model, "--device", device]


def time_program(program: Program, environment: Mapping[str, str] | None = None) -> Timing:
    """Run a program to its end; None for this process's own environment.

    Raises:
        DenoiseError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *program.command], env=environment, capture_output=True, check=True
    )
    exit_code, seconds, cpu_seconds, max_rss = json.loads(done.stdout)
    if exit_code:
        raise failure(program, exit_code, done.stderr.decode(errors="replace"))
    return Timing(program.name, seconds, cpu_seconds, max_rss_bytes(max_rss))


def failure(program: Program, exit_code: int, messages: str) -> DenoiseError:
    """The error for a program that failed, with the last line of its messages."""
    lines = messages.strip().splitlines() or ["no message"]
    return DenoiseError(f"{program.name}: exit code {exit_code}: {lines[-1]}")
