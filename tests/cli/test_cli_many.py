"""`denoise image` over many photos, as a shell sees it."""

import json
import os
import re
import runpy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from denoise_cli.pipeline import pool
from tests.cli.conftest import Cli
from tests.pipeline.awkward_workers import Copying, Refusing

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
        "denoise: in/a.png: not replaced: its backup a.png.orig exists already and holds something else, "
        "perhaps the original of an earlier run: move that file away, or choose another --backup\n"
    )
    assert contents(folder / "in") == after
    for backup in (folder / "in").glob("*.orig"):
        backup.unlink()
    assert cli(*command).code == 0
    assert {name: after[name] for name in originals} == contents(folder / "in")


def test_in_place_the_line_says_where_the_original_is(cli: Cli, folder: Path) -> None:
    foretold = cli("image", "in/a.png", "--in-place", "--backup", ".bak", *QUICK, "--dry-run").out
    assert foretold.startswith("in/a.png in place: ")
    assert foretold.endswith("; the original becomes in/a.png.bak\n")
    done = cli("image", "in/a.png", "--in-place", "--backup", ".bak", *QUICK).err
    assert done.endswith("; the original is now in/a.png.bak\n")


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
        (
            ("--workers", "2", "-o", "-"),
            "--workers: standard input and output belong to a single process: leave it out",
        ),
        (("--workers", "0"), "--workers 0: expected auto or a whole number from 1 to 1024"),
        (("--workers", "many"), "--workers many: expected auto or a whole number from 1 to 1024"),
        (("--name", "{model}{ext}"), "--name {model}{ext}: {model} is not known before each file is read: add --model"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    cli: Cli, folder: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = cli("image", "in/a.png", *options)
    assert (done.code, done.err) == (2, f"denoise: {complaint}\n")
    assert sorted(contents(folder / "in")) == ["a.png", "b.png", "c.png"]


def test_several_workers_give_the_results_and_the_records_of_one(cli: Cli, folder: Path) -> None:
    (folder / "in" / "b.png").write_bytes(b"no picture")
    command = ("image", "in", *QUICK, "--device", "cpu", "--skip-done", "--json")
    one, two = (cli(*command, "-o", f"out{count}/", "--workers", count, "--report", f"{count}.html") for count in "12")
    assert (one.code, two.code) == (1, 1)
    assert contents(folder / "out1") == contents(folder / "out2")
    assert sorted(contents(folder / "out2")) == ["a.png", "c.png"]
    assert [record.get("source") for record in records(two.out)] == ["in/a.png", "in/b.png", "in/c.png", None]
    different = {name for name in records(one.out)[0] if name.startswith("seconds")} | {"target"}
    for ours, theirs in zip(records(one.out)[:-1], records(two.out)[:-1], strict=True):
        assert {key for key in ours if ours[key] != theirs[key]} <= different
    assert (folder / "2.html").exists()
    again = records(cli(*command, "-o", "out2/", "--workers", "2").out)
    assert [record.get("skipped") for record in again] == [True, False, True, 2]


def test_several_workers_put_results_in_the_place_of_their_photos(cli: Cli, folder: Path) -> None:
    originals = contents(folder / "in")
    assert cli("image", "in", "--in-place", *QUICK, "-q", "--workers", "2").err == ""
    after = contents(folder / "in")
    assert {name.removesuffix(".orig"): data for name, data in after.items() if name.endswith(".orig")} == originals
    assert not any(after[name] == originals[name] for name in originals)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_is_killed_costs_its_photo_and_not_the_run(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, order in (("a", ""), ("b", "signal 9"), ("c", "")):
        (folder / "in" / f"{name}.png").write_text(order)
    monkeypatch.setattr(pool, "run_all", partial(pool.run_all, make=Copying))
    done = cli("image", "in", "-o", "in/", "--name", "{stem}-clean{ext}", *QUICK, "--workers", "2", "--json")
    assert done.code == 1
    why = "in/b.png: the process that denoised it was killed by signal 9 (perhaps out of memory)"
    assert f"denoise: {why}" in done.err.splitlines()
    *photos, total = records(done.out)
    assert [record["error"] for record in photos] == [None, why, None]
    assert (total["done"], total["failures"]) == (2, [{"source": "in/b.png", "error": why}])


def test_weights_that_are_damaged_are_said_once_by_several_workers(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "run_all", partial(pool.run_all, make=Refusing))
    done = cli("image", "in", "-o", "out/", *QUICK, "--workers", "2")
    assert (done.code, done.err) == (1, "denoise: weights: damaged\n")


def test_nothing_is_denoised_by_workers_in_a_dry_run(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pool, "run_all")
    assert cli("image", "in", "-o", "out/", *QUICK, "--workers", "2", "--dry-run").code == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("overwrite", "workers", "count"),
    [
        (False, 1, 3),
        (True, 2, 3),
        pytest.param(False, 1, 20, marks=pytest.mark.exhaustive),
        pytest.param(False, 2, 20, marks=pytest.mark.exhaustive),
        pytest.param(True, 1, 10, marks=pytest.mark.exhaustive),
        pytest.param(True, 2, 10, marks=pytest.mark.exhaustive),
    ],
)
def test_after_kills_the_same_command_finishes_to_the_same_bytes(overwrite: bool, workers: int, count: int) -> None:
    assert BATCHES["kills"](count, overwrite, workers, seed=1) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.exhaustive
@pytest.mark.parametrize("workers", [1, 2])
def test_memory_does_not_grow_with_the_number_of_photos(workers: int) -> None:
    assert BATCHES["memory"](100, 400, workers) <= 0.05


@pytest.mark.exhaustive
def test_the_table_of_speeds_has_a_row_for_each_number_of_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BATCHES["MAKERS"], "small", lambda photos: BATCHES["make_photos"](photos, 3, seed=0))
    BATCHES["speed"](BATCHES["HERE"], ["1", "2"], "small", repeats=1)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == [str(BATCHES["HERE"]), "--workers 1", "--workers 2"]
    assert rows[0][2] == "1.00"
    assert all(float(cell) > 0 for row in rows for cell in row[1:])


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
