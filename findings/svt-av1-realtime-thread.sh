#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1 with SVT-AV1): where a process may (as root), opening the encoder libsvtav1 makes the calling
# thread a real-time thread (SCHED_FIFO) of the highest priority, 99, as well as those that encode. The calling thread
# stays one after the encoder is closed, and so is every thread that it starts from then on. A program that encodes one
# clip and goes on to compute leaves the rest of the machine hardly any processor time. libx264, libx265 and libvpx-vp9
# leave the thread as it is. Linux only; as another user, nothing changes, and this script says so and ends with 2.
#
# Seen: before (0, 0), open (1, 99), closed (1, 99), a thread started later (1, 99), libx264 (0, 0)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
SVT_LOG=1 "$folder/venv/bin/python" - <<'PYTHON'
import io
import os
import sys
import threading

import av
import numpy as np


def schedule():
    """Policy (0 the ordinary one, 1 SCHED_FIFO) and priority of the calling thread."""
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def encode(name):
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        stream = container.add_stream(name, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for grey in (50, 100, 150):
            frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), grey, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        during = schedule()
        container.mux(stream.encode(None))
    return during


print(f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}")
before, _ = schedule(), encode("libx264")
other = schedule()
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
except PermissionError:
    print("this user may not make real-time threads: run it as root")
    sys.exit(2)
opened, closed, later = encode("libsvtav1"), schedule(), []
thread = threading.Thread(target=lambda: later.append(schedule()))
thread.start()
thread.join()
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
print(f"before {before}, open {opened}, closed {closed}, a thread started later {later[0]}, libx264 {other}")
sys.exit((before, opened, closed, later[0], other) != ((0, 0), (1, 99), (1, 99), (1, 99), (0, 0)))
PYTHON
