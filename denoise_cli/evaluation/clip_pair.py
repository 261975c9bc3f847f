"""A clip with its clean version, whose frames are scored one after the other."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.errors import UnreadableFile, UsageError
from denoise_cli.evaluation.samples import UNKNOWN, Sample
from denoise_cli.imaging.yuv import to_rgb
from denoise_cli.io.pipes import PIPE
from denoise_cli.io.video import Reader
from denoise_cli.pipeline.outcome import counted


class ClipPair:
    """A clip, noisy or denoised by any program, and the clean one. Frames are matched by their number, not by time.

    Both are decoded once to count the frames, so that nothing is scored in vain.

    Args:
        clip, clean: anything that FFmpeg reads.

    Attributes:
        frames: a path for each frame, below that of the clip.
        matrix: H.273's number of the clean clip's matrix between luma, chroma and RGB.

    Raises:
        UsageError: one of them is standard input.
        UnreadableFile: one of them cannot be read as a whole, or they differ in size, colour or number of frames.
    """

    def __init__(self, clip: Path, clean: Path) -> None:
        if PIPE in (clip, clean):
            raise UsageError(f"--pair {PIPE}: a clip from standard input cannot be read twice: name files")
        facts, clean_facts = _facts(clip), _facts(clean)
        for one, other in ((facts.picture, clean_facts.picture), (facts.length, clean_facts.length)):
            if one != other:
                raise UnreadableFile(clip, f"has {one}, but {clean} has {other}: name two clips with the same frames")
        self.frames = [clip / f"frame {number}" for number in range(1, facts.count + 1)]
        self.matrix = clean_facts.matrix
        self._samples = self._read(clip, clean)

    def __str__(self) -> str:
        return "real"

    @property
    def facts(self) -> Mapping[str, float | None]:
        """See `samples.SimulatedNoise.facts`; the parameters are unknown."""
        return UNKNOWN

    def sample(self, path: Path, index: int) -> Sample:  # noqa: ARG002 - as of noises
        """The next frame, and its truth: called once for each of `frames`, in their order."""
        return next(self._samples)

    def _read(self, clip: Path, clean: Path) -> Iterator[Sample]:
        with (
            Reader(clip) as noisy_clip,
            Reader(clean) as clean_clip,
            closing(noisy_clip.frames()) as noisy_frames,
            closing(clean_clip.frames()) as clean_frames,
        ):
            for path, noisy, truth in zip(self.frames, noisy_frames, clean_frames, strict=True):
                # Only the truth is clipped: `denoise video` clips nothing before it denoises.
                clean_picture = to_rgb(truth.planes, truth.layout).clip(0, 1)
                yield Sample(path, clean_picture, to_rgb(noisy.planes, noisy.layout), sigma=None)


@dataclass(frozen=True)
class _Facts:
    count: int  # frames
    picture: str  # its size and whether it has colour, in words
    matrix: int

    @property
    def length(self) -> str:
        return counted(self.count, "frame")


def _facts(path: Path) -> _Facts:
    with Reader(path) as reader, closing(reader.frames()) as frames:
        first = next(frames, None)
        if first is None:
            raise UnreadableFile(path, "has no frames that can be decoded")
        count = 1 + sum(1 for _ in frames)
        if reader.damaged or reader.incomplete:
            raise UnreadableFile(path, "is damaged: what is left of its frames cannot be matched with others")
        colours = "grey" if first.layout.colours == "grey" else "coloured"
        picture = f"{colours} frames of {first.picture.width} x {first.picture.height}"
        return _Facts(count, picture, first.layout.matrix)
