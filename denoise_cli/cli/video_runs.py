"""Runs of `denoise video`, over clips or over a sequence of numbered pictures: what the user sees of them."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import open_report, read_noise, read_sigma
from denoise_cli.errors import UsageError
from denoise_cli.pipeline.outcome import counted

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import Denoiser
    from denoise_cli.pipeline.clip import Settings
    from denoise_cli.pipeline.clip_result import Result
    from denoise_cli.pipeline.clips import Handling
    from denoise_cli.pipeline.jobs import Job
    from denoise_cli.pipeline.report import Report as ReportPage
    from denoise_cli.pipeline.sequence import Plan

INTERRUPTIONS = (KeyboardInterrupt, SystemExit)  # Ctrl-C; and other signals, see `exit_codes`


def denoise_clips(
    planned: "Sequence[Job]",
    load: "Callable[[], Denoiser]",
    settings: "Settings",
    handling: "Handling",
    page: "AbstractContextManager[ReportPage | None]",
    is_single: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Denoise clips one after another and report on them."""
    from denoise_cli.pipeline import clips
    from denoise_cli.pipeline.outcome import Summary

    summary, told = Summary(dry_run, len(planned)), list[str]()
    summing = console.summed_up_if_interrupted(summary, is_single, quiet, as_json)
    with summing, console.progress_bar(len(planned), quiet) as bar, page as shown:

        def attempt(job: "Job") -> "Result":
            if dry_run:
                return clips.preview(job, settings, handling)
            told.clear()
            view = _View(job, bar, quiet, told)
            try:
                return clips.run(job, load, settings, handling, view.show_progress, view.show_note)
            except INTERRUPTIONS:
                if not quiet:
                    console.status(f"{job.source}: interrupted: {clips.what_is_kept(job, handling)}")
                raise

        results = map(attempt, planned) if is_single else clips.all_results(planned, attempt, settings)
        for job, result in zip(planned, results, strict=True):
            if shown is not None:
                shown.add_clip(result, settings, job.backup)
            summary.add(result, result.complete)
            _report(result, told, bar, quiet, as_json, is_single)
    if not is_single:
        console.sum_up(summary, quiet, as_json)
    if summary.failures or summary.incomplete:
        raise typer.Exit(1)


def page_of(
    path: str,
    planned: "Sequence[Job]",
    others: Iterable[Path | None],
    dry_run: bool,
    overwrite: bool,
    skip_done: bool,
    quiet: bool,
) -> "ReportPage":
    """The page of the run."""
    from denoise_cli.pipeline import clips
    from denoise_cli.pipeline.jobs import STDIO

    if dry_run or any(STDIO in (job.source, job.target) for job in planned):
        raise UsageError("--report: reads the clip and its result again: name files, and leave out --dry-run")
    title, notice = f"Denoised: {clips.media().count(len(planned))}", (lambda _: None) if quiet else console.status
    files = filter(None, others)
    return open_report(path, planned, title, overwrite, skip_done, notice, files)


def denoise_sequence(
    planned: "Plan",
    load: "Callable[[str], Denoiser]",
    frames: int,
    model: str | None,
    noise: str,
    strength: float,
    resume: bool,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Denoise a sequence of numbered pictures and report on it."""
    from denoise_cli.models import registry
    from denoise_cli.pipeline import sequence
    from denoise_cli.pipeline.model_choice import AUTO, check_takes_noise, model_for_clip

    level = read_noise(noise) if planned.is_raw else read_sigma(noise)
    name = model or AUTO if planned.is_raw else model_for_clip(frames, model, level)
    if name != AUTO:
        check_takes_noise(name, level, noise)
    settings = sequence.Settings(name, frames, level, strength)
    if dry_run:
        first = sequence.preview(planned, registry.check_weights, settings, overwrite)
        if as_json:
            record = dataclasses.asdict(first) | {"source": str(planned.source), "target": str(planned.target)}
            console.output(json.dumps(record))
            return
        count = counted(len(planned.jobs), "frame")
        console.output("; ".join([f"{planned.source} -> {planned.target}: {first.model}, {count}", *first.notes]))
        return
    began = time.monotonic()
    shown_notes: list[str] = []
    with console.progress_bar(1, quiet) as bar:
        bar.start(planned.source.name)

        def show_progress(done: int, fraction: float) -> None:
            bar.describe(f"{planned.source.name}: {counted(done, 'frame')}, {time.monotonic() - began:.0f} s")
            bar.set_fraction(fraction)

        def show_note(text: str) -> None:
            shown_notes.append(text)
            if not quiet:
                console.status(f"{planned.source}: {text}")

        try:
            result = sequence.run(
                planned,
                load,
                settings,
                overwrite=overwrite,
                resume=resume,
                progress=show_progress,
                notice=show_note,
                failed=console.error,
            )
        except INTERRUPTIONS:
            if not quiet:
                console.status(f"{planned.source}: interrupted: {sequence.what_is_kept(planned)}")
            raise
    if not quiet:
        console.status(_summary(result, shown_notes))
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    if not result.complete:
        raise typer.Exit(1)


class _View:
    """What the user sees of a clip while it is denoised."""

    def __init__(self, job: "Job", bar: console.ProgressBar, quiet: bool, shown: list[str]) -> None:
        self._job, self._bar, self._quiet, self._shown = job, bar, quiet, shown
        self._began = time.monotonic()
        self._resumed_at: int | None = None  # frames that an earlier run had finished
        bar.start(job.source.name)

    def show_progress(self, done: int, fraction: float) -> None:
        if self._resumed_at is None:
            self._resumed_at = done - 1
        rate = (done - self._resumed_at) / (time.monotonic() - self._began)
        self._bar.describe(f"{self._job.source.name}: {counted(done, 'frame')}, {rate:.2f} frames/s")
        self._bar.set_fraction(fraction)

    def show_note(self, text: str) -> None:
        self._shown.append(text)
        if not self._quiet:
            console.status(f"{self._job.source}: {text}")


def _report(
    result: "Result", shown: list[str], bar: console.ProgressBar, quiet: bool, as_json: bool, is_single: bool
) -> None:
    """Report on a clip, of which some notes were shown; of several, those that are skipped are only counted."""
    if result.error is not None:
        console.error(result.error)
    elif result.dry_run and not as_json:  # then it is what was asked for
        console.output(_summary(result, shown))
    elif not (quiet or result.dry_run) and (is_single or result.notes or not result.skipped):
        console.status(_summary(result, shown))
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    bar.finish()


def _summary(result: "Result", shown: list[str]) -> str:
    what = result.model or ""
    if result.skipped:
        what = "skipped, since it is done"
    elif result.dry_run and result.codec:
        what += f", {result.codec} in {result.pixel_format}"
    elif result.made is not None:
        noise = "" if result.sigma is None else f", noise {result.sigma:.1f}"
        speed = f"{result.made / max(result.seconds or 0, 1e-9):.2f} frames/s"
        what += f"{noise}, {counted(result.frames or 0, 'frame')}, {speed}"
    notes = "".join(f"; {note}" for note in result.notes if note not in shown)
    return f"{result.source} -> {result.target}: {what}{notes}"
