"""OpenEXR: what comes back, and what FFmpeg and the binding make of it."""

import struct
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import MissingDependency, UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo, from_linear, to_linear
from denoise_cli.io.profiles import icc_profile, is_srgb
from denoise_cli.io.srgb import to_srgb

Read = Callable[..., Photo]
Light = NDArray[np.float32]

P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329)


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")


@pytest.fixture
def light(rng: np.random.Generator) -> Light:
    """(24, 32, 3), with some light below black and much beyond white."""
    return (rng.random((24, 32, 3)) ** 6 * 300 - 0.01).astype(np.float32)


def file_of(library: Any, channels: dict[str, Any], **header: Any) -> bytes:
    buffer = BytesIO()
    options = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage} | header
    library.File(options, dict(channels)).write(buffer)  # which replaces the values of the dictionary
    return buffer.getvalue()


def planes(light: Light, dtype: type[np.generic] = np.float32) -> dict[str, Any]:
    return {name: np.ascontiguousarray(light[..., place].astype(dtype)) for place, name in enumerate("RGB")}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_light_comes_back_in_its_own_precision(
    dtype: type[np.generic], light: Light, library: Any, read_bytes: Read
) -> None:
    stored = planes(light, dtype)

    photo = read_bytes(file_of(library, stored))

    assert (photo.kind, photo.pixels.dtype, photo.metadata.icc) == ("exr", np.float32, None)
    np.testing.assert_allclose(to_linear(photo.pixels)[..., 0], stored["R"].astype(np.float32), rtol=1e-5, atol=1e-7)
    again = library.File(BytesIO(image.encode(photo, "exr", "test")), separate_channels=True).channels()
    for name, plane in stored.items():
        assert again[name].pixels.dtype == dtype
        np.testing.assert_allclose(again[name].pixels, plane, rtol=1e-5 if dtype == np.float32 else 1e-3, atol=1e-7)


