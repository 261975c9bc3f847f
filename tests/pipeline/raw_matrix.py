"""Every kind of digital negative through the program, and what other programs show of the results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.metrics import psnr
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job
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
ROWS = (*NEGATIVES, *(name + LINEAR for name in ALSO_LINEAR))


@dataclass(frozen=True)
class Files:
    """A noisy file, the same without noise, and what the program has made of the noisy one.

    A linear DNG is compared with files that hold three values a pixel, too: programs treat these unlike mosaics.
    """

    noisy: Path
    clean: Path
    denoised: Path
    negative: Negative


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


def make_files(rows: Iterable[str], scene: NDArray[np.uint8], folder: Path, load: photo.Load) -> dict[str, Files]:
    """Write and denoise a file for each of `ROWS` that is wanted.

    Args:
        rows: their names.
        scene: (H, W, 3), sRGB, at least as large as the largest negative.
        folder: an empty one.
        load: returns the denoiser of a model.
    """
    made = {}
    for index, row in enumerate(rows):
        name = row.removesuffix(LINEAR)
        is_linear = row != name
        negative = NEGATIVES[name]
        plain = replace(
            negative, pattern="", borders=(0, 0, 0, 0), bits=16, black=(0,), white=65535, has_table=False,
            has_gain_map=False,
        ) if is_linear else negative  # fmt: skip
        stem = f"{name}-linear" if is_linear else name
        source, noisy, clean, denoised = (
            folder / f"{stem}-{kind}.dng" for kind in ("in", "noisy", "clean", "denoised")
        )
        source.write_bytes(negative.encode(scene, index))
        noisy.write_bytes(plain.encode(scene, index))
        clean.write_bytes(plain.encode(scene))
        photo.run(Job(source, denoised, "dng"), load, photo.Settings(model="auto", linear=is_linear))
        made[row] = Files(noisy, clean, denoised, plain)
    return made


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
