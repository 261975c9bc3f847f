#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22): of a linear DNG (three samples a pixel) with a black level for each, LibRaw subtracts the black
# from the values, but not from white: its own maximum is lowered only by the black that all four of its channels share, and
# the fourth, which such a file lacks, has 0. The picture is too dark by (white - black) / white, and what is saturated does
# not reach white, or not in every colour. With `user_sat` at white - black, it is right.
#
# Seen: grey at half of the range and white, of 65535: black 0 [32775, 65534], black 528 [28550, 57085], with user_sat
# [32776, 65535]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rawpy==0.28.0 numpy==2.4.6 tifffile==2026.3.3
"$folder/venv/bin/python" - "$folder/linear.dng" <<'PYTHON'
import sys

import numpy as np
import rawpy
import tifffile

path, white = sys.argv[1], 4095


def developed(black, **options):
    values = np.full((64, 96, 3), black + (white - black) // 2 + (white - black) % 2, np.uint16)
    values[32:] = white
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (50714, 3, 3, [black] * 3, True),  # BlackLevel
        (50717, 3, 3, [white] * 3, True),  # WhiteLevel
        (50728, 5, 3, [1, 1, 1, 1, 1, 1], True),  # AsShotNeutral
    ]
    tifffile.imwrite(path, values, photometric="linear_raw", planarconfig="contig", extratags=tags, metadata=None)
    with rawpy.imread(path) as raw:
        picture = raw.postprocess(
            output_color=rawpy.ColorSpace.raw, user_wb=[1, 1, 1, 1], gamma=(1, 1), output_bps=16, no_auto_bright=True,
            adjust_maximum_thr=0.0, **options,
        )  # fmt: skip
    return [int(picture[place, 48, 1]) for place in (16, 48)]


plain, uneven, told = developed(0), developed(528), developed(528, user_sat=white - 528)
print(f"rawpy {rawpy.__version__}, LibRaw {'.'.join(map(str, rawpy.libraw_version))}")
print(f"grey at half of the range and white: black 0 {plain}, black 528 {uneven}, with user_sat {told}")
share = (white - 528) / white
sys.exit(not (plain[1] > 65000 and told[1] > 65000 and abs(uneven[1] / plain[1] - share) < 0.01))
PYTHON
