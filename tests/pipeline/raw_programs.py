"""The programs of others in which a digital negative is opened: each renders files in its own way.

Legend: H x W pixels of what a program shows.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import rawpy
import tifffile
from numpy.typing import NDArray

from denoise_cli.imaging.demosaic import demosaic
from denoise_cli.imaging.transfer import linear_to_srgb

Rendering = NDArray[np.float32]  # (H, W, 3), on the scale of 255
Renderings = dict[Path, Rendering | str]  # of each file, or why there is none
Readings = dict[Path, dict[str, str] | str]  # the tags of each file, or why it is not valid

TIMEOUT = 1800  # seconds for all the files of a test, on a busy machine
FRACTION = re.compile(r"-?\d+/[1-9]\d*")
PPM = re.compile(rb"P([56])\s+(\d+) (\d+)\s+65535\n")
# What is read of a file, besides its picture: the same in the denoised one.
TAGS = (
    "Make", "Model", "UniqueCameraModel", "Orientation", "ExposureTime", "FNumber", "ISO", "ISOSpeedRatings",
    "DateTimeOriginal", "FocalLength", "LensModel", "ColorMatrix1", "CalibrationIlluminant1", "AsShotNeutral",
    "DefaultCropSize",
)  # fmt: skip
BLACK_REPEAT, TABLE, BLACK, WHITE, CROP_ORIGIN, CROP_SIZE = 50713, 50712, 50714, 50717, 50719, 50720


@dataclass(frozen=True)
class Program:
    """A program of others.

    Attributes:
        name: as its makers write it.
        needs: the command, or the Python module.
        source: the package that has it.
    """

    name: str
    needs: str
    source: str

    @property
    def is_here(self) -> bool:
        return shutil.which(self.needs) is not None or importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class Renderer(Program):
    """A program that shows pictures: `render` takes files, whose names differ, and an empty folder."""

    render: Callable[[Sequence[Path], Path], Renderings]


@dataclass(frozen=True)
class Reader(Program):
    """A program that reads tags: `read` gives the values of those in `TAGS`, in its own words."""

    read: Callable[[Sequence[Path]], Readings]


def with_darktable(files: Sequence[Path], folder: Path) -> Renderings:
    """All files in one run, because it takes seconds to start."""
    source, target = folder / "in", folder / "out"
    source.mkdir()
    target.mkdir()
    for path in files:
        shutil.copy(path, source)
    own = ["--configdir", folder / "configuration", "--cachedir", folder / "cache", "--library", ":memory:"]
    options = ["--disable-opencl", "--conf", "plugins/imageio/format/tiff/bpp=16"]
    command = ["darktable-cli", source, target, "--out-ext", "tif", "--apply-custom-presets", "false", "--core"]
    said = output_of([*command, *own, *options], folder)
    return {path: tiff_or_reason(target / f"{path.stem}.tif", said, path.name) for path in files}


def with_rawtherapee(files: Sequence[Path], folder: Path) -> Renderings:
    """All files in one run, with the neutral profile."""
    target = folder / "out"
    target.mkdir()
    said = output_of(["rawtherapee-cli", "-q", "-o", target, "-t", "-b16", "-Y", "-c", *files], folder)
    return {path: tiff_or_reason(target / f"{path.stem}.tif", said, path.name) for path in files}


def with_dcraw(files: Sequence[Path], folder: Path) -> Renderings:
    """In the camera's white balance, without brightening, in sRGB."""
    options = ["-w", "-W", "-6", "-g", "2.4", "12.92", "-c"]
    runs = {path: subprocess.run(["dcraw", *options, path], capture_output=True, check=False) for path in files}
    return {path: ppm_or_reason(run) for path, run in runs.items()}


def with_libraw(files: Sequence[Path], folder: Path) -> Renderings:
    """With rawpy, without brightening, and with the white level that the file states."""
    renderings: Renderings = {}
    for path in files:
        try:
            with rawpy.imread(str(path)) as raw:
                pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, output_bps=16)
        except rawpy.LibRawError as error:
            renderings[path] = str(error)
        else:
            renderings[path] = of_three_colours(pixels)
    return renderings


