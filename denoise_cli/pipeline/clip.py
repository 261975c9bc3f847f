"""One clip, from its file to another: decoded, denoised and encoded at the same time, in parts that outlive a kill."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median_low
from typing import Any

import av

from denoise_cli.errors import UnreadableFile, UsageError
from denoise_cli.files import check_target, move_into_place
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.yuv import to_rgb, without
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io.encode import (
    CONTAINERS,
    NAMES_OF_LIGHT,
    RAW,
    STDOUT,
    USUAL_CONTAINER,
    Encoding,
    Writer,
    choose_encoding,
)
from denoise_cli.io.mux import join
from denoise_cli.io.segments import Parts, folder_of, write_all
from denoise_cli.io.video import Frame, Reader, has_alpha
from denoise_cli.models.registry import checksum_of
from denoise_cli.pipeline.frames import find_noise
from denoise_cli.pipeline.threads import ahead, behind
from denoise_cli.version import __version__

Progress = Callable[[int, float], None]  # frames that are done, and the share of the clip

MOST_FRAMES = 9


@dataclass(frozen=True)
class Settings:
    """How to denoise and encode.

    Attributes:
        model: a name from the registry, or the path of a weight file.
        frames: the window, odd.
        sigma: noise level on [0, 1]; None to estimate it for each scene, or to leave it to the model.
        strength: 0 to 1, how much of the noise goes.
        codec, crf, preset, pixel_format: as `choose_encoding` takes them.
        start, seconds: what to take of the clip; infinite for all that follows.
        deinterlace: make whole frames of fields.
    """

    model: str
    frames: int = 5
    sigma: float | None = None
    strength: float = 1.0
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pixel_format: str | None = None
    start: float = 0.0
    seconds: float = math.inf
    deinterlace: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a clip.

    Attributes:
        made: how many frames were made in this run, the others in one that was interrupted.
        sigma: the noise of most of them, on the scale of 255.
    """

    source: str
    target: str
    model: str
    frames: int
    made: int
    width: int
    height: int
    codec: str
    pixel_format: str
    sigma: float | None
    seconds: float
    notes: tuple[str, ...] = ()


def target_beside(source: Path) -> Path:
    """Where a result goes if nothing is said."""
    extension = source.suffix if source.suffix.lower() in CONTAINERS else USUAL_CONTAINER
    return source.with_name(f"{source.stem}-denoised{extension}")


