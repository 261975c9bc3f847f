"""Experiments run from the first step to the printed table."""

import faulthandler
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "docs" / "experiments" / "run.py"


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Folders as the experiments expect them, with a photo in each."""
    for folder in ("train/photos-1", "train/photos-2", "train/bsd432", "eval/cbsd68"):
        (tmp_path / folder).mkdir(parents=True)
        photo = Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8))
        photo.save(tmp_path / folder / "photo.png")
    return tmp_path


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "rows"), [("pool", 4), ("deformable", 4)])
def test_an_experiment_prints_a_row_for_every_network_and_keeps_what_it_trained(
    data: Path, tmp_path: Path, name: str, rows: int
) -> None:
    command = [sys.executable, str(SCRIPT), name, "--data", str(data), "--out", str(tmp_path / "runs"), "--steps", "1"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    head, rule, *table = first.stdout.splitlines()
    assert head.startswith("| network | G multiply-adds | ms | dB at")
    assert len(table) == rows
    assert all(len(row.split("|")) == len(rule.split("|")) for row in table)
    assert first.stderr.count("step 1, loss") == rows
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stderr == ""
    scores = [[row.split("|")[-3:-1] for row in run.stdout.splitlines()] for run in (first, again)]
    assert scores[0] == scores[1]


@pytest.mark.exhaustive
def test_the_table_of_other_programs_has_a_row_for_every_file_and_a_column_for_every_program() -> None:
    script = SCRIPT.with_name("clients.py")
    rows = ["12-bit", "crop, linear"]
    run = subprocess.run([sys.executable, str(script), "--rows", *rows], capture_output=True, text=True, check=True)
    head, rule, *table = (line for line in run.stdout.splitlines() if line.startswith("|"))
    assert "| LibRaw |" in head
    assert [row.split(" | ")[0].removeprefix("| ") for row in table] == rows
    assert {row.count("|") for row in table} == {head.count("|")} == {rule.count("|")}
    assert all(" dB |" in row for row in table)


def test_nothing_is_lost_silently_from_format_to_format() -> None:
    script = SCRIPT.with_name("formats.py")
    command = [sys.executable, str(script), "--from", "png", "tiff", "--to", "jpeg", "webp"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.strip()) == (0, "")
    rows = dict(line.strip("| ").split(" | ", 1) for line in run.stdout.splitlines() if line.startswith("| "))
    assert rows["16 bits"] == "8 bits | 8 bits"
    assert rows["transparency"] == "refused | kept"
    assert rows["IPTC"] == "kept | removed, with a note"
    assert rows["orientation 7"] == "kept | kept"
    assert "it cannot hold transparency" in run.stdout


def test_no_pixels_change_silently_from_codec_to_codec() -> None:
    script = SCRIPT.with_name("pixels.py")
    sources = ["RGB, PNG", "4:2:0, full range", "alpha, VP9", "interlaced, FFV1", "4:4:4, 12 bits"]
    command = [sys.executable, str(script), "--from", *sources, "--to", "mp4", "webm", "prores", "av1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.strip()) == (0, ""), run.stdout
    table = [line.strip("| ").split(" | ") for line in run.stdout.splitlines()[2:]]
    assert len(table) == 4 * len(sources)
    assert all(row[2].startswith("kept") or len(row) == 4 for row in table)
    assert ["alpha, VP9", "webm", "kept: libvpx-vp9, yuva420p"] in table


def test_grain_comes_back_within_a_tenth() -> None:
    script = SCRIPT.with_name("grain.py")
    command = [sys.executable, str(script), "--grain", "fine"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    table = [line.strip("| ").split(" | ") for line in run.stdout.splitlines()[2:]]
    assert [row[:2] for row in table] == [["fine", "luma"], ["fine", "Cb"], ["fine", "Cr"]]
    for _, _, *cells in table:
        variances = [float(cell.removesuffix(" %")) for cell in cells if cell.endswith("%")]
        assert all(90 <= variance <= 110 for variance in variances)
        pairs = [[float(number) for number in cell.split(", ")] for cell in cells[len(variances) :]]
        assert len(pairs) == 5
        assert all(abs(removed - back) <= 10 for removed, back in pairs)


def test_clips_of_cameras_have_a_row_for_each_kind_and_the_worst_is_named(
    tmp_path: Path, astronaut: NDArray[np.uint8]
) -> None:
    (tmp_path / "clip").mkdir()
    for place in range(3):
        Image.fromarray(astronaut[64 : 64 + 96, 100 + place : 228 + place]).save(tmp_path / "clip" / f"{place}.png")
    script, pictures = SCRIPT.with_name("camera_clips.py"), tmp_path / "pictures"
    options = ["--told", "mallenet-s", "--filters", "--skip", "nlmeans", "bm3d", "--pictures", str(pictures)]
    command = [sys.executable, str(script), str(tmp_path), "--kinds", "white 25", "dim room", "clean", *options]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    table = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line.startswith("| ")]
    assert table[0] == ["kind", "noisy", "mallenet-vr", "best level told", "hqdn3d", "vaguedenoiser"]
    white, dim = ([float(cell.partition(",")[0]) for cell in row[1:]] for row in table[1:3])
    assert white[0] == pytest.approx(20.4, abs=0.5)
    assert max(white[1:3]) > max(white[3:]) > white[0]
    assert dim[2] > dim[0] + 2
    assert table[3][:2] == ["clean", "100.00, -"]  # nothing stands still
    *_, told, filters = run.stdout.splitlines()
    assert told.startswith("- mallenet-vr is worst, compared with the best level told, on ")
    assert filters.startswith("- mallenet-vr is worst, compared with FFmpeg's best filter, on ")
    assert {path.stem for path in pictures.iterdir()} == {"white 25", "dim room", "clean"}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are those of Linux")
def test_a_short_attack_finds_no_breach() -> None:
    command = [sys.executable, str(SCRIPT.with_name("attack.py")), "--short"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines()[2:]]
    assert len(rows) == 8
    assert all(row[1].startswith("skipped") or (row[-1] == "0" and int(row[1]) + int(row[2]) > 0) for row in rows)


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The part of the attack that reads damaged files, with little patience."""
    pytest.importorskip("resource")
    monkeypatch.syspath_prepend(SCRIPT.parent)
    module = importlib.import_module("mutants")
    monkeypatch.setattr(module, "files_to_damage", lambda: {"a.png": bytes(20), "clip.gif": bytes(20)})
    monkeypatch.setattr(module, "READING_SECONDS", 2)
    return module


