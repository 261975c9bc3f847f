"""Repeat the papers' experiments at a small scale: python docs/experiments/run.py NAME --data DATA --out RUNS.

Each prints its table as Markdown and writes its pictures to docs/images. All networks of an experiment are trained with
the same steps, crops, noise and seed. An interrupted run is resumed, and a network that has been trained is only timed
again.
"""

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.benchmark.timing import max_rss_bytes
from denoise_cli.data.photos import find_photos
from denoise_cli.evaluation.plots import plot_trade_off
from denoise_cli.evaluation.samples import Sample, ShotReadNoise, WhiteNoise, add_gaussian_noise
from denoise_cli.evaluation.scores import mean, score, score_all
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.noise import estimate_levels
from denoise_cli.imaging.pixels import to_float
from denoise_cli.imaging.windows import window
from denoise_cli.inference.denoiser import Denoiser, denoiser_of, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.models.checkpoint import load_weights, read_tensors
from denoise_cli.models.registry import Config, ModelSpec, find_model, load_net
from denoise_cli.nets.configs import DeformableKernelNetConfig, KPNConfig, MalleNetVideoConfig
from denoise_cli.nets.dncnn import DnCNNConfig
from denoise_cli.nets.dynamic import HyperConv
from denoise_cli.nets.malleconv import MalleConv, split_kernels
from denoise_cli.nets.rdn import RDNConfig
from denoise_cli.nets.unet import UNetConfig
from denoise_cli.ops.malleable import malleable_conv2d
from denoise_cli.train.recipe import Recipe
from denoise_cli.train.trainer import Trainer

IMAGES = Path(__file__).parents[1] / "images"
CPU = torch.device("cpu")
TRAINING = ("photos-1", "photos-2", "bsd432")
WHITE = (WhiteNoise(25 / 255), WhiteNoise(50 / 255))
SENSOR = (ShotReadNoise(2.5e-3, 1e-2), ShotReadNoise(6.4e-3, 2e-2))  # the deformable kernels' paper's low and high
SIDE = 256  # pixels: of the picture that is timed
REPEATS = 15
# Small batches, as there are many networks, which are only compared with each other.
BATCH = 8  # crops
PATCH = 64  # pixels: side of a crop
# As many pixels, but larger crops because things move.
CLIP_BATCH = 2  # crops
CLIP_PATCH = 128  # pixels: side of a crop
FRAMES = 5  # of a window
UNEQUAL = ((14, 14, 14), (0, 0, 14), (5, 3, 25), (50, 0, 0))  # levels of R, G and B, of 255
UNEQUAL_PHOTOS = 6
TRIPOD_PHOTOS = 5
TRIPOD_FRAMES = 9
MEGAPIXEL_SIDE = 1024  # pixels
SIGMA = 50 / 255
# In the astronaut photo, as shares of height and width: the dark backdrop, and the badge on her suit.
POSITIONS = {"of the backdrop": (0.1, 0.12), "of the badge": (0.68, 0.55)}
CROP = np.s_[128:384, 128:384]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Trains, scores and times networks.

    Attributes:
        data: the folder with train/ and eval/.
        out: the folder for the training runs.
        steps: how many steps each network is trained.
        photos: how many photos of CBSD68 are scored.
    """

    data: Path
    out: Path
    steps: int
    photos: int

    def row(self, name: str, spec: ModelSpec, noises: Sequence[WhiteNoise | ShotReadNoise]) -> "Row":
        """Train and score a network, unless that is done already, and time it."""
        net = self._train(name, spec)
        milliseconds = _milliseconds(net, spec.window)
        saved = self.out / name / f"scores-{self.steps}-{self.photos}.json"
        if not saved.exists():
            saved.write_text(json.dumps(self._scores(net, spec, noises)))
        return Row(name, _giga_multiply_adds(net, spec.window), milliseconds, json.loads(saved.read_text()))

    def _scores(self, net: nn.Module, spec: ModelSpec, noises: Sequence[WhiteNoise | ShotReadNoise]) -> list[float]:
        denoise = denoiser_of(net, spec, CPU, torch.float32)
        if spec.window > 1:
            paths = find_photos([self.data / "eval" / "clips"])
            return [statistics.mean(_score_frames(denoise, spec.window, paths, noise)) for noise in noises]
        paths = find_photos([self.data / "eval" / "cbsd68"])[: self.photos]
        return [
            statistics.mean(score(denoise, noise.sample(path, i))[0].denoised for i, path in enumerate(paths))
            for noise in noises
        ]

    def _train(self, name: str, spec: ModelSpec) -> nn.Module:
        folder = self.out / name
        recipe = Recipe(name, steps=self.steps, batch=BATCH, patch=PATCH, loss="l1")
        training_sets: tuple[str, ...] = TRAINING
        if spec.window > 1:
            recipe = dataclasses.replace(recipe, batch=CLIP_BATCH, patch=CLIP_PATCH)
            training_sets = ("clips", *TRAINING)
        data = [self.data / "train" / training_set for training_set in training_sets]
        resume = (folder / "state.safetensors").exists()
        for report in Trainer(recipe, data, folder, CPU, resume=resume, spec=spec).run():
            print(f"{name}: step {report.step}, loss {report.loss:.5f}", file=sys.stderr)
        net = spec.config.build()
        weights = folder / "weights.safetensors"
        load_weights(net, read_tensors(weights), weights)
        return net.eval()


@dataclasses.dataclass(frozen=True)
class Row:
    """A network's row in a table."""

    name: str
    giga: float
    milliseconds: float
    scores: Sequence[float]

    def __str__(self) -> str:
        cells = [self.name, f"{self.giga:.2f}", f"{self.milliseconds:.1f}", *(f"{dB:.2f}" for dB in self.scores)]
        return f"| {' | '.join(cells)} |"


