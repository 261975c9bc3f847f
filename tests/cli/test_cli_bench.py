"""`denoise bench`, on a few tiny photos."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from denoise_cli.benchmark import builds, networks, programs, timing
from tests.cli.conftest import Cli
from tests.conftest import FFmpeg

ROOT = Path(__file__).parents[2]


def test_a_photo_is_timed_beside_non_local_means(cli: Cli, photos: Path) -> None:
    done = cli("bench", photos / "0.png", "--megapixels", "0.02", "--json", "-q", "--device", "cpu")
    baseline, ours = map(json.loads, done.out.splitlines())
    assert (baseline["program"], ours["program"]) == ("OpenCV non-local means", "mallenet-s")
    assert baseline["width"] * baseline["height"] == pytest.approx(20_000, rel=0.02)
    for record in (baseline, ours):
        assert record["seconds"] > 0
        assert record["cpu_seconds"] > 0
        assert record["peak_bytes"] > 10e6
        assert record["seconds_ratio"] == pytest.approx(record["seconds"] / baseline["seconds"], rel=1e-4)


def test_raw_is_timed_beside_libraw(cli: Cli) -> None:
    done = cli("bench", ROOT / "docs" / "images" / "noisy.dng", "-q", "--device", "cpu")
    assert done.code == 0, done.err
    header, *rows = done.out.splitlines()
    columns = ["program", "seconds at 0.3 MP", "times the first's", "CPU seconds", "peak MB"]
    assert re.split("  +", header.strip()) == columns
    assert [row.rsplit(maxsplit=4)[0] for row in rows] == [
        "LibRaw FBDD, to PNG",
        "mallenet-raw, to DNG",
        "mallenet-raw, to PNG",
    ]
    assert rows[0].split()[-3] == "1.00"


def test_a_folder_is_timed_beside_non_local_means(cli: Cli, photos: Path) -> None:
    (photos / "below").mkdir()
    (photos / "1.png").rename(photos / "below" / "1.png")
    done = cli("bench", photos, "--json", "-q", "--device", "cpu")
    assert done.code == 0, done.err
    baseline, ours = map(json.loads, done.out.splitlines())
    assert (baseline["program"], ours["program"]) == ("OpenCV non-local means", "auto")
    assert (baseline["photos"], ours["photos"]) == (2, 2)
    assert sorted(path.name for path in photos.rglob("*.*")) == ["0.png", "1.png"]


def test_photos_of_a_folder_that_a_program_does_not_take_are_named_and_the_others_timed(
    cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "below").mkdir()
    (photos / "1.png").rename(photos / "below" / "1.png")
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:200])
    (photos / "new.jxl").write_bytes(imagecodecs.jpegxl_encode(np.zeros((8, 8, 3), np.uint8)))
    named = list[list[str]]()

    def time_program(program: programs.Program) -> programs.Timing:
        words = [word for word in program.command if str(photos.parent) in word or "photos" in word]
        folders = [folder for word in words if (folder := Path(word)).is_dir()]
        named.append(sorted(file.name for folder in folders for file in folder.rglob("*.*")) or words)
        return programs.Timing(program.name, 1.0, 1.0, 1)

    monkeypatch.setattr(programs, "time_program", time_program)
    done = cli("bench", photos, "--json", "-q", "--device", "cpu")
    assert done.code == 1
    broken, unread = done.err.splitlines()
    assert broken.startswith(f"denoise: {photos}/broken.png: cannot be decoded: ")
    assert unread == f"denoise: {photos}/new.jxl: left out: OpenCV cannot read it"
    assert [json.loads(line)["photos"] for line in done.out.splitlines()] == [2, 2]
    assert named == [[f"{photos}/0.png", f"{photos}/below/1.png"], ["0.png", "1.png"]]


def test_a_photo_is_timed_in_two_builds(cli: Cli, photos: Path) -> None:
    options = ["--megapixels", "0.02", "--json", "-q", "--device", "cpu"]
    done = cli("bench", photos / "0.png", "--against", ROOT, "--repeat", "1", *options)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["program"] == "mallenet-s"
    for figure in ("seconds", "cpu_seconds", "peak_bytes"):
        assert record["here"][figure] > 0
        assert record["ratios"][figure] == pytest.approx(record["there"][figure] / record["here"][figure], rel=1e-4)


def test_networks_are_timed_in_two_builds(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(jobs: list[networks.Job], other: Path, repeats: int) -> Iterator[builds.Comparison | str]:
        assert ([job.name for job in jobs], other, repeats) == (["mallenet-s", "mallenet-m"], ROOT, 5)
        here, there = {"seconds": 0.02, "peak_bytes": 3e6}, {"seconds": 0.05, "peak_bytes": 3e6}
        yield builds.Comparison("mallenet-s", here, there, {"seconds": 2.5, "peak_bytes": 1.0})
        yield "there: mallenet-m: exit code 1: no message"

    monkeypatch.setattr(builds, "compare_networks", compare)
    models = ["--model", "mallenet-s", "--model", "mallenet-m"]
    done = cli("bench", "--against", ROOT, *models, "--size", "64", "--device", "cpu", "-q")
    assert (done.code, done.err) == (1, "denoise: there: mallenet-m: exit code 1: no message\n")
    header, row = done.out.splitlines()
    assert header.startswith("network, 1 x 64 x 64  seconds here")
    assert row.split() == ["mallenet-s", "0.0200", "0.0500", "2.50", "-", "-", "-", "3", "3", "1.00"]


def test_what_is_no_checkout_is_refused(cli: Cli, photos: Path) -> None:
    done = cli("bench", photos / "0.png", "--against", photos)
    line = f"denoise: --against {photos}: is not a checkout of this project: there is no denoise_cli in it\n"
    assert (done.code, done.err) == (2, line)


def test_a_clip_is_timed_beside_ffmpegs_non_local_means(cli: Cli, ffmpeg: FFmpeg, tmp_path: Path) -> None:
    clip = ffmpeg.make(tmp_path / "a.mp4", size="64x64", frames=5)
    done = cli("bench", clip, "--json", "-q", "--device", "cpu")
    baseline, ours = map(json.loads, done.out.splitlines())
    assert (baseline["program"], ours["program"]) == ("FFmpeg non-local means", "mallenet-vr")
    for record in (baseline, ours):
        assert (record["frames"], record["width"], record["height"]) == (5, 64, 64)
        assert record["seconds"] > 0
        assert record["cpu_seconds"] > 0
        assert record["peak_bytes"] > 10e6
    assert sorted(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize(
    ("source", "kind"), [("a.mp4", "a clip"), ("docs/images", "a folder"), ("docs/images/noisy.dng", "camera RAW")]
)
def test_only_photos_are_mirrored(cli: Cli, source: str, kind: str) -> None:
    done = cli("bench", ROOT / source, "--megapixels", "1")
    assert (done.code, done.err) == (2, f"denoise: --megapixels 1: only with a photo: drop it for {kind}\n")


def test_what_is_neither_photo_nor_clip_is_not_timed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("not a clip")
    done = cli("bench", tmp_path / "a.txt")
    assert done.code == 1
    assert done.err.startswith(f"denoise: {tmp_path}/a.txt: ")
    assert done.err.count("\n") == 1


@pytest.fixture
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures do not matter: what is measured in this process takes a fraction of the time."""
    monkeypatch.setattr(timing, "ENOUGH_SECONDS", 0.0)
    monkeypatch.setattr(timing, "MIN_RUNS", 1)
    monkeypatch.setattr(timing, "MATRIX_SIDE", 512)
    monkeypatch.setattr(timing, "COPIED_BYTES", 2**24)


