"""Measure denoising of camera RAW, on simulated files whose truth is known.

    python docs/experiments/raw.py quality FOLDER   # PSNR after rendering, denoised before or after it
    python docs/experiments/raw.py noise            # errors of the noise estimate, from ISO 100 to 25600
    python docs/experiments/raw.py sensors FOLDER   # the same for sensors unlike those of the training
    python docs/experiments/raw.py speed            # time of each step and peak memory, for 24 megapixels
    python docs/experiments/raw.py tone FILES       # how far pictures are from the previews in the files
    python docs/experiments/raw.py sizes [FILES]    # sizes of denoised DNGs with each kind of compression

Each prints its table as Markdown. FOLDER holds clean photos, FILES are camera RAW; the others, and `sizes` without
FILES, use scikit-image's photos.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter
from skimage import data
from unusual_sensors import UNUSUAL, Unusual, make_files, surviving_stars

from denoise_cli.benchmark.programs import Program, time_program
from denoise_cli.data.photos import find_photos
from denoise_cli.evaluation.baselines import load_baseline
from denoise_cli.imaging import tiling
from denoise_cli.imaging.bayer import PHASES, Phase
from denoise_cli.imaging.filters import FilterKind
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor, draw_sensor
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import dng, image
from denoise_cli.io.camera_tone import preview_of, with_camera_tone
from denoise_cli.io.development import as_photo, developed
from denoise_cli.io.dng_pixels import pieces_of
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.pipeline.model_choice import MOSAIC_MODELS
from denoise_cli.pipeline.raw import denoise_mosaic, denoise_picture, denoise_raw, estimate_noise

Pixels = NDArray[np.uint8]
Picture = NDArray[np.float32]

NOISES = tuple(
    ShotRead(shot, read)
    for shot, read in ((1e-4, 1e-3), (1e-3, 2e-3), (3e-3, 6e-3), (1e-2, 1e-3), (1e-4, 10**-1.5), (1e-2, 10**-1.5))
)
ISOS = (100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600)
# A full-frame sensor that holds 25,000 electrons at ISO 100; read noise grows with this power of the ISO.
SHOT_AT_100 = 4e-5
READ_AT_100 = 3e-4
READ_EXPONENT = 0.65
UNUSUAL_SIDE = 512  # pixels, of the photos for unusual sensors
SHADOWS = 64 / 255  # the brightest value in a pixel that counts as a shadow, and
SHADOW_SIDE = 9  # in the square of so many pixels around it: light from beside it is not its own error
LARGE_SIZE = (4000, 6000)  # pixels: height and width
MAX_PIXELS = 10**9
PHASES_OF: dict[FilterKind, list[Phase]] = {
    "bayer": list(PHASES.values()),
    "xtrans": [(y, x) for y in range(3) for x in range(6)],
}
SMALLEST_XTRANS = 576  # photosites, the shorter side: LibRaw develops no smaller X-Trans mosaics than 512
GIGABYTE = 1e9
MEGABYTE = 1e6
TONE_WIDTH = 192  # pixels, at which pictures are compared with previews
COMPRESSIONS = ("auto", "jpeg", "jxl")
TILE = 512  # photosites, the side of one


def simulate_dng(scene: Pixels, sensor: Sensor, rng: np.random.Generator | None) -> bytes:
    """A DNG of a scene, (H, W, 3), with the sensor's noise; without noise if `rng` is None."""
    if rng is None:
        levels = sensor.measure(scene / 255) * (sensor.white - sensor.black) + sensor.black
        numbers = np.rint(levels).astype(np.uint16)
    else:
        numbers = sensor.capture(scene / 255, rng)
    return dng.encode(dng.simulated_dng(sensor, numbers, np.ascontiguousarray(scene[::4, ::4])), "denoise, simulated")


def quality(folder: Path, count: int | None, kind: FilterKind, wanted: list[str]) -> None:
    """Print the PSNR after rendering of the first `count` photos, or of all, for each noise and each way to denoise."""
    ways = {name: way for name, way in _ways(MOSAIC_MODELS[kind]).items() if _is_wanted(name, wanted)}
    print("| shot, read | " + " | ".join(ways) + " |")
    print("|" + "---|" * (len(ways) + 1))
    photos = find_photos([folder])[:count]
    for noise in NOISES:
        scores = []
        for index, path in enumerate(photos):
            scene = image.read(path).as_rgb8()
            if kind == "xtrans":
                scene = _enlarged(scene, SMALLEST_XTRANS)
            rng = np.random.default_rng(index)
            phase = PHASES_OF[kind][index % len(PHASES_OF[kind])]
            sensor = replace(draw_sensor(rng), noise=noise, phase=phase, kind=kind, exposure=1.0, black=1024)
            with RawFile(simulate_dng(scene, sensor, None), MAX_PIXELS) as clean:
                truth = developed(clean).as_float()
            with RawFile(simulate_dng(scene, sensor, rng), MAX_PIXELS) as noisy:
                scores.append([psnr(way(noisy, noise).clip(0, 1), truth) for way in ways.values()])
        print(
            f"| {noise.shot:g}, {noise.read:.3g} | " + " | ".join(f"{s:.2f}" for s in np.mean(scores, axis=0)) + " |",
            flush=True,
        )