def test_ffmpeg_sees_the_same(light: Light, library: Any, read_bytes: Read, tmp_path: Path) -> None:
    import av

    path = tmp_path / "x.exr"
    path.write_bytes(image.encode(Photo(from_linear(light), None, "test"), "exr", "test"))

    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))

    assert frame.format.name == "gbrpf32le"
    green, blue, red = (
        np.frombuffer(plane, np.float32).reshape(24, plane.line_size // 4)[:, :32] for plane in frame.planes
    )
    np.testing.assert_allclose(np.stack([red, green, blue], axis=-1), light, rtol=1e-5, atol=1e-7)


def test_grey_stays_grey(light: Light, library: Any, read_bytes: Read) -> None:
    photo = read_bytes(file_of(library, {"Y": light[..., 0].copy()}))

    assert photo.pixels.shape == (24, 32, 1)
    assert list(library.File(BytesIO(image.encode(photo, "exr", "test"))).channels()) == ["Y"]


def test_colours_are_no_longer_multiplied_by_their_opacity_and_then_again(library: Any, read_bytes: Read) -> None:
    opacity = np.full((8, 9), 0.5, np.float32)
    opacity[0] = 0  # light that is added to what is behind
    stored = planes(np.full((8, 9, 3), 0.25, np.float32)) | {"A": opacity}

    photo = read_bytes(file_of(library, stored))

    np.testing.assert_allclose(to_linear(photo.pixels)[1:], 0.5, rtol=1e-5)
    np.testing.assert_array_equal(photo.alpha, opacity)
    again = library.File(BytesIO(image.encode(photo, "exr", "test")), separate_channels=True).channels()
    for name, plane in stored.items():
        np.testing.assert_allclose(again[name].pixels, plane, rtol=1e-5)


def test_what_the_header_says_is_kept(light: Light, library: Any, read_bytes: Read) -> None:
    windows = {
        "dataWindow": (np.array([4, 5], np.int32), np.array([35, 28], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([63, 47], np.int32)),
    }
    data = file_of(library, planes(light), chromaticities=P3, owner="me", expTime=0.5, **windows)

    photo = read_bytes(data)

    assert photo.metadata.icc is not None
    assert not is_srgb(photo.metadata.icc)
    header = library.File(BytesIO(image.encode(photo, "exr", "test"))).header()
    assert (header["owner"], header["expTime"]) == ("me", 0.5)
    assert header["chromaticities"] == pytest.approx(P3)
    for name, window in windows.items():
        assert [list(corner) for corner in header[name]] == [list(corner) for corner in window]


def test_colours_of_another_profile_are_not_written_as_if_they_were_srgb_s() -> None:
    wide = Metadata(icc=icc_profile(P3[6:], P3[:6]))

    for kind in ("exr", "hdr", "pfm", "ppm"):
        with pytest.raises(ValueError, match=r"^it cannot hold the photo's colour profile: choose .png or .tif$"):
            image.encode(Photo(np.zeros((4, 4, 3), np.uint8), None, "test", wide), kind, "test")


def test_a_layer_is_found_and_other_channels_stay_as_they_are(light: Light, library: Any, read_bytes: Read) -> None:
    depth, identity = light[..., 0].copy(), np.arange(24 * 32, dtype=np.uint32).reshape(24, 32)
    stored = {f"beauty.{name}": plane for name, plane in planes(light, np.float16).items()}
    stored |= {"depth.Z": depth, "id": identity}

    photo = read_bytes(file_of(library, stored))

    np.testing.assert_allclose(to_linear(photo.pixels), light, rtol=2e-3, atol=1e-4)
    again = library.File(BytesIO(image.encode(photo, "exr", "test")), separate_channels=True).channels()
    assert set(again) == set(stored)
    for name, values in stored.items():
        assert again[name].pixels.dtype == values.dtype
        np.testing.assert_array_equal(again[name].pixels, values)
    assert photo.notes == ()
    assert image.losses(photo.metadata, "exr") == ("carried over, not denoised: channel depth.Z, channel id",)
    assert image.losses(photo.metadata, "tiff") == ("not carried over to tiff: channel depth.Z, channel id",)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_other_parts_stay_as_they_are(place: int, light: Light, library: Any, read_bytes: Read) -> None:
    names, owner = ["a", "b", "c"], {"owner": "me"}
    parts = [library.Part({"name": name} | owner, {"Z": light[..., 0] * number}) for number, name in enumerate(names)]
    parts[place] = library.Part({"name": names[place]} | owner, planes(light))
    buffer = BytesIO()
    library.File(parts).write(buffer)

    photo = read_bytes(buffer.getvalue())

    np.testing.assert_allclose(to_linear(photo.pixels), light, rtol=1e-5, atol=1e-7)
    result = library.File(BytesIO(image.encode(photo, "exr", "test")), separate_channels=True).parts
    assert [part.name() for part in result] == names
    assert [part.header["owner"] for part in result] == ["me"] * 3
    for number, part in enumerate(result):
        assert set(part.channels) == ({"R", "G", "B"} if number == place else {"Z"})
        if number != place:
            np.testing.assert_array_equal(part.channels["Z"].pixels, light[..., 0] * number)
    others = ", ".join(f"part {name}" for name in names if name != names[place])
    assert image.losses(photo.metadata, "exr") == (f"carried over, not denoised: {others}",)


def test_attributes_of_every_type_are_kept_or_named(light: Light, library: Any, read_bytes: Read) -> None:
    matrix = np.arange(16, dtype=np.float32).reshape(4, 4)
    header = {"worldToCamera": matrix, "lenses": [1.5, 2.5], "timeCode": library.TimeCode(), "view": "left"}
    data = file_of(library, planes(light), private="abcdef", ratexx="12345678", **header)
    # A type that the binding does not know, and fractions, which stand for frames per second.
    data = data.replace(b"private\0string\0", b"private\0strinG\0").replace(b"ratexx\0string\0", b"rate\0rational\0")

    photo = read_bytes(data)

    result = library.File(BytesIO(image.encode(photo, "exr", "test"))).header()
    np.testing.assert_array_equal(result["worldToCamera"], matrix)
    assert (list(result["lenses"]), result["view"], "private" in result) == ([1.5, 2.5], "left", True)
    assert result["rate"] == library.File(BytesIO(data)).header()["rate"]
    assert photo.notes == ()
    assert "attribute worldToCamera" in image.losses(photo.metadata, "tiff")[0]


def test_a_display_window_that_other_formats_do_not_hold_is_named(light: Light, library: Any, read_bytes: Read) -> None:
    window = (np.array([0, 0], np.int32), np.array([63, 47], np.int32))

    photo = read_bytes(file_of(library, planes(light), displayWindow=window, pixelAspectRatio=2.0))

    lost = "display window of another size, pixels that are not square"
    assert image.losses(photo.metadata, "png") == (f"not carried over to png: {lost}",)
    assert image.losses(photo.metadata, "exr") == ()


def test_what_is_no_picture_in_rgb_or_grey_is_refused(light: Light, library: Any, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=r"channels Z: only RGB and grey are read$"):
        read_bytes(file_of(library, {"Z": light[..., 0].copy()}))
    with pytest.raises(UnreadableFile, match=r"holds values that are not numbers \(NaN or infinity\)$"):
        read_bytes(file_of(library, {"Y": np.full((4, 4), np.inf, np.float32)}))
    with pytest.raises(UnreadableFile, match=r"integers: only half and floating point are read$"):
        read_bytes(file_of(library, {"Y": np.zeros((4, 4), np.uint32)}))


def test_too_many_pixels_are_refused_before_they_are_decoded(light: Light, library: Any, read_bytes: Read) -> None:
    data = file_of(library, planes(light))

    with pytest.raises(UnreadableFile, match=r"32 x 24 pixels, more than --max-pixels allows$"):
        read_bytes(data, max_pixels=24 * 32 - 1)
    many = file_of(library, {f"c{number}.R": light[..., 0].copy() for number in range(70)})
    with pytest.raises(UnreadableFile, match=r"its channels are more than --max-pixels allows$"):
        read_bytes(many, max_pixels=24 * 32)


def test_a_damaged_file_is_refused_and_nothing_is_printed(
    light: Light, library: Any, read_bytes: Read, capfd: pytest.CaptureFixture[str]
) -> None:
    data = file_of(library, planes(light))

    with pytest.raises(UnreadableFile, match=r"its pixels are damaged$"):
        read_bytes(data[:-200])

    assert capfd.readouterr() == ("", "")


def test_a_missing_library_is_named(read_bytes: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)

    with pytest.raises(MissingDependency, match=r"reading OpenEXR needs OpenEXR, .* pip install OpenEXR$"):
        read_bytes(b"\x76\x2f\x31\x01" + bytes(100))
    with pytest.raises(MissingDependency, match=r"writing OpenEXR needs OpenEXR, .* pip install OpenEXR$"):
        image.encode(Photo(np.zeros((4, 4, 3), np.float32), None, "test"), "exr", "test")


@pytest.mark.parametrize("chromaticities", [None, P3])
@pytest.mark.parametrize("size", [(48, 64), (50, 66)])
def test_luminance_with_two_colours_becomes_rgb(
    size: tuple[int, int], chromaticities: tuple[float, ...] | None, library: Any, read_bytes: Read
) -> None:
    """As OpenEXR's library writes it: colours relative to luminance, at every other pixel of every other row."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    light = np.stack([2 + np.sin(x / 9), 2 + np.cos(y / 8), 1.5 + np.sin((x + y) / 11)], axis=-1).astype(np.float32)
    # The second row of the matrix from RGB to XYZ, of Rec. 709 and of Display P3 (SMPTE EG 432-1).
    weights = np.array([0.2126, 0.7152, 0.0722] if chromaticities is None else [0.2290, 0.6917, 0.0793], np.float32)
    luminance = light @ weights
    colours = {
        name: (light[..., channel] / luminance - 1)[::2, ::2].astype(np.float32)
        for name, channel in (("BY", 2), ("RY", 0))
    }

    photo = read_bytes(subsampled(luminance.astype(np.float32), colours, chromaticities))

    assert photo.notes == ()
    inner = (slice(14, -14), slice(14, -14))  # beyond which colours are extrapolated
    assert np.abs(to_linear(photo.pixels) - light)[inner].max() < 0.01
    assert np.abs(to_linear(photo.pixels) - light).max() < 0.5


def subsampled(luminance: Light, colours: dict[str, Light], chromaticities: tuple[float, ...] | None) -> bytes:
    """A file without compression, which the binding does not write with channels of several sizes."""

    def attribute(name: bytes, kind: bytes, contents: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(contents)) + contents

    H, W = luminance.shape
    channels = b"".join(
        name.encode() + b"\0" + struct.pack("<IIII", 2, 0, step, step)  # floating point
        for name, step in [*((name, 2) for name in colours), ("Y", 1)]
    )
    window = struct.pack("<4i", 0, 0, W - 1, H - 1)
    header = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    header += attribute(b"channels", b"chlist", channels + b"\0") + attribute(b"compression", b"compression", b"\0")
    header += attribute(b"dataWindow", b"box2i", window) + attribute(b"displayWindow", b"box2i", window)
    header += attribute(b"lineOrder", b"lineOrder", b"\0")
    header += attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    header += attribute(b"screenWindowCenter", b"v2f", bytes(8))
    header += attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1))
    if chromaticities is not None:
        header += attribute(b"chromaticities", b"chromaticities", struct.pack("<8f", *chromaticities))
    header += b"\0"
    lines = []
    for y in range(H):
        planes = [*(plane[y // 2] for plane in colours.values() if y % 2 == 0), luminance[y]]
        data = b"".join(plane.astype("<f4").tobytes() for plane in planes)
        lines.append(struct.pack("<iI", y, len(data)) + data)
    starts = np.cumsum([len(header) + 8 * H, *map(len, lines[:-1])])
    return header + starts.astype("<u8").tobytes() + b"".join(lines)


def test_converted_colours_are_no_longer_those_of_the_chromaticities(
    light: Light, library: Any, read_bytes: Read
) -> None:
    photo = to_srgb(read_bytes(file_of(library, planes(light), chromaticities=P3)))

    assert "chromaticities" not in library.File(BytesIO(image.encode(photo, "exr", "test"))).header()
