"""Validation: the noisy pictures on which the averaged weights of a run are scored, and the score."""

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

# Simulated noise, for clean photos: for models that work on encoded photos, and for those of a sensor's noise.
WHITE_NOISE = WhiteNoise(25 / 255)
SENSOR_NOISE = ShotReadNoise(2.5e-3, 1e-2)  # the lower level in the deformable kernels' paper
RAW_PATCH = 128  # side of the crops on which a model for RAW is scored, in the network's pixels


@dataclass(frozen=True)
class TrainingNoise:
    """The noise that a model for RAW is trained on, simulated on one crop of each photo."""

    spec: ModelSpec

    def sample(self, path: Path, index: int) -> Sample:
        """See `WhiteNoise.sample`."""
        crop = examples_of(CropSource([(path,)]), self.spec).draw(np.random.default_rng(index), RAW_PATCH)
        return Sample(path, crop.clean, crop.noisy, float(crop.level[0, 0]))


# The noise, and the photos: the clean ones that get it, or the noisy ones of pairs.
Validation = tuple[Noise | TrainingNoise, list[Path]]


def find_validation(folder: Path, spec: ModelSpec) -> Validation:
    """The photos of a folder, and the noise with which a model is scored on them.

    Args:
        folder: pairs (`noisy` and `clean` inside), which are scored with their own noise, or clean photos.
        spec: the model.

    Raises:
        UnreadableFile: the folder has no photos.
    """
    if spec.is_for_raw:
        return TrainingNoise(spec), find_photos([folder])
    pairs = find_pairs(folder)
    if pairs:
        return RealNoise(dict(pairs)), [noisy for noisy, _ in pairs]
    return SENSOR_NOISE if spec.noise == "sensor" else WHITE_NOISE, find_photos([folder])


def mean_psnr(denoise: Denoiser, spec: ModelSpec, validation: Validation) -> tuple[float | None, list[str]]:
    """Score a denoiser; one for clips is scored on the frames that `denoise video` would write.

    Returns:
        The mean PSNR in dB, or None if no photo can be read; and a line for each photo that cannot be read.
    """
    noise, photos = validation
    unreadable: list[str] = []

    def skip(_path: Path, error: DenoiseError) -> None:
        if not isinstance(error, UnreadableFile):
            raise error
        unreadable.append(str(error))

    def samples() -> Iterator[Sample]:
        for index, path in enumerate(photos):
            try:
                yield noise.sample(path, index)
            except UnreadableFile as error:
                skip(path, error)

    T = spec.window if spec.window > 1 else None
    scored = score_all({"average": denoise}, samples(), T, failed=skip)
    scores = [results["average"][0].denoised for _, results in scored]
    return float(np.mean(scores)) if scores else None, unreadable
