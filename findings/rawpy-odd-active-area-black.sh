#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22): if a DNG's ActiveArea begins at an odd row or column, LibRaw develops the mosaic from the next
# even one on, and also counts the BlackLevel pattern from there, although the tag counts it from the ActiveArea's own first
# photosite. Black levels that differ by colour are then subtracted from the wrong colours: a grey surface gets a cast. With an
# even start the levels are right. `raw_image_visible` begins at the moved row, and `raw_colors` is right for both.
#
# Seen: black of red, green, blue, second green: even start [10, 20, 40, 30], odd row [30, 40, 20, 10]; grey, less black, in
# a developed picture: even [16424 16424 16424], odd row [16096 16424 16753]
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
black = np.array([[10, 20], [30, 40]])  # of an RGGB quad at the ActiveArea's first photosite


def developed(top):
    numbers = np.zeros((64, 96), np.uint16)
    numbers[top:] = 1000 + np.tile(black, (32, 48))[: 64 - top]
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # CFAPattern: RGGB
        (50713, 3, 2, (2, 2), True),  # BlackLevelRepeatDim
        (50714, 3, 4, black.ravel().tolist(), True),  # BlackLevel
        (50717, 3, 1, 4000, True),  # WhiteLevel
        (50728, 5, 3, [1, 1, 1, 1, 1, 1], True),  # AsShotNeutral
        (50829, 3, 4, (top, 0, 64, 96), True),  # ActiveArea
    ]
    tifffile.imwrite(path, numbers, photometric="cfa", extratags=tags, metadata=None)
    with rawpy.imread(path) as raw:
        levels = list(raw.black_level_per_channel)
        picture = raw.postprocess(
            output_color=rawpy.ColorSpace.raw, user_wb=[1, 1, 1, 1], gamma=(1, 1), output_bps=16, no_auto_bright=True,
            adjust_maximum_thr=0.0,
        )  # fmt: skip
    return levels, np.rint(picture[10:-10, 10:-10].mean(axis=(0, 1))).astype(int).tolist()


even, odd = developed(0), developed(1)
print(f"rawpy {rawpy.__version__}, LibRaw {'.'.join(map(str, rawpy.libraw_version))}")
print(f"black of red, green, blue, second green: even start {even[0]}, odd row {odd[0]}")
print(f"grey, less black, in a developed picture: even {even[1]}, odd row {odd[1]}")
sys.exit((even[0], odd[0], len(set(even[1])), odd[1][0] < even[1][0] < odd[1][2]) != (
    [10, 20, 40, 30], [30, 40, 20, 10], 1, True))
PYTHON
