"""What becomes of clips as cameras write them, not only of white noise: PSNR and flicker of each denoiser.

    python docs/experiments/camera_clips.py DATA/eval/clips
    python docs/experiments/camera_clips.py DATA/eval/clips --model mallenet-r --filters --pictures FOLDER

Clean clips become noisy ones of several kinds, each stored in a file, and each file is denoised as `denoise video` does
it: with its default options, with each `--model`, and with the best of several levels told to `--told`; and, with
`--filters`, by FFmpeg's denoisers, each at the best of several strengths. The best is looked for in each clip, uphill
from the middle. What is compared with is the clean clip, which went through the same development and was stored in the
same pixel format without loss. PSNR is the mean over the frames of all clips, in RGB, flicker that of
`denoise eval`. The settings of the cameras are fixed, and no model was trained with them.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

import av
import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.clips import find_clips
from denoise_cli.evaluation.report import most_detailed_crop
from denoise_cli.evaluation.scores import EXACT_PSNR, flicker
from denoise_cli.imaging.camera import gaussian_blur, sharpen
from denoise_cli.imaging.colour import LUMA, draw_colours
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.imaging.yuv import to_rgb
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.grid import Tile, write_grid
from denoise_cli.io.program import run_ffmpeg
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame
from denoise_cli.pipeline.clip import denoised
from denoise_cli.pipeline.model_choice import model_for_clip

Array = NDArray[np.float32]
Clip = list[Array]  # frames, (H, W, 3), encoded, [0, 1]

MOST_ROWS, MOST_COLUMNS = 270, 480  # pixels to which clips are cropped
RATE = 25  # frames per second
WINDOW = 5  # frames, as `denoise video` has it
LEVELS = (2, 4, 7, 10, 14, 19, 25, 33, 42)  # told to a model, of 255
# Strengths of FFmpeg's filters: from hardly any effect to too much.
FILTERS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "nlmeans": ("nlmeans=s={}", (1, 1.5, 2, 3, 4.5, 7, 10, 15, 22, 30)),
    "bm3d": ("bm3d=sigma={}", (4, 8, 15, 25, 40, 60, 90, 130, 190)),
    "hqdn3d": ("hqdn3d={}", (1, 2, 4, 8, 12, 18, 26, 40)),
    "vaguedenoiser": ("vaguedenoiser=threshold={}", (0.5, 1, 2, 4, 7, 11, 16, 24, 36)),
}
NOISY, TOLD = "noisy", "best level told"
GAIN = 4  # by which differences are amplified in pictures, around middle grey

WHITE = 25 / 255
# Two sensors at a high sensitivity; a share of the light that saturates them, and how its noise is spread.
COLOURS = draw_colours(np.random.default_rng(22))
DIM_ROOM = Sensor(ShotRead(0.003, 0.004), red=1.7, blue=2.2, colours=COLOURS, exposure=0.3)
PHONE = Sensor(ShotRead(0.007, 0.008), red=2.1, blue=1.5, colours=COLOURS, exposure=0.9, phase=(1, 0))
LUMA_GRAIN, CHROMA_GRAIN = 0.7, 1.8  # pixels, by which the phone has blurred the noise
SHARPENING = 0.8  # factor of unsharp masking
# Noise of colour: deviations in Cb and Cr and, white, in luma, and the pixels by which that of colour is blurred.
CHROMA_NOISE, CHROMA_LUMA, BLOTCHES = 10 / 255, 3 / 255, 2.5
FROM_CHROMA = np.array([[0, -0.344136, 1.772], [1.402, -0.714136, 0]], np.float32)  # BT.601, from Cb and Cr to RGB


@dataclass(frozen=True)
class Codec:
    """How a clip is stored: an encoder of FFmpeg with its options, and bits per pixel; None if nothing is lost."""

    name: str
    options: tuple[str, ...] = ()
    bits: float | None = None
    pixel_format: str = "yuv420p"


LOSSLESS, LOSSLESS_444 = Codec("ffv1"), Codec("ffv1", pixel_format="yuv444p")
# A phone's encoder is fast and looks at few frames.
FAST = Codec("libx264", ("-preset", "veryfast", "-bf", "0"), 0.2)
GOOD = Codec("libx264", ("-preset", "medium"), 0.1)
HEVC = Codec("libx265", ("-preset", "medium", "-x265-params", "log-level=none"), 0.1)
MOST_CRF = 51  # of both encoders


@dataclass(frozen=True)
class Kind:
    """A kind of clips: what makes a frame noisy and clean from one that is clean, and how both are stored."""

    take: Callable[[Array, np.random.Generator], tuple[Array, Array]]
    codec: Codec


def white(clean: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """White noise, alike in all channels and at every brightness."""
    return clean + np.float32(WHITE) * rng.standard_normal(clean.shape, np.float32), clean


def dim_room(clean: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Few photons, and development without any denoising."""
    return developed(DIM_ROOM, clean, rng)


