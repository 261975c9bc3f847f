"""`denoise image`, as a shell sees it."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from denoise_cli.imaging import dither
from denoise_cli.inference.device import choose_precision
from denoise_cli.io.grid import CAPTION_HEIGHT, GAP
from denoise_cli.models import manifest
from denoise_cli.pipeline.before_after import SIDE
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.outcome import Summary
from denoise_cli.pipeline.photo import Result
from tests.conftest import FFmpeg

DENOISE = [sys.executable, "-m", "denoise_cli"]
ROOT = Path(__file__).parents[2]
Cli = Callable[..., Any]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_a_noisy_photo_becomes_a_cleaner_one_of_the_same_size(cli: Cli, photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "clean.png"
    done = cli("image", photo, "-o", target, "--noise", "20")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith(f"{photo} -> {target}: mallenet-s, noise 20.0, ")
    assert len(done.err.splitlines()) == 1
    assert pixels(target).shape == pixels(photo).shape
    assert np.diff(pixels(target), axis=0).std() < 0.3 * np.diff(pixels(photo), axis=0).std()


def test_the_noise_level_is_estimated_and_shown(cli: Cli, photo: Path, tmp_path: Path) -> None:
    done = cli("image", photo, "-o", tmp_path / "clean.png", "--model", "mallenet-s")
    assert "(estimated)" in done.err


@pytest.mark.parametrize("form", ["jpg", "png", "tif"])
def test_whatever_the_format_the_model_sees_the_noise(cli: Cli, photo: Path, tmp_path: Path, form: str) -> None:
    source, target = tmp_path / f"noisy.{form}", tmp_path / "clean.png"
    Image.open(photo).save(source, quality=95)
    done = cli("image", source, "-o", target, "--json")
    assert f"{source} -> {target}: mallenet-r, noise level left to the model, " in done.err
    record = json.loads(done.out)
    assert (record["model"], record["sigma"], record["noise_from"]) == ("mallenet-r", None, None)
    assert np.diff(pixels(target), axis=0).std() < 0.5 * np.diff(pixels(source), axis=0).std()
    with Image.open(target) as clean:
        assert "(mallenet-r, strength 1)" in str(clean.getexif()[305])


@pytest.mark.parametrize("model", ["mallenet-r", "mallenet-s"])
def test_whatever_the_model_the_line_says_that_nothing_was_done(cli: Cli, tmp_path: Path, model: str) -> None:
    drawing, target = tmp_path / "drawing.png", tmp_path / "out.png"
    squares = np.kron(np.eye(8, dtype=np.uint8) * 200, np.ones((12, 12), np.uint8))
    Image.fromarray(np.repeat(squares[..., None], 3, axis=2)).save(drawing)
    for options, words in (
        ((), "no noise found"),
        (("--strength", 0, "--noise", 9, "--model", "mallenet-s"), "strength 0"),
    ):
        done = cli("image", drawing, "-o", target, "--model", model, "--overwrite", *options)
        assert f", {words} (left as it is), " in done.err
        np.testing.assert_array_equal(pixels(target), pixels(drawing))


def test_a_level_that_is_named_is_told_to_a_model_that_listens(cli: Cli, photo: Path, tmp_path: Path) -> None:
    jpeg = tmp_path / "photo.jpg"
    Image.open(photo).save(jpeg, quality=95)
    assert "mallenet-s, noise 20.0, " in cli("image", jpeg, "-o", tmp_path / "clean.png", "--noise", "20").err
    done = cli("image", jpeg, "-o", tmp_path / "other.png", "--noise", "20", "--model", "mallenet-r")
    assert done.code == 2
    assert "--noise 20: mallenet-r finds the level itself: choose another model, or use --strength" in done.err


def test_a_jpeg_is_compressed_as_before_unless_a_quality_is_given(cli: Cli, photo: Path, tmp_path: Path) -> None:
    source, kept, given = (tmp_path / f"{name}.jpg" for name in ("source", "kept", "given"))
    Image.open(photo).save(source, quality=75, progressive=True)
    assert cli("image", source, "-o", kept, "-q").code == 0
    assert cli("image", source, "-o", given, "-q", "--quality", "95").code == 0
    with Image.open(source) as before, Image.open(kept) as same, Image.open(given) as finer:
        assert same.quantization == before.quantization  # type: ignore[attr-defined]
        assert finer.quantization != before.quantization  # type: ignore[attr-defined]
        assert "progressive" in same.info
    assert kept.stat().st_size < source.stat().st_size


def test_lightness_and_colour_have_strengths_of_their_own(cli: Cli, photo: Path, tmp_path: Path) -> None:
    def run(name: str, *options: object) -> np.ndarray:
        target = tmp_path / f"{name}.png"
        assert cli("image", photo, "-o", target, "-q", "--dither", "off", *options).code == 0
        return pixels(target)

    def grain(values: np.ndarray) -> tuple[float, float]:
        luma = values @ (0.2126, 0.7152, 0.0722)
        return float(np.diff(luma, axis=0).std()), float(np.diff(values[..., 0] - values[..., 2], axis=0).std())

    noisy, full = pixels(photo), run("full")
    np.testing.assert_array_equal(run("explicit", "--luma", 1, "--chroma", 1, "--detail", 0), full)
    np.testing.assert_array_equal(run("both", "--luma", 0, "--chroma", 0), noisy)
    half = run("half", "--strength", 0.5)
    np.testing.assert_array_equal(run("parts", "--luma", 0.5, "--chroma", 0.5), half)
    np.testing.assert_array_equal(run("one", "--luma", 0.5, "--strength", 0.5), half)
    only_chroma = run("chroma", "--luma", 0)
    assert grain(only_chroma)[0] == pytest.approx(grain(noisy)[0], rel=0.01)
    assert grain(only_chroma)[1] < 0.5 * grain(noisy)[1]
    detailed = run("detail", "--detail", 0.5)
    assert grain(full)[0] < grain(detailed)[0] < grain(noisy)[0]
    with Image.open(tmp_path / "chroma.png") as picture:
        assert "(mallenet-r, luma 0, chroma 1, detail 0)" in str(picture.getexif()[305])


@pytest.mark.parametrize("options", [["--luma", "0.5"], ["--chroma", "1"], ["--detail", "0.1"]])
def test_a_mosaic_is_refused_separate_strengths_in_one_line(cli: Cli, tmp_path: Path, options: list[str]) -> None:
    raw, target = ROOT / "docs" / "images" / "noisy.dng", tmp_path / "clean.png"
    done = cli("image", raw, "-o", target, *options)
    assert done.code == 1
    reason = "a camera RAW file is denoised before it has lightness and colours"
    assert done.err == f"denoise: {raw}: --luma, --chroma and --detail: {reason}: use --strength\n"
    assert not target.exists()


@pytest.mark.parametrize("kind", ["png", "jpg", "raw"])
def test_a_preview_shows_before_and_after_instead_of_the_result(
    cli: Cli, photo: Path, tmp_path: Path, kind: str
) -> None:
    source, preview = photo, tmp_path / "preview.png"
    if kind == "jpg":
        source = tmp_path / "photo.jpg"
        Image.open(photo).save(source)
    if kind == "raw":
        source = ROOT / "docs" / "images" / "noisy.dng"
    files = set(tmp_path.iterdir())
    done = cli("image", source, "--preview", preview, "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert set(tmp_path.iterdir()) == files | {preview}
    record = json.loads(done.out)
    assert record["bytes_written"] == preview.stat().st_size
    height, width = min(record["height"], SIDE), min(record["width"], SIDE)
    sheet = pixels(preview)
    width_of_caption = (sheet.shape[1] - GAP) // 2 - GAP
    assert sheet.shape[0] == GAP + height + CAPTION_HEIGHT + GAP  # a small photo is a single place
    assert width_of_caption >= width
    top = GAP + CAPTION_HEIGHT
    before, after = (sheet[top : top + height, left : left + width] for left in (GAP, GAP + width_of_caption + GAP))
    assert np.median(np.abs(np.diff(after, axis=0))) < 0.5 * np.median(np.abs(np.diff(before, axis=0)))
    if kind != "raw":
        np.testing.assert_array_equal(before, pixels(source))
    assert cli("image", source, "-o", tmp_path / "result.png", "-q").code == 0
    if kind != "raw":
        np.testing.assert_array_equal(after, pixels(tmp_path / "result.png"))


def test_a_preview_of_a_large_photo_shows_the_places_with_most_noise_and_most_detail(
    cli: Cli, tmp_path: Path, rng: np.random.Generator
) -> None:
    picture = np.full((1000, 1100, 3), 120, np.float32)
    picture[40:360, 50:390] = np.where(np.arange(340)[None, :, None] // 4 % 2, 60, 200)  # top left: stripes
    picture[550:, 650:] += rng.normal(0, 25, (450, 450, 3))  # bottom right: noise
    source, preview = tmp_path / "source.png", tmp_path / "preview.png"
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(source)
    assert cli("image", source, "--preview", preview, "-q").code == 0
    sheet = pixels(preview)
    top = GAP + CAPTION_HEIGHT
    noise, detail = (sheet[y : y + SIDE, GAP : GAP + SIDE] for y in (top, top + SIDE + CAPTION_HEIGHT + GAP))
    assert np.abs(np.diff(noise, axis=0)).mean() > 15
    assert np.abs(np.diff(detail, axis=0)).mean() < 5
    assert np.abs(np.diff(detail, axis=1)).mean() > 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preview", "p.jpg"], "--preview p.jpg: expected a .png file"),
        (["--preview", "p.png", "-o", "x.png"], "--preview: no result is written: leave out --output, "),
        (["--preview", "p.png", "--dry-run"], "--preview: no result is written: leave out --output, "),
    ],
)
def test_a_preview_beside_a_result_is_refused(cli: Cli, photo: Path, options: list[str], message: str) -> None:
    done = cli("image", photo, *options)
    assert done.code == 2
    assert done.err.startswith(f"denoise: {message}")
    done = cli("image", photo, photo, "--preview", "p.png")
    assert done.err == "denoise: --preview: shows a single photo: name one file\n"


def test_a_preview_replaces_nothing_unless_asked(cli: Cli, photo: Path, tmp_path: Path) -> None:
    preview = tmp_path / "preview.png"
    preview.write_bytes(b"precious")
    done = cli("image", photo, "--preview", preview, "--json")
    assert done.code == 1
    assert done.err == f"denoise: {preview}: already exists: use --overwrite to replace it\n"
    assert json.loads(done.out)["error"] in done.err
    assert preview.read_bytes() == b"precious"
    assert cli("image", photo, "--preview", preview, "--overwrite", "-q").code == 0


def longest_run(rows: np.ndarray) -> int:
    """The largest number of neighbours in a row, (H, W), that are equal."""
    ends = np.pad(np.diff(rows.astype(int), axis=1) != 0, ((0, 0), (1, 1)), constant_values=True)
    return int(np.diff(np.flatnonzero(ends)).max())


def test_a_clean_gradient_does_not_come_out_in_steps(cli: Cli, tmp_path: Path, rng: np.random.Generator) -> None:
    ramp = np.linspace(100, 120, 1024, dtype=np.float32)[None, :, None].repeat(128, 0).repeat(3, 2)
    noisy = tmp_path / "noisy.png"
    Image.fromarray(np.rint(np.rint(ramp) + rng.normal(0, 3, ramp.shape)).astype(np.uint8)).save(noisy)
    for name in ("auto", "off"):
        assert cli("image", noisy, "-o", tmp_path / f"{name}.png", "--dither", name, "-q").code == 0
    dithered, plain = (pixels(tmp_path / f"{name}.png") for name in ("auto", "off"))
    clean, steps = dither.dithered(ramp / 255, np.zeros(ramp.shape, np.uint8)), longest_run(np.rint(ramp[..., 1]))
    assert longest_run(clean[..., 1]) < 0.5 * steps
    # The noise was added to the steps of 8 bits, some of which a denoiser finds again.
    assert longest_run(dithered[..., 1]) < 0.7 * steps
    assert longest_run(dithered[..., 1]) < longest_run(plain[..., 1])
    assert np.abs(dithered - plain).max() <= 1
    before = pixels(noisy)
    np.testing.assert_array_equal(dithered[plain == before], before[plain == before])


@pytest.mark.parametrize(
    ("target", "options", "is_dithered"),
    [
        ("png", [], True),
        ("tif", [], True),
        ("webp", ["--quality", "100"], True),
        ("webp", [], False),
        ("jpg", [], False),
        ("png", ["--strength", "0"], False),
    ],
)
def test_8_bits_without_loss_are_dithered(
    cli: Cli, photo: Path, tmp_path: Path, target: str, options: list[str], is_dithered: bool
) -> None:
    results = []
    for name in ("auto", "off", "again"):
        path = tmp_path / f"{name}.{target}"
        assert (
            cli("image", photo, "-o", path, "-q", *options, *(["--dither", "off"] if name == "off" else [])).code == 0
        )
        results.append(pixels(path))
    np.testing.assert_array_equal(results[0], results[2])
    assert (results[0] != results[1]).any() == is_dithered


def test_without_a_target_the_result_lies_beside(cli: Cli, photo: Path) -> None:
    assert cli("image", photo, "-q").code == 0
    assert photo.with_name("photo-denoised.png").exists()


def test_a_folder_becomes_a_folder(cli: Cli, photo: Path, tmp_path: Path) -> None:
    inside = tmp_path / "in" / "deep"
    inside.mkdir(parents=True)
    shutil.copy(photo, tmp_path / "in" / "one.png")
    shutil.copy(photo, inside / "two.PNG")
    assert cli("image", tmp_path / "in", "-o", f"{tmp_path}/flat/", "-q").code == 0
    assert [path.name for path in (tmp_path / "flat").iterdir()] == ["one.png"]
    assert cli("image", tmp_path / "in", "-o", f"{tmp_path}/tree/", "-r", "-q", "--format", "jpeg").code == 0
    assert sorted(path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*.jpg")) == [
        "deep/two.jpg",
        "one.jpg",
    ]


def test_one_bad_file_does_not_stop_the_others(cli: Cli, photo: Path, tmp_path: Path) -> None:
    bad, missing = tmp_path / "bad.jpg", tmp_path / "missing.jpg"
    bad.write_bytes(b"not a photo")
    done = cli("image", bad, photo, missing, "-o", f"{tmp_path}/out/", "-q")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"denoise: {bad}: not a photo of a known format, or damaged at its start",
        f"denoise: {missing}: does not exist",
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.png"]


def test_an_existing_output_is_replaced_only_when_asked(cli: Cli, photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "clean.png"
    target.write_bytes(b"precious")
    done = cli("image", photo, "-o", target)
    assert done.code == 1
    assert done.err == f"denoise: {target}: already exists: use --overwrite to replace it\n"
    assert target.read_bytes() == b"precious"
    assert cli("image", photo, "-o", target, "--overwrite", "-q").code == 0
    assert pixels(target).shape == pixels(photo).shape


@pytest.mark.parametrize("alias", [os.link, os.symlink, None])
def test_the_input_is_never_the_output(
    cli: Cli, photo: Path, tmp_path: Path, alias: Callable[[Path, Path], None] | None
) -> None:
    before = photo.read_bytes()
    target = photo if alias is None else tmp_path / "alias.png"
    if alias is not None:
        alias(photo, target)
    done = cli("image", photo, "-o", target, "--overwrite")
    assert done.code == 1
    which = "itself" if alias is None else str(photo)
    assert done.err == f"denoise: {target}: is the input {which}: choose another name for the output\n"
    assert photo.read_bytes() == before


@pytest.mark.parametrize("option", ["--model", "--hot-pixels"])
def test_what_a_run_reads_besides_photos_is_not_replaced(cli: Cli, photo: Path, tmp_path: Path, option: str) -> None:
    weights = manifest.weights_folder() / "mallenet-u.safetensors"
    file = tmp_path / "own.safetensors"
    file.write_bytes(weights.read_bytes())
    (link := tmp_path / "link.safetensors").hardlink_to(file)
    for target in (file, link):
        done = cli("image", photo, "-o", target, "--format", "png", "--overwrite", option, file)
        which = "itself" if target == file else str(file)
        assert (done.code, done.err) == (
            1,
            f"denoise: {target}: is the input {which}: choose another name for the output\n",
        )
    assert file.read_bytes() == weights.read_bytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_zero_leaves_every_pixel(cli: Cli, tmp_path: Path, rng: np.random.Generator, dtype: type) -> None:
    values = rng.integers(0, np.iinfo(dtype).max, (50, 60, 3), endpoint=True, dtype=dtype)
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(imagecodecs.png_encode(values))
    assert cli("image", source, "-o", target, "--strength", "0", "-q").code == 0
    np.testing.assert_array_equal(imagecodecs.png_decode(target.read_bytes()), values)


def test_json_gives_a_record_for_each_file(cli: Cli, photo: Path, tmp_path: Path) -> None:
    done = cli(
        "image", photo, tmp_path / "missing.png", "-o", f"{tmp_path}/out/", "--json", "-q", "--model", "mallenet-s"
    )
    good, bad, _ = map(json.loads, done.out.splitlines())
    assert good["target"] == str(tmp_path / "out" / "photo.png")
    assert (good["width"], good["height"], good["model"], good["error"]) == (96, 80, "mallenet-s", None)
    assert good["noise_from"] == "estimated"
    assert good["sigma"] == pytest.approx(20, abs=2)
    assert bad["error"] == f"{tmp_path}/missing.png: does not exist"


def test_a_dry_run_writes_nothing(cli: Cli, photo: Path, tmp_path: Path) -> None:
    done = cli("image", photo, "-o", f"{tmp_path}/out/", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{photo} -> {tmp_path}/out/photo.png: mallenet-r\n"
    assert not (tmp_path / "out").exists()


def test_a_record_holds_size_strength_and_device(cli: Cli, photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "clean.png"
    record = json.loads(cli("image", photo, "-o", target, "--json", "--strength", "0.8", "--chroma", "1").out)
    assert (record["width"], record["height"], record["megapixels"]) == (96, 80, 0.00768)
    assert (record["strength"], record["luma"], record["chroma"], record["detail"]) == (0.8, 0.8, 1, 0)
    assert (record["device"], record["precision"]) == ("cpu", choose_precision("cpu", "auto"))
    assert (record["bytes_read"], record["bytes_written"]) == (photo.stat().st_size, target.stat().st_size)
    assert not any(isinstance(value, dict) for value in record.values())


def test_the_page_describes_every_key_of_a_record() -> None:
    from denoise_cli.pipeline.photo import Result

    section = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split("**`--json`**", 1)[1].split("\n\n")[1]
    described = [key for row in section.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(described) == sorted(field.name for field in dataclasses.fields(Result))


def test_a_dry_run_gives_the_records_of_a_run(cli: Cli, photo: Path, tmp_path: Path) -> None:
    arguments = "image", photo, tmp_path / "missing.png", "-o", f"{tmp_path}/out/", "--json", "-q"
    foretold, missing, _ = map(json.loads, cli(*arguments, "--dry-run").out.splitlines())
    assert not (tmp_path / "out").exists()
    done, failed, _ = map(json.loads, cli(*arguments).out.splitlines())
    known_later = ["sigma", "noise_from", "device", "precision", "bytes_written", "seconds"]
    known_later += [f"seconds_{stage}" for stage in ("reading", "denoising", "writing")]
    assert foretold == done | dict.fromkeys(known_later) | {"dry_run": True}
    assert missing == failed | {"dry_run": True}
    assert not done["dry_run"]


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("there.png", []),
        ("none/clean.png", []),
        ("photo.png", ["--overwrite"]),
        ("photo.png/out/", []),
        ("clean.png", ["--model", "mallenet-raw"]),
        ("clean.png", ["--model", "best"]),
        ("clean.png", ["--model", "mallenet-xl"]),
        ("clean.png", ["--max-pixels", "5000"]),
        ("clean.png", ["--device", "cuda:99"]),
        ("clean", ["--format", "dng"]),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(
    cli: Cli, photo: Path, tmp_path: Path, target: str, arguments: list[str]
) -> None:
    (tmp_path / "there.png").touch()
    files = sorted(tmp_path.iterdir())
    run = "image", photo, "-o", f"{tmp_path}/{target}", *arguments
    foretold, done = cli(*run, "--dry-run"), cli(*run)
    assert foretold == done
    assert done.code > 0
    assert done.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "best"], "no model is called 'best': choose from mallenet-s, "),
        (
            ["--noise", "much"],
            "--noise much: expected auto or a number from 0 to 255, or SHOT,READ, such as 0.003,0.002",
        ),
        (["--noise", "-3"], "--noise -3: expected auto or a number from 0 to 255"),
        (["--tile", "10"], "--tile 10: expected auto or a number from 256 to 65536"),
        (["--quality", "0"], "--quality 0: expected keep or a whole number from 1 to 100"),
        (["--quality", "best"], "--quality best: expected keep or a whole number from 1 to 100"),
        (["--dither", "on"], "--dither on: choose auto or off"),
        (["--precision", "int8"], "--precision int8: choose one of auto, fp32, bf16, fp16"),
        (
            ["--format", "gif"],
            "--format gif: choose one of jpeg, png, tiff, webp, avif, heif, jxl, jp2, ppm, pgm, pnm, pfm, hdr, exr",
        ),
        (
            ["-o", "clean.gif"],
            "clean.gif: cannot write .gif: choose one of .jpg, .png, .tif, .webp, .avif, .heic, .jxl, .jp2, .ppm, ",
        ),
        (["-o", "clean"], "clean: cannot write a file without extension: choose one of .jpg, "),
        (["--format", "png", "-o", "clean.dng"], "clean.dng: contradicts --format png: name a .png file, or "),
        (["--json", "-o", "-"], "--json and -o - both write to standard output: choose one"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Cli, photo: Path, arguments: list[str], message: str) -> None:
    done = cli("image", photo, *arguments)
    assert done.code == 2
    assert done.err.startswith(f"denoise: {message}")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(("noise", "hint"), [("0.1", "25.5"), ("0.003", "0.765"), ("0", None), ("1", None)])
def test_a_level_that_looks_like_a_share_of_white_is_told(cli: Cli, photo: Path, noise: str, hint: str | None) -> None:
    line = f"--noise {noise}: is taken on a scale of 0 to 255; if a scale of 0 to 1 is meant, write {hint}\n"
    done = cli("image", photo, "--noise", noise, "--dry-run")
    assert (done.code, done.err) == (0, line if hint else "")


def test_an_impossible_device_is_said(cli: Cli, photo: Path) -> None:
    done = cli("image", photo, "--device", "cuda:99")
    assert done.code == 1
    assert done.err == "denoise: device 'cuda:99': PyTorch finds no such GPU: use cpu, or run denoise doctor\n"


def test_several_photos_do_not_fit_into_one_file(cli: Cli, photo: Path, tmp_path: Path) -> None:
    done = cli("image", photo, photo, "-o", tmp_path / "clean.png")
    assert done.code == 2
    assert "2 photos cannot become one file: for a folder, write -o FOLDER/\n" in done.err
    for inputs in ([photo, photo.parent / "b.png"], [photo]):
        done = cli("image", *inputs, "-o", "new dir", "--dry-run")
        assert (done.code, done.err.endswith("; for a folder, write -o 'new dir'/\n")) == (2, len(inputs) == 1)
        assert done.err.endswith("for a folder, write -o 'new dir'/\n")


@pytest.mark.parametrize(("name", "extension"), [("jpg", ".jpg"), ("TIF", ".tif"), ("heic", ".heic"), ("jpeg", ".jpg")])
def test_a_format_may_be_named_by_its_extension(cli: Cli, photo: Path, name: str, extension: str) -> None:
    done = cli("image", photo, "--format", name, "--dry-run")
    assert (done.code, done.out) == (0, f"{photo} -> {photo.with_name('photo-denoised' + extension)}: mallenet-r\n")


@pytest.mark.parametrize(
    ("name", "options", "command"),
    [("a b.jpg", ["-q"], "image 'a b.jpg' -q"), ("folder", [], "image folder"), ("clip.mp4", [], "video clip.mp4")],
)
def test_a_forgotten_command_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: list[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).touch()
    done = cli(name, *options)
    assert done.code == 2
    assert done.err.endswith(f"denoise: {name} is no command: write  denoise {command}\n")
    assert "write" not in cli("imagine").err


def test_a_folder_is_not_inspected(cli: Cli, tmp_path: Path) -> None:
    done = cli("inspect", tmp_path)
    assert (done.code, done.err) == (
        1,
        f"denoise: {tmp_path}: is a folder: name the photos in it, such as {tmp_path}/*.jpg\n",
    )


def test_options_without_effect_are_named(cli: Cli, photo: Path) -> None:
    raw = ROOT / "docs" / "images" / "noisy.dng"
    done = cli("image", photo, raw, "-o", f"{photo.parent}/out/", "--quality", 80, "--to-srgb", "--dry-run")
    to_png, developed = done.out.splitlines()
    assert to_png.endswith("; --quality has no effect on PNG")
    assert "; --quality has no effect on PNG; --to-srgb has no effect on camera RAW, which is developed in" in developed
    done = cli("image", photo, "--format", "jpeg", "--quality", 80, "--dry-run")
    assert "no effect" not in done.out
    done = cli("image", raw, "-o", photo.parent / "a.dng", "--quality", 80, "--dry-run")
    assert "; --quality has no effect on DNG" in done.out


def test_a_single_level_for_camera_raw_says_how_a_mosaic_gets_its_own(cli: Cli, tmp_path: Path) -> None:
    raw = ROOT / "docs" / "images" / "noisy.dng"
    done = cli("image", raw, "-o", tmp_path / "a.png", "--noise", 25, "--dry-run")
    assert "mallenet-s; developed before it was denoised, because --noise is a single number: " in done.out
    done = cli("image", raw, "-o", tmp_path / "a.png", "--noise", "0.003,0.002", "--dry-run")
    assert "developed" not in done.out


def test_two_photos_of_one_name_do_not_overwrite_each_other(cli: Cli, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "photo.png"
    shutil.copy(photo, other)
    third = tmp_path / "third.png"
    shutil.copy(photo, third)
    done = cli("image", photo, other, third, "-o", f"{tmp_path}/out/")
    assert done.code == 1
    reason = f"would become {tmp_path}/out/photo.png, and so would"
    remedy = "write them into different folders, or set them apart by --name"
    assert done.err.splitlines()[:2] == [
        f"denoise: {photo}: {reason} {other}: {remedy}",
        f"denoise: {other}: {reason} {photo}: {remedy}",
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["third.png"]


def test_a_dry_run_shows_rivals_and_sidecars(cli: Cli, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "photo.png"
    other.parent.mkdir()
    shutil.copy(photo, other)
    third = tmp_path / "third.png"
    shutil.copy(photo, third)
    sidecar = tmp_path / "third.png.xmp"
    sidecar.write_bytes(b"<x/>")
    done = cli("image", photo, other, third, "-o", f"{tmp_path}/out/", "--dry-run")
    assert done.code == 1
    assert [line.startswith("denoise: ") for line in done.err.splitlines()] == [True, True, False, False, False]
    assert done.err.splitlines()[2] == "1 to denoise, 0 done already, 2 would fail"
    becomes = f"third.png.xmp becomes {tmp_path}/out/third.png.xmp"
    assert done.out == f"{third} -> {tmp_path}/out/third.png: mallenet-r; {becomes}\n"
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "third.png.xmp").touch()
    done = cli("image", third, "-o", f"{tmp_path}/out/", "--dry-run")
    assert f"{tmp_path}/out/third.png.xmp already exists and is not replaced by third.png.xmp" in done.out


def test_a_photo_that_is_too_large_is_refused(cli: Cli, photo: Path, tmp_path: Path) -> None:
    done = cli("image", photo, "-o", tmp_path / "clean.png", "--max-pixels", "5000")
    assert done.code == 1
    assert done.err == f"denoise: {photo}: cannot be decoded: 96 x 80 pixels, more than --max-pixels allows\n"


def test_a_folder_that_cannot_be_made_is_said(cli: Cli, photo: Path) -> None:
    done = cli("image", photo, "-o", f"{photo}/out/")
    assert done.code == 1
    assert done.err == f"denoise: {photo}/out: cannot make the folder: Not a directory\n"


def test_a_folder_that_is_missing_is_said(cli: Cli, photo: Path, tmp_path: Path) -> None:
    done = cli("image", photo, "-o", tmp_path / "none" / "clean.png")
    assert done.code == 1
    assert done.err == f"denoise: {tmp_path}/none/clean.png: there is no folder {tmp_path}/none: create it first\n"


@pytest.mark.parametrize("command", ["image", "inspect", "video"])
@pytest.mark.parametrize("name", ["none/a.jpg", "none.mp4", "https://example.org/a.jpg"])
def test_an_input_that_is_missing_is_not_asked_to_be_made(cli: Cli, command: str, name: str) -> None:
    done = cli(command, name)
    reason = "files on the network are not opened: download it first" if "://" in name else "does not exist"
    assert (done.code, done.err) == (1, f"denoise: {name}: {reason}\n")


@pytest.mark.parametrize("name", ["shot", "shot.xyz"])
@pytest.mark.parametrize("form", ["jpeg", "webp", "tiff"])
def test_a_photo_whose_name_says_nothing_keeps_its_format_and_its_extension(
    cli: Cli, photo: Path, tmp_path: Path, name: str, form: str
) -> None:
    source = tmp_path / name
    Image.open(photo).save(source, form)
    assert cli("image", source, "--strength", 0, "-q").code == 0
    beside = source.with_name(f"shot-denoised{source.suffix}")
    assert cli("image", source, "--strength", 0, "--in-place", "-q").code == 0
    for result in (beside, source):
        with Image.open(result) as picture:
            assert picture.format == form.upper()
    assert source.read_bytes() != source.with_name(f"{name}.orig").read_bytes()


@pytest.mark.parametrize("options", [[], ["--in-place"]])
def test_a_format_that_changes_because_of_a_name_is_told(
    cli: Cli, photo: Path, tmp_path: Path, options: list[str]
) -> None:
    source = tmp_path / "a.png"
    Image.open(photo).save(source, "jpeg")
    done = cli("image", source, "--strength", 0, *options)
    assert "; holds JPEG, but its name ends in .png: becomes PNG" in done.err
    with Image.open(source if options else tmp_path / "a-denoised.png") as picture:
        assert picture.format == "PNG"
    assert "its name" not in cli("image", photo, "--dry-run").out


CONTAINERS = ["mp4", "mov", "mkv", "webm", "avi", "ts", "mts", "mpg", "wmv", "flv", "ogv", "mxf", "y4m", "nut", "3gp"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_clip_is_not_called_damaged(cli: Cli, container: str, ffmpeg: FFmpeg, tmp_path: Path) -> None:
    encoders = {
        "webm": "libvpx",
        "mpg": "mpeg2video",
        "wmv": "wmv2",
        "flv": "flv1",
        "ogv": "libtheora",
        "y4m": "rawvideo",
    }
    encoder = {"mxf": "mpeg2video", "3gp": "mpeg4", "avi": "mpeg4"}.get(container, encoders.get(container, "libx264"))
    clip = ffmpeg.make(tmp_path / f"my clip.{container}", "-c:v", encoder, frames=3)
    for command in ("image", "inspect"):
        done = cli(command, clip)
        assert done.code == 1
        assert done.err.startswith(f"denoise: {clip}: is a clip (")
        assert done.err.endswith(f"), not a photo: use denoise video '{clip}'\n")


def test_floating_point_beyond_white_keeps_its_range(cli: Cli, tmp_path: Path, rng: np.random.Generator) -> None:
    import tifffile

    values = (4 + rng.normal(0, 0.2, (128, 128, 3))).astype(np.float32)
    tifffile.imwrite(tmp_path / "hdr.tif", values, photometric="rgb")
    assert cli("image", tmp_path / "hdr.tif", "-o", tmp_path / "clean.tif", "-q").code == 0
    clean = tifffile.imread(tmp_path / "clean.tif")
    assert clean.dtype == np.float32
    assert clean.mean() == pytest.approx(4, abs=0.02)
    assert clean.std() < 0.5 * values.std()


def test_standard_input_becomes_standard_output(photo: Path) -> None:
    done = subprocess.run(
        [*DENOISE, "image", "-", "-o", "-", "--format", "webp"],
        input=photo.read_bytes(), capture_output=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout[8:12] == b"WEBP"
    assert done.stderr.startswith(b"- -> -: mallenet-r")


def test_a_full_disk_leaves_nothing_behind(photo: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    target = tmp_path / "out" / "clean.png"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run(
        [*DENOISE, "image", photo, "-o", target, "--overwrite"],
        capture_output=True, text=True, check=False, cwd=ROOT, preexec_fn=little_room,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"denoise: {target}: cannot write: File too large\n"
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_leaves_no_part_of_a_file(
    photo: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    if signal.getsignal(sent) == signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as under nohup")
    inputs = tmp_path / "in"
    inputs.mkdir()
    for index in range(200):
        shutil.copy(photo, inputs / f"{index:03}.png")
    process = subprocess.Popen(
        [*DENOISE, "image", inputs, "-o", f"{tmp_path}/out/"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if (tmp_path / "out").exists() and len(list((tmp_path / "out").glob("*.png"))) > 3:
            break
        time.sleep(0.1)
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert process.returncode == code
    results = list((tmp_path / "out").iterdir())
    assert 3 < len(results) < 200
    for result in results:
        assert pixels(result).shape == (80, 96, 3)


@pytest.mark.parametrize(("ended", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interrupted_run_says_what_is_done_and_what_is_left(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: BaseException, code: int
) -> None:
    def preview(job: Job, *_: object) -> Result:
        if job.source.name != "0.png":
            raise ended
        return Result(str(job.source), str(job.target), "mallenet-r", dry_run=True)

    monkeypatch.setattr("denoise_cli.pipeline.photo.preview", preview)
    done = cli("image", photos, "-o", f"{tmp_path}/out/", "--dry-run", "--json")
    assert done.code == code
    assert "1 to denoise, 0 done already, 0 would fail, 1 left\n" in done.err
    total = json.loads(done.out.splitlines()[-1])
    assert (total["done"], total["interrupted"], total["left"]) == (1, True, 1)
    summary = Summary(total=7, interrupted=True, done=2, skipped=1)
    assert re.match(r"interrupted after \d+\.\d s: 2 done, 1 skipped, 0 failed, 4 left\b", summary.line())


def test_inks_become_srgb_on_request(cli: Cli, tmp_path: Path, rng: np.random.Generator) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.png"
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).convert("CMYK").save(source)
    refused = cli("image", source, "-o", target)
    assert (refused.code, refused.err) == (
        1,
        f"denoise: {target}: cannot be encoded as png: it cannot hold CMYK: choose .tif or .jpg, or add --to-srgb\n",
    )
    done = cli("image", source, "-o", target, "--to-srgb", "--json", "-q")
    assert done.code == 0
    assert json.loads(done.out)["notes"] == [
        "no profile says what its inks look like: converted to sRGB as if each took its share of the light"
    ]
    with Image.open(target) as picture:
        assert picture.mode == "RGB"


def test_camera_raw_does_not_become_a_dng_in_srgb(cli: Cli, tmp_path: Path) -> None:
    done = cli("image", ROOT / "docs" / "images" / "noisy.dng", "-o", tmp_path / "b.dng", "--to-srgb", "-q")
    assert done.code == 1
    assert "--to-srgb: a .dng file holds the camera's colours: leave it out\n" in done.err


def test_a_damaged_photo_is_noted_and_refused_with_strict(cli: Cli, tmp_path: Path, rng: np.random.Generator) -> None:
    whole, damaged, target = tmp_path / "whole.jpg", tmp_path / "damaged.jpg", tmp_path / "out.jpg"
    Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8)).save(whole)
    data = whole.read_bytes()
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    damaged.write_bytes(data[:middle] + data[middle + 400 :])
    words = "its pixel data is damaged, and is decoded as far as it goes"
    refused = cli("image", damaged, "-o", target, "--strict", "-q")
    assert refused.code == 1
    assert refused.err.startswith(f"denoise: {damaged}: {words}")
    assert refused.err.count("\n") == 1
    assert not target.exists()
    assert cli("image", whole, "-o", target, "--strict", "-q").code == 0
    target.unlink()
    noted = cli("image", damaged, "-o", target, "--json", "-q")
    assert noted.code == 0
    assert words in json.loads(noted.out)["notes"][0]
    assert target.exists()
    assert f"damage    {words}" in cli("inspect", damaged).out
    found = [json.loads(cli("inspect", path, "--json").out)["damage"] for path in (damaged, whole)]
    assert list(map(bool, found)) == [True, False]
