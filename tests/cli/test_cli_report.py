"""`--report` of `denoise image` and `denoise video`, and `denoise compare`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli
from tests.conftest import FFmpeg
from tests.io.pages import ReadPage

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("shared_denoisers")


def test_the_page_of_a_run_has_every_photo_and_every_failure(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"not a picture")
    shutil.copy(photos / "0.png", photos / "<b>x.png")
    page = tmp_path / "report.html"
    done = cli("image", photos, "-o", f"{tmp_path}/out/", "--report", page, "--json", "-q")
    assert done.code == 1
    *records, _ = [json.loads(line) for line in done.out.splitlines()]
    found = ReadPage(page)
    assert [one["name"] for one in found.entries] == [record["source"] for record in records]
    for one, record in zip(found.entries, records, strict=True):
        assert one["error"] == record["error"]
        assert one["state"] == ("failed" if record["error"] else "done")
        assert found.file(one["links"][0][2]).samefile(record["source"])
        if record["error"]:
            assert (one["views"], one["thumbnail"], len(one["links"])) == ([], None, 1)
            continue
        assert found.file(one["links"][1][2]).samefile(record["target"])
        facts = dict(one["facts"])
        assert (facts["model"], facts["time"]) == (record["model"], f"{record['seconds']:.1f} s")
        assert set(one["sort"]) == {"noise", "change", "seconds"}
        before, after = (np.asarray(Image.open(record[name])) for name in ("source", "target"))
        assert one["sort"]["change"] == pytest.approx(np.abs(before.astype(int) - after).mean())
        (view,) = one["views"]
        assert one["versions"] == ["before", "after"]
        for address, pixels in zip(view["pictures"], (before, after), strict=True):
            shown = np.asarray(Image.open(found.file(address))).astype(int)
            assert np.abs(shown - pixels).mean() < 3  # a JPEG of high quality
    assert "3 done, 1 failed." in found.source
    assert {found.file(address) for address in found.pictures()} == set((tmp_path / "report-files").iterdir())


@pytest.mark.parametrize(("options", "noise"), [(["--noise", "20"], "20.0"), ([], None)])
def test_the_noise_is_that_of_the_run_or_estimated(
    cli: Cli, photo: Path, tmp_path: Path, options: list[str], noise: str | None
) -> None:
    page = tmp_path / "report.html"
    assert cli("image", photo, "-o", tmp_path / "clean.png", "--report", page, "-q", *options).code == 0
    (one,) = ReadPage(page).entries
    facts = dict(one["facts"])
    if noise is not None:
        assert (facts["noise"], one["sort"]["noise"]) == (noise, 20)
        return
    assert facts["noise"] == "level left to the model"
    inspected = json.loads(cli("inspect", photo, "--json").out)["sigma"]
    assert one["sort"]["noise"] == pytest.approx(inspected, abs=1e-3)
    assert facts["noise before"] == f"{inspected:.1f} (estimated for this page)"


def test_raw_is_shown_as_it_is_developed(cli: Cli, tmp_path: Path) -> None:
    raw, page = ROOT / "docs" / "images" / "noisy.dng", tmp_path / "report.html"
    targets = {tone: tmp_path / f"{tone}.png" for tone in ("flat", "camera")}
    shown = {}
    for tone, target in targets.items():
        options = ["--tone", tone, "--overwrite", "-q"]
        assert cli("image", raw, "-o", target, "--report", page, *options).code == 0
        found = ReadPage(page)
        (one,) = found.entries
        assert dict(one["facts"])["noise"] == "shot 3.00e-03, read 5.00e-03 (from the file)"
        pictures = [np.asarray(Image.open(found.file(each))).astype(int) for each in one["views"][0]["pictures"]]
        assert abs(pictures[0].mean() - pictures[1].mean()) < 3  # both in the same tone
        shown[tone] = pictures
    assert abs(shown["flat"][0].mean() - shown["camera"][0].mean()) > 3


def test_a_folder_gets_an_index(cli: Cli, photo: Path, tmp_path: Path) -> None:
    assert cli("image", photo, "-o", tmp_path / "a.png", "--report", f"{tmp_path}/report/", "-q").code == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"index.html", "index-files"}


def test_what_cannot_be_read_again_is_said(
    cli: Cli, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "report.html"
    with photo.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
        done = cli("image", "-", "-o", tmp_path / "a.png", "--report", page)
    assert done.code == 0
    reason = "not pictured in the report: standard input and output cannot be read again"
    assert f"-: {reason}\n" in done.err
    (one,) = ReadPage(page).entries
    assert (one["notes"][-1], one["views"], one["state"]) == (reason, [], "done")


def test_a_page_replaces_nothing_unless_asked(cli: Cli, photo: Path, tmp_path: Path) -> None:
    page, target = tmp_path / "report.html", tmp_path / "a.png"
    page.write_bytes(b"precious")
    done = cli("image", photo, "-o", target, "--report", page)
    assert (done.code, done.err) == (1, f"denoise: {page}: already exists: use --overwrite to replace it\n")
    assert page.read_bytes() == b"precious"
    assert not target.exists()
    assert cli("image", photo, "-o", target, "--report", page, "--overwrite", "-q").code == 0
    assert len(ReadPage(page).entries) == 1


@pytest.mark.parametrize("options", [["--dry-run"], ["--preview", "p.png"]])
def test_a_page_without_results_is_refused(cli: Cli, photo: Path, tmp_path: Path, options: list[str]) -> None:
    done = cli("image", photo, "--report", tmp_path / "a.html", *options)
    assert (done.code, done.err) == (2, "denoise: --report: shows results: leave out --dry-run and --preview\n")


@pytest.mark.parametrize("place", ["photos", "results"])
def test_a_search_leaves_out_the_pictures_of_a_page(cli: Cli, photos: Path, place: str) -> None:
    below = photos / "clean"
    page = {"photos": photos, "results": below}[place] / "a.html"
    command = ["image", photos, "-r", "-o", f"{below}/", "--report", page]
    assert cli(*command, "-q").code == 0
    done = cli(*command, "--overwrite", "--json")
    assert json.loads(done.out.splitlines()[-1])["done"] == 2  # a second run finds no more photos than the first
    line = f"{page.with_name('a-files')}: left out: the pictures of a report\n"
    assert (line in done.err) is (place == "photos")  # the folder for results is not looked into at all
    assert line in cli("image", photos, "-r", "-o", f"{photos.parent}/other/", "--dry-run").err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's signals")
def test_a_run_that_is_ended_leaves_a_page_of_what_it_has_done(photo: Path, tmp_path: Path) -> None:
    for number in range(200):
        shutil.copy(photo, tmp_path / f"{number:03}.png")
    names = sorted(path for path in tmp_path.glob("[0-9]*.png"))
    page = tmp_path / "report" / "index.html"
    command = [sys.executable, "-m", "denoise_cli", "image", *names, "-o", f"{tmp_path}/out/", "--report", page.parent]
    page.parent.mkdir()
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("out/*.png"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 143
    found = ReadPage(page)
    assert 1 <= len(found.entries) < 200
    assert "; the run was interrupted." in found.source
    assert all(found.file(address).is_file() for address in found.pictures())
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "index-files"}


def test_a_clip_is_shown_in_frames_and_over_time(cli: Cli, ffmpeg: FFmpeg, tmp_path: Path) -> None:
    noise = ["-vf", "noise=alls=30:allf=t", "-c:v", "ffv1"]
    clip, page = ffmpeg.make(tmp_path / "clip.mkv", *noise, frames=8), tmp_path / "report.html"
    target, options = tmp_path / "clean.mkv", ["--start", "0.08", "--json", "-q"]
    done = cli("video", clip, "-o", target, "--report", page, *options)
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    found = ReadPage(page)
    (one,) = found.entries
    facts = dict(one["facts"])
    assert facts["size"] == f"96 x 64 pixels, {record['frames']} frames"
    assert (record["sigma"], facts["noise"]) == (None, "level left to the model")
    captions = [view["caption"].partition(":")[0] for view in one["views"]]
    assert captions == ["temporal profile", "frame 0", "frame 3", "frame 5"]
    # --start: the frame before is the one that became the frame after.
    first = one["views"][1]["pictures"]
    before, after = (np.asarray(Image.open(found.file(each))).astype(int) for each in first)
    assert np.abs(before - after).mean() == pytest.approx(one["sort"]["change"], rel=0.2)
    assert all(found.file(address).is_file() for address in found.pictures())


@pytest.mark.parametrize("options", [["--dry-run"], ["-o", "-"]])
def test_a_page_of_a_clip_needs_files(cli: Cli, ffmpeg: FFmpeg, tmp_path: Path, options: list[str]) -> None:
    clip = ffmpeg.make(tmp_path / "clip.mkv", frames=2)
    done = cli("video", clip, "--report", tmp_path / "a.html", *options)
    assert done.code == 2
    assert done.err.startswith("denoise: --report: reads the clip and its result again: name files")


def states(page: ReadPage) -> list[tuple[str, str]]:
    return [(Path(one["name"]).name, one["state"]) for one in page.entries]


def test_a_page_of_several_clips_has_those_that_failed_and_those_that_were_skipped(
    cli: Cli, ffmpeg: FFmpeg, tmp_path: Path
) -> None:
    folder, page = tmp_path / "in", tmp_path / "report.html"
    folder.mkdir()
    for name in ("a.mkv", "c.mkv"):
        ffmpeg.make(folder / name, "-vf", "noise=alls=30:allf=t", "-c:v", "ffv1", size="32x32", frames=2)
    (folder / "b.mov").write_bytes(b"no clip")
    command = ["video", folder, "-o", f"{tmp_path}/out/", "--model", "mallenet-s", "--noise", "10", "--skip-done"]
    command += ["--report", page, "--json", "-q"]
    first = cli(*command)
    assert first.code == 1
    found = ReadPage(page)
    assert states(found) == [("a.mkv", "done"), ("b.mov", "failed"), ("c.mkv", "done")]
    assert "Denoised: 3 clips" in found.source
    assert "2 done, 1 failed." in found.source
    *_, total = [json.loads(line) for line in first.out.splitlines()]
    assert (found.entries[1]["error"], total["summary"]) == (total["failures"][0]["error"], True)
    change = found.entries[0]["sort"]["change"]
    assert change > 0

    assert cli(*command, "--overwrite").code == 1

    found = ReadPage(page)
    assert states(found) == [("a.mkv", "skipped"), ("b.mov", "failed"), ("c.mkv", "skipped")]
    skipped = found.entries[0]
    assert (skipped["summary"], skipped["sort"]) == ("skipped, since it is done", {"change": change})
    assert "noise" not in dict(skipped["facts"])
    assert len(skipped["views"]) > 0


def test_photos_that_are_skipped_are_on_the_page(cli: Cli, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    command = ["image", photos, "-o", f"{tmp_path}/out/", "--skip-done", "--report", page, "-q"]
    assert cli(*command).code == 0
    whole = ReadPage(page).entries
    assert cli(*command).code == 0
    found = ReadPage(page)
    assert [one["state"] for one in found.entries] == ["skipped"] * len(whole)
    for one, before in zip(found.entries, whole, strict=True):
        assert one["sort"]["change"] == before["sort"]["change"]
        assert (one["summary"], one["links"]) == ("skipped, since it is done", before["links"])
    page.write_bytes(b"precious")
    done = cli(*command)
    assert (done.code, done.err) == (1, f"denoise: {page}: already exists: use --overwrite to replace it\n")
    assert page.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["image", "video"])
def test_in_place_the_page_compares_with_the_backup(
    cli: Cli, ffmpeg: FFmpeg, photo: Path, tmp_path: Path, kind: str
) -> None:
    page, source = tmp_path / "report.html", photo
    if kind == "video":
        source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "noise=alls=30:allf=t", "-c:v", "ffv1", frames=2)
    options = ["--in-place", "--model", "mallenet-s", "--noise", "20", "--report", page, "-q"]
    assert cli(kind, source, *options).code == 0
    found = ReadPage(page)
    (one,) = found.entries
    assert one["sort"]["change"] > 0.1
    links = [found.file(address).name for _, _, address in one["links"]]
    assert links == [f"{source.name}.orig", source.name]


def test_a_search_for_clips_leaves_out_the_pictures_of_a_page(cli: Cli, ffmpeg: FFmpeg, tmp_path: Path) -> None:
    clip, page = tmp_path / "in" / "a.mkv", tmp_path / "in" / "rep.html"
    clip.parent.mkdir()
    ffmpeg.make(clip, frames=2)
    command = ["video", clip.parent, "-r", "-o", f"{tmp_path}/out/", "--report", page, "--overwrite"]
    assert cli(*command, "-q").code == 0
    done = cli(*command)
    assert done.code == 0
    assert f"{page.with_name('rep-files')}: left out: the pictures of a report\n" in done.err


@pytest.fixture
def versions(photo: Path, tmp_path: Path) -> list[Path]:
    with Image.open(photo) as picture:
        for level in (1, 2):
            picture.point(lambda value, by=level: value + by).save(tmp_path / f"<i>{level}.png")
    return [photo, tmp_path / "<i>1.png", tmp_path / "<i>2.png"]


def test_versions_are_compared_on_a_single_page(cli: Cli, versions: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    files = set(tmp_path.iterdir())
    done = cli("compare", *versions, "-o", page)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{', '.join(map(str, versions))} -> {page}\n"
    assert set(tmp_path.iterdir()) == files | {page}
    found = ReadPage(page)
    (one,) = found.entries
    assert one["versions"] == [str(path) for path in versions]
    assert [found.file(address) for _, _, address in one["links"]] == versions
    assert all(len(view["pictures"]) == 3 for view in one["views"])
    assert dict(one["facts"])[str(versions[2])] == f"differs from {versions[0]} by 2.00 of 255 on average"


def test_a_comparison_has_a_name_of_its_own(
    cli: Cli, versions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("compare", *versions, "-q").code == 0
    done = cli("compare", *versions)
    assert (done.code, done.err) == (1, "denoise: comparison.html: already exists: use --overwrite to replace it\n")
    assert cli("compare", *versions, "-q", "--overwrite").code == 0


def test_what_cannot_be_compared_leaves_no_page(cli: Cli, versions: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = cli("compare", versions[0], "-o", page)
    assert (done.code, done.err) == (2, "denoise: name two files or more to compare\n")
    done = cli("compare", versions[0], tmp_path / "missing.png", "-o", page)
    assert (done.code, done.err) == (1, f"denoise: {tmp_path}/missing.png: does not exist\n")
    assert not page.exists()