def phone(clean: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """A camera that smooths its noise, that of colour most, and then sharpens."""
    noisy, truth = developed(PHONE, clean, rng)
    luma = ((noisy - truth) @ LUMA)[..., None]
    blurred = gaussian_blur(luma, LUMA_GRAIN) + gaussian_blur(noisy - truth - luma, CHROMA_GRAIN)
    return sharpen(truth + blurred, SHARPENING), sharpen(truth, SHARPENING)


def blotchy(clean: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Soft, strong noise of colour, and hardly any of brightness."""
    blotches = gaussian_blur(rng.standard_normal((*clean.shape[:2], 2), np.float32), BLOTCHES)
    luma = rng.standard_normal((*clean.shape[:2], 1), np.float32)
    noise = CHROMA_NOISE * blotches / blotches.std() @ FROM_CHROMA + CHROMA_LUMA * luma
    return clean + noise.astype(np.float32), clean


def nothing(clean: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """No noise."""
    return clean, clean


KINDS = {
    "white 25": Kind(white, LOSSLESS_444),
    "dim room": Kind(dim_room, LOSSLESS),
    "camera": Kind(phone, LOSSLESS),
    "camera, H.264": Kind(phone, FAST),
    "camera, H.264, low": Kind(phone, GOOD),
    "camera, HEVC, low": Kind(phone, HEVC),
    "chroma": Kind(blotchy, LOSSLESS),
    "clean": Kind(nothing, LOSSLESS),
    "clean, H.264": Kind(nothing, FAST),
}
CLEAN = [name for name, kind in KINDS.items() if kind.take is nothing]


@dataclass(frozen=True)
class Denoisers:
    """What is compared: models by their names, a model that is told the level, and names of `FILTERS`."""

    models: Mapping[str, Denoiser]
    told: Denoiser
    filters: Sequence[str]


@dataclass
class Figures:
    """PSNR in dB and flicker of every frame, and the setting of every clip."""

    psnr: list[float] = field(default_factory=list)
    flicker: list[float] = field(default_factory=list)
    settings: list[float] = field(default_factory=list)

    def add(self, result: Clip, truth: Clip, setting: float | None = None) -> None:
        """Score a clip."""
        self.psnr += quality(result, truth)
        pairs = zip(result[1:], truth[1:], result, truth, strict=False)
        self.flicker += [value for four in pairs if (value := flicker(*four)) is not None]
        self.settings += [] if setting is None else [setting]

    @property
    def dB(self) -> float:  # noqa: N802 - the unit's name
        """The mean PSNR."""
        return fmean(self.psnr)

    def __str__(self) -> str:
        least, most = (f(self.settings, default=None) for f in (min, max))
        at = "" if least is None else f" ({least:g})" if least == most else f" ({least:g} to {most:g})"
        return f"{self.dB:.2f}, {fmean(self.flicker):.2f}{at}" if self.flicker else f"{self.dB:.2f}, -{at}"


def developed(sensor: Sensor, scene: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """A scene as a sensor measures it, with and without its noise, demosaiced and encoded for sRGB."""
    mosaics = sensor.normalise(sensor.capture(scene, rng)), sensor.measure(scene)
    noisy, clean = (linear_to_srgb(sensor.develop(mosaic, "malvar")).astype(np.float32) for mosaic in mosaics)
    return noisy, clean


def store(frames: Sequence[Array], path: Path, codec: Codec) -> None:
    """Encode frames, if `codec` limits the bits with the best quality that these allow."""
    numbers = np.rint(np.clip(np.stack(frames), 0, 1) * 65535).astype("<u2")
    H, W, _ = frames[0].shape
    raw = path.with_suffix(".raw")
    raw.write_bytes(numbers.tobytes())
    source = ["-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", f"{W}x{H}", "-r", str(RATE), "-i", str(raw)]
    scale = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int", "-pix_fmt", codec.pixel_format]

    def encode(*quality: str) -> int:
        run(*source, *scale, "-c:v", codec.name, *codec.options, *quality, str(path))
        with av.open(path) as container:
            return sum(packet.size for packet in container.demux(video=0))

    if codec.bits is None:
        encode()
        return
    most = codec.bits * H * W * len(frames) / 8
    low, high = 0, MOST_CRF
    while low < high:  # the lowest number that is small enough
        middle = (low + high) // 2
        low, high = (low, middle) if encode("-crf", str(middle)) <= most else (middle + 1, high)
    encode("-crf", str(low))


def read(path: Path) -> Clip:
    """The frames of a clip in RGB, as they are shown."""
    with Reader(path) as reader:
        return [shown(frame) for frame in reader.frames()]


def shown(frame: Frame) -> Array:
    """A frame in RGB."""
    return to_rgb(frame.planes, frame.layout).clip(0, 1)


def with_model(path: Path, denoise: Denoiser, sigma: float | None = None) -> tuple[Clip, float | None]:
    """The frames that `denoise video` would encode, and the median level that was found, of 255."""
    with Reader(path) as reader:
        found = [(shown(frame), level) for frame, level in denoised(reader.frames(), denoise, WINDOW, sigma)]
    levels = [255 * level for _, level in found if level is not None]
    return [frame for frame, _ in found], round(median(levels), 1) if levels else None


def with_filter(path: Path, graph: str) -> Clip:
    """The frames as a filter of FFmpeg makes them."""
    target = path.with_name("filtered.mkv")
    with Reader(path) as reader:
        form = reader.stream.codec_context.format.name
    run("-i", str(path), "-vf", graph, "-pix_fmt", form, "-c:v", "ffv1", str(target))
    return read(target)


def run(*words: str) -> None:
    """Run the ffmpeg program."""
    failure = run_ffmpeg(*words)
    if failure is not None:
        raise RuntimeError(failure)


def quality(result: Clip, truth: Clip) -> list[float]:
    """PSNR of each frame in dB."""
    return [min(psnr(*pair), EXACT_PSNR) for pair in zip(result, truth, strict=True)]


def best(settings: Sequence[float], attempt: Callable[[float], Clip], truth: Clip) -> tuple[Clip, float]:
    """The best result and its setting, uphill from the middle of the settings."""
    tried: dict[int, Clip] = {}

    def height(place: int) -> float:
        if place not in tried:
            tried[place] = attempt(settings[place])
        return fmean(quality(tried[place], truth))

    top, place = -1, len(settings) // 2
    while place != top:
        top = place
        place = max((n for n in (top, top + 1, top - 1) if 0 <= n < len(settings)), key=height)
    return tried[top], settings[top]


def results_of(
    path: Path, truth: Clip, denoisers: Denoisers, is_noisy: bool
) -> Iterator[tuple[str, Clip, float | None]]:
    """Each denoiser's name, its result, and the level that it found or the setting at which it is best."""
    yield NOISY, read(path), None
    for name, denoise in denoisers.models.items():
        yield name, *with_model(path, denoise)
    if not is_noisy:  # the weakest is best
        return
    told = denoisers.told
    yield TOLD, *best(LEVELS, lambda level: with_model(path, told, level / 255)[0], truth)
    for name in denoisers.filters:
        graph, strengths = FILTERS[name]
        yield name, *best(strengths, lambda strength, graph=graph: with_filter(path, graph.format(strength)), truth)


def score(kind: Kind, scenes: Iterable[Clip], denoisers: Denoisers, target: Path | None) -> dict[str, Figures]:
    """The figures of every denoiser on a kind of clips; `target` is a PNG for pictures of the first."""
    figures: dict[str, Figures] = {}
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        pairs = [kind.take(frame, rng) for frame in scene]
        with tempfile.TemporaryDirectory() as folder:
            clean, noisy = Path(folder, "clean.mkv"), Path(folder, "noisy.mkv")
            store([truth for _, truth in pairs], clean, Codec("ffv1", pixel_format=kind.codec.pixel_format))
            store([picture for picture, _ in pairs], noisy, kind.codec)
            truth, is_noisy = read(clean), kind.take is not nothing
            results = {name: (clip, setting) for name, clip, setting in results_of(noisy, truth, denoisers, is_noisy)}
        for name, (clip, setting) in results.items():
            figures.setdefault(name, Figures()).add(clip, truth, setting)
        if target is not None and number == 0:
            show(target, {name: clip for name, (clip, _) in results.items()}, truth)
    return figures


def show(target: Path, results: Mapping[str, Clip], truth: Clip) -> None:
    """Write the middle frame of each result at 100 %, and how its error differs from that of the frame before."""
    place = len(truth) // 2
    crop = most_detailed_crop(truth[place])
    results = {**results, "clean": truth}
    frames = [Tile(name, clip[place][crop]) for name, clip in results.items()]
    errors = {name: [clip[n][crop] - truth[n][crop] for n in (place - 1, place)] for name, clip in results.items()}
    changes = [Tile(f"{name}, change", 0.5 + GAIN * (after - before)) for name, (before, after) in errors.items()]
    write_grid(target, [frames, changes], overwrite=True)


def worst(scores: Mapping[str, Mapping[str, Figures]], name: str, others: Sequence[str]) -> str:
    """On which kind of noisy clips a denoiser is furthest below the best of others, or least above it, in words."""
    leads = {
        kind: row[name].dB - max(row[other].dB for other in others) for kind, row in scores.items() if kind not in CLEAN
    }
    least = min(leads, key=lambda kind: leads[kind])
    return f"{least} ({leads[least]:+.2f} dB)"


def main() -> None:
    """Print the table, and for each model the kinds on which it is worst."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of clean clips, each a folder of frames")
    parser.add_argument("--model", action="append", default=[], help="beside the default; repeatable")
    parser.add_argument("--told", default="mallenet-v", help="the model that is told levels")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--clips", nargs="+", metavar="NAME", help="names of their folders; all by default")
    parser.add_argument("--frames", type=int, help="number of frames of each clip; all by default")
    parser.add_argument("--filters", action="store_true", help="FFmpeg's denoisers as well")
    parser.add_argument("--skip", nargs="+", choices=FILTERS, default=[], help="but not these")
    parser.add_argument("--pictures", type=Path, help="folder for a PNG of each kind")
    options = parser.parse_args()
    names = dict.fromkeys([model_for_clip(WINDOW), *options.model])
    filters = [name for name in FILTERS if options.filters and name not in options.skip]
    denoisers = Denoisers({name: load_denoiser(name) for name in names}, load_denoiser(options.told), filters)
    clips = {paths[0].parent.name: paths for paths in find_clips(options.data)}
    scenes = [
        [image.read(path).as_float()[:MOST_ROWS, :MOST_COLUMNS] for path in clips[name][: options.frames]]
        for name in options.clips or clips
    ]
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    scores: dict[str, dict[str, Figures]] = {}
    for kind in options.kinds:
        target = options.pictures and options.pictures / f"{kind}.png"
        scores[kind] = score(KINDS[kind], scenes, denoisers, target)
        columns = [NOISY, *names, TOLD, *filters]
        if len(scores) == 1:
            print(f"| kind | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
        print(f"| {kind} | {' | '.join(str(scores[kind].get(name, '')) for name in columns)} |", flush=True)
    if not set(options.kinds) - set(CLEAN):
        return
    print()
    for name in names:
        for other, columns in {"the best level told": [TOLD], "FFmpeg's best filter": filters}.items():
            if columns:
                print(f"- {name} is worst, compared with {other}, on {worst(scores, name, columns)}")


if __name__ == "__main__":
    main()
