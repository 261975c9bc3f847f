import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from denoise_cli.io.scheduling import THREADS, ordinary_scheduling


def may_be_real_time() -> bool:
    """Whether this process may make real-time threads, as SVT-AV1 then does."""
    if sys.platform != "linux":
        return False
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, *before)
    return True


def policies() -> set[int]:
    return {os.sched_getscheduler(int(folder.name)) for folder in THREADS.iterdir()}


@pytest.mark.skipif(not may_be_real_time(), reason="only root has real-time threads, on Linux")
def test_an_encoder_leaves_no_thread_in_real_time(tmp_path: Path) -> None:
    before, during = policies(), set[int]()
    with av.open(tmp_path / "a.mkv", "w") as container:
        stream = container.add_stream("libsvtav1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        with ordinary_scheduling():
            container.start_encoding()
            during = policies()
        frame = av.VideoFrame.from_ndarray(np.zeros((128, 128, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        assert policies() == before
        container.mux(stream.encode(None))
    assert os.SCHED_FIFO in during  # otherwise there would be nothing to undo
    assert policies() == before
