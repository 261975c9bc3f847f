"""Digital negatives: what their tags say, and new ones, of mosaics and of linear pictures.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7.

Legend: H x W photosites or pixels.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from denoise_cli.imaging.bayer import Phase
from denoise_cli.imaging.colour import SRGB_TO_XYZ
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io.exif import (
    BYTE,
    DOUBLE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    SUB_IFDS,
    Directory,
    Exif,
    Value,
    parse,
    picture_directories,
)
from denoise_cli.io.metadata import DESCRIPTIVE_TAGS, ORIENTATION, SOFTWARE
from denoise_cli.io.tiff import placeholders, with_directories

NEW_SUBFILE_TYPE, CFA_REPEAT, CFA_PATTERN = 254, 33421, 33422
DNG_VERSION, DNG_BACKWARD_VERSION, UNIQUE_CAMERA_MODEL = 50706, 50707, 50708
CFA_PLANE_COLOUR, CFA_LAYOUT = 50710, 50711
BLACK_REPEAT, BLACK_LEVEL, WHITE_LEVEL = 50713, 50714, 50717
CROP_ORIGIN, CROP_SIZE, ACTIVE_AREA = 50719, 50720, 50829
COLOUR_MATRIX, AS_SHOT_NEUTRAL, AS_SHOT_WHITE, ILLUMINANT = 50721, 50728, 50729, 50778
NOISE_PROFILE = 51041
D65 = 21
VERSION, BACKWARD_VERSION = bytes([1, 4, 0, 0]), bytes([1, 3, 0, 0])

# What a digital negative says of its camera and its rendering; a copy of other pixels goes on saying it.
CAMERA_TAGS = {
    UNIQUE_CAMERA_MODEL, 50709, *range(50721, 50731), 50735, 50736, 50740, 50741, 50778, 50779, 50780, 50931, 50932,
    50934, *range(50936, 50943), 50964, 50965, 50981, 50982, *range(51107, 51111), 52525,
    *range(52529, 52539), 52543, 52544,
}  # fmt: skip
# And of the picture: scale, crop, anti-aliasing, and what is to be done to it, of a mosaic before the demosaic as well.
# (OpcodeList1 knows photosites by their places in a file that had borders.)
PICTURE_TAGS = {50718, CROP_ORIGIN, CROP_SIZE, 50732, 50733, 50734, 50737, 50738, 50739, 51022, 51125}
MOSAIC_TAGS = {51009}

SIMULATED_CAMERA = "Simulated camera"
TILE, TIFF_UNIT = 512, 16
ABOVE_AND_LEFT = 6  # the predictor of lossless JPEG: the value above, and half of how the left ones differ
PREVIEW_QUALITY = 85
MIN_NOISE = 1e-9  # readers take no zero


@dataclass(frozen=True)
class DigitalNegative:
    """All that is written.

    Attributes:
        values: uint16, (H, W) of a mosaic, (H, W, 3) of linear light in the camera's colours; not turned.
        phase: where red is in the mosaic's quads; None of a linear picture.
        black: what stands for no light, in the order of a quad's photosites: (4,), or (1,) of a linear picture.
        white: what stands for the most.
        camera: of the first directory: colours, calibration, profiles; `colour_tags` at least.
        picture: of the picture's directory: scale, crop, corrections.
        exif: what the shot was taken with; `order` is that of all tags.
        orientation: how it is to be turned, 1 to 8, as EXIF has it.
        noise: what is left of it.
        preview: (h, w, 3), 8 bits, sRGB, not turned.
    """

    values: NDArray[np.uint16]
    phase: Phase | None
    black: tuple[float, ...]
    white: int
    camera: Directory
    exif: Exif
    orientation: int
    noise: ShotRead | None
    preview: NDArray[np.uint8]
    picture: Directory = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        H, W = self.values.shape[:2]
        return H, W


def is_dng(data: bytes) -> bool:
    """Whether a TIFF structure is a digital negative."""
    return DNG_VERSION in parse(data).main


def filter_pattern(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a mosaic's pattern of colour filters; None where there is none."""
    one = _main_directory(data)
    numbers = one.numbers(one.main.get(CFA_REPEAT))
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def noise_profile(data: bytes) -> ShotRead | None:
    """What a digital negative says of its noise: the mean over its colours; None where it says nothing that can be.

    For a value x, as a share of white, noise has the variance S * x + O.
    """
    for one in (_main_directory(data), *picture_directories(data)):
        numbers = one.numbers(one.main.get(NOISE_PROFILE))
        if len(numbers) >= 2 and len(numbers) % 2 == 0 and all(math.isfinite(number) for number in numbers):
            shot, variance = (max(sum(part) / len(part), 0.0) for part in (numbers[::2], numbers[1::2]))
            return ShotRead(shot, math.sqrt(variance)) if shot or variance else None
    return None


