#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22): the same X-Trans mosaic does not develop to the same picture twice. LibRaw demosaics it in
# tiles of 512 photosites, several at once; where these overlap, a thread overwrites what another one still reads, and a
# few hundred pixels change from run to run by up to a sixth of white. With one thread, every run is equal.
#
# Seen (two cores): 20 runs with threads, equal: False, largest difference above 1000 of 65535: True
#                   20 runs with one thread, equal: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rawpy==0.28.0 numpy==2.4.6 tifffile==2026.3.3 threadpoolctl==3.8.0
"$folder/venv/bin/python" - "$folder/mosaic.dng" <<'PYTHON'
import sys

import numpy as np
import rawpy
import tifffile
from threadpoolctl import threadpool_limits

RUNS, THREADS = 20, 4
path, (H, W) = sys.argv[1], (577, 771)
y, x = np.mgrid[:H, :W]
light = 2000 + 1500 * np.sin(x / 9) * np.cos(y / 7)
numbers = (light + np.random.default_rng(0).normal(0, 120, (H, W))).clip(520, 4000).astype(np.uint16)
pattern = ["RGB".index(colour) for colour in "GGRGGB" "GGBGGR" "BRGRBG" "GGBGGR" "GGRGGB" "RBGBRG"]
tags = [
    (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
    (33421, 3, 2, (6, 6), True),  # CFARepeatPatternDim
    (33422, 1, 36, bytes(pattern), True),  # CFAPattern
    (50714, 3, 1, 512, True),  # BlackLevel
    (50717, 3, 1, 4095, True),  # WhiteLevel
    (50721, 10, 9, [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1], True),  # ColorMatrix1: the unit matrix
    (50728, 5, 3, [1, 1, 1, 1, 1, 1], True),  # AsShotNeutral
]
tifffile.imwrite(path, numbers, photometric="cfa", extratags=tags, metadata=None)


def differences(threads: int) -> list[int]:
    pictures = []
    for _ in range(RUNS):
        with rawpy.imread(path) as raw, threadpool_limits(limits=threads, user_api="openmp"):
            pictures.append(raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=(1, 1)))
    return [int(np.abs(picture.astype(int) - pictures[0]).max()) for picture in pictures]


several, one = differences(THREADS), differences(1)
print(f"rawpy {rawpy.__version__}, LibRaw {'.'.join(map(str, rawpy.libraw_version))}")
print(f"{RUNS} runs with threads, equal: {not any(several)}, largest difference above 1000 of 65535: {max(several) > 1000}")
print(f"{RUNS} runs with one thread, equal: {not any(one)}")
sys.exit(not (max(several) > 1000 and not any(one)))
PYTHON
