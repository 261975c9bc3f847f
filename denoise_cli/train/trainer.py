"""The training loop, and the saved states from which an interrupted run continues.

A continued run takes the same steps as one that was never interrupted, on any number of devices.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from denoise_cli.errors import OutOfMemory, TrainingError, UsageError
from denoise_cli.inference.denoiser import denoiser_of
from denoise_cli.inference.device import has_native_bf16, is_out_of_memory
from denoise_cli.models.checkpoint import load_weights
from denoise_cli.models.registry import ModelSpec, find_model, load_net, multiple_of
from denoise_cli.nets.kernel_prediction import KernelPredictor
from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.mallenet_video import MalleNetVideo
from denoise_cli.nets.malleunet import MalleUNet
from denoise_cli.nets.mosaic_unet import MosaicUNet
from denoise_cli.pipeline.memory import bounded_memory
from denoise_cli.train.batches import Batch, find_examples, load_batches
from denoise_cli.train.distributed import ProcessGroup
from denoise_cli.train.losses import LOSSES, annealed_gamma_l1, gamma_l1
from denoise_cli.train.optimizer import Muon
from denoise_cli.train.recipe import Recipe, settings_of
from denoise_cli.train.run_folder import RunFolder
from denoise_cli.train.validation import find_validation, mean_psnr

GROUP_WEIGHT_HALFWAY = 1e-4  # weight of the losses of groups of points after half the steps, relative to the first step

Progress = Callable[[float], None]  # called with the fraction done, [0, 1]


@dataclass(frozen=True)
class Report:
    """The progress of a run.

    Attributes:
        step: number of steps done.
        loss: mean loss since the last report.
        learning_rate: learning rate of the last step.
        psnr: PSNR of the averaged weights on the validation photos, in dB; None if no score is due, or if none of the
            photos can be read.
        seconds: training time since the run was started, without interruptions.
        megapixels_per_second: speed since the last report.
        waiting: share of the time since the last report that was spent waiting for crops, [0, 1].
        skipped: a line for each photo that cannot be read; a photo is only in one report.
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
    """One training run in one folder; under torchrun, one process's share of it.

    Args:
        recipe: the settings; they replace those of a continued run.
        data: folders of clean photos, or of pairs (`noisy` and `clean` inside).
        folder: the run's folder; it is created if necessary.
        device: the device to train on.
        validation: a folder on which to score the averaged weights: pairs, or clean photos, which get noise of sigma
            25/255 or, for a model in linear light, the lower level in the deformable kernels' paper.
        validate_every: steps between two scores.
        save_every: steps between two saved states.
        resume: whether to continue the run in the folder.
        workers: processes that prepare crops in advance; 0 to prepare them between the steps.
        spec: the model, if it is not in the registry.

    Attributes:
        changes: descriptions of the settings that differ from those of the continued run, except the number of steps.
        stopped: whether `stop` has been called.

    Raises:
        UsageError: the patch does not suit the network.
        TrainingError: `resume` is false and the folder has a run or files with the names that a run uses, `resume` is
            true and the folder has no run, or the settings do not fit the model or the number of processes.
        UnreadableFile: a data folder has no photos.
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
        self.processes = ProcessGroup.from_torchrun(device)
        for count in (recipe.batch, max(recipe.batch // 2, 1)):
            if count % self.processes.size:
                size = self.processes.size
                raise TrainingError(f"{count} crops cannot be divided among {size} processes: change --batch")
        self._data = data
        self._examples = find_examples(data, self.spec, folder, recipe)
        self._validation = find_validation(validation, self.spec) if validation is not None else None
        self._validate_every, self._save_every = validate_every, save_every
        self._workers = workers
        self._waited = 0.0
        self.stopped = False
        self._skipped: dict[str, None] = {}
        self.changes: tuple[str, ...] = ()

        torch.manual_seed(recipe.seed)
        self.net = self.spec.config.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        multiple = multiple_of(self.net)
        if recipe.patch % multiple:
            raise UsageError(f"--patch {recipe.patch}: {recipe.model} needs a multiple of {multiple}")
        self.average = self.spec.config.build().to(device)
        if recipe.start and not resume:
            self._load_start(recipe.start)
        self.average.load_state_dict(self.net.state_dict())
        self._arithmetic = torch.bfloat16 if has_native_bf16(str(device)) else torch.float32
        # Sampling points in other frames all settle in one place unless each group has to predict the picture alone.
        self._net_options = (
            {"groups": self.net.groups} if self.spec.window > 1 and isinstance(self.net, KernelPredictor) else {}
        )
        learning = self._parameters_that_learn()
        self.optimizer = Muon(learning, recipe.learning_rate, recipe.weight_decay, self._arithmetic)
        self._open(resume)

    def run(self, minutes: float = math.inf, progress: Progress | None = None) -> Iterator[Report]:
        """Train to the last step or until the time is over, yielding a report at every saved state and every score.

        The state is saved before each report, and once more at the end. Under torchrun, only the leader yields reports.

        Args:
            minutes: the time limit.
            progress: called after each step.

        Raises:
            TrainingError: no photo can be read, or the training has diverged.
            OutOfMemory: the crops are too large or too many.
            UnwritableFile: a file of the run cannot be written; the last saved state is kept.
        """
        started = time.monotonic()
        seconds_before = self.seconds
        last_report, last_pixels = started, self.recipe.pixels_until(self.step)
        losses: list[Tensor] = []
        unreadable: set[str] = set()
        forward = self.processes.wrap(self.net)  # a local variable: it must be gone when the process group is left
        for batch, unreadable_so_far in self._batches():
            if not batch:
                raise TrainingError(f"no photo can be read: {unreadable_so_far[0]}")
            elapsed = time.monotonic() - started
            is_over = minutes < math.inf and self.processes.leader_decides(elapsed >= minutes * 60)
            if self.stopped or is_over:
                break
            with self._explaining_out_of_memory(), self._bounded_memory():
                losses.append(self._step(forward, *batch))
            unreadable.update(unreadable_so_far)
            self.step += 1
            pixels = self.recipe.pixels_until(self.step)
            if progress is not None:
                progress(pixels / self.recipe.pixels_until(self.recipe.steps))
            if not self._is_time_to_report():
                continue
            now = time.monotonic()
            self.seconds = seconds_before + now - started
            loss = self.processes.mean(torch.stack(losses).mean()).item()
            skipped = self.processes.gather(sorted(unreadable))
            if self.processes.is_leader:
                speed = (pixels - last_pixels) / 1e6 / (now - last_report)
                waiting = self._waited / (now - last_report)
                self._save()
                report = self._report(loss, speed, waiting, skipped)
                self._log(report)
                yield report
            last_report, last_pixels, self._waited = time.monotonic(), pixels, 0.0
            losses.clear()
        self.seconds = seconds_before + time.monotonic() - started
        if self.processes.is_leader:
            self._save()

    def stop(self) -> None:
        """End `run` after the current step, as the time limit does; only for a process that trains alone."""
        self.stopped = True

    def _loss(self, denoised: Tensor, clean: Tensor) -> Tensor:
        if self._net_options:
            decay = GROUP_WEIGHT_HALFWAY ** (1 / (self.recipe.steps / 2))
            return annealed_gamma_l1(denoised, clean, self.step, gamma=decay)
        return gamma_l1(denoised, clean) if self.spec.space == "linear" else LOSSES[self.recipe.loss](denoised, clean)

    def _parameters_that_learn(self) -> list[nn.Parameter]:
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith(self.recipe.only))
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        if not learning:
            raise TrainingError(f"only = {self.recipe.only!r}: no weights of {self.recipe.model} have such names")
        return learning

    def _is_time_to_report(self) -> bool:
        milestone = self.step in (self.recipe.fall_begins, self.recipe.steps)
        return milestone or self.step % self._save_every == 0 or self._is_time_to_score()

    def _load_start(self, start: str) -> None:
        source = load_net(start)
        net = self.net
        is_for_photos = isinstance(source, MalleNet) and isinstance(net, MalleNet | MalleNetVideo)
        is_for_clips = isinstance(source, MalleNetVideo) and isinstance(net, MalleNetVideo)
        is_unet = isinstance(source, MalleUNet) and isinstance(net, MalleUNet | MosaicUNet)
        if not (is_for_photos or is_for_clips or is_unet):
            load_weights(net, source.state_dict(), start)
            return
        try:
            net.start_from(source)
        except ValueError as error:
            raise TrainingError(f"start = {start!r}: {self.recipe.model} cannot start from it: {error}") from error

    def _is_time_to_score(self) -> bool:
        due = self.step % self._validate_every == 0 or self.step == self.recipe.steps
        return self._validation is not None and due

    def _batches(self) -> Iterator[Batch]:
        batches = load_batches(self._examples, self.recipe, self.processes, self.step, self._workers)
        while True:
            requested = time.monotonic()
            with self._explaining_out_of_memory(), self._bounded_memory():
                batch = next(batches, None)
            self._waited += time.monotonic() - requested
            if batch is None:
                return
            yield batch

    def _bounded_memory(self) -> AbstractContextManager[None]:
        """On a CPU a batch that does not fit must fail, which the system would kill the process for."""
        return bounded_memory() if self.device.type == "cpu" else nullcontext()

    @contextmanager
    def _explaining_out_of_memory(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            count, patch = self.recipe.shape_at(self.step)
            crops = f"{count} crops of {patch} x {patch} pixels"
            raise OutOfMemory(f"out of memory on {self.device} with {crops}: lower --batch or --patch") from error

    def _step(self, forward: nn.Module, noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
        noisy, clean, level = (one.to(self.device, non_blocking=True) for one in (noisy, clean, level))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(self.step)
        with torch.autocast(self.device.type, self._arithmetic, enabled=self._arithmetic != torch.float32):
            denoised = forward(noisy, level, **self._net_options).float()
        loss = self._loss(denoised, clean)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        if not (loss.detach() + norm).isfinite():  # the loss is checked too: the gradient of a NaN loss can be zero
            retry = "--resume" if self._files.holds_state else "start again"
            raise TrainingError(f"training diverged at step {self.step}: {retry} with a lower --learning-rate")
        self.optimizer.step()
        self._update_average()
        return loss.detach()

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on, the average decays faster, so that it soon forgets the initial weights.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - keep)

    def _report(self, loss: float, speed: float, waiting: float, skipped: Sequence[str]) -> Report:
        psnr, not_scored = self._score() if self._is_time_to_score() else (None, [])
        new = [line for line in dict.fromkeys([*skipped, *not_scored]) if line not in self._skipped]
        self._skipped |= dict.fromkeys(new)
        rate = self.recipe.learning_rate_at(self.step - 1)
        return Report(self.step, loss, rate, psnr, self.seconds, speed, waiting, tuple(new))

    def _score(self) -> tuple[float | None, list[str]]:
        assert self._validation is not None
        denoise = denoiser_of(self.average, self.spec, self.device, torch.float32)
        return mean_psnr(denoise, self.spec, self._validation)

    def _open(self, resume: bool) -> None:
        settings = settings_of(self.recipe, self._data, len(self._examples.crops))
        if resume:
            self._load()
            self.changes = self._files.changes(settings)
        else:
            self._files.check_free()
        if self.processes.is_leader:
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
        load_weights(self.net, _without_prefix("net.", tensors), self.folder)
        load_weights(self.average, _without_prefix("average.", tensors), self.folder)
        optimizer = self.optimizer.state_dict()
        for name, tensor in _without_prefix("optimizer.", tensors).items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(optimizer)
        self.step, self.seconds = int(note["step"]), float(note["seconds"])

    def _log(self, report: Report) -> None:
        psnr = "" if report.psnr is None else f"{report.psnr:.4f}"
        row = [report.step, f"{report.loss:.6f}", f"{report.learning_rate:.3e}", psnr, f"{report.seconds:.1f}"]
        self._files.log([*row, f"{report.megapixels_per_second:.3f}", f"{report.waiting:.3f}"])


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