def tags_to_keep(data: bytes, is_mosaic: bool) -> tuple[Directory, Directory]:
    """What a digital negative says of its camera, and of its picture, that is as true of a copy with other values."""
    first, picture = (picture_directories(data) or [Exif()])[0].main, _main_directory(data).main
    of_camera = {tag: value for tag, value in {**picture, **first}.items() if tag in CAMERA_TAGS}
    wanted = PICTURE_TAGS | MOSAIC_TAGS if is_mosaic else PICTURE_TAGS
    return of_camera, {tag: value for tag, value in {**first, **picture}.items() if tag in wanted}


def colour_tags(exif: Exif, matrix: NDArray[np.floating], neutral: NDArray[np.floating], camera: str) -> Directory:
    """What says how to make colours of a camera's values.

    Args:
        exif: in whose order the values are written.
        matrix: (3, 3), from XYZ in daylight (D65) to the camera's colours.
        neutral: (3,), what the camera's values were for white, the largest 1.
        camera: its name.
    """
    return {
        UNIQUE_CAMERA_MODEL: exif.text(camera),
        COLOUR_MATRIX: exif.packed(SRATIONAL, matrix.ravel()),
        ILLUMINANT: exif.short(D65),
        AS_SHOT_NEUTRAL: exif.packed(RATIONAL, neutral),
    }


def simulated_dng(sensor: Sensor, numbers: NDArray[np.uint16], preview: NDArray[np.uint8]) -> DigitalNegative:
    """What a simulated sensor has taken, as `imaging.camera` gives it, with its noise told."""
    exif = Exif()
    neutral = sensor.matrix().sum(axis=1)
    return DigitalNegative(
        values=numbers,
        phase=sensor.phase,
        black=(float(sensor.black),) * 4,
        white=sensor.white,
        camera=colour_tags(
            exif, sensor.matrix() @ np.linalg.inv(SRGB_TO_XYZ), neutral / neutral.max(), SIMULATED_CAMERA
        ),
        exif=exif,
        orientation=1,
        noise=sensor.noise,
        preview=preview,
    )


def encode(negative: DigitalNegative, software: str) -> bytes:
    """A digital negative as the bytes of a file, losslessly compressed: a preview, and below it the picture.

    Raises:
        ValueError: it is too narrow.
    """
    if negative.shape[1] < TIFF_UNIT:
        raise ValueError(f"it holds no pictures of less than {TIFF_UNIT} columns: choose .tif or .png")
    exif = negative.exif
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=exif.order, bigtiff=False) as writer:
        writer.write(
            negative.preview,
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": PREVIEW_QUALITY},
            rowsperstrip=len(negative.preview),
            subfiletype=1,
            subifds=1,
            software=software.encode(),
            metadata=None,
            extratags=[*_for_tifffile(_first_directory(negative), exif.order), *placeholders(exif)],
        )
        writer.write(
            _compressed_tiles(negative.values),
            shape=negative.values.shape,
            dtype=np.uint16,
            photometric="linear_raw" if negative.phase is None else "cfa",
            planarconfig="contig" if negative.phase is None else None,
            compression="jpeg",
            tile=(TILE, _tile_width(negative.values)),
            subfiletype=0,
            software=False,
            metadata=None,
            extratags=_for_tifffile(_picture_directory(negative), exif.order),
        )
    return with_directories(_with_classic_pointer(buffer.getvalue(), exif.order), exif)