def check(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse what could not end well, before any work is done.

    Raises:
        UsageError: a target whose container is not written here.
        UnwritableFile: the target is the source itself, a folder, in no folder, or exists and `overwrite` is false.
    """
    if target == STDOUT:
        return
    if target.suffix.lower() not in CONTAINERS and not target.is_dir():
        raise UsageError(f"{target}: expected a name that ends in {', '.join(CONTAINERS)}")
    check_target(target, overwrite, source)


def is_resumable(target: Path) -> bool:
    """Whether an interrupted run has left something to go on with."""
    return target != STDOUT and folder_of(target).is_dir()


def run(
    source: Path,
    target: Path,
    denoise: Denoiser,
    settings: Settings,
    *,
    overwrite: bool = False,
    resume: bool = False,
    compare: Path | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Result:
    """Denoise a clip; all else in its file stays as it is.

    Args:
        source: anything that FFmpeg reads.
        target: a file with one of the extensions of `CONTAINERS`, or "-" for raw frames (YUV4MPEG2) on standard output.
        denoise: for clips, or for photos.
        settings: how.
        overwrite: replace a target that exists, and what an interrupted run has left.
        resume: go on where an interrupted run with the same settings has stopped.
        compare: a second clip to write, without sound: as it was on the left, as it is on the right. After `resume` it
            has only what this run makes.
        progress: called after each frame.
        notice: told, before the work begins, of what the result will lack; that is in the result, too.

    Raises:
        DenoiseError: something that the user can act upon. Nothing stands under the target's name that was not there
            before; what is finished of it is kept for `resume`.
    """
    began = time.perf_counter()
    check(source, target, overwrite)
    if compare is not None:
        check(source, compare, overwrite)
        if compare in (STDOUT, target):
            raise UsageError(f"--compare {compare}: expected another file")
    with Reader(source) as clip, closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames:
        first = _first(frames, source, settings)
        encoding = _encoding(clip, first, target, settings)
        picture, notes = first.picture, _notes(clip, first, encoding)
        if notice is not None:
            for note in notes:
                notice(note)
        parts = None
        if target != STDOUT:
            parts = Parts(target, clip, first, encoding, _plan(clip, denoise, encoding, settings), settings.seconds)
            parts.open(overwrite, resume)
        before = parts.frames if parts else 0
        expected = max(clip.expected_frames(settings.start, settings.seconds), before + 1)
        decoded = ahead(chain([first], frames))
        cleaned = denoised(decoded, denoise, settings.frames, settings.sigma, settings.strength, before)
        levels: list[float] = []

        def shown() -> Iterator[Frame]:
            for place, (frame, level) in enumerate(cleaned, start=before + 1):
                levels.extend([] if level is None else [level])
                yield frame
                if progress is not None:
                    progress(place, min(place / expected, 1.0))

        kept = closing(parts) if parts else nullcontext()
        with kept, closing(decoded), _Comparison(compare, clip, first, overwrite) as comparison:

            def write(frames: Iterator[Frame]) -> int:
                seen = comparison.seeing(frames)
                return parts.write(seen) if parts else write_all(seen, STDOUT, clip, encoding)

            made = behind(write, shown())
        if parts:
            parts.finish(overwrite)
        if clip.damaged:
            notes.append(f"left out {clip.damaged} damaged packets")
        promised = clip.promised_frames if settings.seconds == math.inf and not settings.start else 0
        if before + made < promised - clip.damaged:
            notes.append(f"the file lists {promised} frames, of which {before + made} are shown: it may be cut off")
    return Result(
        source=str(source),
        target=str(target),
        model=settings.model,
        frames=before + made,
        made=made,
        width=picture.width,
        height=picture.height,
        codec=encoding.encoder,
        pixel_format=encoding.pixel_format,
        sigma=round(median_low(levels) * 255, 3) if levels else None,
        seconds=round(time.perf_counter() - began, 3),
        notes=tuple(notes),
    )


def denoised(
    frames: Iterable[Frame],
    denoise: Denoiser,
    T: int,
    sigma: float | None = None,
    strength: float = 1.0,
    skip: int = 0,
) -> Iterator[tuple[Frame, float | None]]:
    """Frames whose samples have lost the noise that `clip.find_noise` finds in them, and the noise level.

    Args:
        frames: in the order in which they are shown; their samples are replaced.
        denoise: for clips, or for photos, which denoises each frame by itself.
        T: how many frames are looked at for each one; fewer where the scene has fewer.
        sigma: the noise's standard deviation, [0, 1]; None to estimate it, or to leave that to the denoiser.
        strength: 0 to 1, how much of the noise goes; 0 leaves the samples as they are.
        skip: how many frames to leave out of the result; what follows is what it would be without.
    """
    pictures = ((frame, to_rgb(frame.planes, frame.layout)) for frame in frames)
    for frame, level, noise in find_noise(pictures, denoise, T, sigma, strength, skip):
        assert not isinstance(level, ShotRead)  # only where sigma is one
        if noise is not None:
            frame.replace(without(frame.planes, noise(), frame.layout))
        yield frame, level


def preview(source: Path, target: Path, settings: Settings, overwrite: bool = False) -> tuple[Encoding, list[str]]:
    """What `run` would encode, and what the result would lack; errors as there, and nothing is written."""
    check(source, target, overwrite)
    with Reader(source) as clip, closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames:
        first = _first(frames, source, settings)
        encoding = _encoding(clip, first, target, settings)
        return encoding, _notes(clip, first, encoding)


def _first(frames: Iterator[Frame], source: Path, settings: Settings) -> Frame:
    first = next(frames, None)
    if first is None:
        after = f" after {settings.start:g} s" if settings.start else ""
        raise UnreadableFile(source, f"has no frames that can be decoded{after}")
    return first


def _encoding(clip: Reader, first: Frame, target: Path, settings: Settings) -> Encoding:
    extension = ".y4m" if target == STDOUT else target.suffix.lower()
    return choose_encoding(clip, first, extension, settings.codec, settings.crf, settings.preset, settings.pixel_format)


class _Comparison:
    """Writes what passes beside what it was; without a path, it lets all pass."""

    def __init__(self, path: Path | None, clip: Reader, first: Frame, overwrite: bool) -> None:
        self._path, self._overwrite = path, overwrite
        if path is not None:
            self._growing, self._whole = (path.with_name(f".{path.name}.{state}") for state in ("growing", "whole"))
            self._encoding = choose_encoding(clip, first.beside_itself(), path.suffix.lower())
            self._writer = Writer(self._growing, clip, self._encoding)

    def __enter__(self) -> "_Comparison":
        return self

    def seeing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if self._path is not None:
                self._writer.write(frame.beside_itself())
            yield frame

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._path is None:
            return
        try:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                join([self._growing], self._whole, self._encoding)
                move_into_place(self._whole, self._path, self._overwrite)
        finally:
            for path in (self._growing, self._whole):
                path.unlink(missing_ok=True)


def _plan(clip: Reader, denoise: Denoiser, encoding: Encoding, settings: Settings) -> dict[str, Any]:
    """All that a part depends on, its number and length apart."""
    state = clip.path.stat()
    return {
        "version": __version__,
        "libraries": {name: list(version) for name, version in av.library_versions.items()},
        "source": str(clip.path.resolve()),
        "bytes": state.st_size,
        "changed": state.st_mtime_ns,
        "settings": dataclasses.asdict(settings),
        "encoding": dataclasses.asdict(encoding),
        "weights": checksum_of(settings.model),
        "device": str(denoise.device),
        "precision": str(denoise.precision),
        "tile": denoise.tile,
    }


def _notes(clip: Reader, first: Frame, encoding: Encoding) -> list[str]:
    notes = []
    if first.is_interlaced:
        notes.append("interlaced: --deinterlace makes whole frames of the fields")
    if clip.has_alpha and not has_alpha(av.VideoFormat(encoding.pixel_format, 16, 16)):
        notes.append(f"transparency is lost: {encoding.encoder} has none")
    if first.mastering and encoding.encoder not in NAMES_OF_LIGHT:
        notes.append(f"what the file says of its mastering display is lost: {encoding.encoder} has no place for it")
    if encoding.encoder == RAW and not clip.is_steady:
        notes.append(f"raw frames have one rate: {float(clip.rate):g} a second")
    return notes
