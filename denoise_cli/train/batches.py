"""Training data: the examples for a model, and the batches of random crops that each step learns from.

The crops of a step depend only on the seed, the step's number and each crop's index in the batch.
"""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from denoise_cli.data.clip_noise import ClipNoise
from denoise_cli.data.clips import Mixture, MovingPhotos, find_clips, windows
from denoise_cli.data.drawings import Drawings, Stars
from denoise_cli.data.examples import (
    DevelopedNoise,
    Examples,
    GaussianNoise,
    MosaicNoise,
    Pairs,
    PhotoNoise,
    SensorNoise,
)
from denoise_cli.data.photos import CropSource, Source, find_pairs, find_photos
from denoise_cli.data.recolour import Recoloured
from denoise_cli.data.reduce import Reduced
from denoise_cli.errors import TrainingError, UnreadableFile
from denoise_cli.models.registry import ModelSpec
from denoise_cli.train.distributed import ProcessGroup
from denoise_cli.train.recipe import Recipe

# [noisy crops, clean crops, level maps], empty if no photo can be read; and a line for each photo that cannot be read.
Batch = tuple[list[Tensor], list[str]]


def find_examples(data: Sequence[Path], spec: ModelSpec, scratch: Path, recipe: Recipe) -> Examples:
    """The examples that a model can learn from the photos, pairs or clips in some folders.

    Args:
        data: folders of clean photos, or of pairs (`noisy` and `clean` inside). For a model for clips, each subfolder
            is a clip, and photos directly in the folders are used too.
        spec: the model.
        scratch: a folder for decoded photos that do not fit in memory; it must exist when crops are drawn.
        recipe: the settings; what they say about crops applies to photos and clips, but not to pairs.

    Raises:
        UnreadableFile: a folder has no photos.
        TrainingError: the folders are of different kinds, or of a kind that the model cannot learn from.
    """
    pairs = [find_pairs(folder) for folder in data]
    if any(pairs):
        if not all(pairs):
            unpaired = next(folder for folder, found in zip(data, pairs, strict=True) if not found)
            raise TrainingError(f"{unpaired}: has no pairs, unlike the other folders: give folders of one kind only")
        if spec.space != "srgb":
            raise TrainingError("pairs are sRGB-encoded, but this model works in linear light: give clean photos")
        both = CropSource([pair for several in pairs for pair in several], scratch=scratch)
        return Pairs(both, spec.is_blind)
    crops: Source
    drawn = recipe.drawings + recipe.stars
    if spec.window > 1:
        if drawn:
            raise TrainingError(
                f"{recipe.model}: a model for clips cannot learn from drawings or stars: omit them from the recipe"
            )
        crops = _windows(data, spec.window, scratch)
    else:
        crops = _photos(find_photos(data), scratch)
    if recipe.reduce:
        crops = Reduced(crops, recipe.reduce)
    if recipe.recolour:
        crops = Recoloured(crops, recipe.recolour)
    if drawn:
        crops = Mixture([crops, Drawings(), Stars()], [1 - drawn, recipe.drawings, recipe.stars])
    return examples_of(crops, spec)


def examples_of(crops: Source, spec: ModelSpec) -> Examples:
    """Clean crops with simulated noise, of the kind that a model learns to remove."""
    if spec.noise == "camera":
        return PhotoNoise(crops, spec.sigma_max) if spec.window == 1 else ClipNoise(crops, spec.sigma_max)
    if spec.space == "mosaic":
        return MosaicNoise(crops)
    if spec.space == "xtrans":
        return MosaicNoise(crops, "xtrans")
    if spec.space == "developed":
        return DevelopedNoise(crops)
    return SensorNoise(crops) if spec.noise == "sensor" else GaussianNoise(crops, spec.sigma_max, spec.levels > 1)


def _photos(paths: Sequence[Path], scratch: Path) -> CropSource:
    return CropSource([(path,) for path in paths], scratch=scratch)


def _windows(data: Sequence[Path], T: int, scratch: Path) -> Source:
    """Windows of T frames, from the clips in subfolders and from the photos directly in the folders."""
    sources: list[Source] = []
    photos = [path for folder in data for path in find_photos([folder]) if path.parent == folder]
    if photos:
        sources.append(MovingPhotos(_photos(photos, scratch), T))
    clips = [clip for folder in data for clip in find_clips(folder) if clip[0].parent != folder]
    from_clips = windows(clips, T)
    if from_clips:
        sources.append(CropSource(from_clips, scratch=scratch))
    if not sources:
        raise TrainingError(f"every clip is shorter than {T} frames, and there are no single photos: give longer clips")
    return Mixture(sources)


def load_batches(
    examples: Examples, recipe: Recipe, processes: ProcessGroup, first_step: int, workers: int
) -> Iterator[Batch]:
    """Iterate over the batches of a run, one for each remaining step.

    Args:
        examples: the source of the crops.
        recipe: the run's settings.
        processes: the processes that divide each batch among themselves; the result has this process's share.
        first_step: the step to begin with, from 0.
        workers: processes that prepare crops in advance; 0 to prepare each batch when it is requested.
    """
    steps = range(first_step, recipe.steps)
    source = _Batches(examples, recipe, processes)
    loader = DataLoader(source, batch_size=None, sampler=steps, num_workers=workers, worker_init_fn=_ignore_signals)
    return iter(loader)


class _Batches(Dataset[Batch]):
    """One process's share of each step: noisy (B, T*C, H, W), clean (B, C, H, W) and level (B, L, H, W).

    In memory, channels are last.
    """

    def __init__(self, examples: Examples, recipe: Recipe, processes: ProcessGroup) -> None:
        self._examples = examples
        self._recipe = recipe
        self._processes = processes

    def __getitem__(self, step: int) -> Batch:
        count, patch = self._recipe.shape_at(step)
        indices = range(self._processes.rank, count, self._processes.size)
        try:
            drawn = [self._examples.draw(np.random.default_rng((self._recipe.seed, step, i)), patch) for i in indices]
        except UnreadableFile:  # no photo can be read; not re-raised, because a worker would change the error's type
            drawn = []
        arrays = zip(*((one.noisy, one.clean, np.atleast_3d(one.level)) for one in drawn), strict=True)
        batch = [torch.from_numpy(np.stack(array)).permute(0, 3, 1, 2) for array in arrays]
        return batch, [str(error) for error in self._examples.crops.skipped.values()]


def _ignore_signals(_worker: int) -> None:
    """Let the main process end the workers: Ctrl-C in a terminal is sent to every process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
