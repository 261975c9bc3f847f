"""Digital negatives: their tags read, and new files written from mosaics and from linear pictures.

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

# Tags.
NEW_SUBFILE_TYPE = 254
CFA_REPEAT = 33421
CFA_PATTERN = 33422
DNG_VERSION = 50706
DNG_BACKWARD_VERSION = 50707
UNIQUE_CAMERA_MODEL = 50708
CFA_PLANE_COLOUR = 50710
CFA_LAYOUT = 50711
BLACK_REPEAT = 50713
BLACK_LEVEL = 50714
WHITE_LEVEL = 50717
CROP_ORIGIN = 50719
CROP_SIZE = 50720
COLOUR_MATRIX = 50721
AS_SHOT_NEUTRAL = 50728
AS_SHOT_WHITE = 50729
ILLUMINANT = 50778
ACTIVE_AREA = 50829
NOISE_PROFILE = 51041

D65 = 21  # as a value of `ILLUMINANT`
VERSION = bytes([1, 4, 0, 0])
BACKWARD_VERSION = bytes([1, 3, 0, 0])

# Tags about the camera and the rendering, which remain true of a copy with other pixels.
CAMERA_TAGS = {
    UNIQUE_CAMERA_MODEL, 50709, *range(50721, 50731), 50735, 50736, 50740, 50741, 50778, 50779, 50780, 50931, 50932,
    50934, *range(50936, 50943), 50964, 50965, 50981, 50982, *range(51107, 51111), 52525,
    *range(52529, 52539), 52543, 52544,
}  # fmt: skip
# The same for tags about the picture: scale, crop, anti-aliasing, and operations to apply; for a mosaic also those that
# come before demosaicing. (Not OpcodeList1, which refers to photosites by their positions in a file with borders.)
PICTURE_TAGS = {50718, CROP_ORIGIN, CROP_SIZE, 50732, 50733, 50734, 50737, 50738, 50739, 51022, 51125}
MOSAIC_TAGS = {51009}

SIMULATED_CAMERA = "Simulated camera"
TILE = 512  # pixels, the longest side of a tile
TIFF_UNIT = 16  # pixels: the sides of tiles are multiples of it
ABOVE_AND_LEFT = 6  # lossless JPEG's predictor: the value above, plus half the difference of those to the left
PREVIEW_QUALITY = 85
MIN_NOISE = 1e-9  # some readers reject zeros in a noise profile


@dataclass(frozen=True)
class DigitalNegative:
    """Everything that is written into a DNG.

    Attributes:
        values: uint16, (H, W) for a mosaic, (H, W, 3) for linear light in the camera's colours; not turned upright.
        phase: where red is in the mosaic's quads; None for a linear picture.
        black: the values for no light, in the order of a quad's photosites: (4,), or (1,) for a linear picture.
        white: the value of saturated photosites.
        camera: tags for the first directory: colours, calibration, profiles; at least `colour_tags`.
        picture: tags for the picture's directory: scale, crop, corrections.
        exif: how the shot was taken; all tags have its byte order.
        orientation: how to turn the picture upright, 1 to 8 as in EXIF.
        noise: that the values still have, as shares of white; None if unknown.
        preview: (h, w, 3), 8 bits, sRGB, not turned upright.
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
    """Rows and columns of a mosaic's colour filter pattern; None if the file states none."""
    directory = _main_directory(data)
    numbers = directory.numbers(directory.main.get(CFA_REPEAT))
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def noise_profile(data: bytes) -> ShotRead | None:
    """The noise that a digital negative states, averaged over its colours; None if it states no valid one.

    The tag holds pairs (S, O): at a value x, as a share of white, noise has the variance S * x + O.
    """
    for directory in (_main_directory(data), *picture_directories(data)):
        numbers = directory.numbers(directory.main.get(NOISE_PROFILE))
        if len(numbers) >= 2 and len(numbers) % 2 == 0 and all(math.isfinite(number) for number in numbers):
            shot, variance = (max(sum(values) / len(values), 0.0) for values in (numbers[::2], numbers[1::2]))
            return ShotRead(shot, math.sqrt(variance)) if shot or variance else None
    return None


