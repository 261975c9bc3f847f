"""Every kind of digital negative through the program, and what other programs show of the results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import rawpy
from numpy.typing import NDArray

from denoise_cli.imaging.metrics import psnr
from denoise_cli.pipeline import photo as pipeline
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings
from tests.pipeline.negatives import NEGATIVES, Negative
from tests.pipeline.raw_programs import Reader, Renderer, Renderings

LINEAR = ", linear"  # ends the name of a row whose result was written with --linear
# Of these, a linear DNG is written as well.
ALSO_LINEAR = (
    "phase-RGGB",
    "phase-GBRG",
    "unknown-camera",
    "odd-area-crop",
    "crop",
    "orientation-6",
    "big-endian-12-bit",
    "black-per-colour-odd-area",
    "table",
    "gain-map",
)
LEFT = 100  # columns of the photo without anything to see
LARGEST_SHIFT = 0.5  # of the mean of a colour, on the scale of 255
LEAST_GAIN = 2.0  # dB; more in the mosaic itself, but a program adds its own faults of demosaicing to both
ROWS = (*NEGATIVES, *(name + LINEAR for name in ALSO_LINEAR))


@dataclass(frozen=True)
class Files:
    """A noisy file, the same without noise, and what the program has made of the noisy one.

    A linear DNG is compared with files that hold three values a pixel, too: programs treat these unlike mosaics. The
    noisy one of those is what the program writes at strength 0, the clean one what LibRaw makes of the clean mosaic.
    """

    noisy: Path
    clean: Path
    denoised: Path


@dataclass(frozen=True)
class Figures:
    """How a program shows a denoised file.

    Attributes:
        reason: why it cannot show it, or cannot show the clean one; None if it can.
        size, expected: rows and columns of the denoised and of the clean file.
        shift: the largest difference between their means of a colour, on the scale of 255.
        before, after: PSNR of the noisy and of the denoised file against the clean one, in dB.
    """

    reason: str | None = None
    size: tuple[int, ...] = ()
    expected: tuple[int, ...] = ()
    shift: float = float("inf")
    before: float = 0.0
    after: float = 0.0

    @property
    def fault(self) -> str | None:
        """What is wrong with the denoised file; None if nothing is."""
        if self.reason is not None:
            return self.reason
        if self.size != self.expected:
            return "{} x {} instead of {} x {}".format(*self.size, *self.expected)
        if self.shift > LARGEST_SHIFT or self.after < self.before + LEAST_GAIN:
            return str(self)
        return None

    def __str__(self) -> str:
        return f"{self.shift:.2f}, {self.before:.1f} → {self.after:.1f} dB"


def scene_of(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photo, (512, 512, 3), without its left edge, and mirrored to the size of the largest negative."""
    largest = np.max([negative.size for negative in NEGATIVES.values()], axis=0)
    interesting = photo[:, LEFT:]
    margins = [(0, int(side) - length) for side, length in zip(largest, interesting.shape[:2], strict=True)]
    return np.pad(interesting, [*margins, (0, 0)], mode="symmetric")


def files_in(folder: Path, rows: Iterable[str]) -> dict[str, Files]:
    """What `make_files` writes, or has written, for these of `ROWS`."""
    made = {}
    for row in rows:
        stem = folder / row.replace(LINEAR, "-linear")
        noisy, clean, denoised = (stem.with_name(f"{stem.name}-{kind}.dng") for kind in ("noisy", "clean", "denoised"))
        made[row] = Files(noisy, clean, denoised)
    return made


def make_files(files: Mapping[str, Files], photo: NDArray[np.uint8], load: pipeline.Load) -> None:
    """Write the files, and denoise the noisy ones.

    Args:
        files: from `files_in`.
        photo: (512, 512, 3), sRGB.
        load: returns the denoiser of a model.
    """
    scene = scene_of(photo)
    for seed, (row, each) in enumerate(files.items()):
        negative = NEGATIVES[row.removesuffix(LINEAR)]
        settings = Settings(model="auto", linear=row.endswith(LINEAR))
        source = each.denoised.with_suffix(".source.dng") if settings.linear else each.noisy
        source.write_bytes(negative.encode(scene, seed))
        pipeline.run(Job(source, each.denoised, "dng"), load, settings)
        if settings.linear:
            pipeline.run(Job(source, each.noisy, "dng"), load, replace(settings, strength=0))
        each.clean.write_bytes(demosaiced(negative, scene) if settings.linear else negative.encode(scene))


def demosaiced(negative: Negative, scene: NDArray[np.uint8]) -> bytes:
    """The file with three values a pixel that LibRaw makes of a clean mosaic, from the plainest file of it."""
    plain = replace(negative, has_gain_map=False, has_table=False, bits=16, black=negative.black[:1])
    with rawpy.imread(BytesIO(plain.encode(scene))) as raw:
        sizes, gains = raw.sizes, np.array(raw.camera_whitebalance[:3])
        picture = raw.postprocess(
            output_color=rawpy.ColorSpace.raw,
            gamma=(1, 1),
            output_bps=16,
            user_flip=0,
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
        )
    values = np.rint(picture.view(np.uint16) / (gains / gains.min())).astype(np.uint16)
    crop = negative.crop
    if crop is not None:
        # An area that begins at an odd row or column begins one later in LibRaw.
        top, left = sizes.top_margin - negative.borders[0], sizes.left_margin - negative.borders[1]
        crop = (crop[0] - top, crop[1] - left, *crop[2:])
    without_mosaic = Negative(
        "",
        crop=crop,
        orientation=negative.orientation,
        black=(0,),
        white=65535,
        order=negative.order,
        model=negative.model,
    )
    return without_mosaic.encode_numbers(values, scene)


def compare(program: Renderer, files: Mapping[str, Files], folder: Path) -> dict[str, Figures]:
    """Have a program show all files.

    Args:
        program: which is here.
        files: from `make_files`.
        folder: an empty one, for the program.
    """
    paths = [path for each in files.values() for path in (each.noisy, each.clean, each.denoised)]
    shown = program.render(paths, folder)
    return {name: _figures(shown, each) for name, each in files.items()}


def lost_tags(program: Reader, files: Mapping[str, Files]) -> dict[str, str]:
    """What a program reads from clean files and not, or not the same, from denoised ones; "" where all is there."""
    read = program.read([path for each in files.values() for path in (each.clean, each.denoised)])
    return {name: _lost(read[each.clean], read[each.denoised]) for name, each in files.items()}


def _lost(clean: dict[str, str] | str, denoised: dict[str, str] | str) -> str:
    if isinstance(clean, str):
        return f"the file itself: {clean}"
    if isinstance(denoised, str):
        return denoised
    return ", ".join(f"{tag} {denoised.get(tag)}" for tag, value in clean.items() if denoised.get(tag) != value)


def _figures(shown: Renderings, files: Files) -> Figures:
    noisy, clean, denoised = (shown[path] for path in (files.noisy, files.clean, files.denoised))
    if isinstance(clean, str) or isinstance(noisy, str):
        return Figures(f"the file itself: {clean if isinstance(clean, str) else noisy}")
    if isinstance(denoised, str):
        return Figures(denoised)
    if denoised.shape != clean.shape:
        return Figures(None, denoised.shape[:2], clean.shape[:2])
    shift = float(np.abs(denoised.mean(axis=(0, 1), dtype=float) - clean.mean(axis=(0, 1), dtype=float)).max())
    return Figures(
        None,
        denoised.shape[:2],
        clean.shape[:2],
        shift,
        *(psnr(one / 255, clean / 255) for one in (noisy, denoised)),
    )
