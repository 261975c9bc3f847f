"""A clip from file to file: decoded, denoised and encoded concurrently, in segments that survive a kill."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import av

from denoise_cli.errors import UnreadableFile
from denoise_cli.files import modified_at
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.yuv import subtract_noise, to_rgb
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io.animation import ANIMATIONS
from denoise_cli.io.animation import choose as choose_animation
from denoise_cli.io.dolby_vision import check_colours
from denoise_cli.io.encode import (
    RAW_CONTAINER,
    RAW_ENCODER,
    STDOUT,
    Encoding,
    choose_encoding,
)
from denoise_cli.io.mux import Tracks
from denoise_cli.io.probe import settle, watched
from denoise_cli.io.segments import Segments, segments_folder, write_all
from denoise_cli.io.tracks import choose_tracks
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame
from denoise_cli.models.registry import checksum_of
from denoise_cli.pipeline.clip_notes import faults_of, is_complete, notes_on_source
from denoise_cli.pipeline.clip_result import Progress, Result, Work
from denoise_cli.pipeline.clip_targets import check, check_all, check_others
from denoise_cli.pipeline.frames import find_noise
from denoise_cli.pipeline.grain import RemovedGrain
from denoise_cli.pipeline.side_by_side import SideBySide, encoding_of_pair
from denoise_cli.pipeline.threads import consume_in_thread, prefetch
from denoise_cli.temporary_files import only_writer
from denoise_cli.version import __version__


class Inspect(Protocol):
    """What is told of a whole result."""

    def __call__(self, path: Path, *, complete: bool, faults: list[str]) -> None:
        """Look at the result's file: whether all of the source could be read, and what was wrong with that."""