def _score_frames(
    denoise: Denoiser, T: int, paths: Sequence[Path], noise: WhiteNoise | ShotReadNoise
) -> Iterator[float]:
    """The PSNR of each frame as the network returns it: without cutting into scenes or averaging frames."""
    samples = (noise.sample(path, index) for index, path in enumerate(paths))
    for _, frames in groupby(samples, key=lambda sample: sample.path.parent):
        clip = list(frames)
        for index, sample in enumerate(clip):
            neighbours = [clip[other].noisy for other in window(index, len(clip), T)[1:]]
            yield score(partial(denoise, neighbours=neighbours), sample)[0].denoised


def plug_in(bench: Bench) -> None:
    """Compare MalleConv with a plain convolution and other dynamic filters in DnCNN, a U-Net and RDN (4.1, 4.3)."""
    _print_head("network", "G multiply-adds", "ms", "dB at 25", "dB at 50")
    curves: dict[str, list[tuple[float, float]]] = {}
    layers = ("conv", "malleable", "hyper", "involution")
    for width, depths, middles in ((16, (3, 6, 9, 15), layers), (32, (3, 6), layers[:2])):
        for depth in depths:
            for middle in middles:
                name = f"dncnn-{depth}x{width}-{middle}"
                row = bench.row(name, ModelSpec(DnCNNConfig(depth, width, middle), ""), WHITE)
                print(row, flush=True)
                curves.setdefault(f"{middle}, width {width}", []).append((row.milliseconds, row.scores[0]))
    others: Mapping[str, Callable[[str], Config]] = {
        "unet": lambda middle: UNetConfig(16, middle=middle),  # type: ignore[arg-type]
        "rdn": lambda middle: RDNConfig(16, middle=middle),  # type: ignore[arg-type]
    }
    for name, config in others.items():
        for middle in ("conv", "malleable"):
            print(bench.row(f"{name}-16-{middle}", ModelSpec(config(middle), ""), WHITE), flush=True)
    plot_trade_off(curves, "milliseconds at 256 x 256", "CBSD68 at sigma 25, dB", IMAGES / "plug-in.png")


def pool(bench: Bench) -> None:
    """Compare sizes of the average pool before the kernel predictor (table 2)."""
    _print_head("network", "G multiply-adds", "ms", "dB at 25", "dB at 50")
    for side in (0, 2, 4, 8):
        config = DnCNNConfig(6, 16, "malleable", pool=side)  # type: ignore[arg-type]
        print(bench.row(f"dncnn-6x16-pool-{side}", ModelSpec(config, ""), WHITE), flush=True)


def deformable(bench: Bench) -> None:
    """Compare deformable kernels with rigid ones."""
    _print_head("network", "G multiply-adds", "ms", "dB at low", "dB at high")
    nets: Mapping[str, Config] = {
        "deformable": DeformableKernelNetConfig(16),
        "deformable-blind": DeformableKernelNetConfig(16, blind=True),
        "rigid": DeformableKernelNetConfig(16, deformable=False),
        "kpn": KPNConfig(16),
    }
    for name, config in nets.items():
        print(bench.row(name, ModelSpec(config, "", space="linear", noise="sensor"), SENSOR), flush=True)


