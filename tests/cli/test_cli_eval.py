"""`denoise eval`, on a few tiny photos."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import DenoiseError
from denoise_cli.io.program import program_with_filter
from tests.conftest import FFmpeg

Cli = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(astronaut[index * 64 : index * 64 + 64, 100:180]).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def pairs(tmp_path: Path, astronaut: NDArray[np.uint8], rng: np.random.Generator) -> Path:
    folder = tmp_path / "pairs"
    for side, sigma in (("clean", 0), ("noisy", 20)):
        (folder / side).mkdir(parents=True)
        for index in range(2):
            clean = astronaut[index * 96 : index * 96 + 96, 100:228]
            noisy = clean + rng.normal(0, sigma, clean.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / side / f"{index}.png")
    return folder


def records(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_three_levels_are_usual(cli: Cli, photos: Path) -> None:
    done = cli("eval", "--data", photos, "--json", "--precision", "fp32")
    assert done.code == 0
    assert [(one["model"], one["sigma"], one["photos"]) for one in records(done)] == [
        ("mallenet-s", 15, 2),
        ("mallenet-s", 25, 2),
        ("mallenet-s", 50, 2),
    ]
    assert all(one["denoised"] > one["noisy"] + 4 for one in records(done))
    assert all(one["denoised_ssim"] > one["noisy_ssim"] for one in records(done))


def test_models_and_noises_are_set_side_by_side(cli: Cli, photos: Path) -> None:
    pytest.importorskip("cv2")
    noises = ["--sigma", "25", "--shot-read", "0.003,0.01"]
    done = cli("eval", "--data", photos, *noises, "--model", "nlm", "--model", "mallenet-s", "--json")
    assert [(one["noise"], one["model"]) for one in records(done)] == [
        ("sigma 25", "nlm"),
        ("sigma 25", "mallenet-s"),
        ("shot 0.003, read 0.01", "nlm"),
        ("shot 0.003, read 0.01", "mallenet-s"),
    ]
    assert [(one["sigma"], one["shot"], one["read"]) for one in records(done)[1:3]] == [
        (25, None, None),
        (None, 0.003, 0.01),
    ]
    assert all(one["denoised"] > one["noisy"] for one in records(done))


def test_what_is_given_twice_is_scored_once(cli: Cli, photos: Path) -> None:
    twice = ["--sigma", "25", "--sigma", "25.0", "--model", "mallenet-s", "--model", "mallenet-s"]
    (mean,) = records(cli("eval", "--data", photos, *twice, "--json"))
    assert mean["photos"] == 2


def test_kinds_of_pictures_are_scored_and_the_worst_is_named(cli: Cli, photos: Path) -> None:
    for path in photos.iterdir():
        Image.open(path).resize((96, 96)).save(path)
    done = cli("eval", "--data", photos, "--kinds", "--sigma", "25", "--model", "mallenet-s", "--model", "mallenet-m")
    assert done.code == 0
    for noise in ("saturated, sigma 25", "night, camera", "drawn, none"):
        assert done.out.count(noise) >= 2
    for model, line in zip(("mallenet-s", "mallenet-m"), done.out.splitlines()[-2:], strict=True):
        assert line.startswith(f"{model} gains least on ")
        assert "changes clean pictures most if " in line


@pytest.mark.parametrize("frames", [0, 2, 8, 11])
def test_a_window_has_a_middle_frame(cli: Cli, photos: Path, frames: int) -> None:
    done = cli("eval", "--data", photos, "--frames", frames)
    assert (done.code, done.err) == (2, f"denoise: --frames {frames}: expected an odd number from 1 to 9\n")


def test_kinds_are_made_from_clean_photos(cli: Cli, pairs: Path, photos: Path) -> None:
    done = cli("eval", "--data", pairs, "--kinds")
    assert (done.code, done.err.count("--kinds")) == (2, 1)
    done = cli("eval", "--data", photos, "--kinds", "--frames", "3", "--model", "mallenet-v")
    assert (done.code, done.err.count("--kinds")) == (2, 1)


def test_a_sensors_noise_leaves_the_usual_levels_out(cli: Cli, photos: Path) -> None:
    done = cli("eval", "--data", photos, "--shot-read", "0.001,0.003")
    assert done.code == 0
    assert "sigma" not in done.out
    assert "shot 0.001, read 0.003" in done.out


def test_pairs_are_recognised_and_their_noise_is_estimated(cli: Cli, pairs: Path) -> None:
    (mean,) = records(cli("eval", "--data", pairs, "--json"))
    assert (mean["noise"], mean["photos"], mean["sigma"]) == ("real", 2, None)
    assert mean["noisy"] == pytest.approx(22.2, abs=0.5)
    assert mean["denoised"] > mean["noisy"] + 4


def test_the_usual_model_is_that_of_the_noise(cli: Cli, photos: Path, pairs: Path) -> None:
    usual = [records(cli("eval", "--data", data, "--json"))[0]["model"] for data in (photos, pairs)]
    assert usual == ["mallenet-s", "mallenet-r"]


def test_every_photo_is_listed_on_demand(cli: Cli, photos: Path) -> None:
    run = ["eval", "--data", photos, "--sigma", "25", "--each"]
    first, second, mean = records(cli(*run, "--json"))
    assert (first["photo"], second["photo"]) == (str(photos / "0.png"), str(photos / "1.png"))
    assert mean["denoised"] == pytest.approx((first["denoised"] + second["denoised"]) / 2, abs=1e-4)
    lines = cli(*run).out.splitlines()
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["sigma", "25", "mallenet-s", "0.png"],
        ["sigma", "25", "mallenet-s", "1.png"],
    ]
    assert lines[-1].split()[:4] == ["sigma", "25", "mallenet-s", "2"]


def test_a_blind_model_is_not_told(cli: Cli, pairs: Path) -> None:
    run = ["eval", "--data", pairs / "clean", "--sigma", "40", "--json"]
    (told,), (blind,) = records(cli(*run)), records(cli(*run, "--blind"))
    assert (told["blind"], blind["blind"]) == (False, True)
    assert told["denoised"] != blind["denoised"]


def test_table_and_grid_are_written_once(cli: Cli, photos: Path, tmp_path: Path) -> None:
    table, grid = tmp_path / "table.csv", tmp_path / "grid.png"
    run = ["eval", "--data", photos, "--sigma", "25", "--csv", table, "--grid", grid, "--json", "--each"]
    done = cli(*run)
    assert done.code == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["photo"], float(row["denoised"])) for row in rows] == [
        (one["photo"], pytest.approx(one["denoised"], abs=1e-4)) for one in records(done)[:2]
    ]
    picture = Image.open(grid)
    assert picture.width > 4 * 80
    assert picture.height > 2 * 64
    again = cli(*run)
    assert (again.code, again.out) == (1, "")
    assert again.err == f"denoise: {table}: already exists: use --overwrite to replace it\n"
    assert cli(*run, "--overwrite").code == 0


def test_an_unreadable_photo_is_named_once_and_left_out(cli: Cli, photos: Path) -> None:
    (photos / "00.png").write_bytes(b"no photo")
    done = cli("eval", "--data", photos, "--sigma", "15", "--sigma", "25", "--json")
    assert done.code == 1
    assert [one["photos"] for one in records(done)] == [2, 2]
    named, counted = done.err.splitlines()
    assert named.startswith(f"denoise: {photos}/00.png: ")
    assert counted == f"denoise: {photos}: 1 of 3 photos could not be scored"


def test_a_partner_of_another_size_is_named(cli: Cli, pairs: Path) -> None:
    Image.new("RGB", (90, 90)).save(pairs / "clean" / "1.png")
    done = cli("eval", "--data", pairs, "--json")
    assert done.code == 1
    assert [one["photos"] for one in records(done)] == [1]
    assert f"{pairs}/noisy/1.png: is 128 x 96 in colour, but {pairs}/clean/1.png is 90 x 90 in colour" in done.err


def test_where_nothing_can_be_read_nothing_is_written(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no photo")
    done = cli("eval", "--data", folder, "--csv", tmp_path / "table.csv", "--grid", tmp_path / "grid.png")
    assert (done.code, done.out) == (1, "")
    assert "1 of 1 photos could not be scored" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_picture_without_noise_has_no_number_in_json(cli: Cli, photos: Path) -> None:
    (mean,) = records(cli("eval", "--data", photos, "--sigma", "0", "--json"))
    assert mean["noisy"] is None
    assert mean["noisy_ssim"] == 1
    assert all(value == float(f"{value:.6g}") for value in mean.values() if isinstance(value, float))


def test_frames_of_clips_are_steadied_and_flicker(cli: Cli, photos: Path) -> None:
    run = ["eval", "--data", photos, "--sigma", "25", "--precision", "fp32", "--json"]
    (single,), (alone,), (steadied,) = (
        records(cli(*run, *frames)) for frames in ([], ["--frames", 1], ["--frames", 5])
    )
    assert single["flicker"] is None
    assert alone["flicker"] is None  # nothing stands still between these two
    assert alone["denoised"] == pytest.approx(single["denoised"], abs=1e-3)
    assert steadied["denoised"] != pytest.approx(single["denoised"], abs=1e-3)


def test_a_model_for_clips_makes_clips_of_folders(cli: Cli, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    (tmp_path / "clip").mkdir()
    for place in range(3):
        Image.fromarray(astronaut[:64, 100:180]).save(tmp_path / "clip" / f"{place}.png")
    run = ["eval", "--data", tmp_path, "--sigma", "25", "--precision", "fp32", "--model", "mallenet-s", "--json"]
    clip = records(cli(*run, "--model", "mallenet-v"))
    assert [one["photos"] for one in clip] == [3, 3]
    assert all(one["flicker"] > 0 for one in clip)
    explicit = records(cli(*run, "--frames", 5))
    assert explicit[0]["denoised"] == clip[0]["denoised"]


def test_pairs_are_no_clips(cli: Cli, pairs: Path) -> None:
    message = f"denoise: {pairs}: contains pairs of photos, not clips: choose models for photos, and drop --frames\n"
    for options in (["--model", "mallenet-v"], ["--frames", 3]):
        done = cli("eval", "--data", pairs, *options)
        assert (done.code, done.out, done.err) == (2, "", message)


def test_an_empty_folder_is_said(cli: Cli, tmp_path: Path) -> None:
    done = cli("eval", "--data", tmp_path)
    assert (done.code, done.err) == (1, f"denoise: {tmp_path}: holds no photos\n")


def test_a_file_in_place_of_a_folder_is_said(cli: Cli, photos: Path) -> None:
    done = cli("eval", "--data", photos / "0.png")
    assert (done.code, done.err) == (1, f"denoise: {photos}/0.png: is a file: name its folder\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shot-read", "0.1"], "--shot-read 0.1: expected SHOT,READ, two numbers from 0 to 1, such as 0.003,0.002"),
        (
            ["--shot-read", "0.1,nan"],
            "--shot-read 0.1,nan: expected SHOT,READ, two numbers from 0 to 1, such as 0.003,0.002",
        ),
        (["--grid", "grid.jpg"], "--grid grid.jpg: expected a name that ends in .png"),
        (["--grid", "a.png", "--csv", "a.png"], "--csv and --grid both name a.png: choose different files"),
        (["--model", "none"], "no model is called 'none'"),
    ],
)
def test_what_makes_no_sense_is_said(cli: Cli, photos: Path, options: list[str], message: str) -> None:
    done = cli("eval", "--data", photos, *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"denoise: {message}")


def test_noise_for_pairs_makes_no_sense(cli: Cli, pairs: Path) -> None:
    done = cli("eval", "--data", pairs, "--sigma", "25")
    assert done.code == 2
    assert done.err.startswith(f"denoise: {pairs}: contains pairs, which have real noise: drop --sigma")


@pytest.fixture
def clips(tmp_path: Path, astronaut: NDArray[np.uint8], rng: np.random.Generator, ffmpeg: FFmpeg) -> tuple[Path, Path]:
    """A noisy clip of four frames that do not move, and its clean version."""
    clean = np.stack([astronaut[64:128, 100:196]] * 4)
    noisy = np.rint(clean + rng.normal(0, 20, clean.shape)).clip(0, 255).astype(np.uint8)
    for name, frames in (("noisy", noisy), ("clean", clean)):
        (tmp_path / f"{name}.raw").write_bytes(frames.tobytes())
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-i", tmp_path / f"{name}.raw"]
        ffmpeg(*raw, "-c:v", "ffv1", "-pix_fmt", "gbrp", tmp_path / f"{name}.mkv")
    return tmp_path / "noisy.mkv", tmp_path / "clean.mkv"


def test_a_clip_is_compared_with_its_clean_version(cli: Cli, clips: tuple[Path, Path]) -> None:
    (record,) = records(cli("eval", "--pair", *clips, "--json"))
    assert (record["model"], record["frames"], record["vmaf"]) == ("as it is", 4, None)
    assert (record["data"], record["clean"]) == tuple(map(str, clips))
    assert record["noisy"] == record["denoised"] == pytest.approx(22.3, abs=0.3)
    # Of two independent errors, of 20 each.
    assert record["flicker"] == pytest.approx(20 * 2 / np.pi**0.5, rel=0.06)


def test_models_score_on_a_clip_what_denoise_video_writes(cli: Cli, clips: tuple[Path, Path], tmp_path: Path) -> None:
    usual = ["--model", "mallenet-s", "--precision", "fp32", "-q"]
    result, profile = tmp_path / "result.mkv", tmp_path / "profile.png"
    done = cli("eval", "--pair", *clips, *usual, "--json", "--profile", profile)
    noisy, denoised = records(done)
    assert (noisy["model"], denoised["model"]) == ("as it is", "mallenet-s")
    assert Image.open(profile).width > 3 * 96
    assert cli("video", clips[0], "-o", result, *usual).code == 0
    (written,) = records(cli("eval", "--pair", result, clips[1], "--json"))
    assert written["denoised"] == pytest.approx(denoised["denoised"], abs=0.05)
    assert written["flicker"] == pytest.approx(denoised["flicker"], abs=0.2)
    assert written["denoised"] > noisy["denoised"] + 4
    assert written["flicker"] < noisy["flicker"] / 4


def test_vmaf_is_a_score_of_clips(cli: Cli, clips: tuple[Path, Path], photos: Path) -> None:
    try:
        program_with_filter("libvmaf", "this test")
    except DenoiseError as error:
        pytest.skip(str(error))
    (noisy,) = records(cli("eval", "--pair", *clips, "--vmaf", "--json"))
    (same,) = records(cli("eval", "--pair", clips[1], clips[1], "--vmaf", "--json"))
    assert noisy["vmaf"] < same["vmaf"] - 10
    assert "VMAF" in cli("eval", "--pair", *clips, "--vmaf").out
    done = cli("eval", "--data", photos, "--vmaf")
    assert (done.code, done.err) == (2, "denoise: --vmaf: only for clips: add --frames, or use --pair\n")


def test_either_photos_or_clips_are_scored(cli: Cli, photos: Path, clips: tuple[Path, Path]) -> None:
    done = cli("eval")
    assert (done.code, done.err) == (2, "denoise: name what to score: --data FOLDER, or --pair CLIP CLEAN\n")
    for options in (["--data", photos], ["--sigma", "25"], ["--kinds"]):
        done = cli("eval", "--pair", *clips, *options)
        message = "denoise: --pair: has its own noise: drop --data, --sigma, --shot-read and --kinds\n"
        assert (done.code, done.out, done.err) == (2, "", message)
