"""Uncompressed pictures, and JPEGs, in HEIF; the values that were stored are the judge."""

import struct
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.photo import Photo
from denoise_cli.io.uncompressed import ALPHA, CB, CR, MIXED, MONO, PIXELS, PLANES, PLANES_OF_TILES, ROWS, B, G, R, Y
from tests.io.heif_files import heif, uncompressed

Read = Callable[..., Photo]
Values = NDArray[np.integer]

PLACES = {MONO: 0, R: 0, G: 1, B: 2, ALPHA: 3}  # of components among the channels


def packed(values: Values, bits: int, multiple: int = 0) -> bytes:
    """Numbers of so many bits each, one after another, filled up to a multiple of bytes."""
    text = "".join(format(int(value), f"0{bits}b") for value in values.ravel())
    text = text.ljust(-(-len(text) // 8) * 8, "0")
    data = int(text, 2).to_bytes(len(text) // 8, "big")
    return data.ljust(-(-len(data) // multiple) * multiple if multiple else len(data), b"\0")


def stored(values: Values, components: tuple[int, ...], padded: int, interleave: int, tiles: tuple[int, int]) -> bytes:
    """(H, W, C) values as the standard lays them out, written down without a thought of speed."""
    H, W, _ = values.shape
    h, w = H // tiles[1], W // tiles[0]
    parts = [values[y : y + h, x : x + w] for y in range(0, H, h) for x in range(0, W, w)]
    planes = [[part[..., PLACES[name]] for name in components] for part in parts]
    if interleave == PLANES_OF_TILES:
        return b"".join(packed(row, padded) for c in range(len(components)) for tile in planes for row in tile[c])
    if interleave == PLANES:
        return b"".join(packed(row, padded) for tile in planes for plane in tile for row in plane)
    if interleave == ROWS:
        return b"".join(packed(plane[y], padded) for tile in planes for y in range(h) for plane in tile)
    return b"".join(packed(np.stack(tile, axis=-1)[y], padded) for tile in planes for y in range(h))


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3)])
@pytest.mark.parametrize("interleave", [PLANES, PIXELS, ROWS, PLANES_OF_TILES])
@pytest.mark.parametrize(("bits", "align"), [(8, 0), (7, 0), (7, 1), (10, 0), (10, 2), (16, 0)])
@pytest.mark.parametrize("components", [(R, G, B), (B, R, G), (MONO,), (R, G, B, ALPHA)])
def test_every_plain_layout_comes_back(
    components: tuple[int, ...],
    bits: int,
    align: int,
    interleave: int,
    tiles: tuple[int, int],
    rng: np.random.Generator,
    read_bytes: Read,
) -> None:
    values = rng.integers(0, 2**bits, (6, 10, 4))
    item = stored(values, components, 8 * align or bits, interleave, tiles)

    photo = read_bytes(uncompressed(item, (10, 6), components, bits, align, interleave, tiles=tiles))

    white = 255 if bits <= 8 else 65535
    expected = np.rint(values * (white / (2**bits - 1)))
    np.testing.assert_array_equal(photo.pixels, expected[..., : photo.pixels.shape[2]])
    assert photo.pixels.shape[2] == (1 if MONO in components else 3)
    assert (photo.alpha is not None) == (ALPHA in components)
    assert photo.depth == (10 if bits == 10 else None)


def test_rows_and_tiles_may_be_padded(rng: np.random.Generator, read_bytes: Read) -> None:
    values = rng.integers(0, 256, (6, 10, 3))
    parts = [values[y : y + 3, x : x + 5, c] for c in range(3) for y in (0, 3) for x in (0, 5)]
    item = b"".join(b"".join(packed(row, 8, 8) for row in part).ljust(37, b"\0") for part in parts)

    photo = read_bytes(
        uncompressed(item, (10, 6), (R, G, B), interleave=PLANES_OF_TILES, tiles=(2, 2), row_align=8, tile_align=37)
    )

    np.testing.assert_array_equal(photo.pixels, values)


@pytest.mark.parametrize("interleave", [PLANES, MIXED])
def test_colours_of_half_the_resolution_are_those_of_a_jpeg(interleave: int, read_bytes: Read) -> None:
    light = np.arange(8 * 6, dtype=np.uint8).reshape(6, 8) * 5
    blue, red = (np.arange(12, dtype=np.uint8).reshape(3, 4) * step + 60 for step in (9, 11))
    colours = blue.tobytes() + red.tobytes() if interleave == PLANES else np.stack([blue, red], axis=-1).tobytes()

    photo = read_bytes(uncompressed(light.tobytes() + colours, (8, 6), (Y, CB, CR), interleave=interleave, sampling=2))

    cb, cr = (plane.repeat(2, 0).repeat(2, 1).astype(float) - 128 for plane in (blue, red))
    expected = np.stack([light + 1.402 * cr, light - 0.344136 * cb - 0.714136 * cr, light + 1.772 * cb], axis=-1)
    assert np.abs(photo.pixels - expected.clip(0, 255)).max() <= 1


def test_the_profile_of_eight_bits_needs_no_list(rng: np.random.Generator, read_bytes: Read) -> None:
    values = rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)
    properties = [(b"ispe", struct.pack(">3I", 0, 10, 6)), (b"uncC", b"\x01\x00\x00\x00rgb3")]

    photo = read_bytes(heif(b"unci", values.tobytes(), properties))

    np.testing.assert_array_equal(photo.pixels, values)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"flags": 0x80, "bits": 16}, "in a layout that is not read"),
        ({"interleave": 5}, "in a layout that is not read"),
        ({"components": (R, G, 12)}, "of R, G, 12: only grey and RGB"),
        ({"more": ((b"irot", b"\x01"),)}, r"to be turned or cut \(irot\)"),
        ({"more": ((b"cmpC", bytes(8)),)}, r"compressed all the same \(cmpC\)"),
        ({"size": (10_000, 6)}, "the file ends before its pixel data does"),
        ({"size": (1_000_000, 1_000_000)}, "more than --max-pixels allows"),
        ({"size": (0, 6)}, "0 x 6 pixels: it is damaged"),
    ],
)
def test_other_layouts_are_refused_by_name(changes: dict[str, object], line: str, read_bytes: Read) -> None:
    values: dict[str, object] = {"size": (10, 6), "components": (R, G, B)} | changes
    with pytest.raises(UnreadableFile, match=line):
        read_bytes(uncompressed(bytes(180), **values))  # type: ignore[arg-type]


def test_broken_files_are_refused_in_one_line(rng: np.random.Generator, read_bytes: Read) -> None:
    whole = uncompressed(rng.bytes(180), (10, 6), (R, G, B))
    assert read_bytes(whole).pixels.shape == (6, 10, 3)
    for length in range(12, len(whole)):
        with pytest.raises(UnreadableFile):
            read_bytes(whole[:length])
    for place in rng.integers(0, len(whole) - 180, 500):
        broken = bytearray(whole)
        broken[place] ^= rng.integers(1, 256)
        with suppress(UnreadableFile):
            assert read_bytes(bytes(broken), max_pixels=10_000).pixels.dtype in (np.uint8, np.uint16)


def test_a_jpeg_in_heif_is_that_jpeg(picture: NDArray[np.uint8], read_bytes: Read) -> None:
    inner = BytesIO()
    Image.fromarray(picture).save(inner, "JPEG")

    photo = read_bytes(heif(b"jpeg", inner.getvalue(), [(b"ispe", struct.pack(">3I", 0, 32, 24))], b"jpeg"))

    assert photo.kind == "heif"
    np.testing.assert_array_equal(photo.pixels, read_bytes(inner.getvalue()).pixels)
