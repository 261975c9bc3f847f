"""The training loop: random crops, fresh noise, and states that a killed run continues from.

What a step sees depends on the seed, the step's number and the crop's place in the batch alone, so a continued run
takes the same steps as one that was never stopped, on however many devices.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
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
from denoise_cli.errors import DenoiseError, OutOfMemory, TrainingError, UnreadableFile
from denoise_cli.evaluation.samples import Noise, RealNoise, Sample, ShotReadNoise, WhiteNoise
from denoise_cli.evaluation.scores import score_all
from denoise_cli.inference.denoiser import Denoiser, has_native_bf16, is_out_of_memory
from denoise_cli.models.checkpoint import load_weights
from denoise_cli.models.registry import ModelSpec, find_model, load_net
from denoise_cli.nets.kernel_prediction import KernelPredictor
from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.mallenet_video import MalleNetVideo
from denoise_cli.train.distributed import Crew
from denoise_cli.train.losses import LOSSES, annealed_gamma_l1, gamma_l1
from denoise_cli.train.optimizer import Muon
from denoise_cli.train.recipe import Recipe, settings_of
from denoise_cli.train.run_folder import RunFolder

WHITE = WhiteNoise(25 / 255)  # what the averaged weights are scored on where the photos bring no noise of their own
COLOURS = 3
VALIDATED = 128  # the side of the crops that a network for RAW is scored on
FORGOTTEN = 1e-4  # what is left of the losses of a kernel's groups of points after half the steps
SENSORS = ShotReadNoise(2.5e-3, 1e-2)  # the lower level of the deformable kernels' paper

# Noisy crops, clean ones and levels, or nothing where no photo can be read; the photos that could not be read, and why.
Batch = tuple[list[Tensor], list[str]]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Report:
    """What the loop tells its caller once in a while.

    Attributes:
        step: how many are done.
        loss: its mean since the last report.
        learning_rate: of the last step.
        psnr: of the averaged weights on the validation photos, in dB; None where it is not yet time, or none of them
            can be read.
        seconds: since the run began, pauses left out.
        megapixels_per_second: learnt from since the last report.
        waiting: the share of that time in which the crops were not ready.
        skipped: photos that could not be read, and why; each is in one report.
    """

    step: int
    loss: float
    learning_rate: float
    psnr: float | None
    seconds: float
    megapixels_per_second: float
    waiting: float
    skipped: tuple[str, ...] = ()


class Trainer:
    """One run in one folder; under torchrun, one process's share of it.

    Args:
        recipe: the settings; of a run that is continued, they replace the ones that it had.
        data: folders of clean photos, or of pairs (`noisy` and `clean` inside).
        folder: the run's folder, made where it is missing.
        device: where to train.
        validation: a folder to score the averaged weights on: pairs, or clean photos, which get noise of sigma 25 or,
            where the model is for linear light, the deformable kernels' paper's lower level.
        validate_every, save_every: steps between two scores, and two saved states.
        resume: continue the run that is in the folder.
        workers: processes that prepare the crops; 0 to do it between the steps.
        spec: the model, if it is not in the registry.

    Attributes:
        changes: what is set otherwise than it was in the run that is continued, the steps left out.
        stopped: whether `stop` was called.

    Raises:
        TrainingError: the folder holds a run or other files of these names and `resume` is false, or it holds no run
            and `resume` is true, or the settings do not fit.
        UnreadableFile: a data folder without photos.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Sequence[Path],
        folder: Path,
        device: torch.device,
        *,
        validation: Path | None = None,
        validate_every: int = 5000,
        save_every: int = 500,
        resume: bool = False,
        workers: int = 0,
        spec: ModelSpec | None = None,
    ) -> None:
        self.spec = spec or find_model(recipe.model)
        self.recipe = recipe
        self.folder = folder
        self._files = RunFolder(folder)
        self.device = device
        self.step = 0
        self.seconds = 0.0
        self.crew = Crew.of_torchrun(device)
        for count in (recipe.batch, max(recipe.batch // 2, 1)):
            if count % self.crew.size:
                raise TrainingError(f"{count} crops cannot be shared by {self.crew.size} processes: change the batch")
        self._data = data
        self._examples = _examples(data, self.spec, folder)
        self._validation = _validation(validation, self.spec) if validation is not None else None
        self._validate_every, self._save_every = validate_every, save_every
        self._workers = workers
        self._waited = 0.0
        self.stopped = False
        self._skipped: dict[str, None] = {}
        self.changes: tuple[str, ...] = ()

        torch.manual_seed(recipe.seed)
        self.net = self.spec.config.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        multiple = getattr(self.net, "multiple", 1)
        if recipe.patch % multiple:
            raise TrainingError(f"patch {recipe.patch}: {recipe.model} needs a multiple of {multiple}")
        self.average = self.spec.config.build().to(device)
        if recipe.start and not resume:
            self._begin_with(recipe.start)
        self.average.load_state_dict(self.net.state_dict())
        self._arithmetic = torch.bfloat16 if has_native_bf16(device) else torch.float32
        # Points that are sent into other frames gather in one place unless each group has to find the picture alone.
        self._apart = (
            {"groups": self.net.groups} if self.spec.window > 1 and isinstance(self.net, KernelPredictor) else {}
        )
        self.optimizer = Muon(self.net.parameters(), recipe.learning_rate, recipe.weight_decay, self._arithmetic)
        self._open(resume)

    def run(self, minutes: float = math.inf, progress: Progress | None = None) -> Iterator[Report]:
        """Train to the last step, or for some minutes, yielding a report at every saved state and every score.

        The state is on disk whenever a report is out, and once more at the end. In the other processes of torchrun the
        steps are taken and nothing is yielded.

        Raises:
            TrainingError: no photo can be read, or the weights have exploded.
            OutOfMemory: the crops are too large or too many.
            UnwritableFile: the disk or the folder refuses; the last saved state stays.
        """
        started = time.monotonic()
        began_with = self.seconds
        since, pixels = started, self.recipe.pixels_until(self.step)
        losses: list[Tensor] = []
        unread: set[str] = set()
        forward = self.crew.wrap(self.net)  # not kept any longer: it holds on to what joins the processes
        for batch, unreadable in self._batches():
            if not batch:
                raise TrainingError(f"no photo can be read: {unreadable[0]}")
            if self.stopped or (minutes < math.inf and self.crew.agrees(time.monotonic() - started >= minutes * 60)):
                break
            with self._saying_what_takes_less_memory():
                losses.append(self._step(forward, *batch))
            unread.update(unreadable)
            self.step += 1
            done = self.recipe.pixels_until(self.step)
            if progress is not None:
                progress(done / self.recipe.pixels_until(self.recipe.steps))
            if not self._is_time_to_report():
                continue
            now = time.monotonic()
            self.seconds = began_with + now - started
            loss, skipped = self.crew.mean(torch.stack(losses).mean()).item(), self.crew.gather(sorted(unread))
            if self.crew.leads:
                speed, waiting = (done - pixels) / 1e6 / (now - since), self._waited / (now - since)
                self._save()
                report = self._report(loss, speed, waiting, skipped)
                self._log(report)
                yield report
            since, pixels, self._waited = time.monotonic(), done, 0.0
            losses.clear()
        self.seconds = began_with + time.monotonic() - started
        if self.crew.leads:
            self._save()

    def stop(self) -> None:
        """End `run` after the step that it is at, as the clock does; not for one process among several."""
        self.stopped = True

    def _loss(self, denoised: Tensor, clean: Tensor) -> Tensor:
        if self._apart:
            forget = FORGOTTEN ** (1 / (self.recipe.steps / 2))
            return annealed_gamma_l1(denoised, clean, self.step, gamma=forget)
        return gamma_l1(denoised, clean) if self.spec.space == "linear" else LOSSES[self.recipe.loss](denoised, clean)

    def _is_time_to_report(self) -> bool:
        milestone = self.step in (self.recipe.fall_begins, self.recipe.steps)
        return milestone or self.step % self._save_every == 0 or self._is_time_to_score()

    def _begin_with(self, start: str) -> None:
        first = load_net(start)
        is_wider = isinstance(self.net, MalleNetVideo) or getattr(self.net, "channels", COLOURS) != COLOURS
        if isinstance(self.net, MalleNet | MalleNetVideo) and isinstance(first, MalleNet) and is_wider:
            self.net.start_from(first)
        else:
            load_weights(self.net, first.state_dict(), start)

    def _is_time_to_score(self) -> bool:
        due = self.step % self._validate_every == 0 or self.step == self.recipe.steps
        return self._validation is not None and due

    def _batches(self) -> Iterator[Batch]:
        steps = range(self.step, self.recipe.steps)
        source = _Batches(self._examples, self.recipe, self.crew)
        loader = DataLoader(
            source, batch_size=None, sampler=steps, num_workers=self._workers, worker_init_fn=_leave_signals_to_the_run
        )
        batches = iter(loader)
        while True:
            asked = time.monotonic()
            with self._saying_what_takes_less_memory():
                batch = next(batches, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    @contextmanager
    def _saying_what_takes_less_memory(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            count, patch = self.recipe.shape_at(self.step)
            crops = f"{count} crops of {patch} x {patch} pixels"
            raise OutOfMemory(f"out of memory on {self.device} with {crops}: lower --batch or --patch") from error

    def _step(self, forward: nn.Module, noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
        noisy, clean, level = (part.to(self.device, non_blocking=True) for part in (noisy, clean, level))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(self.step)
        with torch.autocast(self.device.type, self._arithmetic, enabled=self._arithmetic != torch.float32):
            denoised = forward(noisy, level, **self._apart).float()
        loss = self._loss(denoised, clean)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        if not (loss.detach() + norm).isfinite():  # the gradient of an error that is not a number is zero
            again = "--resume" if self._files.holds_state else "start again"
            raise TrainingError(f"step {self.step}: the weights explode: {again} with a lower --learning-rate")
        self.optimizer.step()
        self._update_average()
        return loss.detach()

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young run forgets its first steps sooner than an old one.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - keep)

    def _report(self, loss: float, speed: float, waiting: float, skipped: Sequence[str]) -> Report:
        psnr, unscored = self._score() if self._is_time_to_score() else (None, [])
        new = [line for line in dict.fromkeys([*skipped, *unscored]) if line not in self._skipped]
        self._skipped |= dict.fromkeys(new)
        rate = self.recipe.learning_rate_at(self.step - 1)
        return Report(self.step, loss, rate, psnr, self.seconds, speed, waiting, tuple(new))

    def _score(self) -> tuple[float | None, list[str]]:
        assert self._validation is not None
        denoise = Denoiser(self.average, self.spec, self.device, torch.float32)
        noise, photos = self._validation
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
                    unread.append(str(error))

        T = self.spec.window if self.spec.window > 1 else None
        scored = score_all({"average": denoise}, samples(), T, failed=leave_out)
        scores = [results["average"][0].denoised for _, results in scored]
        return float(np.mean(scores)) if scores else None, unread

    def _open(self, resume: bool) -> None:
        settings = settings_of(self.recipe, self._data, len(self._examples.crops))
        if resume:
            self._load()
            self.changes = self._files.changes(settings)
        else:
            self._files.check_free()
        if self.crew.leads:
            self._files.open(settings, self.step)

    def _save(self) -> None:
        optimizer = self.optimizer.state_dict()["state"]
        average = self.average.state_dict()
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        tensors |= {f"optimizer.{i}.{key}": tensor for i, state in optimizer.items() for key, tensor in state.items()}
        note = {"model": self.recipe.model, "step": str(self.step), "seconds": str(self.seconds)}
        note["fall_begins"] = str(self.recipe.fall_begins)
        self._files.save(tensors, average, note)

    def _load(self) -> None:
        tensors, note = self._files.load(self.recipe.model, self.recipe.steps, self.recipe.fall_begins)
        load_weights(self.net, _under("net.", tensors), self.folder)
        load_weights(self.average, _under("average.", tensors), self.folder)
        optimizer = self.optimizer.state_dict()
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(optimizer)
        self.step, self.seconds = int(note["step"]), float(note["seconds"])

    def _log(self, report: Report) -> None:
        psnr = "" if report.psnr is None else f"{report.psnr:.4f}"
        row = [report.step, f"{report.loss:.6f}", f"{report.learning_rate:.3e}", psnr, f"{report.seconds:.1f}"]
        self._files.log([*row, f"{report.megapixels_per_second:.3f}", f"{report.waiting:.3f}"])


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


def _examples(data: Sequence[Path], spec: ModelSpec, scratch: Path) -> Examples:
    pairs = [find_pairs(folder) for folder in data]
    if any(pairs):
        if not all(pairs):
            alone = next(folder for folder, found in zip(data, pairs, strict=True) if not found)
            raise TrainingError(f"{alone}: holds no pairs, as the other folders do: choose photos of one kind")
        if spec.space != "srgb":
            raise TrainingError("pairs are encoded, this model works in linear light: choose clean photos")
        both = CropSource([pair for several in pairs for pair in several], scratch=scratch)
        return Pairs(both, spec.is_blind)
    crops: Source = _windows(data, spec.window, scratch) if spec.window > 1 else _photos(find_photos(data), scratch)
    return _examples_of(crops, spec)


def _examples_of(crops: Source, spec: ModelSpec) -> Examples:
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


@dataclass(frozen=True)
class _AsLearnt:
    """What a network for RAW learns from, one crop of each photo."""

    spec: ModelSpec

    def sample(self, path: Path, index: int) -> Sample:
        """As `Gaussian.sample`."""
        crop = _examples_of(CropSource([(path,)]), self.spec).draw(np.random.default_rng(index), VALIDATED)
        return Sample(path, crop.clean, crop.noisy, float(crop.level[0, 0]))


def _validation(folder: Path, spec: ModelSpec) -> tuple[Noise | _AsLearnt, list[Path]]:
    if spec.is_for_raw:
        return _AsLearnt(spec), find_photos([folder])
    pairs = find_pairs(folder)
    if pairs:
        return RealNoise(dict(pairs)), [noisy for noisy, _ in pairs]
    return SENSORS if spec.noise == "sensor" else WHITE, find_photos([folder])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
