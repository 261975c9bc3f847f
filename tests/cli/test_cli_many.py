"""`denoise image` over many photos, as a shell sees it."""

import json
import os
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import Cli

BATCHES = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "experiments" / "batches.py"))
QUICK = ("--model", "mallenet-s", "--noise", "20")


@pytest.fixture
def folder(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three photos in `in`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for index, name in enumerate("abc"):
        with Image.open(photo) as opened:
            opened.rotate(90 * index).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_what_is_done_is_skipped_and_all_else_is_done(cli: Cli, folder: Path) -> None:
    command = ("image", "in", "-o", "out/", *QUICK, "--skip-done")
    assert cli(*command, "-q").code == 0
    whole = contents(folder / "out")
    (folder / "out" / "a.png").unlink()
    before = (folder / "out" / "b.png").stat().st_mtime_ns, (folder / "out" / "b.png").stat().st_ino

    again = cli(*command, "--json")

    assert again.code == 0
    assert contents(folder / "out") == whole
    assert before == ((folder / "out" / "b.png").stat().st_mtime_ns, (folder / "out" / "b.png").stat().st_ino)
    *photos, total = records(again.out)
    assert [record["skipped"] for record in photos] == [False, True, True]
    assert (total["summary"], total["done"], total["skipped"], total["failed"]) == (True, 1, 2, 0)
    lines = again.err.splitlines()
    assert len(lines) == 2  # those that are skipped are only counted
    assert re.fullmatch(
        r"1 done, 2 skipped, 0 failed in [\d.]+ s: [\d.]+ megapixels/s; "
        r"reading [\d.]+ s, denoising [\d.]+ s, writing [\d.]+ s",
        lines[1],
    )
    dry = cli(*command, "--dry-run")
    assert (dry.code, dry.err) == (0, "0 to denoise, 3 done already, 0 would fail\n")


def test_what_is_not_known_to_be_done_is_replaced_only_if_asked(cli: Cli, folder: Path) -> None:
    command = ("image", "in", "-o", "out/", *QUICK, "--skip-done", "-q")
    cli(*command)
    whole = contents(folder / "out")
    (folder / "out" / "a.png").write_bytes(b"other")
    with Image.open(folder / "in" / "b.png") as opened:
        opened.rotate(180).save(folder / "in" / "b.png")

    refused = cli(*command)
    assert refused.code == 1
    unknown = "already exists, and no record says that it is this input's result with these settings"
    expected = [f"denoise: out/{name}.png: {unknown}: use --overwrite to replace it" for name in "ab"]
    assert refused.err.splitlines() == expected
    assert cli(*command, "--overwrite", "--strength", "0.5").code == 0
    assert all(whole[name] != data for name, data in contents(folder / "out").items())
    assert cli(*command, "--overwrite").code == 0
    after = contents(folder / "out")
    assert [name for name in whole if whole[name] != after[name]] == ["b.png"]


def test_a_sidecar_that_a_kill_has_kept_from_being_written_is_made_up_for(cli: Cli, folder: Path) -> None:
    (folder / "in" / "a.xmp").write_bytes(b"<x/>")
    command = ("image", "in", "-o", "out/", *QUICK, "--skip-done")
    cli(*command)
    (folder / "out" / "a.xmp").unlink()

    again = cli(*command)

    assert (folder / "out" / "a.xmp").read_bytes() == b"<x/>"
    assert again.err.splitlines()[0] == "in/a.png -> out/a.png: skipped, since it is done; a.xmp becomes out/a.xmp"


def test_in_place_the_originals_stay_and_nothing_is_denoised_twice(cli: Cli, folder: Path) -> None:
    originals = contents(folder / "in")
    os.utime(folder / "in" / "a.png", (5, 5))
    command = ("image", "in", "--in-place", *QUICK, "--skip-done", "-q")

    assert cli(*command).code == 0

    after = contents(folder / "in")
    assert {name.removesuffix(".orig"): data for name, data in after.items() if name.endswith(".orig")} == originals
    assert (folder / "in" / "a.png").stat().st_mtime == (folder / "in" / "a.png.orig").stat().st_mtime == 5
    assert not any(after[name] == originals[name] for name in originals)
    assert cli(*command).code == 0
    assert contents(folder / "in") == after
    refused = cli("image", "in/a.png", "--in-place", "--overwrite", *QUICK)
    assert refused.err == (
        "denoise: in/a.png.orig: already exists and is not a.png as it is now: "
        "move it away, or choose another --backup\n"
    )
    assert contents(folder / "in") == after
    for backup in (folder / "in").glob("*.orig"):
        backup.unlink()
    assert cli(*command).code == 0
    assert {name: after[name] for name in originals} == contents(folder / "in")


def test_a_failure_is_said_again_at_the_end_and_the_rest_is_done(cli: Cli, folder: Path) -> None:
    (folder / "in" / "b.png").write_bytes(b"no picture")
    done = cli("image", "in", "-o", "out/", *QUICK, "--json")
    assert done.code == 1
    assert sorted(contents(folder / "out")) == ["a.png", "c.png"]
    total = records(done.out)[-1]
    assert (total["done"], total["failed"], len(total["failures"])) == (2, 1, 1)
    assert total["failures"][0]["source"] == "in/b.png"
    assert total["megapixels"] == pytest.approx(2 * 96 * 80 / 1e6)
    assert total["seconds_denoising"] > 0
    *_, line, failure = done.err.splitlines()
    assert line.startswith("2 done, 0 skipped, 1 failed in ")
    assert failure == f"  failed: {total['failures'][0]['error']}"


def test_a_single_file_has_no_sum(cli: Cli, folder: Path) -> None:
    assert len(records(cli("image", "in/a.png", "-o", "out/", *QUICK, "--json").out)) == 1


def test_new_times_are_given_if_asked(cli: Cli, folder: Path) -> None:
    os.utime(folder / "in" / "a.png", (5, 5))
    cli("image", "in", "--name", "{date}/{stem}{ext}", "-o", "out/", *QUICK, "-q")
    cli("image", "in/a.png", "-o", "touched.png", *QUICK, "-q", "--touch")
    assert (folder / "out" / "1970-01-01" / "a.png").stat().st_mtime == 5
    assert (folder / "touched.png").stat().st_mtime > 1e9


def test_shares_together_are_all(cli: Cli, folder: Path) -> None:
    alone = [records(cli("image", "in", "-o", "out/", *QUICK, "--shard", f"{i}/2", "--json").out) for i in (1, 2)]
    assert sum(share[-1]["done"] for share in alone) == 3
    assert sorted(contents(folder / "out")) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--shard", "0/2"), "--shard 0/2: expected a first number from 1 to the second"),
        (("--shard", "3/2"), "--shard 3/2: expected a first number from 1 to the second"),
        (("--shard", "1"), "--shard 1: expected I/N, such as 2/5"),
        (("--in-place", "-o", "out/"), "--in-place and -o contradict each other: choose one"),
        (("--in-place", "--name", "{stem}{ext}"), "--in-place and --name contradict each other: choose one"),
        (("--in-place", "--backup", "/"), "--backup /: expected an ending that makes another name, such as .orig"),
        (
            ("--in-place", "--backup", ".old.png"),
            "--backup .old.png: expected an ending that makes another name, such as .orig",
        ),
        (
            ("--skip-done", "-o", "-"),
            "--skip-done: nothing is known of standard input and output later: leave it out",
        ),
        (("--name", "{model}{ext}"), "--name {model}{ext}: {model} is not known before each file is read: add --model"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    cli: Cli, folder: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = cli("image", "in/a.png", *options)
    assert (done.code, done.err) == (2, f"denoise: {complaint}\n")
    assert sorted(contents(folder / "in")) == ["a.png", "b.png", "c.png"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("overwrite", "count"),
    [
        (False, 3),
        pytest.param(False, 40, marks=pytest.mark.exhaustive),
        pytest.param(True, 20, marks=pytest.mark.exhaustive),
    ],
)
def test_after_kills_the_same_command_finishes_to_the_same_bytes(overwrite: bool, count: int) -> None:
    assert BATCHES["kills"](count, overwrite, seed=1) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.exhaustive
def test_memory_does_not_grow_with_the_number_of_photos() -> None:
    assert BATCHES["memory"](100, 400) <= 0.05


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("image", ""), "argument 2"),
        (("image", "", "--in-place"), "argument 2"),
        (("image", "photo.png", "-o", ""), "-o"),
        (("image", "photo.png", "--name", ""), "--name"),
        (("image", "photo.png", "--name="), "--name"),
        (("video", ""), "argument 2"),
        (("inspect", ""), "argument 2"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(
    cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"denoise: {named}: is empty: is a variable in the command not set?\n"
    assert [path.name for path in photo.parent.iterdir()] == [photo.name]
    assert photo.read_bytes() == before


@pytest.mark.parametrize("command", ["image", "video"])
def test_a_backup_needs_results_in_place(cli: Cli, photo: Path, command: str) -> None:
    done = cli(command, photo, "--backup", ".b", "--dry-run")
    assert done.code == 2
    assert done.err.startswith("denoise: --backup: is what --in-place adds")
