"""Digital negatives that were denoised, in other programs: as the clean files are there, but for a little noise."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from denoise_cli.inference.denoiser import Denoiser
from tests.pipeline.raw_matrix import ROWS, Files, compare, files_in, lost_tags, make_files
from tests.pipeline.raw_programs import READERS, RENDERERS, Program, Reader, Renderer

SOME = (
    "phase-GRBG",
    "odd-area-crop",
    "orientation-6",
    "big-endian-12-bit",
    "black-per-colour-odd-area",
    "gain-map",
    "several-tiles",
    "two-columns-of-tiles",
    "monochrome",
    "x-trans",
    "crop, linear",
)


@pytest.fixture(params=[pytest.param(SOME, id="some"), pytest.param(ROWS, id="all", marks=pytest.mark.exhaustive)])
def files(
    request: pytest.FixtureRequest,
    shared_folder: Path,
    astronaut: NDArray[np.uint8],
    shared_denoisers: Callable[..., Denoiser],
) -> Mapping[str, Files]:
    """Files of many kinds, which all processes of a test run share."""
    rows = request.param
    folder = shared_folder / f"negatives-{len(rows)}"
    made = files_in(folder, rows)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = Path(mkdtemp(dir=shared_folder))
            make_files(files_in(unfinished, rows), astronaut, lambda name: shared_denoisers(name, "cpu", "fp32"))
            unfinished.rename(folder)
    return made


def skip_without(program: Program) -> None:
    if not program.is_here:
        pytest.skip(f"{program.needs} is not here: {program.source} has it")


@pytest.mark.parametrize("program", RENDERERS.values(), ids=RENDERERS)
def test_a_denoised_negative_is_shown_as_the_clean_one(
    program: Renderer, files: Mapping[str, Files], tmp_path: Path
) -> None:
    skip_without(program)
    figures = compare(program, files, tmp_path)
    assert {name: each.fault for name, each in figures.items() if each.fault} == {}


@pytest.mark.parametrize("program", READERS.values(), ids=READERS)
def test_a_denoised_negative_is_valid_and_says_what_the_clean_one_says(
    program: Reader, files: Mapping[str, Files]
) -> None:
    skip_without(program)
    assert {name: lost for name, lost in lost_tags(program, files).items() if lost} == {}
