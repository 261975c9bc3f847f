#!/usr/bin/env bash
# RawTherapee 5.9 (Debian 12's package 5.9-1): in a DNG with an X-Trans mosaic that states one BlackLevel and no
# BlackLevelRepeatDim, whose default is 1 x 1, the level is subtracted from some photosites only: the picture is too bright.
# The same file with BlackLevelRepeatDim (1 x 1, or 6 x 6 with 36 equal levels) is right, and so is a Bayer mosaic without it.
#
# Seen: mean of a grey surface (of 65535): X-Trans, one level 34914; with BlackLevelRepeatDim 31407; Bayer, one level 31407
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command -v rawtherapee-cli > /dev/null || apt-get install -qq -y --no-install-recommends rawtherapee=5.9-1* > /dev/null
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 tifffile==2026.3.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile

folder = Path(sys.argv[1])
BAYER = np.array([[0, 1], [1, 2]], np.uint8)
X_TRANS = np.array([
    [1, 2, 1, 1, 0, 1], [0, 1, 0, 2, 1, 2], [1, 2, 1, 1, 0, 1], [1, 0, 1, 1, 2, 1], [2, 1, 2, 0, 1, 0], [1, 0, 1, 1, 2, 1],
], np.uint8)  # fmt: skip
BLACK, GREY = 1024, 4024


def mean(name, pattern, states_repeat):
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (271, 2, 0, "Simulated", True),  # Make
        (272, 2, 0, "Simulated", True),  # Model
        (50708, 2, 0, "Simulated", True),  # UniqueCameraModel
        (33421, 3, 2, pattern.shape, True),  # CFARepeatPatternDim
        (33422, 1, pattern.size, pattern.tobytes(), True),  # CFAPattern
        (50714, 3, 1, BLACK, True),  # BlackLevel
        (50717, 3, 1, 16383, True),  # WhiteLevel
        (50721, 10, 9, [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1], True),  # ColorMatrix1
        (50728, 5, 3, [1, 1, 1, 1, 1, 1], True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1: D65
    ]
    if states_repeat:
        tags.append((50713, 3, 2, (1, 1), True))  # BlackLevelRepeatDim
    source, target = folder / f"{name}.dng", folder / f"{name}.tif"
    tifffile.imwrite(source, np.full((240, 360), GREY, np.uint16), photometric="cfa", extratags=tags, metadata=None)
    command = ["rawtherapee-cli", "-q", "-o", target, "-t", "-b16", "-Y", "-c", source]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return round(float(tifffile.imread(target)[20:-20, 20:-20, 1].mean()))


said = subprocess.run(["rawtherapee-cli", "-v"], capture_output=True, text=True, check=False).stdout
print(re.search(r"RawTherapee, version \S+\d", said).group())
single, stated, bayer = mean("x", X_TRANS, False), mean("stated", X_TRANS, True), mean("bayer", BAYER, False)
print(f"mean of a grey surface (of 65535): X-Trans, one level {single}; "
      f"with BlackLevelRepeatDim {stated}; Bayer, one level {bayer}")
sys.exit(not (abs(stated - bayer) < 100 and single > stated + 1000))
PYTHON
