"""A second clip beside a result, with each frame before and after denoising."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from denoise_cli.errors import UsageError
from denoise_cli.files import move_into_place
from denoise_cli.io.encode import Encoding, Writer, choose_encoding
from denoise_cli.io.mux import join
from denoise_cli.io.probe import settle
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame

NARROWEST = 4  # pixels: the smallest width of a clip for which a comparison is written


def encoding_of_pair(clip: Reader, first: Frame, path: Path) -> Encoding:
    """How to compress a comparison."""
    if first.picture.width < NARROWEST:
        width = first.picture.width
        raise UsageError(f"--compare {path}: the clip is {width} pixels wide: expected at least {NARROWEST}")
    pair = first.side_by_side()
    return settle(clip, pair, choose_encoding(clip, pair, path.suffix.lower()))[0]


class SideBySide:
    """Writes a clip with each frame before and after denoising, side by side; without a path, nothing."""

    def __init__(self, path: Path | None, clip: Reader, first: Frame, overwrite: bool) -> None:
        self._path, self._overwrite = path, overwrite
        if path is not None:
            self._growing, self._whole = (path.with_name(f".{path.name}.{state}") for state in ("growing", "whole"))
            self._encoding = encoding_of_pair(clip, first, path)
            self._writer = Writer(self._growing, clip, self._encoding)

    def __enter__(self) -> "SideBySide":
        return self

    def copying(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames, which are written as they go by."""
        for frame in frames:
            if self._path is not None:
                self._writer.write(frame.side_by_side())
            yield frame

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._path is None:
            return
        try:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                join([self._growing], self._whole, self._encoding)
                move_into_place(self._whole, self._path, self._overwrite)
        finally:
            for path in (self._growing, self._whole):
                path.unlink(missing_ok=True)