def _with_classic_pointer(data: bytes, order: str) -> bytes:
    """With the pointer to the picture's directory as the type that every reader expects; tifffile's is a later one."""
    with tifffile.TiffFile(BytesIO(data)) as file:
        place = file.pages[0].aspage().tags[SUB_IFDS].offset + 2
    return data[:place] + struct.pack(order + "H", LONG) + data[place + 2 :]


def _main_directory(data: bytes) -> Exif:
    """The directory of the picture itself, which is not a preview."""
    found = picture_directories(data) or [Exif()]
    return next((one for one in found if not one.number(one.main.get(NEW_SUBFILE_TYPE))), found[0])


def _first_directory(negative: DigitalNegative) -> Directory:
    exif = negative.exif
    said = {tag: value for tag, value in exif.main.items() if tag in DESCRIPTIVE_TAGS and tag != SOFTWARE}
    return {
        **said,
        **negative.camera,
        ORIENTATION: exif.short(negative.orientation),
        DNG_VERSION: Value(BYTE, max(VERSION, known.data if (known := exif.main.get(DNG_VERSION)) else VERSION)),
        DNG_BACKWARD_VERSION: Value(BYTE, BACKWARD_VERSION),
    }


def _picture_directory(negative: DigitalNegative) -> Directory:
    exif, (H, W) = negative.exif, negative.shape
    colours = 3
    tags = {
        **negative.picture,
        WHITE_LEVEL: exif.packed(LONG, [negative.white] * (1 if negative.phase else colours)),
        ACTIVE_AREA: exif.packed(LONG, [0, 0, H, W]),
    }
    if negative.noise is not None:
        pair = [max(negative.noise.shot, MIN_NOISE), max(negative.noise.read**2, MIN_NOISE)]
        tags[NOISE_PROFILE] = exif.packed(DOUBLE, pair * colours)
    if negative.phase is None:
        return tags
    return tags | {
        CFA_REPEAT: exif.packed(SHORT, [2, 2]),
        CFA_PATTERN: Value(BYTE, _filter_pattern_bytes(negative.phase)),
        CFA_PLANE_COLOUR: Value(BYTE, bytes([0, 1, 2])),
        CFA_LAYOUT: exif.short(1),
        BLACK_REPEAT: exif.packed(SHORT, [2, 2]),
        BLACK_LEVEL: exif.packed(RATIONAL, negative.black),
    }


def _filter_pattern_bytes(phase: Phase) -> bytes:
    y, x = phase
    quad = np.ones((2, 2), np.uint8)
    quad[y, x], quad[1 - y, 1 - x] = 0, 2
    return quad.tobytes()


def _tile_width(values: NDArray[np.uint16]) -> int:
    """No wider than the picture: LibRaw and dcraw would begin a new row where that ends."""
    return min(TILE, values.shape[1] // TIFF_UNIT * TIFF_UNIT)


def _compressed_tiles(values: NDArray[np.uint16]) -> Iterator[bytes]:
    """Tiles as lossless JPEG; of a mosaic, two rows are one, so that a value is told by the one above of its colour."""
    (H, W), width = values.shape[:2], _tile_width(values)
    for top in range(0, H, TILE):
        for left in range(0, W, width):
            tile = values[top : top + TILE, left : left + width]
            margins = [(0, TILE - tile.shape[0]), (0, width - tile.shape[1]), (0, 0)][: tile.ndim]
            whole = np.pad(tile, margins, mode="edge")
            if whole.ndim == 2:
                whole = whole.reshape(TILE // 2, 2 * width)
            space = "rgb" if whole.ndim == 3 else None
            yield bytes(
                imagecodecs.jpeg_encode(
                    whole,
                    colorspace=space,
                    outcolorspace=space,
                    lossless=True,
                    predictor=ABOVE_AND_LEFT,
                    bitspersample=16,
                )
            )


def _for_tifffile(tags: Mapping[int, Value], order: str) -> list[tuple[int, int, int, bytes | tuple[int, ...], bool]]:
    """As tifffile takes them: bytes, but of fractions the whole numbers."""
    fractions = {RATIONAL: "I", SRATIONAL: "i"}
    return [
        (
            tag,
            value.kind,
            value.count,
            struct.unpack(f"{order}{2 * value.count}{fractions[value.kind]}", value.data)
            if value.kind in fractions
            else value.data,
            True,
        )
        for tag, value in tags.items()
    ]
