"""The training loop: random crops, fresh noise, and a run folder that a killed run continues from.

A run folder holds `run.json` (the settings), `state.safetensors` (all that the next step depends on), `log.csv` (for
plots) and `weights.safetensors` (the averaged weights, ready for the zoo). What a step sees depends on the seed and
the step's number alone, so a continued run takes the same steps as one that was never stopped.
"""

import csv
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from denoise_cli.checkpoint import load_weights, read_note, read_tensors, write_tensors
from denoise_cli.data.photos import CropSource, find_photos
from denoise_cli.denoiser import Denoiser, has_native_bf16
from denoise_cli.errors import TrainingError
from denoise_cli.evaluate import evaluate
from denoise_cli.zoo import find_model

LOG_COLUMNS = ("step", "loss", "learning_rate", "psnr", "seconds")
VALIDATION_SIGMA = 25 / 255
BETAS = (0.9, 0.99)  # a shorter memory than the default forgets the gradients of the first steps sooner


@dataclass(frozen=True)
class TrainConfig:
    """A run's settings. A step is one batch; sigma is drawn evenly from [0, the model's strongest] for each crop."""

    model: str
    data: tuple[Path, ...]
    steps: int = 100_000
    batch: int = 16
    patch: int = 64
    late: float = 0.6  # from this share of the steps on, crops are twice as wide and half as many
    learning_rate: float = 1e-3
    warmup: int = 500
    weight_decay: float = 1e-4
    clip: float = 0.5
    ema: float = 0.999
    seed: int = 0
    validation: Path | None = None
    validate_every: int = 5000
    save_every: int = 500

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def shape_at(self, step: int) -> tuple[int, int]:
        """Crops in the batch, and their side in pixels."""
        if step < self.late * self.steps:
            return self.batch, self.patch
        return max(self.batch // 2, 1), self.patch * 2


@dataclass(frozen=True)
class Report:
    """What the loop tells its caller once in a while."""

    step: int
    loss: float
    learning_rate: float
    psnr: float | None
    seconds: float


class Trainer:
    """One run in one folder.

    Args:
        config: the settings; those of a run that is continued replace the ones it was started with.
        folder: the run's folder, made where it is missing.
        device: where to train.
        resume: continue the run that is in the folder.

    Raises:
        TrainingError: the folder holds a run and `resume` is false, or the reverse.
        UnreadableFile: a data folder without photos.
    """

    def __init__(self, config: TrainConfig, folder: Path, device: torch.device, resume: bool = False) -> None:
        spec = find_model(config.model)
        self.config = config
        self.folder = folder
        self.device = device
        self.sigma_max = spec.sigma_max
        self.step = 0
        self.seconds = 0.0
        self.crops = CropSource(find_photos(config.data))
        self.validation = find_photos([config.validation]) if config.validation else []

        torch.manual_seed(config.seed)
        self.net = spec.config.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = spec.config.build().to(device)
        self.average.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, betas=BETAS, weight_decay=config.weight_decay, fused=True
        )
        self._open(resume)

    def run(self, minutes: float = math.inf) -> Iterator[Report]:
        """Train to the last step, or for some minutes, yielding a report every `save_every` steps.

        The state is on disk whenever a report is out, and once more at the end.
        """
        started = time.monotonic()
        began_with = self.seconds
        losses: list[Tensor] = []
        while self.step < self.config.steps and time.monotonic() - started < minutes * 60:
            losses.append(self._step())
            self.step += 1
            last = self.step == self.config.steps
            if self.step % self.config.save_every == 0 or last:
                self.seconds = began_with + time.monotonic() - started
                report = self._report(torch.stack(losses).mean().item(), last)
                losses.clear()
                self._log(report)
                self._save()
                yield report
        self.seconds = began_with + time.monotonic() - started
        self._save()

    def _step(self) -> Tensor:
        rng = np.random.default_rng((self.config.seed, self.step))
        count, patch = self.config.shape_at(self.step)
        clean = torch.from_numpy(self.crops.batch(rng, count, patch))
        sigma = torch.from_numpy(rng.uniform(0, self.sigma_max, (count, 1, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        noisy, clean, level = self._to_device(clean + sigma * noise, clean, sigma.expand(-1, 1, patch, patch))

        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_native_bf16(self.device)):
            loss = nn.functional.l1_loss(self.net(noisy, level).float(), clean)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip, error_if_nonfinite=True)
        self.optimizer.step()
        self._update_average()
        return loss.detach()

    def _to_device(self, *batches: Tensor) -> list[Tensor]:
        return [batch.to(self.device, memory_format=torch.channels_last) for batch in batches]

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young run forgets its first steps sooner than an old one.
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - keep)

    def _report(self, loss: float, last: bool) -> Report:
        psnr = None
        if self.validation and (self.step % self.config.validate_every == 0 or last):
            denoise = Denoiser(self.average, self.sigma_max, self.device, torch.float32)
            scores = [score.denoised for score in evaluate(denoise, self.validation, VALIDATION_SIGMA)]
            psnr = float(np.mean(scores))
        return Report(self.step, loss, self.config.learning_rate_at(self.step - 1), psnr, self.seconds)

    def _open(self, resume: bool) -> None:
        state = self.folder / "state.safetensors"
        if state.exists() and not resume:
            raise TrainingError(f"{self.folder}: holds a run already: add --resume to continue it, or choose another")
        if resume:
            if not state.exists():
                raise TrainingError(f"{self.folder}: holds no run to continue: leave --resume away to start one")
            self._load(state)
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = dataclasses.asdict(self.config)
        (self.folder / "run.json").write_text(json.dumps(settings, indent=2, default=str) + "\n")
        self._trim_log()

    def _save(self) -> None:
        optimizer = self.optimizer.state_dict()["state"]
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        tensors |= {f"optimizer.{i}.{key}": tensor for i, state in optimizer.items() for key, tensor in state.items()}
        note = {"model": self.config.model, "step": str(self.step), "seconds": str(self.seconds)}
        write_tensors(self.folder / "state.safetensors", tensors, note)
        write_tensors(self.folder / "weights.safetensors", self.average.state_dict(), note)

    def _load(self, path: Path) -> None:
        note = read_note(path)
        if note.get("model") != self.config.model:
            raise TrainingError(f"{self.folder}: trains {note.get('model')}, not {self.config.model}")
        tensors = read_tensors(path)
        load_weights(self.net, _under("net.", tensors), path)
        load_weights(self.average, _under("average.", tensors), path)
        optimizer = self.optimizer.state_dict()
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(optimizer)
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                if value.ndim:  # the fused step pairs values by their place in memory
                    state[key] = torch.empty_like(parameter).copy_(value)
        self.step, self.seconds = int(note["step"]), float(note["seconds"])

    def _log(self, report: Report) -> None:
        psnr = "" if report.psnr is None else f"{report.psnr:.4f}"
        row = [report.step, f"{report.loss:.6f}", f"{report.learning_rate:.3e}", psnr, f"{report.seconds:.1f}"]
        with (self.folder / "log.csv").open("a", newline="") as file:
            csv.writer(file).writerow(row)

    def _trim_log(self) -> None:
        """Start the log, or drop the lines that a killed run wrote after its last saved state."""
        path = self.folder / "log.csv"
        rows = list(csv.reader(path.read_text().splitlines()))[1:] if path.exists() else []
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([LOG_COLUMNS, *(row for row in rows if int(row[0]) <= self.step)])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
