"""Camera RAW on the command line: developed or written as a DNG, with its noise given or estimated, or refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng, image
from denoise_cli.io.development import developed
from denoise_cli.io.dng_builder import camera_light, linear_dng
from denoise_cli.io.raw import RawFile
from tests.cli.conftest import Cli

SENSOR = Sensor(ShotRead(3e-3, 6e-3))


@pytest.fixture
def negative(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """A DNG of part of the astronaut photo, with a NoiseProfile."""
    scene = astronaut[:160, 100:292]
    numbers = SENSOR.capture(scene / 255, np.random.default_rng(0))
    path = tmp_path / "in.dng"
    path.write_bytes(dng.encode(dng.simulated_dng(SENSOR, numbers, np.ascontiguousarray(scene[::4, ::4])), "test"))
    return path


def grain(path: Path) -> float:
    """The mean difference of neighbouring pixels."""
    pixels = image.read(path).as_float()
    return float(np.abs(np.diff(pixels, axis=1)).mean())


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.tif", "out.dng"])
def test_raw_becomes_what_the_name_says(cli: Cli, negative: Path, name: str) -> None:
    target = negative.with_name(name)
    done = cli("image", negative, "-o", target, "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["model"], record["noise_from"], record["sigma"]) == ("mallenet-raw", "file", None)
    assert (record["shot"], record["read"]) == (pytest.approx(3e-3), pytest.approx(6e-3))
    assert (record["width"], record["height"]) == (192, 160)
    assert "shot 3.00e-03, read 6.00e-03 (from the file)" in done.err
    assert grain(target) < 0.7 * grain(negative)


def test_sidecars_go_along(cli: Cli, negative: Path, tmp_path: Path) -> None:
    for name in ("in.xmp", "in.dng.xmp"):
        (tmp_path / name).write_bytes(b"<x xmlns:d='http://darktable.sf.net/' d:history_end='3' tiff:Orientation='6'/>")
    for target in ("out/a.dng", "out/b.png"):
        (tmp_path / "out").mkdir(exist_ok=True)
        done = cli("image", negative, "-o", tmp_path / target, "--strength", "0", "--json")
        places = [tmp_path / f"{target[:-4]}.xmp", tmp_path / f"{target}.xmp"]
        expected = [f"{name} becomes {place}" for name, place in zip(("in.xmp", "in.dng.xmp"), places, strict=True)]
        assert json.loads(done.out)["notes"] == expected
        assert all(note in done.err for note in expected)
        is_same = [place.read_bytes() == (tmp_path / "in.xmp").read_bytes() for place in places]
        assert is_same == [target.endswith(".dng")] * 2  # settings for RAW do not apply to a picture


def test_of_pairs_in_a_folder_the_raw_files_become_dngs(cli: Cli, negative: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    negative.rename(folder / "in.dng")
    photo.rename(folder / "in.png")
    done = cli("image", folder, "-o", f"{tmp_path}/out/", "--format", "dng", "--strength", "0")
    assert (done.code, len(done.err.splitlines())) == (0, 3), done.err
    assert done.err.splitlines()[0] == f"{folder}: left out 1 photo: a DNG is made only from camera RAW"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["in.dng"]


def test_raw_without_a_name_becomes_a_picture(cli: Cli, negative: Path) -> None:
    assert cli("image", negative, "-q").code == 0
    assert image.read(negative.with_name("in-denoised.png")).bits == 16


def test_a_dng_is_compressed_as_told(cli: Cli, negative: Path) -> None:
    sizes = {}
    for name, scheme in (("jpeg", 7), ("jxl", 52546)):
        target = negative.with_name(f"{name}.dng")
        assert cli("image", negative, "-o", target, "-q", "--compression", name).code == 0
        sizes[name] = target.stat().st_size
        with tifffile.TiffFile(target) as file:
            pages = file.pages[0].aspage().pages
            assert pages is not None
            assert pages[0].aspage().tags[259].value == scheme
    assert sizes["jxl"] < sizes["jpeg"]


def test_lossy_files_stay_lossy_unless_told_otherwise(cli: Cli, negative: Path) -> None:
    source, auto, plain = (negative.with_name(name) for name in ("lossy.dng", "auto.dng", "plain.dng"))
    with RawFile(negative.read_bytes(), 10**9) as raw:
        linear = linear_dng(raw, camera_light(raw), raw.noise)
        source.write_bytes(dng.encode(dataclasses.replace(linear, compression="lossy-jpeg"), "test"))
    done = cli("image", source, "-o", auto, "--json")
    assert "compressed with loss, as the RAW file is" in json.loads(done.out)["notes"][-1]
    assert cli("image", source, "-o", plain, "-q", "--compression", "jpeg").code == 0
    assert auto.stat().st_size < 1.2 * source.stat().st_size
    assert plain.stat().st_size > 2 * auto.stat().st_size
    assert np.abs(image.read(auto).as_float() - image.read(plain).as_float()).mean() < 3 / 255


@pytest.mark.parametrize(
    ("name", "compression", "reason"),
    [
        ("out.dng", "zip", "--compression zip: choose one of auto, jpeg, jxl"),
        (
            "out.png",
            "jxl",
            "--compression: only for .dng files: name a .dng file as the output, or add --format dng",
        ),
    ],
)
def test_a_wrong_compression_is_one_line(cli: Cli, negative: Path, name: str, compression: str, reason: str) -> None:
    done = cli("image", negative, "-o", negative.with_name(name), "--compression", compression)
    assert (done.code, done.err) == (2, f"denoise: {reason}\n")


@pytest.mark.parametrize("linear", [False, True])
def test_a_dng_is_developed_as_the_picture_was(cli: Cli, negative: Path, linear: bool) -> None:
    picture, written = negative.with_name("out.png"), negative.with_name("out.dng")
    assert cli("image", negative, "-o", picture, "-q").code == 0
    assert cli("image", negative, "-o", written, "-q", *["--linear"] * linear).code == 0
    with RawFile(written.read_bytes(), 10**9) as opened:
        assert (opened.obstacle is None) != linear
        result = developed(opened).as_float()
        left = opened.noise
    assert np.abs(result - image.read(picture).as_float()).max() <= (2 / 255 if linear else 0)
    assert left is not None
    assert left.shot * 0.2 + left.read**2 < (3e-3 * 0.2 + 6e-3**2) / 5


def test_at_strength_0_the_picture_is_the_undenoised_one(cli: Cli, negative: Path) -> None:
    target = negative.with_name("out.png")
    assert cli("image", negative, "-o", target, "-q", "--strength", 0).code == 0
    np.testing.assert_array_equal(image.read(target).pixels, image.read(negative).pixels)


def test_the_noise_can_be_told(cli: Cli, negative: Path) -> None:
    strong = cli("image", negative, "-o", negative.with_name("a.png"), "--noise", "0.01,0.02", "--json")
    assert json.loads(strong.out)["noise_from"] == "given"
    none = cli("image", negative, "-o", negative.with_name("b.png"), "--noise", "0,0", "--json")
    assert none.code == 0
    np.testing.assert_array_equal(image.read(negative.with_name("b.png")).pixels, image.read(negative).pixels)


def test_a_photo_can_be_told_a_sensors_noise(cli: Cli, photo: Path) -> None:
    done = cli("image", photo, "-o", photo.with_name("a.png"), "--noise", "0.003,0.01", "--json")
    record = json.loads(done.out)
    assert (record["model"], record["shot"], record["noise_from"]) == ("mallenet-s", 0.003, "given")


def test_a_model_for_photos_takes_what_was_developed(cli: Cli, negative: Path) -> None:
    done = cli("image", negative, "-o", negative.with_name("a.png"), "--model", "mallenet-s", "--json")
    record = json.loads(done.out)
    assert (record["model"], record["noise_from"], record["shot"]) == ("mallenet-s", "estimated", None)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--noise", "0.1"), 0, ""),  # on the scale of 0 to 255: a level for photos
        (("--noise", "1,2,3"), 2, "--noise 1,2,3: expected SHOT,READ, two numbers from 0 to 1"),
        (("--noise", "-1,0"), 2, "--noise -1,0: expected SHOT,READ"),
        (("--noise", "25", "--model", "mallenet-raw"), 2, "--noise 25: mallenet-raw needs SHOT,READ"),
        (
            ("--model", "mallenet-s", "--format", "dng"),
            1,
            "a DNG is made from camera RAW, but mallenet-s needs a developed photo: choose",
        ),
    ],
)
def test_what_makes_no_sense_for_raw_is_one_line(
    cli: Cli, negative: Path, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    done = cli("image", negative, "-o", negative.with_name("out"), "--format", "png", "-q", *arguments)
    assert (done.code, reason in done.err) == (code, True), done.err
    assert done.err.count("\n") == (code > 0)
    assert negative.with_name("out").exists() == (code == 0)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--model", "mallenet-raw"), "is not camera RAW, and mallenet-raw takes nothing else"),
        (("--format", "dng"), "a DNG is made from camera RAW, but "),
    ],
)
def test_photos_are_no_raw(cli: Cli, photo: Path, arguments: tuple[str, ...], reason: str) -> None:
    target = photo.with_name("out")
    done = cli("image", photo, "-o", target, "--format", "png", *arguments)
    assert (done.code, done.err.count("\n"), reason in done.err) == (1, 1, True), done.err
    assert not target.exists()


@pytest.mark.parametrize("model", ["auto", "mallenet-s"])
def test_the_picture_takes_the_camera_s_tone_if_told(
    cli: Cli, tmp_path: Path, astronaut: NDArray[np.uint8], model: str
) -> None:
    scene = astronaut[:160, 100:292]
    tone = (scene.astype(int) ** 2 // 255).astype(np.uint8)
    source = tmp_path / "toned.dng"
    numbers = SENSOR.capture(scene / 255, np.random.default_rng(0))
    source.write_bytes(dng.encode(dng.simulated_dng(SENSOR, numbers, np.ascontiguousarray(tone)), "test"))
    errors = []
    for name in ("flat", "camera"):
        target = tmp_path / f"{name}.png"
        done = cli("image", source, "-o", target, "--tone", name, "--model", model, "--json")
        assert (done.code, json.loads(done.out)["notes"]) == (0, []), done.err
        errors.append(np.abs(image.read(target).as_float() * 255 - tone).mean())
    assert errors[0] > 20
    assert errors[1] < 10


def test_without_a_preview_to_match_the_picture_stays_flat_and_a_note_says_so(cli: Cli, negative: Path) -> None:
    flat, target = negative.with_name("flat.png"), negative.with_name("camera.png")
    assert cli("image", negative, "-o", flat, "-q").code == 0
    done = cli("image", negative, "-o", target, "--tone", "camera", "--json")  # the preview has 40 x 48 pixels
    assert json.loads(done.out)["notes"] == ["not in the camera's tone: the file has no preview that can be read"]
    assert "not in the camera's tone" in done.err
    np.testing.assert_array_equal(image.read(target).pixels, image.read(flat).pixels)


def test_tones_that_make_no_sense_are_refused_in_one_line(cli: Cli, negative: Path, photo: Path) -> None:
    for source, name, tone, code, reason in [
        (negative, "out.png", "warm", 2, "--tone warm: choose flat or camera"),
        (negative, "out.dng", "camera", 2, "--tone camera: a .dng file holds light without a tone: "),
        (photo, "out.png", "camera", 1, f"{photo}: --tone camera is only for camera RAW: leave it out"),
    ]:
        done = cli("image", source, "-o", negative.with_name(name), "--tone", tone)
        assert (done.code, done.err.count("\n"), reason in done.err) == (code, 1, True), done.err
        assert not negative.with_name(name).exists()


@pytest.mark.parametrize("command", [("eval", "--data", "."), ("video", "clip.mp4")], ids=["eval", "video"])
def test_other_commands_say_that_such_models_are_for_raw(cli: Cli, command: tuple[str, ...], photo: Path) -> None:
    arguments = [str(photo.parent) if part == "." else part for part in command]
    done = cli(*arguments, "--model", "mallenet-raw")
    assert done.code == 2
    assert "--model mallenet-raw: is only for camera RAW" in done.err


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["out.png", "out.dng"])
def test_broken_raw_leaves_nothing(cli: Cli, negative: Path, share: float, name: str) -> None:
    whole = negative.read_bytes()
    negative.write_bytes(whole[: int(len(whole) * share)])
    target = negative.with_name(name)
    done = cli("image", negative, "-o", target)
    assert (done.code, done.err.count("\n")) == (1, 1), done.err
    assert "in.dng: " in done.err
    assert list(negative.parent.iterdir()) == [negative]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(negative: Path) -> None:
    command = [sys.executable, "-m", "denoise_cli", "image", str(negative), "-o", "-", "--format", "dng", "-q"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr


def test_inspect_shows_what_is_in_raw(cli: Cli, negative: Path) -> None:
    done = cli("inspect", negative)
    assert done.code == 0
    assert "noise     shot 0.003, read 0.006 (--noise 0.003,0.006), from the file" in done.out
    assert "values    14 bits, RGGB mosaic, black 1024, white 16383" in done.out
    assert f"taken by  {dng.SIMULATED_CAMERA}\n" in done.out
    record = json.loads(cli("inspect", negative, "--json").out)
    assert (record["format"], record["model"], record["noise_from"]) == ("dng", "mallenet-raw", "file")
    assert record["camera"] == dng.SIMULATED_CAMERA


def test_inspect_shows_what_is_in_photos(cli: Cli, photo: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey.jpg"
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", "Maker One"
    exif.get_ifd(0x8769)[0x829A], exif.get_ifd(0x8769)[0x8827] = 0.005, 800
    Image.fromarray(np.full((64, 64), 99, np.uint8)).save(grey, exif=exif)
    done = cli("inspect", photo, grey, "--json")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert (first["format"], first["bits"], first["colours"], first["model"]) == ("png", 8, "RGB", "mallenet-r")
    assert first["sigma"] == pytest.approx(20, abs=2)
    assert (second["colours"], second["camera"], second["iso"], second["exposure"]) == ("grey", "Maker One", 800, 0.005)
    assert "taken by  Maker One, 1/200 s, ISO 800" in cli("inspect", grey).out


def test_inspect_goes_on_after_what_it_cannot_read(cli: Cli, photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:100])
    done = cli("inspect", broken, tmp_path / "missing.png", photo)
    assert (done.code, done.err.count("\n")) == (1, 2)
    assert "size      96 x 80" in done.out


def test_real_files_are_denoised(cli: Cli, shared_data: Path, tmp_path: Path) -> None:
    for name, model in (
        ("CRW.CRW", "mallenet-raw"),
        ("colorchart.dng", "mallenet-raw"),
        ("canon_eos_6d.dng", "mallenet-linear"),
    ):
        done = cli("image", shared_data / "raw" / name, "-o", tmp_path / f"{name}.dng", "--json")
        assert done.code == 0, done.err
        record = json.loads(done.out)
        assert record["model"] == model
        assert (record["noise_from"] == "file") == (name == "canon_eos_6d.dng")
        assert ("three values a pixel" in " ".join(record["notes"])) == (model == "mallenet-linear")
        before, after = (image.read(path) for path in (shared_data / "raw" / name, tmp_path / f"{name}.dng"))
        assert before.shape == after.shape
        shift = np.abs(before.as_float().mean(axis=(0, 1)) - after.as_float().mean(axis=(0, 1)))
        assert shift.max() < 2 / 255


GREENS = [1, 1, 0, 1, 1, 2, 1, 1, 2, 1, 1, 0]
PATTERNS = {  # rows and columns, colours, and whether LibRaw knows how to develop it
    "quad Bayer": ((4, 4), [0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 2, 2, 1, 1, 2, 2], False),
    "nobody's": ((3, 5), [0, 1, 2] * 5, False),
    "green missing": ((2, 2), [0, 0, 1, 2], True),
    "X-Trans": ((6, 6), [*GREENS, 2, 0, 1, 0, 2, 1, *GREENS[6:], *GREENS[:6], 0, 2, 1, 2, 0, 1], True),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("target", ["out.png", "out.dng"])
def test_other_sensors_are_denoised_after_developing_or_refused_in_a_line(
    cli: Cli, tmp_path: Path, rng: np.random.Generator, name: str, target: str
) -> None:
    size, pattern, is_known = PATTERNS[name]
    numbers = (2000 + 30 * rng.standard_normal((520, 640))).astype(np.uint16)  # LibRaw takes no smaller X-Trans
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (33421, 3, 2, size, True),  # CFARepeatPatternDim
        (33422, 1, len(pattern), bytes(pattern), True),  # CFAPattern
        (50721, 10, 9, [part for value in matrix for part in (round(value * 10_000), 10_000)], True),  # ColorMatrix1
        (50728, 5, 3, [1, 2, 1, 1, 6, 10], True),  # AsShotNeutral
        (50714, 3, 1, 512, True),  # BlackLevel
        (50717, 3, 1, 4095, True),  # WhiteLevel
    ]
    source = tmp_path / "in.dng"
    tifffile.imwrite(source, numbers, photometric="cfa", extratags=tags, metadata=None, software=False)
    done = cli("image", source, "-o", tmp_path / target, "--json")
    if not is_known:
        assert (done.code, done.err.count("\n")) == (1, 1), done.err
        assert "in.dng: cannot be decoded: LibRaw cannot develop its pattern of colour filters" in done.err
        assert not (tmp_path / target).exists()
        return
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert image.read(tmp_path / target).shape == (520, 640)
    foretold = json.loads(cli("image", source, "-o", tmp_path / f"other-{target}", "--json", "--dry-run").out)
    assert foretold["notes"] == record["notes"]
    if name == "X-Trans":
        assert record["model"] == "mallenet-xtrans"
        assert not record["notes"]
        return
    assert record["model"] == "mallenet-linear"
    assert "denoised after LibRaw has developed it" in record["notes"][0]
    assert record["notes"][0] in done.err


@pytest.mark.parametrize("option", ["--dry-run", "--quiet"])
def test_a_library_that_the_target_needs_is_missed_at_once(
    cli: Cli, negative: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    target = negative.with_name("out.heic")

    done = cli("image", negative, "-o", target, option)

    assert done.code == 1
    assert "writing HEIF needs pillow-heif, which is not installed: run  pip install pillow-heif" in done.err
    assert not target.exists()


def test_hot_pixels_are_found_left_or_told(cli: Cli, negative: Path) -> None:
    with RawFile(negative.read_bytes(), 10**9) as raw:
        numbers = raw.numbers.copy()
    numbers[40, 60] = SENSOR.white
    preview = np.zeros((40, 48, 3), np.uint8)
    negative.write_bytes(dng.encode(dng.simulated_dng(SENSOR, numbers, preview), "test"))
    listed = negative.with_name("bad.txt")
    listed.write_text("60 40 0\n")
    left = {}
    for which in ("auto", "off", str(listed)):
        target = negative.with_name("out.dng")
        assert cli("image", negative, "-o", target, "-q", "--overwrite", "--hot-pixels", which).code == 0
        with RawFile(target.read_bytes(), 10**9) as raw:
            left[which] = abs(float(raw.mosaic.light[40, 60]) - float(np.median(raw.mosaic.light[36:45:2, 56:65:2])))
    assert left["off"] > 0.3
    assert max(left["auto"], left[str(listed)]) < 0.15
    longer = negative.with_name("longer.txt")
    longer.write_text("60 40\n60 400\n")
    again = cli("image", negative, "-o", negative.with_name("a.dng"), "--json", "--hot-pixels", longer)
    note = f"{longer}: outside the 192 x 160 photosites: 1 of 2 entries"
    assert json.loads(again.out)["notes"] == [note]
    assert note in again.err
    refused = cli("image", negative, "-o", negative.with_name("b.dng"), "--hot-pixels", "no-such-file")
    assert refused.code == 2
    assert "--hot-pixels no-such-file: expected auto, off or a file, and there is no such file" in refused.err


def test_a_list_of_hot_pixels_is_refused_where_it_has_no_effect(cli: Cli, negative: Path, tmp_path: Path) -> None:
    listed = tmp_path / "bad.txt"
    listed.write_text("60 40\n")
    done = cli("image", negative, "-o", tmp_path / "out.png", "--model", "mallenet-s", "--hot-pixels", listed)
    assert done.code != 0
    assert "only for models for camera RAW" in done.err
    done = cli("image", negative, "-o", tmp_path / "out.dng", "--noise", "25")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "a DNG needs the sensor's noise, but --noise is a single number: write --noise SHOT,READ" in done.err
