"""HDR and linear light: denoised where their noise is even, and nothing beyond white is clipped."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import UnwritableFile
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.transfer import (
    CURVES,
    HLG,
    LINEAR,
    PQ,
    hlg_to_light,
    light_to_hlg,
    light_to_pq,
    pq_to_light,
    srgb_to_linear,
)
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.pipeline import photo as photos
from denoise_cli.pipeline.developed import denoise_developed
from denoise_cli.pipeline.inspect import inspect
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings

Light = NDArray[np.float64]

NITS = 203  # of white
KINDS = {"PQ": PQ, "HLG": HLG, "linear": LINEAR}
REC_2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)


def load(name: str) -> Denoiser:
    return load_denoiser(name, "cpu", "fp32")


def stored(light: Light, transfer: int) -> NDArray[np.uint16]:
    return np.rint(np.clip(CURVES[transfer][1](light), 0, 1) * 65535).astype(np.uint16)


def light_of(pixels: NDArray[np.uint16], transfer: int) -> Light:
    return CURVES[transfer][0](pixels / 65535)


def photo_of(pixels: NDArray[np.uint16], transfer: int) -> Photo:
    return Photo(pixels, None, "png", Metadata(cicp=CodePoints(9, transfer)))


def noisy(light: Light, rng: np.random.Generator) -> Light:
    return np.maximum(light + rng.normal(size=light.shape) * np.sqrt(0.002 * light + 0.006**2), 0)


def test_pq_and_hlg_have_the_values_of_the_standards() -> None:
    """Rec. 2100 and 2408: 100, 203, 1000 and 10,000 cd/m2; a signal of 50 % in HLG is a twelfth of the scene's peak."""
    assert light_to_pq(np.array([100, 203, 1000, 10_000]) / NITS) == pytest.approx([0.508, 0.581, 0.752, 1], abs=5e-4)
    assert hlg_to_light(np.array([0.5, 1])) / hlg_to_light(np.array(1.0)) == pytest.approx([1 / 12, 1], rel=1e-6)
    assert light_to_hlg(np.array(1.0)) == pytest.approx(0.75)
    even = np.linspace(0, 1, 4097)
    assert light_to_pq(pq_to_light(even)) == pytest.approx(even, abs=1e-6)
    assert light_to_hlg(hlg_to_light(even)) == pytest.approx(even, abs=1e-6)


@pytest.mark.parametrize("transfer", KINDS.values(), ids=KINDS)
def test_encoding_as_srgb_and_back_changes_no_value(transfer: int) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    photo = photo_of(every, transfer)

    np.testing.assert_array_equal(photo.from_srgb(photo.as_srgb()), every)


@pytest.mark.parametrize("transfer", [PQ, HLG], ids=["PQ", "HLG"])
def test_black_bars_stay_black(transfer: int, astronaut: NDArray[np.uint8], rng: np.random.Generator) -> None:
    clean = 0.02 + 0.98 * srgb_to_linear(astronaut[40:232, 150:342] / 255)
    grainy = stored(noisy(clean, rng), transfer)
    grainy[:40] = grainy[-30:] = 0
    grainy[40:60, 80:90] = 0  # a caption's frame, which touches the bar
    stays = np.zeros(grainy.shape[:2], bool)
    stays[:40] = stays[-30:] = stays[40:60, 80:90] = True

    ours, _ = denoise_developed(photo_of(grainy, transfer), load("mallenet-r"))

    np.testing.assert_array_equal(ours.pixels[stays], 0)
    error = np.abs(ours.pixels[~stays].astype(float) - stored(clean, transfer)[~stays]).mean()
    assert error < 0.6 * np.abs(grainy[~stays].astype(float) - stored(clean, transfer)[~stays]).mean()


