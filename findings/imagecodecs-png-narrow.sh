#!/usr/bin/env bash
# imagecodecs 2026.3.6: `png_encode` cannot write some valid pictures of one or a few columns. It sizes its buffer by the
# pixels' bytes and leaves no room for the byte with which a PNG begins each row, so that noise of 5000 x 1 pixels with
# 16 bits, which does not compress, ends in PngError "png_write_data_fn output stream too small", at every level. With a
# buffer of another size (`out=`) the same picture is written and read back.
#
# Seen: level 1: PngError, level 6: PngError, with out=32768: equal True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import imagecodecs
import numpy as np

column = np.random.default_rng(0).integers(0, 65536, (5000, 1)).astype(np.uint16)
seen = []
for level in (1, 6):
    try:
        imagecodecs.png_encode(column, level=level)
        seen.append("written")
    except imagecodecs.PngError as error:
        seen.append("PngError" if "output stream too small" in str(error) else str(error))
written = bytes(imagecodecs.png_encode(column, level=6, out=32768))
equal = bool(np.array_equal(imagecodecs.png_decode(written).reshape(column.shape), column))
print(f"imagecodecs {imagecodecs.__version__}")
print(f"level 1: {seen[0]}, level 6: {seen[1]}, with out=32768: equal {equal}")
sys.exit((seen, equal) != (["PngError", "PngError"], True))
PYTHON