def clips(bench: Bench) -> None:
    """Compare kernels for clips: along estimated motion, with learnt offsets, and rigid."""
    _print_head("network", "G multiply-adds", "ms", "dB at low", "dB at high")
    nets: Mapping[str, Config] = {
        "mallenet-v": MalleNetVideoConfig(16),
        "mallenet-v-rigid": MalleNetVideoConfig(16, follows_motion=False),
        "deformable-3d": DeformableKernelNetConfig(16, side=3, frames=FRAMES),
        "rigid-3d": DeformableKernelNetConfig(16, side=3, frames=FRAMES, deformable=False),
        "kpn-3d": KPNConfig(16, frames=FRAMES),
    }
    for name, config in nets.items():
        spec = ModelSpec(config, "", space="linear", noise="sensor", window=FRAMES)
        print(bench.row(name, spec, SENSOR), flush=True)


def still(bench: Bench) -> None:
    """Measure flicker on a tripod: every frame of a clip is the same photo with different noise."""
    _print_head("model", "dB at 25", "flicker at 25", "dB at 50", "flicker at 50")
    photos = find_photos([bench.data / "eval" / "cbsd68"])[:: bench.photos // TRIPOD_PHOTOS]
    for model in ("mallenet-s", "mallenet-m", "mallenet-v"):
        denoisers = {model: load_denoiser(model, "cpu", "fp32")}
        cells = []
        for noise in WHITE:
            T = FRAMES if denoisers[model].takes_neighbours else 1
            scored = score_all(denoisers, _tripod_frames(photos, noise.sigma), T)
            scores = mean([results[model][0] for _, results in scored])
            cells += [f"{scores['denoised']:.2f}", f"{scores['flicker']:.2f}"]
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


def _tripod_frames(photos: Sequence[Path], sigma: float) -> Iterator[Sample]:
    for photo in photos:
        clean = image.read(photo).as_float()
        for index in range(TRIPOD_FRAMES):
            yield Sample(photo / str(index), clean, add_gaussian_noise(clean, sigma, index), sigma)


def channels(bench: Bench) -> None:
    """Remove noise that differs from channel to channel, whose levels are estimated, from photos of 8 bits."""
    models = ("mallenet-r", "mallenet-s", "mallenet-m", "mallenet-u")
    denoisers = {model: load_denoiser(model, "cpu") for model in models}
    photos = find_photos([bench.data / "eval" / "cbsd68"])[:: bench.photos // UNEQUAL_PHOTOS][:UNEQUAL_PHOTOS]
    _print_head("R, G, B", "noisy", *models)
    for levels in UNEQUAL:
        scores: dict[str, list[float]] = {name: [] for name in ("noisy", *models)}
        rng = np.random.default_rng(0)
        for path in photos:
            clean = image.read(path).as_float()
            noise = np.array(levels) / 255 * rng.standard_normal(clean.shape)
            noisy = np.rint((clean + noise).clip(0, 1) * 255).astype(np.uint8)
            scores["noisy"].append(psnr(to_float(noisy), clean))
            for model, denoise in denoisers.items():
                told = None if denoise.is_blind else estimate_levels(noisy, 255)
                scores[model].append(psnr(to_float(denoise.denoise_stored(noisy, 255, told)), clean))
        cells = [f"{statistics.mean(scores[name]):.2f}" for name in ("noisy", *models)]
        print(f"| {', '.join(map(str, levels))} | {' | '.join(cells)} |", flush=True)


def memory(_bench: Bench) -> None:
    """Measure the memory that kernels for a megapixel of features need in training (section 4.5, figure 10)."""
    _print_head("channels", *LAYERS)
    for channels in (16, 32, 64):
        cells = [f"{_peak_megabytes(method, channels):.0f} MB" for method in LAYERS]
        print(f"| {channels} | {' | '.join(cells)} |", flush=True)


def _peak_megabytes(method: str, channels: int) -> float:
    """The result of `memory_of`, measured in its own process."""
    command = [sys.executable, __file__, "memory-of", "--method", method, "--channels", str(channels)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory_of(method: str, channels: int) -> float:
    """The MiB that a layer adds at its peak, forward and backward, to a megapixel of features and their gradient."""
    layer = LAYERS[method](channels)
    features = torch.randn(1, channels, MEGAPIXEL_SIDE, MEGAPIXEL_SIDE, requires_grad=True)
    features.grad = torch.zeros_like(features)
    before = resource.getrusage(resource.RUSAGE_SELF)
    layer(features).sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (max_rss_bytes(after.ru_maxrss) - max_rss_bytes(before.ru_maxrss)) / 2**20


class OnTheFly(MalleConv):
    """Keeps only the grid for the backward pass, and slices it again there."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        kernels, bias = split_kernels(self.predictor(features), self.channels)
        filtered: Tensor = checkpoint(malleable_conv2d, features, kernels, bias, use_reentrant=False)
        return features + filtered


LAYERS: Mapping[str, Callable[[int], nn.Module]] = {
    "on the fly": lambda channels: OnTheFly(channels, channels, 1),
    "upsampled": lambda channels: MalleConv(channels, channels, 1),
    "per pixel": lambda channels: HyperConv(channels, channels, 1),
}


def one_kernel(_bench: Bench) -> None:
    """Apply the kernels of one position to the whole picture (section 4.4, figure 11)."""
    from skimage import data

    net, spec = load_net("mallenet-s"), find_model("mallenet-s")
    denoise = denoiser_of(net, spec, CPU, torch.float32)
    clean = to_float(data.astronaut())
    noisy = add_gaussian_noise(clean, SIGMA, 0)
    pictures = [noisy, denoise(noisy, sigma=SIGMA)]
    for y, x in POSITIONS.values():
        hooks = [
            layer.predictor.register_forward_hook(_use_kernels_of(y, x))
            for layer in net.modules()
            if isinstance(layer, MalleConv)
        ]
        pictures.append(denoise(noisy, sigma=SIGMA))
        for hook in hooks:
            hook.remove()
    _print_head("kernels", "dB")
    for name, picture in zip(("(noisy)", "its own", *POSITIONS), pictures, strict=True):
        print(f"| {name} | {psnr(picture.clip(0, 1), clean):.2f} |")
    row = np.hstack([picture[CROP] for picture in pictures]).clip(0, 1)
    photo = Photo(np.rint(row * 255).astype(np.uint8), None, "png")
    image.write(IMAGES / "one-kernel.png", photo, "png", "denoise", overwrite=True)


def _use_kernels_of(y: float, x: float) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """A forward hook of a kernel predictor, with the position as shares of height and width."""

    def replace(_module: nn.Module, _inputs: object, grid: Tensor) -> Tensor:
        h, w = grid.shape[-2:]
        row, column = int(y * h), int(x * w)
        return grid[..., row : row + 1, column : column + 1].expand_as(grid)

    return replace


def _giga_multiply_adds(net: nn.Module, frames: int) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(*_inputs(frames))
    return counter.get_total_flops() / 2e9


def _milliseconds(net: nn.Module, frames: int) -> float:
    """The median of several runs on one picture, in float32."""
    with torch.no_grad():
        return statistics.median(_seconds(net, frames) for _ in range(REPEATS)) * 1e3


def _seconds(net: nn.Module, frames: int) -> float:
    inputs = _inputs(frames)
    started = time.perf_counter()
    net(*inputs)
    return time.perf_counter() - started


def _inputs(frames: int) -> tuple[Tensor, Tensor]:
    picture = torch.zeros(1, 3 * frames, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    return picture, torch.zeros(1, 1, SIDE, SIDE)


def _print_head(*columns: str) -> None:
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


EXPERIMENTS = {
    "plug-in": plug_in,
    "pool": pool,
    "memory": memory,
    "one-kernel": one_kernel,
    "channels": channels,
    "deformable": deformable,
    "clips": clips,
    "still": still,
}
TRAINED = ("plug-in", "pool", "deformable", "clips")


def main() -> None:
    """Run the experiment that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*EXPERIMENTS, "memory-of"])
    parser.add_argument("--data", type=Path, help="the folder with train/ and eval/")
    parser.add_argument("--out", type=Path, help="the folder for the training runs")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--photos", type=int, default=68, help="how many photos of CBSD68 to score on")
    parser.add_argument("--method", choices=LAYERS)
    parser.add_argument("--channels", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)  # so that a time does not depend on what else the machine does
    if given.name == "memory-of":
        print(memory_of(given.method, given.channels))
        return
    if given.name in (*TRAINED, "still") and not (given.data and given.out):
        parser.error(f"{given.name}: name --data and --out")
    EXPERIMENTS[given.name](Bench(given.data, given.out, given.steps, given.photos))


if __name__ == "__main__":
    main()
