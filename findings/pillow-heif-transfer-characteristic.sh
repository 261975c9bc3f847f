#!/usr/bin/env bash
# pillow-heif 1.8.1: the documentation of `HeifFile.save` calls the number of the transfer function
# `transfer_characteristic`. Under that name it is ignored without a word, and an HDR picture is saved as sRGB with the
# primaries that were asked for; the name that works is `transfer_characteristics`.
#
# Seen: documented: yes; transfer_characteristic=16: primaries 9, transfer 13; transfer_characteristics=16: primaries 9, transfer 16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow-heif==1.8.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import re
import sys

import numpy as np
import pillow_heif

PQ = 16
documented = re.search(r"``transfer_characteristic``", pillow_heif.HeifFile.save.__doc__) is not None
picture = np.full((16, 16, 3), 512, "<u2")
seen = {}
for name in ("transfer_characteristic", "transfer_characteristics"):
    file = io.BytesIO()
    made = pillow_heif.from_bytes("RGB;10", (16, 16), picture.tobytes())
    made.save(file, quality=90, color_primaries=9, **{name: PQ})
    at = file.getvalue().index(b"nclx") + 4
    seen[name] = tuple(int.from_bytes(file.getvalue()[start : start + 2], "big") for start in (at, at + 2))
said = "; ".join(f"{name}={PQ}: primaries {numbers[0]}, transfer {numbers[1]}" for name, numbers in seen.items())
print(f"pillow-heif {pillow_heif.__version__}")
print(f"documented: {'yes' if documented else 'no'}; {said}")
works, ignored = seen["transfer_characteristics"][1] == PQ, seen["transfer_characteristic"][1] != PQ
sys.exit(not (documented and works and ignored))
PYTHON
