"""The film grain of a clip: what was removed from it, scene by scene, as a table for AV1 encoders."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from denoise_cli.errors import UsageError
from denoise_cli.imaging.film_grain import GrainFit, holds_grain
from denoise_cli.io import grain_table
from denoise_cli.io.grain_table import Entry
from denoise_cli.io.video_frame import Frame
from denoise_cli.pipeline.scenes import CutDetector


class RemovedGrain:
    """Collects the noise that is removed from a clip, and writes it as a film grain table.

    Args:
        path: the table; None to do nothing.
        first: a frame of the clip.

    Raises:
        UsageError: AV1 has no film grain for such frames.
    """

    def __init__(self, path: Path | None, first: Frame) -> None:
        if path is not None and not holds_grain(first.layout):
            raise UsageError(
                f"--grain-table {path}: AV1 has film grain for grey, 4:2:0, 4:2:2 and 4:4:4, not for "
                f"{first.picture.format.name}: convert the clip first"
            )
        self._path, self._cuts = path, CutDetector()
        self._entries: list[Entry] = []
        self._scene: GrainFit | None = None
        self._start = self._last = Fraction(0)
        self._scenes = self._weaker = 0

    def add(self, frame: Frame) -> None:
        """Add a frame, in display order, from which noise was removed by `Frame.replace`."""
        if self._path is None:
            return
        picture, after = frame.picture, frame.planes
        assert picture.pts is not None
        assert picture.time_base is not None
        time = Fraction(picture.pts * picture.time_base)
        is_cut = self._cuts.is_cut(after[0].astype(np.float32) / np.float32(2**frame.layout.bits - 1))
        if self._scene is None or is_cut:
            # Encoders round times, so that a scene begins midway between two frames.
            start = (self._last + time) / 2 if self._scene is not None else Fraction(0)
            self._end_scene(start)
            self._scene, self._start = GrainFit(frame.layout), start
        self._last = time
        if frame.original_planes is not None:
            self._scene.add(frame.original_planes, after)

    def write(self, overwrite: bool, first_frame: int = 0) -> list[str]:
        """Write the table.

        Args:
            overwrite: whether an existing file is replaced.
            first_frame: number of the first frame that was added; those before get the same grain.

        Returns:
            A line for everything that one might not expect of it.

        Raises:
            UnwritableFile: the folder or the disk does not allow it, or the file exists and `overwrite` is false.
        """
        if self._path is None:
            return []
        self._end_scene(None)
        grain_table.write(self._path, self._entries, overwrite)
        notes = []
        if not self._entries:
            notes.append(f"{self._path} is empty: there was no grain to remove")
        elif len(self._entries) < self._scenes:
            notes.append(f"{self._path}: {self._scenes - len(self._entries)} of {self._scenes} scenes have no grain")
        if self._weaker:
            notes.append(
                f"{self._path}: grain in {self._weaker} scenes is weaker than it was: AV1 has none that strong"
            )
        if first_frame:
            notes.append(f"{self._path} knows nothing of the first {first_frame} frames: an earlier run denoised them")
        return notes

    def _end_scene(self, end: Fraction | None) -> None:
        if self._scene is None:
            return
        self._scenes += 1
        grain = self._scene.fitted(np.random.default_rng(0))
        if grain is not None:
            self._weaker += grain.is_weaker
            self._entries.append(Entry(self._start, end, grain))
