#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22): a picture developed at half size leaves `raw_image_visible` with half the rows and half the
# columns, the top left quarter of the sensor, although the raw data in LibRaw are still whole: a development at full size
# afterwards is the same as before, and `raw_image` keeps its shape. A program that reads or replaces photosites through
# `raw_image_visible` after a quick preview silently works on a quarter of the picture.
#
# Seen: visible (96, 128), after half size (48, 64), raw_image (96, 128), full size again equal: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rawpy==0.28.0 numpy==2.4.6 tifffile==2026.3.3
"$folder/venv/bin/python" - "$folder/mosaic.dng" <<'PYTHON'
import sys

import numpy as np
import rawpy
import tifffile

path = sys.argv[1]
numbers = np.random.default_rng(0).integers(600, 4000, (96, 128)).astype(np.uint16)
tags = [
    (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
    (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
    (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # CFAPattern: RGGB
    (50714, 3, 1, 512, True),  # BlackLevel
    (50717, 3, 1, 4095, True),  # WhiteLevel
    (50728, 5, 3, [1, 1, 1, 1, 1, 1], True),  # AsShotNeutral
]
tifffile.imwrite(path, numbers, photometric="cfa", extratags=tags, metadata=None)

with rawpy.imread(path) as raw:
    before = raw.raw_image_visible.shape
    whole = raw.postprocess(use_camera_wb=True, no_auto_bright=True, user_flip=0)
    raw.postprocess(use_camera_wb=True, no_auto_bright=True, user_flip=0, half_size=True)
    after, buffer = raw.raw_image_visible.shape, raw.raw_image.shape
    again = raw.postprocess(use_camera_wb=True, no_auto_bright=True, user_flip=0)
    equal = bool(np.array_equal(whole, again))
print(f"rawpy {rawpy.__version__}, LibRaw {'.'.join(map(str, rawpy.libraw_version))}")
print(f"visible {before}, after half size {after}, raw_image {buffer}, full size again equal: {equal}")
sys.exit((before, after, buffer, equal) != ((96, 128), (48, 64), (96, 128), True))
PYTHON