def tags_of_picture(data: bytes) -> Exif:
    """The tags of the first directory and of the full-size picture's, which come first, as `main`."""
    picture = _main_directory(data)
    first = (picture_directories(data) or [picture])[0]
    return Exif(picture.order, first.main | picture.main)


def tags_to_keep(data: bytes, is_mosaic: bool) -> tuple[Directory, Directory]:
    """The tags about the camera, and about the picture, that remain true of a copy with other values."""
    first, picture = (picture_directories(data) or [Exif()])[0].main, _main_directory(data).main
    of_camera = {tag: value for tag, value in {**picture, **first}.items() if tag in CAMERA_TAGS}
    wanted = PICTURE_TAGS | MOSAIC_TAGS if is_mosaic else PICTURE_TAGS
    return of_camera, {tag: value for tag, value in {**first, **picture}.items() if tag in wanted}


def colour_tags(exif: Exif, matrix: NDArray[np.floating], neutral: NDArray[np.floating], camera: str) -> Directory:
    """Tags that tell raw converters how to interpret the camera's colours.

    Args:
        exif: its byte order is used.
        matrix: (3, 3), from XYZ in daylight (D65) to the camera's colours.
        neutral: (3,), the camera's values for white, the largest of them 1.
        camera: the camera's name.
    """
    return {
        UNIQUE_CAMERA_MODEL: exif.text(camera),
        COLOUR_MATRIX: exif.packed(SRATIONAL, matrix.ravel()),
        ILLUMINANT: exif.short(D65),
        AS_SHOT_NEUTRAL: exif.packed(RATIONAL, neutral),
    }


def simulated_dng(sensor: Sensor, numbers: NDArray[np.uint16], preview: NDArray[np.uint8]) -> DigitalNegative:
    """The DNG of a simulated sensor.

    Args:
        sensor: its noise is stated in the file.
        numbers: (H, W), from `sensor.capture`.
        preview: (h, w, 3), 8 bits, sRGB.
    """
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
    """The bytes of a DNG file: a preview in the first directory, and the losslessly compressed picture below it.

    Args:
        negative: what to write.
        software: the name of the program, for the metadata.

    Raises:
        ValueError: the picture is too narrow; with a message for the user.
    """
    if negative.shape[1] < TIFF_UNIT:
        raise ValueError(f"it cannot hold pictures of fewer than {TIFF_UNIT} columns: choose .tif or .png")
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
    """Give the pointer to the picture's directory the type that every reader expects: tifffile's own is a later one."""
    with tifffile.TiffFile(BytesIO(data)) as file:
        place = file.pages[0].aspage().tags[SUB_IFDS].offset + 2
    return data[:place] + struct.pack(order + "H", LONG) + data[place + 2 :]


def _main_directory(data: bytes) -> Exif:
    """The directory of the full-size picture, as opposed to previews."""
    found = picture_directories(data) or [Exif()]
    return next((each for each in found if not each.number(each.main.get(NEW_SUBFILE_TYPE))), found[0])


def _first_directory(negative: DigitalNegative) -> Directory:
    exif = negative.exif
    descriptive = {tag: value for tag, value in exif.main.items() if tag in DESCRIPTIVE_TAGS and tag != SOFTWARE}
    return {
        **descriptive,
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
    """Tiles are not wider than the picture: LibRaw and dcraw would start a new row in the middle of them."""
    return min(TILE, values.shape[1] // TIFF_UNIT * TIFF_UNIT)


def _compressed_tiles(values: NDArray[np.uint16]) -> Iterator[bytes]:
    """Tiles as lossless JPEG; two rows of a mosaic are joined, so that values are predicted from their own colour."""
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
    """Tags as tifffile's `extratags`: values as bytes, except fractions, which are tuples of integers."""
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
