#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22): a DNG may state its white balance as the colour of the light (AsShotWhiteXY) instead of the
# camera's values for white (AsShotNeutral). LibRaw then has the camera's white balance 0, 1, 0, 0, and
# `postprocess(use_camera_wb=True)` makes the average of the picture grey instead: a surface that is truly orange comes
# out nearly grey. The same file with the same white as AsShotNeutral comes out orange.
#
# Seen: white balance [0.0, 1.0, 0.0, 0.0], red / blue 1.00 instead of 3.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rawpy==0.28.0 numpy==2.4.6 tifffile==2026.3.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import rawpy
import tifffile

XYZ_TO_SRGB = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
numbers = np.empty((96, 128), np.uint16)  # of a camera whose colours are sRGB's own; RGGB
numbers[::2, ::2], numbers[1::2, 1::2] = 3000, 1000
numbers[::2, 1::2] = numbers[1::2, ::2] = 2000


def developed(name, white):
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # CFAPattern: RGGB
        (50721, 10, 9, [part for value in XYZ_TO_SRGB for part in (round(value * 10_000), 10_000)], True),
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1: D65
        (50717, 3, 1, 4095, True),  # WhiteLevel
        white,
    ]
    path = Path(sys.argv[1], name)
    tifffile.imwrite(path, numbers, photometric="cfa", extratags=tags, metadata=None)
    with rawpy.imread(str(path)) as raw:
        stated = raw.camera_whitebalance
        picture = raw.postprocess(use_camera_wb=True, no_auto_bright=True, gamma=(1, 1), output_bps=16)
    red, _, blue = picture[20:-20, 20:-20].astype(float).mean(axis=(0, 1))
    return stated, red / blue


stated, by_light = developed("light.dng", (50729, 5, 2, [3127, 10_000, 3290, 10_000], True))  # AsShotWhiteXY: D65
_, by_neutral = developed("neutral.dng", (50728, 5, 3, [1, 1, 1, 1, 1, 1], True))  # AsShotNeutral
print(f"rawpy {rawpy.__version__}, LibRaw {'.'.join(map(str, rawpy.libraw_version))}")
print(f"white balance {stated}, red / blue {by_light:.2f} instead of {by_neutral:.2f}")
sys.exit(not (stated == [0.0, 1.0, 0.0, 0.0] and by_light < 1.1 and by_neutral > 2.7))
PYTHON