@pytest.mark.usefixtures("quick_timing")
def test_networks_are_timed_beside_others(cli: Cli) -> None:
    names = ["mallenet-s", "ffdnet", "opencv-nlm"]
    models = [part for name in names for part in ("--model", name)]
    done = cli("bench", "--size", "64", *models, "--batch", "2", "--device", "cpu", "--json", "-q")
    machine, *records = map(json.loads, done.out.splitlines())
    assert machine["multiply_adds_per_second"] > 1e8
    assert machine["copied_bytes_per_second"] > 1e8
    networks = [record for record in records if "network" in record]
    assert [record["network"] for record in networks] == names
    for record in networks:
        assert record["machine"] == machine["machine"]
        assert 0 < record["fastest"] <= record["milliseconds"] <= record["slowest"]
        assert record["cpu_milliseconds"] > 0
        assert record["megapixels_per_second"] == pytest.approx(2 * 64 * 64 / 1e3 / record["milliseconds"], rel=1e-4)
    # FFDNet at half the size: 15 channels to 96 (its level is one of them), ten times 96 to 96, 96 to 12; 3 x 3 each.
    expected = 9 * (13 * 96 + 10 * 96 * 96 + 96 * 12) * 2 * 32 * 32
    assert networks[1]["multiply_adds"] == expected
    operators = {record["operator"]: record for record in records if "operator" in record}
    sliced = {f"malleable, K = {K}{layout}" for K in (1, 3) for layout in ("", ", channels-last")}
    assert set(operators) == sliced | {"deformable 2D", "deformable 3D"}
    assert operators["malleable, K = 1"]["bytes_moved"] == 4 * 32 * (2 * 64 * 64 + 2 * 8 * 8)


