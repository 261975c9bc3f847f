"""VMAF, by FFmpeg's libvmaf: from 0 to 100, how good viewers would find clips compared with their clean versions.

Source: Li, Aaron, Katsavounidis, Moorthy, Manohara, "Toward a Practical Perceptual Video Quality Metric" (Netflix
Technology Blog, 2016). The model is libvmaf's vmaf_v0.6.1, which looks at luma only.

Legend: H x W frame, C channels.
"""

import json
import subprocess
import tempfile
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import DenoiseError
from denoise_cli.imaging.yuv import DEFAULT_MATRIX, LUMA_WEIGHTS
from denoise_cli.io.program import LOG_PREFIX, program_with_filter

Key = TypeVar("Key", bound=Hashable)
Array = NDArray[np.float32]

BLACK, STEPS, GREY = 64, 876, 512  # of 10 bits in limited range
LOG = "vmaf.json"
# Both clips come in one stream, one above the other, so that no clock can set them apart.
GRAPH = (
    "split[a][b];[a]crop=iw:ih/2:0:0[clip];[b]crop=iw:ih/2:0:ih/2[clean];"
    f"[clip][clean]libvmaf=log_fmt=json:log_path={LOG}"
)


class Vmaf(Generic[Key]):
    """Measures several clips frame by frame, and yields the mean over their frames.

    Args:
        matrix: H.273's number of the matrix from RGB to the luma of the clips.

    Raises:
        DenoiseError: no ffmpeg program with libvmaf is found.
    """

    def __init__(self, matrix: int = DEFAULT_MATRIX) -> None:
        self._program = program_with_filter("libvmaf", "--vmaf")
        red, blue = LUMA_WEIGHTS.get(matrix, LUMA_WEIGHTS[DEFAULT_MATRIX])
        self._weights = np.array([red, 1 - red - blue, blue], np.float32)
        self._running: dict[Key, tuple[Path, _Measurement]] = {}
        self._scores: dict[Key, list[float]] = {}

    def __enter__(self) -> "Vmaf[Key]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, measurement in self._running.values():
            measurement.close()

    def add(self, key: Key, clip: Path, output: Array, clean: Array) -> None:
        """Add the next frame.

        Args:
            key: of the mean that it counts for.
            clip: the clip that it belongs to; the frames of one come after one another.
            output: (H, W, C), [0, 1].
            clean: its truth, the same shape.

        Raises:
            DenoiseError: FFmpeg refuses it.
        """
        if key in self._running and self._running[key][0] != clip:
            self._finish(key)
        if key not in self._running:
            H, W, _ = clean.shape
            self._running[key] = clip, _Measurement(self._program, W, H)
        self._running[key][1].write(self._luma(output), self._luma(clean))

    def means(self) -> dict[Key, float]:
        """The mean over all frames, by key.

        Raises:
            DenoiseError: FFmpeg cannot measure the clips.
        """
        for key in list(self._running):
            self._finish(key)
        return {key: sum(scores) / len(scores) for key, scores in self._scores.items()}

    def _finish(self, key: Key) -> None:
        _, measurement = self._running.pop(key)
        self._scores.setdefault(key, []).extend(measurement.finish())

    def _luma(self, picture: Array) -> NDArray[np.uint16]:
        light = picture @ self._weights if picture.shape[2] == 3 else picture[..., 0]
        return np.rint(BLACK + STEPS * light).clip(0, 1023).astype("<u2")


class _Measurement:
    """The ffmpeg program, which measures one clip."""

    def __init__(self, program: str, W: int, H: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="denoise-")
        raw = ["-f", "rawvideo", "-pix_fmt", "yuv444p10le", "-s", f"{W}x{2 * H}", "-i", "-"]
        self._messages = Path(self._folder.name, "messages")
        with self._messages.open("wb") as messages:
            self._process = subprocess.Popen(
                [program, "-v", "error", *raw, "-lavfi", GRAPH, "-f", "null", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                cwd=self._folder.name,  # where the log is, whose path would have to be escaped
            )
        assert self._process.stdin is not None
        self._input: IO[bytes] = self._process.stdin
        self._chroma = np.full((2, 2 * H, W), GREY, "<u2").tobytes()

    def write(self, output: NDArray[np.uint16], clean: NDArray[np.uint16]) -> None:
        try:
            self._input.write(output.tobytes() + clean.tobytes() + self._chroma)
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> list[float]:
        """VMAF of each frame."""
        try:
            self._input.close()
            if self._process.wait():
                raise self._failure()
            log = json.loads(Path(self._folder.name, LOG).read_bytes())
        except (BrokenPipeError, FileNotFoundError):
            raise self._failure() from None
        finally:
            self.close()
        return [frame["metrics"]["vmaf"] for frame in log["frames"]]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _failure(self) -> DenoiseError:
        self._process.wait()
        lines = self._messages.read_text(errors="replace").splitlines() or ["no score came"]
        return DenoiseError(f"--vmaf: {LOG_PREFIX.sub('', lines[0])}")
