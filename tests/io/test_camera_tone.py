"""Pictures from RAW in the tone of the preview that the camera has put into the file."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng, jpeg
from denoise_cli.io.camera_tone import preview_of, with_camera_tone
from denoise_cli.io.development import developed
from denoise_cli.io.raw import RawFile

Pixels = NDArray[np.uint8]


@pytest.fixture
def scene(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[:256, 100:420])


def camera(scene: Pixels) -> Pixels:
    light = scene / 255
    return np.rint(255 * light * light * (3 - 2 * light)).astype(np.uint8)


def file_with(preview: Pixels, scene: Pixels, orientation: int = 1) -> bytes:
    sensor = Sensor(ShotRead(1e-4, 1e-3))
    numbers = sensor.capture(scene / 255, np.random.default_rng(0))
    negative = dng.simulated_dng(sensor, numbers, np.ascontiguousarray(preview))
    return dng.encode(replace(negative, orientation=orientation), "test")


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_picture_becomes_as_its_preview_is(orientation: int, scene: Pixels) -> None:
    with RawFile(file_with(camera(scene), scene, orientation), 10**9) as raw:
        flat = developed(raw)
        toned = with_camera_tone(raw, flat)
    turned = {1: camera(scene), 3: camera(scene)[::-1, ::-1], 6: camera(scene)[::-1].swapaxes(0, 1)}[orientation]
    before, after = (np.abs(photo.as_float() * 255 - turned).mean() for photo in (flat, toned))
    assert before > 15
    assert after < 4
    assert toned.notes == ()
    assert toned.pixels.dtype == np.uint16
    assert toned.metadata == flat.metadata


def test_without_a_usable_preview_it_stays_flat_and_says_why(scene: Pixels) -> None:
    other = np.random.default_rng(0).integers(0, 256, scene.shape).astype(np.uint8)
    for preview, reason in [
        (other, "the file's preview shows another picture, or a uniform one"),
        (scene[::8, ::8], "the file has no preview that can be read"),
    ]:
        with RawFile(file_with(preview, scene), 10**9) as raw:
            flat = developed(raw)
            toned = with_camera_tone(raw, flat)
        np.testing.assert_array_equal(toned.pixels, flat.pixels)
        assert toned.notes == (f"not in the camera's tone: {reason}",)


def test_a_damaged_preview_is_none(scene: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BytesIO()
    Image.fromarray(scene).save(whole, "JPEG")
    with RawFile(file_with(scene, scene), 10**9) as raw:
        flat = developed(raw)
        for damaged in (b"", whole.getvalue()[:3000], b"\xff\xd8\xff" + bytes(100)):
            monkeypatch.setattr(raw, "embedded_preview", damaged)
            assert with_camera_tone(raw, flat).notes == (
                "not in the camera's tone: the file has no preview that can be read",
            )


def test_a_preview_of_too_many_scans_is_not_decoded(scene: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    progressive = BytesIO()
    Image.fromarray(camera(scene)).save(progressive, "JPEG", quality=95, progressive=True)
    with RawFile(file_with(scene, scene), 10**9) as raw:
        monkeypatch.setattr(raw, "embedded_preview", progressive.getvalue())
        assert preview_of(raw) is not None
        monkeypatch.setattr(jpeg, "MAX_SCANS", 2)
        assert preview_of(raw) is None


def test_light_brighter_than_white_is_kept(scene: Pixels) -> None:
    with RawFile(file_with(camera(scene), scene), 10**9) as raw:
        flat = developed(raw)
        pixels = flat.as_float()
        pixels[5, 5] = 3.0
        bright = replace(flat, pixels=pixels)
        toned = with_camera_tone(raw, bright)
        whole = with_camera_tone(raw, flat)
    assert (toned.pixels[5, 5] == 3).all()
    assert np.abs(np.delete(toned.as_float() - whole.as_float(), 5, axis=0)).max() < 1 / 255


def test_a_grey_picture_takes_the_brightness(scene: Pixels) -> None:
    with RawFile(file_with(camera(scene), scene), 10**9) as raw:
        flat = developed(raw)
        grey = replace(flat, pixels=np.ascontiguousarray(flat.pixels[..., 1:2]))
        toned = with_camera_tone(raw, grey)
    assert toned.pixels.shape == (256, 320, 1)
    assert np.abs(toned.as_float()[..., 0] * 255 - camera(scene)[..., 1]).mean() < 12
