#!/usr/bin/env bash
# imagecodecs 2026.3.6: a BMP of 32 bits whose masks give red and green 11 bits and blue 10 (BI_BITFIELDS, as the format
# allows) is decoded to other colours, without an error. Pillow refuses the same file by name. With masks of 8 bits each,
# both return the grey that is stored.
#
# Seen: masks 8-8-8: imagecodecs (128, 128, 128), Pillow (128, 128, 128); masks 11-11-10: imagecodecs (0, 0, 0),
# Pillow Unsupported BMP bitfields layout
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagecodecs==2026.3.6 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys

import imagecodecs
from PIL import Image

SIDE = 4
MASKS = {"8-8-8": (0x00FF0000, 0x0000FF00, 0x000000FF), "11-11-10": (0xFFE00000, 0x001FFC00, 0x000003FF)}
BIT_FIELDS = 3


def bmp(masks, pixel):
    """A BMP of one colour, with a BITMAPINFOHEADER and three masks."""
    pixels = struct.pack("<I", pixel) * SIDE**2
    start = 14 + 40 + 12
    info = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 32, BIT_FIELDS, len(pixels), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + info + struct.pack("<3I", *masks) + pixels


def pillow(data):
    try:
        return Image.open(io.BytesIO(data)).convert("RGB").getpixel((1, 1))
    except OSError as error:
        return str(error)


def codecs(data):
    return tuple(int(value) for value in imagecodecs.bmp_decode(data)[1, 1, :3])


seen = {}
for name, masks in MASKS.items():
    data = bmp(masks, sum((mask & -mask) << mask.bit_count() - 1 for mask in masks))  # half of white in each
    seen[name] = codecs(data), pillow(data)
print(f"imagecodecs {imagecodecs.__version__}, Pillow {Image.__version__}")
print("; ".join(f"masks {name}: imagecodecs {one}, Pillow {other}" for name, (one, other) in seen.items()))
grey = (128, 128, 128)
right = max(abs(value - 128) for value in seen["11-11-10"][0]) <= 1
sys.exit(not (seen["8-8-8"] == (grey, grey) and not right))
PYTHON
