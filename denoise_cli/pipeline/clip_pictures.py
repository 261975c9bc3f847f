"""A clip from its file to numbered pictures, one for each frame."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path

from denoise_cli.errors import UnreadableFile, UnwritableFile
from denoise_cli.files import check_target, made_folder
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io import image, numbered
from denoise_cli.io.animation import TECHNICAL_TAGS
from denoise_cli.io.dolby_vision import check_colours, kinds_in
from denoise_cli.io.formats import kind_for
from denoise_cli.io.frame_picture import picture_of
from denoise_cli.io.photo import Photo
from denoise_cli.io.pipes import PIPE
from denoise_cli.io.probe import watched
from denoise_cli.io.transparency import is_transparent
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame
from denoise_cli.pipeline.clip import Settings, denoised, first_frame
from denoise_cli.pipeline.clip_notes import faults_of, is_complete, notes_on_source
from denoise_cli.pipeline.clip_result import Progress, Result, Work
from denoise_cli.pipeline.clip_targets import check_source
from denoise_cli.pipeline.denoising import notes_on_result
from denoise_cli.pipeline.threads import consume_in_thread, prefetch
from denoise_cli.temporary_files import only_writer
from denoise_cli.version import __version__

FIRST_NUMBER = 1  # as FFmpeg counts


def check(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse pictures that cannot be written, before any work is done.

    Args:
        source: the clip.
        target: a pattern, see `io.numbered`.
        overwrite: whether existing pictures are replaced.

    Raises:
        UsageError: the pattern is not right, its format is not one that is written here, or the source is a terminal.
        UnwritableFile: there are such pictures and `overwrite` is false, or the folder refuses new files.
    """
    check_source(source)
    kind_for(target)
    first = numbered.named(target, FIRST_NUMBER)
    check_target(first, overwrite, () if source == PIPE else [source], creates_folder=True)
    if target.parent.is_dir() and not overwrite:
        try:
            found = numbered.find(target)
        except UnreadableFile:  # there are none, as it should be
            return
        raise UnwritableFile(next(iter(found.files.values())), "already exists: use --overwrite to replace it")


def run(
    source: Path,
    target: Path,
    denoise: Denoiser,
    settings: Settings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Result:
    """Denoise a clip; each frame becomes a file, which appears whole, numbered from 1.

    Args:
        source: as for `clip.run`.
        target: a pattern.
        denoise: for clips, or for photos.
        settings: how to denoise; nothing in it about encoding is looked at.
        overwrite: whether to replace existing pictures.
        progress: called after each frame.
        notice: called, before the work begins, with a line for everything that the pictures will lack.

    Raises:
        DenoiseError: something that the user can act upon. Pictures that are finished stay.
    """
    work = Work(progress)
    check(source, target, overwrite)
    with (
        made_folder(target.parent),
        only_writer(target),
        Reader(source, settings.allow_playlists) as clip,
        closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames,
    ):
        form = _Form(clip, first_frame(frames, source, settings), target)
        notes = form.notes(settings)
        for note in notes if notice is not None else ():
            notice(note)  # type: ignore[misc]
        work.expected = clip.expected_frames(settings.start, settings.seconds)
        late: list[str] = []
        decoded = prefetch(work.reading.over(chain([form.first], watched(frames, clip, form.first, None, late))))
        cleaned = denoised(work.waiting.over(decoded), denoise, settings.frames, settings.sigma, settings.strength)

        def finished() -> Iterator[Frame]:
            for done, (frame, level) in enumerate(work.working.over(cleaned), start=1):
                yield frame
                work.count(done, level)

        def write(cleaned: Iterator[Frame]) -> int:
            count = 0
            for count, frame in enumerate(cleaned, start=1):
                file = numbered.named(target, FIRST_NUMBER + count - 1)
                image.write(file, form.picture(frame), form.kind, _software(settings), overwrite=overwrite)
            return count

        clip.passing([], settings.seconds)  # so that nothing is kept of other tracks
        with closing(decoded), closing(clip.pipe) if clip.pipe else nullcontext():
            made = consume_in_thread(partial(work.write, write), finished())
        cut_off = settings.seconds == math.inf and clip.ends_early
        notes += [*late, *denoise.notes, *faults_of(clip, cut_off)]
        if (stale := numbered.named(target, FIRST_NUMBER + made)).exists():
            notes.append(f"{stale} and those after it are of an earlier run")
        return work.result(
            source,
            target,
            settings.model,
            frames=made,
            made=made,
            size=(form.shape[1], form.shape[0]),
            codec=form.kind,
            pixel_format=form.pixel_format,
            notes=notes,
            complete=is_complete(clip, cut_off),
        )


def preview(source: Path, target: Path, settings: Settings, overwrite: bool) -> Result:
    """What `run` would do. Raises the same errors, and writes nothing."""
    check(source, target, overwrite)
    with (
        Reader(source, settings.allow_playlists) as clip,
        closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames,
    ):
        form = _Form(clip, first_frame(frames, source, settings), target)
        return Result(
            str(source),
            str(target),
            settings.model,
            dry_run=True,
            codec=form.kind,
            pixel_format=form.pixel_format,
            notes=tuple(form.notes(settings)),
        )


class _Form:
    """What the frames of a clip become.

    Attributes:
        first: the first frame.
        kind: the format of the pictures.
        shape: their height and width.
        pixel_format: what they hold, such as rgb16.

    Raises:
        UnreadableFile: the colours of the clip are not known, or false.
        UnwritableFile: the format cannot hold such pictures.
    """

    def __init__(self, clip: Reader, first: Frame, target: Path) -> None:
        check_colours(clip, first)
        self.first, self.kind = first, kind_for(target)
        self._clip = clip
        self._keeps_alpha = is_transparent(clip, first) is not False
        self._photo = self.picture(first)
        image.check(numbered.named(target, FIRST_NUMBER), self._photo, self.kind)
        self.shape = self._photo.shape
        self.pixel_format = image.pixel_format(self._photo, self.kind)

    def picture(self, frame: Frame) -> Photo:
        """A frame as a picture."""
        try:
            return picture_of(frame, self.kind, self._keeps_alpha)
        except ValueError as error:
            raise UnreadableFile(self._clip.path, str(error)) from error

    def notes(self, settings: Settings) -> list[str]:
        """A line for everything that the pictures lack."""
        clip = self._clip
        notes = notes_on_source(clip, self.first, is_rate_given=settings.rate is not None)
        others = (n for n in clip.copied_streams if n != clip.stream.index)
        notes += [f"track {n} ({clip.kind(n)}, {clip.streams[n][1]}) is left out: pictures have none" for n in others]
        tags = sorted(key for key in clip.metadata if key.lower() not in TECHNICAL_TAGS)
        if tags:
            notes.append(f"metadata are left out ({', '.join(tags)}): numbered pictures do not hold them")
        rate = f"{float(clip.rate):g} frames per second"
        notes.append(f"pictures state no times: {rate}" + ("" if clip.has_constant_rate else ", not constant"))
        aspect = clip.stream.sample_aspect_ratio
        if aspect and aspect != 1:
            notes.append(f"pixels of {aspect.numerator}:{aspect.denominator} become square: pictures have no others")
        if self.first.mastering:
            notes.append("the mastering-display metadata is lost: numbered pictures do not hold it")
        notes += [f"{name} is lost: pictures cannot hold it" for name in kinds_in(clip, self.first)]
        return [*notes, *notes_on_result(self._photo, self.kind, notes)]


def _software(settings: Settings) -> str:
    return f"denoise {__version__} ({Path(settings.model).name})"