def _ways(of_mosaics: str) -> dict[str, Callable[[RawFile, ShotRead], Picture]]:
    """Ways to denoise and render a file, the noise given."""
    load = cache(partial(load_denoiser, precision="fp32"))

    def before_demosaicing(raw: RawFile, noise: ShotRead) -> Picture:
        numbers = raw.numbers_of(denoise_mosaic(raw.mosaic, noise, load(of_mosaics)))
        return as_photo(raw, raw.develop(numbers)).as_float()

    def in_linear_light(raw: RawFile, noise: ShotRead) -> Picture:
        clean = denoise_picture(raw.develop(), noise, raw.gains, load("mallenet-linear"))
        return as_photo(raw, clean).as_float()

    def by_non_local_means(raw: RawFile, noise: ShotRead) -> Picture:
        nlm = load_baseline("nlm")
        assert nlm is not None
        return nlm(developed(raw).as_float(), None)

    return {
        f"{of_mosaics}, level given": before_demosaicing,
        f"{of_mosaics}, level estimated": lambda raw, _: before_demosaicing(raw, estimate_noise(raw)),
        "mallenet-linear, level given": in_linear_light,
        "mallenet-r after rendering": lambda raw, _: load("mallenet-r")(developed(raw).as_float()),
        "mallenet-m after rendering, level estimated": lambda raw, _: load("mallenet-m")(developed(raw).as_float()),
        "OpenCV non-local means after rendering": by_non_local_means,
        "not denoised": lambda raw, _: developed(raw).as_float(),
    }


def _is_wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def _enlarged(scene: Pixels, side: int) -> Pixels:
    """A scene whose rows and columns are mirrored until there are at least `side` of each."""
    rows, columns = (tiling.reflected(0, max(side, length), length) for length in scene.shape[:2])
    return scene[rows[:, None], columns]