@pytest.mark.parametrize("transfer", KINDS.values(), ids=KINDS)
def test_it_is_better_than_to_denoise_the_values_as_they_are(
    transfer: int, astronaut: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    # Black is not without light: where noise is cut off, the mean of it remains whatever one does.
    clean = (0.02 + 0.98 * srgb_to_linear(astronaut[40:232, 150:342] / 255)) * (0.2 if transfer == LINEAR else 1.0)
    grainy = stored(noisy(clean, rng), transfer)
    denoise = load("mallenet-r")

    ours, _ = denoise_developed(photo_of(grainy, transfer), denoise)
    plain, _ = denoise_developed(Photo(grainy, None, "png"), denoise)

    def score(pixels: NDArray[np.uint16]) -> float:
        """In PQ, in which equal differences look equal."""
        return psnr(light_to_pq(light_of(pixels, transfer)), light_to_pq(clean))

    assert score(ours.pixels) > score(plain.pixels)  # type: ignore[arg-type]
    assert score(ours.pixels) > score(grainy) + 6  # type: ignore[arg-type]
    assert ours.metadata.cicp == CodePoints(9, transfer)


@pytest.mark.parametrize("model", ["mallenet-r", "mallenet-s"])
@pytest.mark.parametrize(("transfer", "nits"), [(PQ, 1000), (PQ, 4000), (HLG, 700)])
def test_a_bright_patch_keeps_its_light(transfer: int, nits: float, model: str, rng: np.random.Generator) -> None:
    light = np.full((200, 200, 3), 0.3)
    light[60:140, 60:140] = nits / NITS
    pixels = stored(noisy(light, rng), transfer)

    clean, _ = denoise_developed(photo_of(pixels, transfer), load(model))

    before, after = (light_of(one, transfer)[64:136, 64:136].mean() for one in (pixels, clean.pixels))  # type: ignore[arg-type]
    assert after == pytest.approx(before, rel=0.005)
    assert after == pytest.approx(nits / NITS, rel=0.005)
    dark = light_of(clean.pixels, transfer)[:40]  # type: ignore[arg-type]
    assert dark.std() < 0.4 * light_of(pixels, transfer)[:40].std()
    assert dark.mean() == pytest.approx(0.3, rel=0.01)


def test_a_linear_profile_and_the_number_for_linear_light_are_the_same(rng: np.random.Generator) -> None:
    light = noisy(np.linspace(0.01, 0.6, 160)[None, :, None] * np.ones((120, 1, 3)), rng)
    pixels = stored(light, LINEAR)
    by_profile = Photo(pixels, None, "tiff", Metadata(icc=icc_profile(D65, REC_2020, 1.0)))

    results = [denoise_developed(one, load("mallenet-s"))[0] for one in (by_profile, photo_of(pixels, LINEAR))]

    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    assert not np.array_equal(results[0].pixels, pixels)


@pytest.mark.parametrize("transfer", KINDS.values(), ids=KINDS)
def test_no_strength_changes_nothing(transfer: int, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 65536, (40, 50, 3)).astype(np.uint16)

    result, _ = denoise_developed(photo_of(pixels, transfer), load("mallenet-s"), 0.1, 0)

    np.testing.assert_array_equal(result.pixels, pixels)


def test_eight_bits_of_hdr_are_dithered(rng: np.random.Generator) -> None:
    light = noisy(np.linspace(0.2, 0.25, 256)[None, :, None] * np.ones((128, 1, 3)), rng)
    pixels = np.rint(light_to_pq(light) * 255).astype(np.uint8)
    photo = Photo(pixels, None, "png", Metadata(cicp=CodePoints(9, PQ)))

    plain, smooth = (denoise_developed(photo, load("mallenet-s"), dither=dither)[0] for dither in (False, True))

    assert np.abs(smooth.pixels.astype(int) - plain.pixels).max() == 1
    assert np.diff(smooth.pixels.astype(int), axis=1).std() > np.diff(plain.pixels.astype(int), axis=1).std()


@pytest.fixture
def hdr(tmp_path: Path, rng: np.random.Generator) -> Path:
    light = np.linspace(0.05, 3, 160)[None, :, None] * np.ones((120, 1, 3))
    path = tmp_path / "hdr.png"
    image.write(path, photo_of(stored(noisy(light, rng), PQ), PQ), "png", "test")
    return path


SETTINGS = Settings("mallenet-s")


@pytest.mark.parametrize("kind", ["png", "avif", "jxl"])
def test_the_numbers_pass_from_file_to_file_and_are_named(kind: str, hdr: Path) -> None:
    target = hdr.with_name(f"clean.{kind}")

    result = photos.run(Job(hdr, target, kind), load, SETTINGS)

    assert result.encoding == "PQ, Rec. 2020"
    assert result.notes == ()
    facts = inspect(target)
    assert (facts.encoding, facts.profile, facts.bits) == ("PQ, Rec. 2020", None, 12 if kind == "avif" else 16)
    assert inspect(hdr).sigma > 2 * facts.sigma  # type: ignore[operator]


def test_a_target_that_cannot_hold_hdr_is_refused_before_anything_is_denoised(hdr: Path) -> None:
    def refuse(name: str) -> Denoiser:
        raise AssertionError(name)

    job = Job(hdr, hdr.with_name("x.jpg"), "jpeg")
    with pytest.raises(UnwritableFile) as refused:
        photos.preview(job, refuse, SETTINGS)
    for reason in (str(refused.value), photos.run(job, refuse, SETTINGS).error or ""):
        assert "it cannot hold HDR" in reason
        assert reason.endswith("choose one of .png, .avif, .heic, .jxl")
        assert "\n" not in reason


def test_a_preview_of_hdr_is_for_screens_without_it(hdr: Path) -> None:
    sheet = hdr.with_name("sheet.png")

    assert photos.show_before_after(Job(hdr, sheet, "png"), load, SETTINGS).error is None

    shown = image.read(sheet)
    assert shown.metadata.cicp is None
    assert shown.metadata.icc == icc_profile(D65, REC_2020)
    assert (shown.pixels[40:100].max(axis=-1) == 255).mean() > 0.2  # what is beyond white


def test_inspect_prints_the_encoding(hdr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from denoise_cli.cli.inspect import inspect as command

    command([hdr])
    assert "profile   PQ, Rec. 2020\n" in capsys.readouterr().out
    command([hdr], as_json=True)
    assert json.loads(capsys.readouterr().out)["encoding"] == "PQ, Rec. 2020"


def test_a_picture_that_is_bright_everywhere_is_denoised_and_no_scale_is_claimed(rng: np.random.Generator) -> None:
    light = noisy(np.full((160, 160, 3), 4.0), rng)
    pixels = stored(light, PQ)

    result, _ = denoise_developed(photo_of(pixels, PQ), load("mallenet-s"))

    assert result.notes == ()
    assert light_of(result.pixels, PQ).std() < 0.4 * light_of(pixels, PQ).std()  # type: ignore[arg-type]
