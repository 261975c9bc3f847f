#!/usr/bin/env bash
# OpenEXR 3.5.3: `OpenEXR.File` raises nothing for a file whose pixels are damaged or cut off. It prints a warning on
# standard output, where a program's own output may go, and returns an object without parts.
#
# Seen: raised nothing, parts: 0, standard output: 'Warning: Exception raised reading pixel data for part 0 - ...'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet OpenEXR==3.5.3 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import sys

import numpy as np
import OpenEXR

whole, printed = io.BytesIO(), io.StringIO()
noise = np.random.default_rng(0).random((64, 48, 3)).astype(np.float16)
OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, {"RGB": noise}).write(whole)
with contextlib.redirect_stdout(printed):
    parts = OpenEXR.File(io.BytesIO(whole.getvalue()[:-800])).parts
print(f"raised nothing, parts: {len(parts)}, standard output: {printed.getvalue()[:66]!r}")
sys.exit(bool(parts) or not printed.getvalue())
PYTHON
