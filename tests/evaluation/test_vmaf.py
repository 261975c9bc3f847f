import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.errors import DenoiseError
from denoise_cli.evaluation.clip_pair import ClipPair
from denoise_cli.evaluation.vmaf import Vmaf
from denoise_cli.io.program import program_with_filter
from tests.conftest import FFmpeg


@pytest.fixture
def program() -> str:
    try:
        return program_with_filter("libvmaf", "this test")
    except DenoiseError as error:
        pytest.skip(str(error))


def test_the_score_is_that_which_ffmpeg_gives_two_files(tmp_path: Path, ffmpeg: FFmpeg, program: str) -> None:
    tags = ["-c:v", "ffv1", "-pix_fmt", "yuv420p", "-colorspace", "bt709"]
    clean = ffmpeg.make(tmp_path / "clean.mkv", *tags, size="192x128", frames=5)
    clip = tmp_path / "clip.mkv"
    ffmpeg("-i", clean, "-vf", "gblur=1.5", *tags, clip)
    done = subprocess.run(
        [program, "-nostdin", "-i", clip, "-i", clean, "-lavfi", "libvmaf", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = re.search(r"VMAF score: ([\d.]+)", done.stderr)
    assert said is not None
    pair = ClipPair(clip, clean)
    with Vmaf[str](pair.matrix) as vmaf:
        for index, path in enumerate(pair.frames):
            sample = pair.sample(path, index)
            vmaf.add("as it is", clip, sample.noisy, sample.clean)
            vmaf.add("clean", clip, sample.clean, sample.clean)
        means = vmaf.means()
    assert means["as it is"] == pytest.approx(float(said[1]), abs=0.3)
    assert means["as it is"] < means["clean"] - 5


@pytest.mark.usefixtures("program")
def test_clips_are_measured_apart_and_their_frames_averaged(rng: np.random.Generator) -> None:
    clean = rng.random((6, 64, 65, 3)).astype(np.float32)
    worse = (clean + rng.normal(0, 0.2, clean.shape)).clip(0, 1).astype(np.float32)

    def mean(clips: dict[str, slice]) -> float:
        with Vmaf[int]() as vmaf:
            for name, frames in clips.items():
                for output, truth in zip(worse[frames], clean[frames], strict=True):
                    vmaf.add(0, Path(name), output, truth)
            return vmaf.means()[0]

    first, second = mean({"a": slice(4)}), mean({"b": slice(4, 6)})
    assert mean({"a": slice(4), "b": slice(4, 6)}) == pytest.approx((4 * first + 2 * second) / 6, abs=1e-4)


@pytest.mark.usefixtures("program")
def test_what_ffmpeg_refuses_is_said_in_a_line() -> None:
    tiny = np.zeros((1, 1, 3), np.float32)

    def measure() -> None:
        with Vmaf[int]() as vmaf:
            for _ in range(3):
                vmaf.add(0, Path("clip"), tiny, tiny)
            vmaf.means()

    with pytest.raises(DenoiseError, match=r"^--vmaf: .+"):
        measure()


@pytest.mark.usefixtures("program")
def test_without_libvmaf_a_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\necho ' TS psnr VV->V PSNR'\n")
    other.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DenoiseError) as refused:
        Vmaf[int]()
    message = f"--vmaf needs an ffmpeg program with libvmaf, which {other} lacks: name one in IMAGEIO_FFMPEG_EXE"
    assert str(refused.value) == message
