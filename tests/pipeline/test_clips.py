"""Several clips, one after another."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.pipeline import clips, jobs
from denoise_cli.pipeline.clip import Result, Settings
from denoise_cli.pipeline.clips import Handling
from denoise_cli.pipeline.jobs import Job
from tests.conftest import FFmpeg

SETTINGS = Settings("mallenet-s", frames=1, sigma=10 / 255)
SKIPPING = Handling(skip_done=True)


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def folder(tmp_path: Path, ffmpeg: FFmpeg, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two clips and what are none in `in`."""
    monkeypatch.chdir(tmp_path)
    Path("in/sub").mkdir(parents=True)
    ffmpeg.make(Path("in/a.mp4"), size="32x32", frames=3)
    ffmpeg.make(Path("in/sub/b.MKV"), size="32x32", frames=3)
    Path("in/still.png").touch()
    Path("in/._a.mp4").touch()
    return tmp_path


def planned(output: str | None = "out/", backup: str | None = None) -> list[Job]:
    return jobs.plan(["in"], output, recursive=True, media=clips.media(), backup=backup)


def attempt(denoise: Denoiser, handling: Handling, settings: Settings = SETTINGS) -> Callable[[Job], Result]:
    return lambda job: clips.run(job, lambda: denoise, settings, handling)


def errors(all_jobs: list[Job], one: Callable[[Job], Result]) -> list[str | None]:
    return [result.error for result in clips.all_results(all_jobs, one, SETTINGS)]


@pytest.mark.usefixtures("folder")
def test_clips_of_a_folder_become_the_same_tree_with_their_times_and_modes(denoise: Denoiser) -> None:
    os.utime("in/a.mp4", (5, 5))
    Path("in/a.mp4").chmod(0o640)

    assert errors(planned(), attempt(denoise, Handling())) == [None, None]

    assert sorted(str(path) for path in Path("out").rglob("*") if path.is_file()) == ["out/a.mp4", "out/sub/b.MKV"]
    about = Path("out/a.mp4").stat()
    assert (about.st_mtime, about.st_mode & 0o777) == (5, 0o640)
    assert errors(planned(), attempt(denoise, Handling(overwrite=True, touch=True))) == [None, None]
    assert Path("out/a.mp4").stat().st_mtime > 1e9


@pytest.mark.usefixtures("folder")
def test_what_is_done_is_skipped_and_a_failure_is_its_clips_alone(denoise: Denoiser) -> None:
    Path("in/bad.mov").write_bytes(b"no clip")
    one = attempt(denoise, SKIPPING)
    first = list(clips.all_results(planned(), one, SETTINGS))
    assert [(result.error is None, result.skipped) for result in first] == [
        (True, False),
        (False, False),
        (True, False),
    ]
    assert str(first[1].error).startswith("in/bad.mov: cannot be read as video")
    whole = Path("out/sub/b.MKV").read_bytes()
    Path("out/a.mp4").unlink()

    second = list(clips.all_results(planned(), one, SETTINGS))

    assert [result.skipped for result in second] == [False, False, True]
    assert Path("out/sub/b.MKV").read_bytes() == whole
    assert clips.preview(planned()[0], SETTINGS, SKIPPING).skipped
    other = attempt(denoise, SKIPPING, Settings("mallenet-s", frames=1, sigma=10 / 255, strength=0.5))
    assert "no record says that it is this input's result with these settings" in str(errors(planned(), other)[0])


@pytest.mark.usefixtures("folder")
def test_in_place_the_original_stays(denoise: Denoiser) -> None:
    originals = Path("in/a.mp4").read_bytes(), Path("in/sub/b.MKV").read_bytes()

    assert errors(planned(None, ".orig"), attempt(denoise, SKIPPING)) == [None, None]

    assert (Path("in/a.mp4.orig").read_bytes(), Path("in/sub/b.MKV.orig").read_bytes()) == originals
    assert Path("in/a.mp4").read_bytes() != originals[0]
    assert all(clips.preview(job, SETTINGS, SKIPPING).skipped for job in planned(None, ".orig"))


@pytest.mark.usefixtures("folder")
def test_a_dry_run_makes_no_folder() -> None:
    shown = [clips.preview(job, SETTINGS, Handling()) for job in planned()]
    assert [(result.codec, result.dry_run) for result in shown] == [("libx264", True), ("libx264", True)]
    assert not Path("out").exists()
