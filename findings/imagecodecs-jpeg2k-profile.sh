#!/usr/bin/env bash
# imagecodecs 2026.3.6: `jpeg2k_decode` converts a file's values from its colour profile to sRGB, clips what sRGB does
# not hold, and says nothing of it; no argument turns this off. The codestream alone is decoded as it is stored.
#
# Seen: stored [60, 200, 90], from the file [0, 201, 80], from the codestream [60, 200, 90]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import struct
import sys

import imagecodecs
import numpy as np


def box(name, *contents):
    body = b"".join(contents)
    return struct.pack(">I4s", 8 + len(body), name) + body


wide = imagecodecs.cms_profile(
    "rgb", whitepoint=(0.3127, 0.3290, 1), primaries=(0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=2.2
)
picture = np.full((8, 8, 3), (60, 200, 90), np.uint8)
codestream = bytes(imagecodecs.jpeg2k_encode(picture, level=0, codecformat="j2k"))
header = box(b"ihdr", struct.pack(">IIHBBBB", 8, 8, 3, 7, 7, 0, 0)) + box(b"colr", bytes([2, 0, 0]), wide)
signature = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \x00\x00\x00\x00jp2 ")
whole = signature + box(b"jp2h", header) + box(b"jp2c", codestream)
values = [decoded[0, 0].tolist() for decoded in map(imagecodecs.jpeg2k_decode, (whole, codestream))]
print(f"imagecodecs {imagecodecs.__version__}")
print(f"stored {picture[0, 0].tolist()}, from the file {values[0]}, from the codestream {values[1]}")
sys.exit(values[0] == values[1])
PYTHON