def sensors(folder: Path, count: int, wanted: list[str]) -> None:
    """Print a row for each unusual sensor: PSNR after rendering; in shadows, the mean error of the worst colour and the
    cast, the largest difference between the mean errors of two colours; and the share of stars that are left.
    """
    denoise = load_denoiser("mallenet-raw", precision="fp32")
    found = find_photos([folder])
    photos = [found[len(found) * index // count] for index in range(count)]
    ways = ("auto", "noise told", "not denoised")
    columns = [f"{way}, {what}" for what in ("dB", "shadows", "stars") for way in ways]
    print(f"| sensor | {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 1))
    for unusual in UNUSUAL:
        if not _is_wanted(unusual.name, wanted):
            continue
        some = photos if unusual.star_sigma is None else photos[:1]
        scores, sums, pixels, stars = [], np.zeros((len(ways), 3)), 0, [""] * len(ways)
        for index, path in enumerate(some):
            results, truth = _denoise_unusual(unusual, image.read(path).as_rgb8(), index, denoise)
            scores.append([psnr(result, truth) for result in results])
            dark = maximum_filter(truth.max(axis=-1), SHADOW_SIDE) < SHADOWS
            pixels += int(dark.sum())
            sums += [(result - truth)[dark].sum(axis=0) for result in results]
            if unusual.star_sigma is not None:
                linear = [srgb_to_linear(one) for one in (*results, truth)]
                stars = [f"{surviving_stars(one, linear[-1]):.0%}" for one in linear[:-1]]
        errors = 255 * sums / max(pixels, 1)
        worst = errors[np.arange(len(ways)), np.abs(errors).argmax(axis=1)]
        casts = np.ptp(errors, axis=1)
        shadows = [f"{w:+.1f}, {cast:.1f}" for w, cast in zip(worst, casts, strict=True)]
        cells = [*(f"{s:.2f}" for s in np.mean(scores, axis=0)), *shadows, *stars]
        print(f"| {unusual.name} | {' | '.join(cells)} |", flush=True)


def _denoise_unusual(unusual: Unusual, photo: Pixels, index: int, denoise: Denoiser) -> tuple[list[Picture], Picture]:
    """Rendered: the file denoised by itself, by its NoiseProfile, and not at all; and the truth."""
    y, x = (tiling.reflected(0, UNUSUAL_SIDE, side) for side in photo.shape[:2])
    rng = np.random.default_rng(index)
    sensor = replace(draw_sensor(rng), phase=list(PHASES.values())[index % len(PHASES)], exposure=1.0)
    untold, told, clean = make_files(unusual, sensor, photo[y[:, None], x], rng)
    results = []
    for file, strength in ((untold, 1.0), (told, 1.0), (told, 0.0)):
        with RawFile(file, MAX_PIXELS) as raw:
            picture = denoise_raw(raw, denoise, "photo", strength=strength).finish().picture
            assert isinstance(picture, Photo)
            results.append(_pushed(picture.as_float(), unusual.push))
    with RawFile(clean, MAX_PIXELS) as raw:
        return results, developed(raw).as_float()


def _pushed(picture: Picture, factor: int) -> Picture:
    return linear_to_srgb(np.minimum(factor * srgb_to_linear(picture), 1)) if factor != 1 else picture


def noise_at(iso: int) -> ShotRead:
    """The noise of a simulated sensor."""
    return ShotRead(SHOT_AT_100 * iso / 100, READ_AT_100 * (iso / 100) ** READ_EXPONENT)


def draw_chart(rng: np.random.Generator) -> Pixels:
    """Flat patches of all brightnesses, a gradient, and texture: (768, 1024, 3)."""
    patches = np.kron(rng.integers(5, 250, (6, 16, 3)), np.ones((64, 64, 1)))
    gradient = np.broadcast_to(np.linspace(0, 255, 1024)[None, :, None], (128, 1024, 3))
    texture = np.concatenate([data.astronaut()[:256], data.immunohistochemistry()[:256]], axis=1)
    return np.concatenate([patches, gradient, texture]).astype(np.uint8)


def noise(repeats: int) -> None:
    """Print the errors of the noise estimates at each ISO."""
    print("| ISO | shot | read | shot estimated, error | read estimated, error | error of the level, mean | largest |")
    print("|---|---|---|---|---|---|---|")
    for iso in ISOS:
        true = noise_at(iso)
        relative_errors, level_errors = [], []
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            scene = draw_chart(rng)
            sensor = replace(
                draw_sensor(rng), noise=true, phase=list(PHASES.values())[seed % 4], exposure=1.0, black=1024
            )
            with RawFile(simulate_dng(scene, sensor, rng), MAX_PIXELS) as raw:
                estimate = estimate_noise(raw)
            relative_errors.append((estimate.shot / true.shot - 1, estimate.read / true.read - 1))
            light = np.linspace(0.002, 1, 500)
            levels = [np.sqrt(one.shot * light + one.read**2) for one in (estimate, true)]
            level_errors.append(np.abs(levels[0] / levels[1] - 1))
        shot_error, read_error = np.abs(relative_errors).mean(axis=0)
        print(
            f"| {iso} | {true.shot:.2e} | {true.read:.2e} | {shot_error:.1%} | {read_error:.1%} | "
            f"{np.mean(level_errors):.1%} | {np.max(level_errors):.1%} |",
            flush=True,
        )


def simulate_large_dng() -> bytes:
    """A DNG of 24 megapixels, mirrored from one photo."""
    scene = data.astronaut()
    y, x = (tiling.reflected(0, side, scene.shape[0]) for side in LARGE_SIZE)
    sensor = Sensor(noise_at(3200))
    return simulate_dng(scene[y[:, None], x], sensor, np.random.default_rng(0))


def speed() -> None:
    """Print the seconds of each step, and those of the whole program with its peak memory."""
    file = simulate_large_dng()
    steps = list(_time_steps(file, load_denoiser("mallenet-raw")))
    print("| part | seconds |")
    print("|---|---|")
    for step, seconds in steps:
        print(f"| {step} | {seconds:.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.dng")
        source.write_bytes(file)
        for target in ("out.png", "out.dng", "out.jpg"):
            command = [sys.executable, "-m", "denoise_cli", "image", str(source), "-o", f"{folder}/{target}", "--quiet"]
            timing = time_program(Program(target, command))
            memory = f"{timing.peak_bytes / GIGABYTE:.2f} GB at most"
            print(f"| `denoise image in.dng -o {target}`, {memory} | {timing.seconds:.2f} |", flush=True)


def tone(files: list[Path]) -> None:
    """Print the mean difference from the preview in each file, of 255, with both kinds of tone."""
    print("| file | flat | camera |")
    print("|---|---|---|")
    for path in files:
        with RawFile(path.read_bytes(), MAX_PIXELS) as raw:
            preview, flat = preview_of(raw), developed(raw)
            if preview is None:
                print(f"| {path.name} | no preview | |")
                continue
            pictures = (flat, with_camera_tone(raw, flat))
        size = (TONE_WIDTH, TONE_WIDTH * preview.shape[0] // preview.shape[1])
        small = [np.asarray(Image.fromarray(each.as_rgb8()).resize(size), int) for each in pictures]
        errors = [np.abs(each - np.asarray(Image.fromarray(preview).resize(size), int)).mean() for each in small]
        print(f"| {path.name} | {errors[0]:.1f} | {errors[1]:.1f} |")


def sizes(files: list[Path]) -> None:
    """Print the megabytes of denoised DNGs with each kind of compression, and of a mosaic whose rows are joined."""
    with tempfile.TemporaryDirectory() as folder:
        if not files:
            files = [Path(folder, "24 megapixels.dng")]
            files[0].write_bytes(simulate_large_dng())
        names = [f"`--compression {name}`" for name in COMPRESSIONS]
        print(f"| file | MB | {' | '.join(names)} | rows joined in pairs, predictor 6 |")
        print("|---|---|" + "---|" * (len(names) + 1))
        for index, path in enumerate(files):
            found = []
            for compression in COMPRESSIONS:
                target = Path(folder, f"{index}-{compression}.dng")
                denoise = [sys.executable, "-m", "denoise_cli", "image", str(path), "-o", str(target), "--quiet"]
                subprocess.run([*denoise, "--compression", compression], check=True)
                found.append(target.stat().st_size)
            file = target.read_bytes()
            with RawFile(file, MAX_PIXELS) as raw:
                if raw.obstacle is None:
                    tiles = sum(length for _, length in pieces_of(dng.main_directories(file)[1]).places)
                    found.append(len(file) - tiles + _joined_size(raw.numbers))
            cells = [f"{size / MEGABYTE:.2f}" for size in (path.stat().st_size, *found)]
            print(f"| {path.name} | {' | '.join(cells)} |", flush=True)


def _joined_size(mosaic: NDArray[np.uint16]) -> int:
    """Bytes of a mosaic's values in lossless JPEG in which two rows are one, so that the value above has its colour."""
    H, W = (length // 2 * 2 for length in mosaic.shape)
    total = 0
    for y, x in np.ndindex(-(-H // TILE), -(-W // TILE)):
        tile = mosaic[y * TILE : min((y + 1) * TILE, H), x * TILE : min((x + 1) * TILE, W)]
        joined = tile.reshape(len(tile) // 2, -1)
        total += len(imagecodecs.jpeg_encode(joined, lossless=True, predictor=6, bitspersample=16))
    return total


def _time_steps(file: bytes, denoise: Denoiser) -> Iterator[tuple[str, float]]:
    started = time.perf_counter()

    def lap() -> float:
        nonlocal started
        before, started = started, time.perf_counter()
        return started - before

    with RawFile(file, MAX_PIXELS) as raw:
        yield "opening, by LibRaw", lap()
        mosaic = raw.mosaic
        yield "reading the mosaic", lap()
        known = estimate_noise(raw)
        yield "estimating the noise, if the file does not state it", lap()
        clean = denoise_mosaic(mosaic, known, denoise)
        yield "the network, with packing and the Anscombe transform", lap()
        numbers = raw.numbers_of(clean)
        yield "putting it back", lap()
        photo = as_photo(raw, raw.develop(numbers))
        yield "developing, by LibRaw", lap()
        image.encode(photo, "png", "denoise")
        yield "encoding as PNG, 16 bits", lap()


def main() -> None:
    """Run the experiment that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = parser.add_subparsers(dest="name", required=True)
    quality_parser = names.add_parser("quality")
    quality_parser.add_argument("folder", type=Path)
    quality_parser.add_argument("--photos", type=int)
    quality_parser.add_argument("--filters", choices=list(MOSAIC_MODELS), default="bayer")
    quality_parser.add_argument("--only", nargs="*", default=[], help="words in the names of the columns")
    names.add_parser("noise").add_argument("--repeats", type=int, default=8)
    sensors_parser = names.add_parser("sensors")
    sensors_parser.add_argument("folder", type=Path)
    sensors_parser.add_argument("--photos", type=int, default=8, help="so many, evenly spread over the folder")
    sensors_parser.add_argument("--only", nargs="*", default=[], help="words in the names of the sensors")
    names.add_parser("speed")
    names.add_parser("tone").add_argument("files", type=Path, nargs="+")
    names.add_parser("sizes").add_argument("files", type=Path, nargs="*")
    given = parser.parse_args()
    match given.name:
        case "quality":
            quality(given.folder, given.photos, given.filters, given.only)
        case "sensors":
            sensors(given.folder, given.photos, given.only)
        case "noise":
            noise(given.repeats)
        case "speed":
            speed()
        case "tone":
            tone(given.files)
        case "sizes":
            sizes(given.files)


if __name__ == "__main__":
    main()