@dataclass(frozen=True)
class Settings:
    """How to denoise and encode.

    Attributes:
        model: a name from the registry, or the path of a weight file.
        frames: length of the window, odd.
        sigma: noise level on [0, 1]; None to estimate it for each scene, or to leave that to the model.
        strength: 0 to 1, the share of the noise that is removed.
        codec, crf, preset, pixel_format: see `choose_encoding`.
        start, seconds: the part of the clip to denoise; infinite seconds for the whole rest.
        deinterlace: whether fields are combined into whole frames first.
        drop_data: whether data tracks, subtitles and attachments that the target cannot hold are left out.
        stream: what goes to standard output, one of `STREAMS`; None for NUT or Matroska if that comes from standard
            input, and YUV4MPEG2 otherwise.
        allow_playlists: whether local files that the source names may be opened, too.
        rate: frames per second of a source of numbered pictures; None for 25.
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
    drop_data: bool = False
    stream: str | None = None
    allow_playlists: bool = False
    rate: Fraction | None = None


def is_resumable(target: Path) -> bool:
    """Whether an interrupted run has left finished segments to continue from."""
    return target != STDOUT and segments_folder(target).is_dir()


def run(
    source: Path,
    target: Path,
    denoise: Denoiser,
    settings: Settings,
    *,
    overwrite: bool = False,
    resume: bool = False,
    compare: Path | None = None,
    grain_table: Path | None = None,
    backup: Path | None = None,
    touch: bool = False,
    inspect: Inspect | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Result:
    """Denoise a clip, and keep everything else in its file.

    Args:
        source: anything that FFmpeg reads; "-" for YUV4MPEG2, NUT or Matroska from standard input; or numbered
            pictures, see `io.numbered`.
        target: a file with one of `clip_targets.EXTENSIONS`, or "-" for standard output.
        denoise: for clips, or for photos.
        settings: how to denoise and encode.
        overwrite: whether to replace an existing target, and the segments of an interrupted run.
        resume: whether to continue an interrupted run with the same settings.
        compare: a second clip to write, without sound, with before on the left and after on the right. After `resume`
            it has only the frames that were in no finished segment.
        grain_table: a film grain table to write, for AV1 encoders, fitted to the noise that is removed. After `resume`
            it knows only the frames that were in no finished segment.
        backup: a second name for the source, if the result takes its place.
        touch: whether the result gets the time at which it is written, instead of the source's.
        inspect: called with the result's file before that gets its name, and with what could not be read.
        progress: called after each frame.
        notice: called, before the work begins, with a line for everything that the result will lack. The result lists
            these lines too.

    Raises:
        DenoiseError: something that the user can act upon. Whatever had the target's name before is untouched, and
            finished segments are kept for `resume`.
    """
    work = Work(progress)
    check_all(source, target, overwrite, resume, compare, grain_table, backup)
    with (
        _only_writer(target, compare),
        Reader(source, settings.allow_playlists, settings.rate) as clip,
        closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames,
    ):
        first = first_frame(frames, source, settings)
        grain = RemovedGrain(grain_table, first)
        encoding, lost = _encoding(clip, first, target, settings)
        tracks = _tracks(clip, target, encoding, settings)
        picture, notes = first.picture, [*_notes(clip, first, encoding, settings), *lost, *tracks.notes]
        if notice is not None:
            for note in notes:
                notice(note)
        parts = None
        if target != STDOUT:
            plan = _plan(clip, denoise, encoding, settings)
            parts = Segments(target, clip, first, encoding, plan, settings.seconds, tracks)
            parts.open(overwrite, resume)
        passed = tracks.copied if clip.pipe else ()
        passing = clip.passing([index for index in passed if index != clip.stream.index], settings.seconds)
        finished, kept = (parts.frames, parts.kept) if parts else (0, 0)
        work.expected = clip.expected_frames(settings.start, settings.seconds)
        late: list[str] = []
        decoded = prefetch(work.reading.over(chain([first], watched(frames, clip, first, encoding, late))))
        cleaned = denoised(
            work.waiting.over(decoded), denoise, settings.frames, settings.sigma, settings.strength, finished + kept
        )
        result = _to_encode(work.working.over(cleaned), parts, grain, work.count)
        keeping = _keeping(parts, clip) if parts else nullcontext()
        pipe = closing(clip.pipe) if clip.pipe else nullcontext()
        with keeping, closing(decoded), pipe, SideBySide(compare, clip, first, overwrite) as comparison:

            def write(frames: Iterator[Frame]) -> int:
                copied = comparison.copying(frames)
                return parts.write(copied, passing) if parts else write_all(copied, STDOUT, clip, encoding, passing)

            written = consume_in_thread(partial(work.write, write), result)
        cut_off = settings.seconds == math.inf and clip.ends_early
        complete = is_complete(clip, cut_off)
        faults = faults_of(clip, cut_off)
        if parts:
            started = time.perf_counter()
            whole = None if inspect is None else partial(inspect, complete=complete, faults=faults)
            like = source if clip.pipe is None else None
            modified = None if touch or like is None else modified_at(like)
            parts.finish(overwrite, modified, like, backup, whole)
            work.seconds_writing += time.perf_counter() - started
        notes += [*late, *denoise.notes, *grain.write(overwrite, first_frame=finished), *faults]
    return work.result(
        source,
        target,
        settings.model,
        frames=finished + written,
        made=written - kept,
        size=(picture.width, picture.height),
        codec=encoding.name,
        pixel_format=encoding.pixel_format,
        notes=notes,
        complete=complete,
    )


def _to_encode(
    cleaned: Iterable[tuple[Frame, float | None]],
    parts: Segments | None,
    grain: RemovedGrain,
    told: Callable[[int, float | None], None],
) -> Iterator[Frame]:
    """The frames that are in no finished segment. What is done, and its level, is told once the encoder has it."""
    remaining = islice(enumerate(cleaned, start=1), parts.frames if parts else 0, None)
    if parts:
        for planes, (_, (frame, _)) in zip(parts.kept_planes(), remaining, strict=False):
            frame.replace(planes)
            grain.add(frame)
            yield frame
    for done, (frame, level) in remaining:
        grain.add(frame)
        yield frame
        told(done, level)


def denoised(
    frames: Iterable[Frame],
    denoise: Denoiser,
    T: int,
    sigma: float | None = None,
    strength: float = 1.0,
    skip: int = 0,
) -> Iterator[tuple[Frame, float | None]]:
    """Subtract from each frame's samples the noise that `frames.find_noise` finds.

    Args:
        frames: in display order; their samples are replaced.
        denoise: for clips, or for photos, which denoises each frame by itself.
        T: length of the window in frames; shorter if the scene is.
        sigma: the noise level, [0, 1]; None to estimate it, or to leave that to the denoiser.
        strength: 0 to 1, the share of the noise that is removed; 0 leaves the samples unchanged.
        skip: frames to leave out of the result, without any effect on the others.

    Yields:
        The frames, each with the noise level; None if that was left to the denoiser.
    """
    pictures = ((frame, to_rgb(frame.planes, frame.layout)) for frame in frames)
    for frame, level, noise in find_noise(pictures, denoise, T, sigma, strength, skip):
        assert not isinstance(level, ShotRead)  # because sigma is not
        if noise is not None:
            frame.replace(subtract_noise(frame.planes, noise(), frame.layout))
        yield frame, level


def preview(
    source: Path,
    target: Path,
    settings: Settings,
    overwrite: bool = False,
    compare: Path | None = None,
    grain_table: Path | None = None,
    backup: Path | None = None,
    makes_folder: bool = False,
) -> tuple[Encoding, list[str]]:
    """How `run` would encode, and what the result would lack. Raises the same errors, and writes nothing."""
    check(source, target, overwrite, backup, makes_folder)
    check_others(source, target, compare, grain_table, overwrite)
    with _only_writer(*(path for path in (target, compare) if path is not None and path.parent.is_dir())):
        pass
    with (
        Reader(source, settings.allow_playlists, settings.rate) as clip,
        closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames,
    ):
        first = first_frame(frames, source, settings)
        RemovedGrain(grain_table, first)
        if compare is not None:
            encoding_of_pair(clip, first, compare)
        encoding, lost = _encoding(clip, first, target, settings)
        tracks = _tracks(clip, target, encoding, settings)
        return encoding, [*_notes(clip, first, encoding, settings), *lost, *tracks.notes]


@contextmanager
def _keeping(parts: Segments, clip: Reader) -> Iterator[None]:
    """Keep finished segments when a run is interrupted, unless the clip came from a pipe: it cannot be read again."""
    try:
        yield
    except BaseException:
        if clip.pipe is not None:
            parts.discard()
        raise
    finally:
        parts.close()


def _only_writer(*targets: Path | None) -> ExitStack:
    """Keeps other runs from writing the same files."""
    with ExitStack() as locks:
        for target in targets:
            if target not in (None, STDOUT):
                locks.enter_context(only_writer(target))
        return locks.pop_all()


def first_frame(frames: Iterator[Frame], source: Path, settings: Settings) -> Frame:
    """The first frame of a clip that is denoised.

    Raises:
        UnreadableFile: there is none.
    """
    first = next(frames, None)
    if first is None:
        after = f" after {settings.start:g} s" if settings.start else ""
        raise UnreadableFile(source, f"has no frames that can be decoded{after}")
    return first


def _encoding(clip: Reader, first: Frame, target: Path, settings: Settings) -> tuple[Encoding, list[str]]:
    """How to compress the clip, and a line for everything that this loses."""
    check_colours(clip, first)
    piped = clip.pipe is not None and clip.pictures is None
    usual = "nut" if piped and clip.is_nut else "mkv" if piped and clip.is_matroska else "y4m"
    extension = target.suffix.lower() if target != STDOUT else settings.stream or usual
    if extension in ANIMATIONS:
        asked = {"--codec": settings.codec, "--crf": settings.crf}
        asked |= {"--preset": settings.preset, "--pix-fmt": settings.pixel_format}
        return choose_animation(clip, first, extension, asked)
    chosen = choose_encoding(
        clip, first, extension, settings.codec, settings.crf, settings.preset, settings.pixel_format
    )
    return settle(clip, first, chosen, is_given=settings.codec is not None)


def _tracks(clip: Reader, target: Path, encoding: Encoding, settings: Settings) -> Tracks:
    """The tracks that the result has: from a pipe, sound and subtitles besides the video; in an animation, none."""
    if target != STDOUT and target.suffix.lower() in ANIMATIONS:
        return Tracks(())
    if target != STDOUT and clip.pipe is None:
        return choose_tracks(clip, target, settings.drop_data)
    others = [index for index in clip.copied_streams if index != clip.stream.index]
    container = encoding.container
    takes_more = clip.pipe is not None and container != RAW_CONTAINER
    passed = [index for index in others if takes_more and clip.can_pass(index, container)]
    left = [index for index in others if index not in passed]
    listed = ", ".join(f"{index} ({clip.kind(index)}, {clip.streams[index][1]})" for index in left)
    if container == RAW_CONTAINER:
        reason = "raw frames have none"
    elif takes_more:
        reason = f"{container} takes no such track from a pipe"
    else:
        reason = "standard output has those of clips from standard input only"
    notes = (f"track{'s' * (len(left) > 1)} {listed} left out: {reason}",) if left else ()
    return Tracks((clip.stream.index, *passed), (), notes)


def _plan(clip: Reader, denoise: Denoiser, encoding: Encoding, settings: Settings) -> dict[str, Any]:
    """Everything that a segment depends on, except its number and length."""
    state = clip.path.stat() if clip.pipe is None else None
    return {
        "version": __version__,
        "libraries": {name: list(version) for name, version in av.library_versions.items()},
        "source": str(clip.path.resolve()) if state else "standard input",
        "bytes": state and state.st_size,
        "changed": state and state.st_mtime_ns,
        "settings": dataclasses.asdict(settings) | {"rate": str(settings.rate)},
        "encoding": dataclasses.asdict(encoding),
        "weights": checksum_of(settings.model),
        "device": str(denoise.device),
        "precision": str(denoise.precision),
        "tile": denoise.tile,
    }


def _notes(clip: Reader, first: Frame, encoding: Encoding, settings: Settings) -> list[str]:
    notes = notes_on_source(clip, first, is_rate_given=settings.rate is not None)
    if encoding.encoder == RAW_ENCODER and not clip.has_constant_rate:
        notes.append(f"raw frames have a constant rate: {float(clip.rate):g} per second")
    return notes