def with_dng_sdk(files: Sequence[Path], folder: Path) -> Renderings:
    """The SDK opens, validates and decodes the file; dngpy cannot have it develop the values, so that is ours."""
    import dngpy

    renderings: Renderings = {}
    for path in files:
        try:
            negative = dngpy.Dng(str(path))
        except RuntimeError as error:
            renderings[path] = str(error)
            continue
        layout, sizes = negative.get_data_info(), negative.image_info
        stage1 = negative.raw_pixels[layout.top :, layout.left :]
        tags = main_tags(path)
        light = linear_light(stage1, tags)
        pattern = negative.get_bayer_pattern()
        if pattern:
            place = pattern.index("R")
            light = demosaic(light[..., 0], (place // 2, place % 2), "bilinear")
        balanced = light / np.array(negative.get_white_balance()[: light.shape[2]] or 1)
        x, y = (round(float(number)) for number in tags.get(CROP_ORIGIN, (0, 0)))
        cropped = balanced[y : y + sizes.height, x : x + sizes.width].clip(0, 1)
        renderings[path] = of_three_colours(linear_to_srgb(cropped.astype(np.float32)) * 65535)
    return renderings


def with_exiftool(files: Sequence[Path]) -> Readings:
    """All files in one run; those in which it finds anything to warn of are not valid."""
    command = ["exiftool", "-json", "-validate", "-warning", "-error", *(f"-{tag}" for tag in TAGS), *files]
    done = subprocess.run(command, capture_output=True, check=False)
    found = {Path(each["SourceFile"]): each for each in json.loads(done.stdout)}
    readings: Readings = {}
    for path in files:
        tags = found[path]
        verdict = " ".join(tags[name] for name in ("Validate", "Warning", "Error") if name in tags)
        readings[path] = {tag: str(tags[tag]) for tag in TAGS if tag in tags} if verdict == "OK" else verdict
    return readings


def with_exiv2(files: Sequence[Path]) -> Readings:
    """Whatever it complains about makes a file invalid."""
    readings: Readings = {}
    for path in files:
        done = subprocess.run(["exiv2", "-Pkt", path], capture_output=True, check=False)
        pairs = (line.split(maxsplit=1) for line in done.stdout.decode(errors="replace").splitlines())
        tags = {pair[0].rsplit(".", 1)[1]: pair[1] for pair in pairs if len(pair) == 2}
        complaint = done.stderr.decode(errors="replace").strip()
        readings[path] = complaint or {tag: reduced(tags[tag]) for tag in TAGS if tag in tags}
    return readings


def reduced(words: str) -> str:
    """The same text with its fractions in lowest terms."""
    return " ".join(str(Fraction(word)) if FRACTION.fullmatch(word) else word for word in words.split())


RENDERERS = {
    "darktable": Renderer("darktable", "darktable-cli", "Debian's darktable", with_darktable),
    "rawtherapee": Renderer("RawTherapee", "rawtherapee-cli", "Debian's rawtherapee", with_rawtherapee),
    "dcraw": Renderer("dcraw", "dcraw", "Debian's dcraw", with_dcraw),
    "libraw": Renderer("LibRaw", "rawpy", "PyPI's rawpy", with_libraw),
    "dng-sdk": Renderer("Adobe's DNG SDK", "dngpy", "PyPI's dngpy", with_dng_sdk),
}
READERS = {
    "exiftool": Reader("exiftool", "exiftool", "Debian's libimage-exiftool-perl", with_exiftool),
    "exiv2": Reader("exiv2", "exiv2", "Debian's exiv2", with_exiv2),
}


def output_of(command: Sequence[object], home: Path) -> str:
    """What a program prints, with its settings in a folder of its own."""
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def tiff_or_reason(path: Path, said: str, name: str) -> Rendering | str:
    if path.exists():
        return of_three_colours(tifffile.imread(path))
    lines = [line for line in said.splitlines() if name in line]
    return lines[-1] if lines else "nothing was written"


def ppm_or_reason(done: subprocess.CompletedProcess[bytes]) -> Rendering | str:
    header = PPM.match(done.stdout)
    if done.returncode or header is None:
        return done.stderr.decode(errors="replace").strip() or "nothing was written"
    width, height = int(header[2]), int(header[3])
    return of_three_colours(np.frombuffer(done.stdout[header.end() :], ">u2").reshape(height, width, -1))


def of_three_colours(pixels: NDArray[np.generic]) -> Rendering:
    """(H, W) or (H, W, 1 or 3) on the scale of 65535, as a rendering."""
    whole = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32) / np.float32(257)
    return np.broadcast_to(whole, (*whole.shape[:2], 3))


def main_tags(path: Path) -> Mapping[int, tuple[float, ...]]:
    """The numbers in the directory of the full-size picture, fractions as such."""
    with tifffile.TiffFile(path) as file:
        pages = [page.aspage() for first in file.pages for page in (first.aspage(), *(first.aspage().pages or ()))]
        page = next(page for page in pages if not page.tags.valueof(254, 0))
        wanted = (BLACK_REPEAT, TABLE, BLACK, WHITE, CROP_ORIGIN, CROP_SIZE)
        return {tag: numbers(page.tags[tag]) for tag in wanted if tag in page.tags}


def numbers(tag: tifffile.TiffTag) -> tuple[float, ...]:
    values = np.ravel(tag.value)
    if tag.dtype in (tifffile.DATATYPE.RATIONAL, tifffile.DATATYPE.SRATIONAL):
        values = values[::2] / values[1::2]
    return tuple(values.tolist())


def linear_light(stage1: NDArray[np.generic], tags: Mapping[int, tuple[float, ...]]) -> NDArray[np.float64]:
    """(H, W, C) of a file's values as light, by its LinearizationTable, BlackLevel and WhiteLevel."""
    values = np.array(tags[TABLE])[stage1] if TABLE in tags else stage1.astype(float)
    H, W, C = values.shape
    rows, columns = (int(number) for number in tags.get(BLACK_REPEAT, (1, 1)))
    black = np.resize(tags.get(BLACK, (0,)), (rows, columns, C))
    black = np.tile(black, (H // rows + 1, W // columns + 1, 1))[:H, :W]
    return (values - black) / (np.array(tags.get(WHITE, (65535,))) - black)
