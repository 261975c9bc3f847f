"""What a run learns from: examples, and the batches of crops that are drawn from them.

What a step sees depends on the seed, the step's number and the crop's place in the batch alone.
"""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from denoise_cli.data.clips import Mixture, MovingPhotos, find_clips, windows
from denoise_cli.data.examples import (
    CameraNoise,
    DevelopedNoise,
    Examples,
    GaussianNoise,
    MosaicNoise,
    Pairs,
    SensorNoise,
)
from denoise_cli.data.photos import CropSource, Source, find_pairs, find_photos
from denoise_cli.errors import TrainingError, UnreadableFile
from denoise_cli.models.registry import ModelSpec
from denoise_cli.train.distributed import Crew
from denoise_cli.train.recipe import Recipe

# Noisy crops, clean ones and levels, or nothing where no photo can be read; the photos that could not be read, and why.
Batch = tuple[list[Tensor], list[str]]


def find_examples(data: Sequence[Path], spec: ModelSpec, scratch: Path) -> Examples:
    """What a model can learn from the photos, pairs or clips of some folders.

    Args:
        data: folders of clean photos, or of pairs (`noisy` and `clean` inside); for clips, their folders may be inside.
        spec: the model.
        scratch: a folder for decoded photos that memory does not hold, there by the time that crops are drawn.

    Raises:
        UnreadableFile: a folder without photos.
        TrainingError: the folders are of several kinds, or of one that the model cannot learn from.
    """
    pairs = [find_pairs(folder) for folder in data]
    if any(pairs):
        if not all(pairs):
            alone = next(folder for folder, found in zip(data, pairs, strict=True) if not found)
            raise TrainingError(f"{alone}: holds no pairs, as the other folders do: choose photos of one kind")
        if spec.space != "srgb":
            raise TrainingError("pairs are encoded, this model works in linear light: choose clean photos")
        both = CropSource([pair for several in pairs for pair in several], scratch=scratch)
        return Pairs(both, spec.sees_noise)
    crops: Source = _windows(data, spec.window, scratch) if spec.window > 1 else _photos(find_photos(data), scratch)
    return examples_of(crops, spec)


def examples_of(crops: Source, spec: ModelSpec) -> Examples:
    """Clean crops with the noise that a model learns to take away."""
    if spec.noise == "camera":
        return CameraNoise(crops, spec.sigma_max)
    if spec.space == "mosaic":
        return MosaicNoise(crops)
    if spec.space == "developed":
        return DevelopedNoise(crops)
    return SensorNoise(crops) if spec.noise == "sensor" else GaussianNoise(crops, spec.sigma_max)


def _photos(paths: Sequence[Path], scratch: Path) -> CropSource:
    return CropSource([(path,) for path in paths], scratch=scratch)


def _windows(data: Sequence[Path], T: int, scratch: Path) -> Source:
    """Of clips, which are folders in the data folders, and of the photos that lie in these themselves."""
    sources: list[Source] = []
    photos = [path for folder in data for path in find_photos([folder]) if path.parent == folder]
    if photos:
        sources.append(MovingPhotos(_photos(photos, scratch), T))
    clips = [clip for folder in data for clip in find_clips(folder) if clip[0].parent != folder]
    whole = windows(clips, T)
    if whole:
        sources.append(CropSource(whole, scratch=scratch))
    if not sources:
        raise TrainingError(f"the clips are shorter than {T} frames, and there are no photos beside them")
    return Mixture(sources)


def load_batches(examples: Examples, recipe: Recipe, crew: Crew, first: int, workers: int) -> Iterator[Batch]:
    """The batches of a run's steps, from the step `first` to the last.

    Args:
        examples: what the crops are drawn from.
        recipe: the run's settings.
        crew: the processes that share each batch; this one's share is returned.
        first: a step, from 0.
        workers: processes that prepare the crops; 0 to do it when a batch is asked for.
    """
    steps = range(first, recipe.steps)
    source = _Batches(examples, recipe, crew)
    loader = DataLoader(
        source, batch_size=None, sampler=steps, num_workers=workers, worker_init_fn=_leave_signals_to_the_run
    )
    return iter(loader)


class _Batches(Dataset[Batch]):
    """What each step learns from: its share of the crops, (B, 3, H, W) twice and (B, 1, H, W), channels last."""

    def __init__(self, examples: Examples, recipe: Recipe, crew: Crew) -> None:
        self._examples = examples
        self._recipe = recipe
        self._crew = crew

    def __getitem__(self, step: int) -> Batch:
        count, patch = self._recipe.shape_at(step)
        places = range(self._crew.rank, count, self._crew.size)
        try:
            drawn = [self._examples.draw(np.random.default_rng((self._recipe.seed, step, i)), patch) for i in places]
        except UnreadableFile:  # no photo is left; on its way out of a worker, the error would lose its type
            drawn = []
        parts = zip(*((one.noisy, one.clean, one.level[..., None]) for one in drawn), strict=True)
        batch = [torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in parts]
        return batch, [str(error) for error in self._examples.crops.skipped.values()]


def _leave_signals_to_the_run(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: those that prepare crops go when the run tells them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
