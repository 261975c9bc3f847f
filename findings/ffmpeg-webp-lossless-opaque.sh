#!/usr/bin/env bash
# FFmpeg 8.1.2 (PyAV 18.1.0) decodes every lossless WebP to ARGB, also one whose header says that no alpha is used (the
# bit alpha_is_used of VP8L is 0), in which every pixel is opaque. A lossy WebP without alpha becomes YUV 4:2:0. So the
# pixel format of a decoded WebP does not tell whether there is transparency; the header, or the values, do.
#
# Seen: lossy: yuv420p; lossless, alpha_is_used 0: argb, alpha 255 to 255
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import struct
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

HEADER = 20  # bytes before those of the VP8L bitstream: of RIFF, and of its chunk
picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
formats = {}
for name, options in (("lossy", {}), ("lossless", {"lossless": True})):
    picture.save(f"{name}.webp", **options)
    with av.open(f"{name}.webp") as clip:
        frame = next(clip.decode(video=0))
    formats[name] = frame.format.name

data = Path("lossless.webp").read_bytes()
assert data[12:16] == b"VP8L" and data[HEADER] == 0x2F
is_used = struct.unpack_from("<I", data, HEADER + 1)[0] >> 28 & 1  # behind 14 bits each of width and height
alpha = frame.to_ndarray()[..., 0]
print(f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}")
print(f"lossy: {formats['lossy']}; lossless, alpha_is_used {is_used}: {formats['lossless']}, ", end="")
print(f"alpha {alpha.min()} to {alpha.max()}")
expected = {"lossy": "yuv420p", "lossless": "argb"}
sys.exit(formats != expected or is_used != 0 or int(alpha.min()) != 255)
PYTHON
