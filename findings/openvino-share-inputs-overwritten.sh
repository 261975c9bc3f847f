#!/usr/bin/env bash
# OpenVINO 2026.4.1: an array that was passed to an inference request with share_inputs=True is overwritten by the next call of
# the same request that does not share its inputs. The request still holds the first array's memory as its input, and the
# copy that the second call makes of its own array goes there; a smaller second array overwrites the beginning. The caller's
# first array is changed though it was only ever an input, long after its inference is over. If every call of a request
# shares its inputs, no array is changed.
#
# Seen: first array after a shared call: [0.0, 1.0, 2.0, 3.0]; after one that is not shared: [7.0, 7.0, 7.0, 7.0]; after a
# smaller one: [9.0, 9.0, 7.0, 7.0]; after two shared calls: [0.0, 1.0, 2.0, 3.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import openvino
from openvino import opset13

values = opset13.parameter([-1], np.float32)
doubled = openvino.Model([opset13.multiply(values, opset13.constant(np.float32(2)))], [values])
compiled = openvino.compile_model(doubled, "CPU")

request, first = compiled.create_infer_request(), np.arange(4, dtype=np.float32)
request.infer([first], share_inputs=True)
seen = [first.tolist()]
for size, value in ((4, 7), (2, 9)):
    request.infer([np.full(size, value, np.float32)])
    seen.append(first.tolist())

request, first = compiled.create_infer_request(), np.arange(4, dtype=np.float32)
request.infer([first], share_inputs=True)
request.infer([np.full(4, 7, np.float32)], share_inputs=True)
seen.append(first.tolist())

print(f"OpenVINO {openvino.__version__}")
for when, result in zip(("a shared call", "one that is not shared", "a smaller one", "two shared calls"), seen, strict=True):
    print(f"first array after {when}: {result}")
sys.exit(seen != [[0, 1, 2, 3], [7, 7, 7, 7], [9, 9, 7, 7], [0, 1, 2, 3]])
PYTHON
