#!/usr/bin/env bash
# tifffile 2026.3.3: a TiffFile that was closed keeps the file-like object that it has read, and so all bytes of the
# file, until Python's collector of cycles runs: the TiffFile and its pages refer to one another. The collector counts
# objects, not bytes, so it may be long before it runs, and a picture of 100 megapixels takes the memory of its file
# beside that of its pixels. Closing the BytesIO as well gives the bytes back at once.
#
# Seen: closed TiffFile: bytes kept True; after closing the BytesIO: kept False; after gc.collect(): kept False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import gc
import sys
from io import BytesIO

import numpy as np
import tifffile


def read(data: bytes, closes: bool) -> np.ndarray:
    contents = BytesIO(data)
    with tifffile.TiffFile(contents) as file:
        pixels = file.asarray()
    if closes:
        contents.close()
    return pixels


written = BytesIO()
tifffile.imwrite(written, np.arange(64 * 48, dtype=np.uint16).reshape(64, 48))
data = bytes(written.getbuffer())
gc.collect()
gc.disable()
before = sys.getrefcount(data)
pixels = read(data, closes=True)
after_closing = sys.getrefcount(data) > before
pixels = read(data, closes=False)
kept = sys.getrefcount(data) > before
gc.collect()
after_collecting = sys.getrefcount(data) > before
print(f"tifffile {tifffile.__version__}")
print(f"closed TiffFile: bytes kept {kept}; after closing the BytesIO: kept {after_closing}; "
      f"after gc.collect(): kept {after_collecting}")
sys.exit((kept, after_closing, after_collecting) != (True, False, False))
PYTHON