@pytest.mark.usefixtures("quick_timing")
def test_speed_is_drawn_against_quality(cli: Cli, tmp_path: Path) -> None:
    plot = tmp_path / "a.png"
    done = cli("bench", "--size", "64", "--model", "mallenet-s", "--device", "cpu", "--plot", plot, "-q")
    assert done.code == 0
    first, _, header, row = done.out.splitlines()[:4]
    assert " multiply-adds per second in " in first
    assert header.startswith("network, 1 x 64 x 64")
    assert row.startswith("mallenet-s")
    assert Image.open(plot).size[0] > 100


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--size", "100"], "--size 100: expected a multiple of 64 from 64 to 8192"),
        (["--size", "100", "--model", "deformable-2d"], "--size 100: expected a multiple of 16 from 64 to 8192"),
        (["--size", "100", "--model", "ffdnet"], "--size 100: expected a multiple of 8 from 64 to 8192"),
        (["--model", "dncn"], "--model dncn: choose from "),
        (["--megapixels", "1"], "--megapixels: only with a photo: name one"),
        (
            ["a.png", "--size", "64"],
            "--size: only without a file: leave it out, or leave out a.png",
        ),
        (
            ["--model", "ffdnet", "--plot", "a.png"],
            "--plot: none of these networks has a score on CBSD68: choose others with --model",
        ),
        (["a.png", "--precision", "bf16"], "--precision: only without a file: leave it out, or leave out a.png"),
        (["--repeat", "3"], "--repeat: only with --against: name another checkout"),
        (["--against", ROOT, "--plot", "a.png"], "--plot: not with --against: drop one of them"),
        (["--precision", "int3"], "--precision int3: choose one of "),
    ],
)
def test_what_cannot_be_timed_is_refused_at_once(cli: Cli, options: list[object], line: str) -> None:
    done = cli("bench", *options)
    assert done.code == 2
    assert done.err.startswith(f"denoise: {line}")


@pytest.mark.usefixtures("quick_timing")
def test_a_network_that_cannot_be_timed_leaves_the_others(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = networks.Speed("ffdnet", "PyTorch, float32", 2.0, 1.0, 3.0, 2.0, 0.004, 1e9, 1000)
    monkeypatch.setattr(networks, "time_networks", lambda _: iter(["timing DRUNet needs spandrel", timed]))
    named = cli("bench", "--size", "64", "--model", "drunet", "--model", "ffdnet", "--device", "cpu", "-q")
    assert (named.code, named.err) == (1, "denoise: timing DRUNet needs spandrel\n")
    assert "\nffdnet " in named.out
    assert cli("bench", "--size", "64", "--device", "cpu", "-q").code == 0  # the network was not asked for by name


@pytest.mark.usefixtures("quick_timing")
def test_bench_without_opencv_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    done = cli("bench", "--size", "64", "--model", "opencv-nlm", "--device", "cpu", "-q")
    assert done.code == 1
    line = "timing non-local means needs opencv-python-headless, which is not installed"
    assert done.err.startswith(f"denoise: {line}")
    assert done.err.count("\n") == 1