def test_the_attack_tells_what_is_refused_from_what_must_not_happen(
    mutants: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = mutants.read_all(10, 0, tmp_path)
    assert (found.read, found.refused, found.breaches, found.crashes) == (0, 10, [], {})

    def behave(path: Path) -> str:
        calls = path.parent / "calls"
        number = int(calls.read_text()) if calls.exists() else 0
        calls.write_text(str(number + 1))
        if number == 2:
            faulthandler.disable()  # of pytest
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 4:
            time.sleep(60)
        return "ValueError: of a decoder" if number == 6 else "read"

    monkeypatch.setattr(mutants, "read_one", behave)
    found = mutants.read_all(10, 0, tmp_path)
    assert found.read == 7
    assert found.crashes == {"a.png (signal 11)": 1}
    assert found.breaches == [
        "mutant 4 of a.png, seed 0: took more than 2 s",
        "mutant 6 of a.png, seed 0: ValueError: of a decoder",
    ]


def test_mutants_differ_from_their_file_and_can_be_made_again(mutants: ModuleType) -> None:
    data = bytes(range(256)) * 8
    made = [mutants.mutant(data, np.random.default_rng((1, number))) for number in range(50)]
    assert made == [mutants.mutant(data, np.random.default_rng((1, number))) for number in range(50)]
    assert len(set(made)) > 45
    assert len({len(one) for one in made}) > 3


def test_an_exception_that_is_not_for_users_is_named(
    mutants: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a tag")

    monkeypatch.setattr(mutants.image, "opened", fail)
    assert mutants.read_one(tmp_path / "a.png") == "KeyError: 'a tag'"
