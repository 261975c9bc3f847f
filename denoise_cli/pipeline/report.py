"""The page of a run: every photo or clip before and after, with its noise, model, time, notes and failures."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from denoise_cli.errors import DenoiseError, UnwritableFile
from denoise_cli.io import image
from denoise_cli.io.decoding import one_line
from denoise_cli.io.page import Entry, Page, State
from denoise_cli.pipeline import clip_result, photo
from denoise_cli.pipeline.comparison import Comparison, compare_frames, compare_photos
from denoise_cli.pipeline.denoising import undenoised
from denoise_cli.pipeline.inspect import level_of
from denoise_cli.pipeline.jobs import STDIO
from denoise_cli.pipeline.memory import return_freed_memory
from denoise_cli.pipeline.outcome import Outcome, counted
from denoise_cli.pipeline.task import Settings
from denoise_cli.version import __version__

if TYPE_CHECKING:
    from denoise_cli.pipeline import clip  # imports FFmpeg's libraries

VERSIONS = ("before", "after")


class Report:
    """The page of a run, as it grows; to be used in a `with` statement, like the `Page`.

    Args:
        page: to be filled.
        notice: called with what the user should hear about what the page lacks.
    """

    def __init__(self, page: Page, notice: Callable[[str], None]) -> None:
        self._page, self._notice = page, notice
        self._states: Counter[State] = Counter()

    def __enter__(self) -> "Report":
        self._page.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self._states.items()))
        ended = "" if kind is None else "; the run was interrupted"
        self._page.about = f"{counts}{ended}. denoise {__version__}, {datetime.now():%Y-%m-%d %H:%M}"
        self._page.__exit__(kind, *rest)

    def add_photo(self, result: photo.Result, settings: Settings, original: Path | None = None) -> None:
        """Add a photo, whose files are read again; `original` is where it lies now, if its result took its place."""
        source = original or Path(result.source)
        size = None if result.width is None else f"{result.width} x {result.height} pixels"
        facts = _known(
            size=size,
            noise=None if result.error or result.skipped else result.noise_words.removeprefix("noise "),
            model=result.model,
            strength=None if result.strength is None else f"{result.strength:g}",
            time=None if result.seconds is None else f"{result.seconds:.1f} s",
            computed=None if result.device is None else f"on {result.device} in {result.precision}",
        )
        entry = Entry(
            result.source,
            _state(result),
            _summary(result, result.noise_words),
            result.error,
            result.notes,
            facts,
            _numbers(noise=result.noise_at_grey, seconds=result.seconds),
            _links(source, result),
        )
        self._add(entry, lambda: _compare_photo(source, result, settings))

    def add_clip(self, result: clip_result.Result, settings: "clip.Settings", original: Path | None = None) -> None:
        """Add a clip, of which the first frames are read again; `original` is as for `add_photo`."""
        source = original or Path(result.source)
        noise = "level left to the model" if result.sigma is None else f"{result.sigma:.1f}"
        is_known = result.frames is not None
        facts = _known(
            size=f"{result.width} x {result.height} pixels, {counted(result.frames or 0, 'frame')}"
            if is_known
            else None,
            noise=noise if is_known else None,
            model=result.model,
            encoded=f"{result.codec}, {result.pixel_format}" if is_known else None,
            time=None if result.seconds is None else f"{result.seconds:.1f} s",
        )
        entry = Entry(
            result.source,
            _state(result, result.complete),
            _summary(result, f"noise {noise}"),
            result.error,
            result.notes,
            facts,
            _numbers(noise=result.sigma, seconds=result.seconds),
            _links(source, result),
        )
        self._add(entry, lambda: _compare_clip(source, result, settings))

    def _add(self, entry: Entry, compare: Callable[[], Comparison]) -> None:
        """Add an entry, with pictures if they can be had: a result is one without them as well."""
        self._states[entry.state] += 1
        if entry.error is None:
            try:
                entry = _with_pictures(entry, compare())
            except (DenoiseError, ValueError, OSError, MemoryError) as error:
                entry = self._without_pictures(
                    entry, "out of memory" if isinstance(error, MemoryError) else one_line(error)
                )
            return_freed_memory()
        try:
            self._page.add(entry)
        except UnwritableFile as error:
            self._notice(f"{entry.name}: not pictured in the report: {error}")

    def _without_pictures(self, entry: Entry, reason: str) -> Entry:
        note = f"not pictured in the report: {reason}"
        self._notice(f"{entry.name}: {note}")
        return replace(entry, notes=(*entry.notes, note))


def _with_pictures(entry: Entry, found: Comparison) -> Entry:
    (change,) = found.changes
    facts, sort = (*entry.facts, ("change", f"{change:.2f} of 255 on average")), {**entry.sort, "change": change}
    if found.sigma is not None:
        sort["noise"] = found.sigma * 255
        if entry.state != "skipped":
            entry = replace(entry, summary=f"noise {sort['noise']:.1f}, {sort['seconds']:.1f} s")
        facts += (("noise before", f"{found.sigma * 255:.1f} (estimated for this page)"),)
    return replace(
        entry,
        notes=(*entry.notes, *found.notes),
        facts=facts,
        sort=sort,
        versions=VERSIONS,
        views=found.views,
        thumbnail=found.thumbnail,
    )


def _state(result: Outcome, is_complete: bool = True) -> State:
    if result.error is not None or not is_complete:
        return "failed"
    return "skipped" if result.skipped else "done"


def _summary(result: Outcome, noise: str) -> str:
    """The line for the list."""
    if result.error is not None:
        return result.error
    return "skipped, since it is done" if result.skipped else f"{noise}, {result.seconds or 0:.1f} s"


def _compare_photo(source: Path, result: photo.Result, settings: Settings) -> Comparison:
    target = Path(result.target)
    if STDIO in (source, target):
        raise ValueError("standard input and output cannot be read again")
    with image.opened(source, settings.max_pixels) as opened:
        before = undenoised(opened, settings)
    before = image.to_srgb(before) if settings.to_srgb else before
    after = image.read(target, settings.max_pixels)
    pages = len(before.others) + 1
    notes = (f"the report shows page 1 of {pages}",) if pages > 1 else ()
    sigma = level_of(before) if result.noise_at_grey is None else None
    return replace(compare_photos([before, after]), notes=notes, sigma=sigma)


def _compare_clip(source: Path, result: clip_result.Result, settings: "clip.Settings") -> Comparison:
    from denoise_cli.io.video import Reader  # imports FFmpeg's libraries

    with (
        Reader(source, settings.allow_playlists) as original,
        Reader(Path(result.target)) as target,
        closing(original.frames(settings.start, settings.seconds, settings.deinterlace)) as before,
        closing(target.frames()) as after,
    ):
        return compare_frames([before, after], VERSIONS, result.frames or 0)


def _known(**facts: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in facts.items() if text is not None)


def _numbers(**numbers: float | None) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if number is not None}


def _links(source: Path, result: Outcome) -> tuple[tuple[str, Path], ...]:
    named = [("original", source)] + [("result", Path(result.target))] * (result.error is None)
    return tuple((what, path) for what, path in named if path != STDIO)
