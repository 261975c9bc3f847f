#!/usr/bin/env bash
# imagecodecs 2026.3.6: `jpegxl_encode` says of values of more than 8 bits, and of floating point, that they are linear
# light, and of 8 bits that they are sRGB; there is no argument to say otherwise. The same picture in 8 and in 16 bits is
# therefore shown with different brightness by other readers.
#
# Seen: 8 bits: gbr/bt709/iec61966-2-1, 16 bits: gbr/bt709/linear
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagecodecs==2026.3.6 numpy==2.4.6 imageio-ffmpeg==0.8.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

import imagecodecs
import imageio_ffmpeg
import numpy as np

seen = []
for picture in (np.full((8, 8, 3), 128, np.uint8), np.full((8, 8, 3), 128 * 257, np.uint16)):
    path = Path(sys.argv[1]) / "x.jxl"
    path.write_bytes(imagecodecs.jpegxl_encode(picture, lossless=True))
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    seen.append(re.search(r"jpegxl.*?\((?:pc|tv), ([^,)]*)", said)[1])
print(f"imagecodecs {imagecodecs.__version__}")
print(f"8 bits: {seen[0]}, 16 bits: {seen[1]}")
sys.exit(not seen[1].endswith("linear"))
PYTHON
