"""PNGs as other decoders see them: complete, and about as small as those of a slower encoder."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, PngImagePlugin

from denoise_cli.io import image, png
from denoise_cli.io.photo import Photo

CHANNELS = {1: "grey", 2: "grey and alpha", 3: "rgb", 4: "rgb and alpha"}


def photo_of(values: NDArray[np.uint8] | NDArray[np.uint16]) -> Photo:
    has_alpha = values.shape[2] in (2, 4)
    return Photo(values[..., :-1] if has_alpha else values, values[..., -1] if has_alpha else None, "png")


@pytest.fixture
def drawing() -> NDArray[np.uint8]:
    page = Image.new("RGB", (600, 400), "white")
    pen = ImageDraw.Draw(page)
    for line in range(40):
        pen.text((10, 10 * line), "the same words in every line, " * 4, fill="black")
    return np.asarray(page)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", CHANNELS, ids=CHANNELS.values())
def test_strips_join_without_a_seam(
    channels: int, dtype: type, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png, "STRIP_BYTES", 7 * 64 * channels * np.dtype(dtype).itemsize)  # seven rows
    values = np.dstack([astronaut, astronaut[::-1]])[:100, :64, :channels].astype(dtype)
    if dtype == np.uint16:
        values = values * 257 + values[::-1]
    data = png.encode(photo_of(values), "test")
    assert sum(name == b"IDAT" for name, _ in png.chunks_of(data)) == 1 + 15 + 1
    np.testing.assert_array_equal(imagecodecs.png_decode(data).reshape(values.shape), values)
    if dtype == np.uint8:
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))).reshape(values.shape), values)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_the_smallest_pictures_are_whole(size: tuple[int, int], rng: np.random.Generator) -> None:
    values = rng.integers(0, 65536, (*size, 3)).astype(np.uint16)
    np.testing.assert_array_equal(imagecodecs.png_decode(png.encode(photo_of(values), "test")), values)


def test_a_drawing_is_searched_for_repetitions(drawing: NDArray[np.uint8]) -> None:
    usual = BytesIO()
    Image.fromarray(drawing).save(usual, "PNG")
    assert len(png.encode(photo_of(drawing), "test")) < 1.05 * len(usual.getvalue())


def test_a_photo_is_about_as_small_as_with_a_full_search(astronaut: NDArray[np.uint8]) -> None:
    usual = BytesIO()
    Image.fromarray(astronaut).save(usual, "PNG")
    assert len(png.encode(photo_of(astronaut), "test")) < 1.05 * len(usual.getvalue())
    smooth = (astronaut[:-1].astype(np.uint16) + astronaut[1:]) * 128 + astronaut[:-1, ::-1] // 3
    assert len(png.encode(photo_of(smooth), "test")) < 1.02 * len(imagecodecs.png_encode(smooth, level=6))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_texts_stay_to_the_byte_and_what_is_no_longer_true_goes(
    picture: NDArray[np.uint8], with_pillow: Callable[..., bytes], read_bytes: Callable[..., Photo]
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "another program")
    plain = with_pillow(picture, "PNG", pnginfo=info, dpi=(300, 300))
    kept = [
        chunk(b"tEXt", b"Author\x00Jos\xe9"),
        chunk(b"iTXt", b"Title\x00\x00\x00ja\x00\xe9\xa1\x8c\x00\xe6\x97\xa5"),
        chunk(b"iTXt", b"Title\x00\x00\x00en\x00Title\x00Day"),
        chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"x" * 2000)),
        chunk(b"vpAg", bytes(9)),
    ]
    unsafe = [chunk(b"tIME", b"\x07\xe8\x01\x01\x00\x00\x00"), chunk(b"prVW", b"a preview")]
    data = plain[:33] + b"".join([*kept, *unsafe]) + plain[33:]

    photo = read_bytes(data)
    result = image.encode(photo, "png", "test")

    assert all(whole in result for whole in kept)
    assert not any(whole in result for whole in unsafe)
    assert [name for name, _ in png.chunks_of(result)].count(b"pHYs") == 1
    with Image.open(BytesIO(result)) as opened:
        assert opened.text == {"Author": "José", "Title": "Day", "Comment": "x" * 2000, "Software": "test"}
    assert b"another program" not in result
    assert image.losses(photo.metadata, "png") == ()
    assert image.losses(photo.metadata, "jpeg") == ("not carried over to jpeg: chunk vpAg, text (Author, Title)",)
    assert b"\xff\xfe" + struct.pack(">H", 2002) + b"x" * 2000 in image.encode(photo, "jpeg", "test")


def chunks_in(data: bytes) -> dict[bytes, bytes]:
    return {name: whole[8:-4] for name, whole in png.chunks_of(data)}


@pytest.mark.parametrize(
    ("mode", "stored", "expected"),
    [
        ("RGB", struct.pack(">3H", 1, 2, 3), struct.pack(">3H", 1, 2, 3)),
        ("L", struct.pack(">H", 200), struct.pack(">H", 200)),
        ("1", struct.pack(">H", 1), struct.pack(">H", 255)),
        ("P", b"\x01", None),
    ],
)
def test_the_colour_of_the_background_is_kept(
    mode: str,
    stored: bytes,
    expected: bytes | None,
    picture: NDArray[np.uint8],
    with_chunk: Callable[..., bytes],
    read_bytes: Callable[..., Photo],
) -> None:
    buffer = BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, "PNG")
    source = with_chunk(buffer.getvalue(), b"bKGD", stored)

    photo = read_bytes(source)

    if expected is None:
        expected = struct.pack(">3H", *chunks_in(source)[b"PLTE"][3:6])
    assert chunks_in(image.encode(photo, "png", "test"))[b"bKGD"] == expected
    assert photo.notes == ()
    assert image.losses(photo.metadata, "jpeg") == ("not carried over to jpeg: background colour (bKGD)",)


def test_chunks_that_are_untrue_of_a_result_are_named(
    picture: NDArray[np.uint8],
    with_pillow: Callable[..., bytes],
    with_chunk: Callable[..., bytes],
    read_bytes: Callable[..., Photo],
) -> None:
    data = with_pillow(picture, "PNG")
    for name, body in (
        (b"sBIT", b"\x05\x06\x05"),
        (b"sPLT", b"few\x00\x08"),
        (b"tIME", bytes(7)),
        (b"prVT", b"1"),
        (b"safe", b"2"),
    ):
        data = with_chunk(data, name, body)

    photo = read_bytes(data)

    lost = "significant bits (sBIT), suggested palette (sPLT), time of the last change (tIME), chunk prVT"
    assert photo.notes == (f"left out: {lost}",)
    assert b"safe" in chunks_in(image.encode(photo, "png", "test"))
    assert image.losses(photo.metadata, "webp") == ("not carried over to webp: chunk safe",)


def test_bits_that_are_all_significant_need_no_note(
    picture: NDArray[np.uint8],
    with_pillow: Callable[..., bytes],
    with_chunk: Callable[..., bytes],
    read_bytes: Callable[..., Photo],
) -> None:
    assert read_bytes(with_chunk(with_pillow(picture, "PNG"), b"sBIT", b"\x08\x08\x08")).notes == ()


def test_chunks_of_a_webp_that_are_not_known_are_named(
    picture: NDArray[np.uint8], with_pillow: Callable[..., bytes], read_bytes: Callable[..., Photo]
) -> None:
    data = with_pillow(
        picture, "WEBP", lossless=True, exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    )
    data += b"MAKR" + struct.pack("<I", 2) + b"ab"
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]

    photo = read_bytes(data)

    assert (photo.compression, photo.notes) == ("lossless", ("left out: MAKR",))
