"""Truncated files are refused where LibRaw would develop them."""

import struct
from collections.abc import Callable

import numpy as np
import pytest

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.photo import Photo

Read = Callable[..., Photo]


def directory(tags: dict[int, tuple[int, bytes | list[int]]], start: int) -> bytes:
    """A TIFF directory, little-endian, of numbers (types 3 and 4) and bytes."""
    entries, values = b"", b""
    after = start + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        data = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{' HI'[kind - 2]}", *value)
        count = len(data) // {2: 1, 3: 2, 4: 4}[kind]
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", after + len(values))
        values += data if len(data) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


@pytest.mark.parametrize(("bits", "packed"), [(12, 10), (14, 9)])
@pytest.mark.parametrize("share", [0.22, 0.6, 0.99, 1])
def test_a_panasonic_file_is_read_if_it_is_whole(
    share: float, bits: int, packed: int, read_bytes: Read, rng: np.random.Generator
) -> None:
    H, W, start = 120, 180, 2048
    pixels = rng.integers(0, 256, H * W // packed * 16).astype(np.uint8).tobytes()
    numbers = {2: W, 3: H, 4: 4, 5: 8, 6: H - 4, 7: W - 8, 9: 1, 10: bits, 28: 128, 29: 128, 30: 128, 45: 5, 274: 1}
    tags: dict[int, tuple[int, bytes | list[int]]] = {tag: (3, [number]) for tag, number in numbers.items()}
    tags |= {
        1: (2, b"0310"),
        271: (2, b"Panasonic\0"),
        272: (2, b"DC-GH5S\0"),
        273: (4, [0xFFFFFFFF]),
        280: (4, [start]),
    }
    tags |= {36: (3, [500]), 37: (3, [256]), 38: (3, [400])}  # white balance
    whole = (b"IIU\0" + struct.pack("<I", 8) + directory(tags, 8)).ljust(start, b"\0") + pixels
    if share == 1:
        assert read_bytes(whole, "photo.rw2").pixels.shape == (H - 8, W - 16, 3)  # without its borders
        return
    with pytest.raises(UnreadableFile, match=r"(the file ends before its pixel data does|LibRaw cannot read it .*)$"):
        read_bytes(whole[: int(start + len(pixels) * share)], "photo.rw2")
