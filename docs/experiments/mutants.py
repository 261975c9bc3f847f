"""Mutants of small files of every format, read in worker processes: the part of `attack.py` about damaged files."""

import contextlib
import multiprocessing
import os
import resource
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection, wait
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image

from denoise_cli.errors import DenoiseError
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng, image
from denoise_cli.io.exif import Exif, pack
from denoise_cli.io.metadata import MAKE, Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.io.video import Reader

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
READING_MEMORY = 4 * 2**30  # bytes of addresses of a worker
READING_SECONDS = 30  # for one mutant, on a busy machine
READING_PIXELS = 4_000_000
MOST_FRAMES = 100  # of a clip that are read
FIRST_BYTES = 600  # in which most mutants differ
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # that files are tried with
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="film 12"/></rdf:RDF></x:xmpmeta>'
)


@dataclass
class Found:
    """What came of mutants.

    Attributes:
        read, refused: how many were.
        crashes: of native code, by the name of the file.
        breaches: what must not happen, in words.
    """

    read: int = 0
    refused: int = 0
    crashes: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


def scene(H: int, W: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3), uint8: a ramp with noise."""
    ramp = np.linspace(40, 200, W)[None, :, None] * np.array([1, 0.8, 0.6])
    return np.clip(ramp + rng.normal(0, 15, (H, W, 3)), 0, 255).astype(np.uint8)


def make_clip(path: Path, size: str = "96x64", frames: int = 8) -> Path:
    """A clip of moving shapes."""
    source = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-frames:v", str(frames)]
    subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-y", *source, path], check=True)
    return path


def files_to_damage() -> dict[str, bytes]:
    """Small files of every format that is written, and of those that are only read; by names with their extensions."""
    rng = np.random.default_rng(0)
    pixels = scene(24, 32, rng)
    deep = pixels.astype(np.uint16) * 257
    light = pixels / np.float32(200)
    exif = Exif()
    exif.main[MAKE] = exif.text("Maker")
    profile = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    meta = Metadata(exif=pack(exif), xmp=XMP, icc=profile, dpi=(240.0, 240.0))
    whole = Photo(pixels, None, "made", meta)
    made = {
        f"{kind}.{kind}": image.encode(whole, kind, "made") for kind in ("jpeg", "png", "webp", "avif", "jxl", "jp2")
    }
    made["tiff.tif"] = image.encode(whole, "tiff", "made")
    made["heif.heic"] = image.encode(whole, "heif", "made")
    made["deep.png"] = image.encode(Photo(deep, deep[..., 0], "made", meta), "png", "made")
    made["deep.avif"] = image.encode(Photo(deep, None, "made", meta), "avif", "made")
    made["deep.jxl"] = image.encode(Photo(deep, None, "made", meta), "jxl", "made", 100)
    made["float.jxl"] = image.encode(Photo(light, None, "made"), "jxl", "made", 100)
    made["float.tif"] = image.encode(Photo(light, None, "made"), "tiff", "made")
    for kind in ("ppm", "pfm", "hdr"):
        made[f"a.{kind}"] = image.encode(Photo(light if kind != "ppm" else pixels, None, "made"), kind, "made")
    with contextlib.suppress(DenoiseError):  # OpenEXR need not be installed
        image.check_library("exr")
        made["a.exr"] = image.encode(Photo(light, None, "made"), "exr", "made")
    for kind, picture in (("BMP", Image.fromarray(pixels)), ("GIF", Image.fromarray(pixels).quantize(16))):
        buffer = BytesIO()
        picture.save(buffer, kind)
        made[f"a.{kind.lower()}"] = buffer.getvalue()
    made["pages.tif"] = with_tifffile(np.stack([pixels[..., 0]] * 3), photometric="minisblack", compression="lzw")
    made["tiles.tif"] = with_tifffile(pixels, photometric="rgb", compression="jpeg", tile=(16, 16))
    made["cmyk.tif"] = with_tifffile(np.dstack([pixels, pixels[..., 0]]), photometric="separated", compression="zlib")
    sensor = Sensor(ShotRead(3e-3, 6e-3))
    numbers = sensor.capture(np.tile(pixels, (3, 3, 1)) / 255, rng)
    made["mosaic.dng"] = image.encode(dng.simulated_dng(sensor, numbers, pixels), "dng", "made")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("clip.mp4", "clip.mkv", "clip.webm", "clip.gif", "clip.ts", "clip.avi"):
            made[name] = make_clip(Path(folder) / name, "64x48", 4).read_bytes()
    return made


def with_tifffile(values: np.ndarray, **options: object) -> bytes:
    """A TIFF by its usual writer."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def mutant(data: bytes, rng: Generator) -> bytes:
    """A file of which a few bytes, a number or a piece are wrong, most often near its start."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        end = min(len(changed), FIRST_BYTES) if rng.random() < 0.6 else len(changed)
        if not end:
            break
        place, kind = int(rng.integers(end)), rng.choice(("bit", "bit", "byte", "number", "less", "more"))
        length = int(rng.choice((1, 4, 64)))
        if kind == "bit":
            changed[place] ^= 1 << int(rng.integers(8))
        elif kind == "byte":
            changed[place] = int(rng.integers(256))
        elif kind == "number":
            size = int(rng.choice((2, 4)))
            number = int(rng.choice(NUMBERS)) & (1 << 8 * size) - 1
            changed[place : place + size] = number.to_bytes(size, "little" if rng.random() < 0.5 else "big")
        elif kind == "less":
            del changed[place : place + length * length]
        else:
            changed[place:place] = changed[place : place + length] * int(rng.choice((1, 3)))
    return bytes(changed)


def read_one(path: Path) -> str:
    """Read a file as the program does: "read", "refused", or what else came of it."""
    try:
        if path.name.startswith("clip"):
            with Reader(path) as clip:
                for number, _ in enumerate(clip.frames()):
                    if number > MOST_FRAMES:
                        break
        else:
            with image.opened(path, READING_PIXELS) as found:
                if isinstance(found, Photo):
                    for page in found.others[:5]:
                        page()
                else:
                    found.develop()
    except DenoiseError as error:
        return "refused" if "\n" not in str(error) else f"a message of several lines: {error!r}"
    except BaseException as error:  # noqa: BLE001 - any other one is what is looked for
        return f"{type(error).__name__}: {error}"
    return "read"


def read_mutants(
    numbers: Sequence[int],
    seed: int,
    originals: dict[str, bytes],
    folder: Path,
    sent: Connection,
) -> None:
    """In a worker process: read mutants, and send the number of each before it is read, and what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (READING_MEMORY, READING_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    names = list(originals)
    for number in numbers:
        name = names[number % len(names)]
        path = folder / name
        path.write_bytes(mutant(originals[name], np.random.default_rng((seed, number))))
        sent.send((number, None))
        sent.send((number, read_one(path)))
    sent.close()


def read_all(number: int, seed: int, folder: Path) -> Found:
    """Read this number of mutants, one after another, each in the same folder."""
    originals, found, begin = files_to_damage(), Found(), 0
    names, context = list(originals), multiprocessing.get_context("fork")
    while begin < number:
        received, sent = context.Pipe(duplex=False)
        arguments = range(begin, number), seed, originals, folder, sent
        worker = context.Process(target=read_mutants, args=arguments, daemon=True)
        worker.start()
        sent.close()
        for one, result in messages_of(received):
            begin = one if result is None else one + 1
            if result == "read":
                found.read += 1
            elif result == "refused":
                found.refused += 1
            elif result is not None:
                found.breaches.append(f"{name_of(one, names, seed)}: {result}")
        has_ended = wait([worker.sentinel], timeout=1)
        worker.kill()
        worker.join()
        if begin < number:
            if not has_ended:
                found.breaches.append(f"{name_of(begin, names, seed)}: took more than {READING_SECONDS} s")
            else:
                found.crashes[f"{names[begin % len(names)]} (signal {-(worker.exitcode or 0)})"] += 1
            begin += 1
    return found


def name_of(number: int, names: Sequence[str], seed: int) -> str:
    """A mutant, so that it can be made again."""
    return f"mutant {number} of {names[number % len(names)]}, seed {seed}"


def messages_of(received: Connection) -> Iterator[tuple[int, str | None]]:
    """What a worker sends, until it ends or sends nothing for too long."""
    with contextlib.suppress(EOFError):
        while received.poll(READING_SECONDS):
            yield received.recv()
