"""What the averaged weights of a run are scored on, and their score."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoise_cli.data.photos import CropSource, find_pairs, find_photos
from denoise_cli.errors import DenoiseError, UnreadableFile
from denoise_cli.evaluation.samples import Noise, RealNoise, Sample, ShotReadNoise, WhiteNoise
from denoise_cli.evaluation.scores import score_all
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.models.registry import ModelSpec
from denoise_cli.train.batches import examples_of

WHITE = WhiteNoise(25 / 255)  # what the averaged weights are scored on where the photos bring no noise of their own
SENSORS = ShotReadNoise(2.5e-3, 1e-2)  # the lower level of the deformable kernels' paper
VALIDATED = 128  # the side of the crops that a network for RAW is scored on


@dataclass(frozen=True)
class _AsLearnt:
    """What a network for RAW learns from, one crop of each photo."""

    spec: ModelSpec

    def sample(self, path: Path, index: int) -> Sample:
        """As `WhiteNoise.sample`."""
        crop = examples_of(CropSource([(path,)]), self.spec).draw(np.random.default_rng(index), VALIDATED)
        return Sample(path, crop.clean, crop.noisy, float(crop.level[0, 0]))


Validation = tuple[Noise | _AsLearnt, list[Path]]


def find_validation(folder: Path, spec: ModelSpec) -> Validation:
    """What a model is scored on with the photos, or pairs, of a folder.

    Raises:
        UnreadableFile: a folder without photos.
    """
    if spec.is_for_raw:
        return _AsLearnt(spec), find_photos([folder])
    pairs = find_pairs(folder)
    if pairs:
        return RealNoise(dict(pairs)), [noisy for noisy, _ in pairs]
    return SENSORS if spec.noise == "sensor" else WHITE, find_photos([folder])


def mean_psnr(denoise: Denoiser, spec: ModelSpec, validation: Validation) -> tuple[float | None, list[str]]:
    """Score a denoiser; one for clips on the frames that `denoise video` would write.

    Returns:
        The mean PSNR in dB, None if no photo can be read; and for each photo that cannot be read, the reason.
    """
    noise, photos = validation
    unread: list[str] = []

    def leave_out(_path: Path, error: DenoiseError) -> None:
        if not isinstance(error, UnreadableFile):
            raise error
        unread.append(str(error))

    def samples() -> Iterator[Sample]:
        for index, path in enumerate(photos):
            try:
                yield noise.sample(path, index)
            except UnreadableFile as error:
                leave_out(path, error)

    T = spec.window if spec.window > 1 else None
    scored = score_all({"average": denoise}, samples(), T, failed=leave_out)
    scores = [results["average"][0].denoised for _, results in scored]
    return float(np.mean(scores)) if scores else None, unread
