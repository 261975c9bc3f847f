"""Digital negatives: their tags read, and new files written from mosaics and from linear pictures.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7.

Legend: H x W photosites or pixels.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from denoise_cli.imaging.colour import SRGB_TO_XYZ
from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io.dng_tiles import (
    DISTANCE,
    FIELDS,
    SQUARE_ROOT_WHITE,
    UNIT,
    Compression,
    compressed_tiles,
    squares,
    tile_shape,
)
from denoise_cli.io.exif import (
    BYTE,
    DOUBLE,
    FLOAT,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    SUB_IFDS,
    UNDEFINED,
    Directory,
    Exif,
    Value,
    parse,
    picture_directories,
)
from denoise_cli.io.metadata import DESCRIPTIVE_TAGS, ORIENTATION, SOFTWARE, UNIQUE_CAMERA_MODEL
from denoise_cli.io.tiff import add_directories, placeholders

# Tags.
NEW_SUBFILE_TYPE = 254
# By NewSubfileType, as of DNG 1.7.
SIDE_PICTURES = {4: "a transparency mask", 8: "a depth map", 16: "an enhanced picture", 0x10004: "semantic masks"}
IMAGE_WIDTH = 256
IMAGE_LENGTH = 257
COMPRESSION = 259
PHOTOMETRIC = 262
CFA_REPEAT = 33421
CFA_PATTERN = 33422
DNG_VERSION = 50706
DNG_BACKWARD_VERSION = 50707
CFA_PLANE_COLOUR = 50710
CFA_LAYOUT = 50711
LINEARIZATION_TABLE = 50712
BLACK_REPEAT = 50713
BLACK_LEVEL = 50714
BLACK_DELTAS = (50715, 50716)  # by column, by row
WHITE_LEVEL = 50717
CROP_ORIGIN = 50719
CROP_SIZE = 50720
COLOUR_MATRIX = 50721
AS_SHOT_NEUTRAL = 50728
AS_SHOT_WHITE = 50729
ILLUMINANT = 50778
ACTIVE_AREA = 50829
MASKED_AREAS = 50830
NOISE_REDUCTION = 50935
ROW_INTERLEAVE = 50975
OPCODE_LIST_1 = 51008
OPCODE_LIST_2 = 51009
OPCODE_LIST_3 = 51022
NOISE_PROFILE = 51041
COLUMN_INTERLEAVE = 52547
JXL_DISTANCE = 52553

RGB = 3  # colours
D65 = 21  # as a value of `ILLUMINANT`
VERSION = bytes([1, 4, 0, 0])
BACKWARD_VERSION = bytes([1, 3, 0, 0])
JXL_VERSION = bytes([1, 7, 1, 0])
# Values of `COMPRESSION`.
JPEG = 7
LOSSY_JPEG = 34892
JXL = 52546
SCHEMES: dict[Compression, int] = {"jpeg": JPEG, "jxl": JXL, "lossy-jpeg": LOSSY_JPEG, "lossy-jxl": JXL, "deflate": 8}

# Tags about the camera, the clip that a frame belongs to, and the rendering, which remain true of a copy with other
# pixels.
CAMERA_TAGS = {
    UNIQUE_CAMERA_MODEL, 50709, *range(50721, 50731), 50735, 50736, 50740, 50741, 50778, 50779, 50780, 50827, 50931,
    *range(50831, 50835), 50879, 50932, 50934, *range(50936, 50943), 50964, 50965, 50981, 50982, 51043, 51044, 51058,
    51081, 51105, *range(51107, 51111), 52525, *range(52529, 52539), 52543, 52544, 52548, 52551, 52552,
}  # fmt: skip
# The same for tags about the picture: scale, crop, anti-aliasing, and operations to apply; for a mosaic also those that
# come before demosaicing.
PICTURE_TAGS = {
    50718, CROP_ORIGIN, CROP_SIZE, 50732, 50733, 50734, 50737, 50738, 50739, NOISE_REDUCTION, OPCODE_LIST_3, 51125,
}  # fmt: skip
MOSAIC_TAGS = {OPCODE_LIST_2}
# Those that refer to photosites by their positions in the whole frame, masked borders included.
FRAME_TAGS = {MASKED_AREAS, OPCODE_LIST_1}
LEVEL_TAGS = {BLACK_REPEAT, BLACK_LEVEL, *BLACK_DELTAS}

SIMULATED_CAMERA = "Simulated camera"
PREVIEW_QUALITY = 85
MIN_NOISE = 1e-9  # some readers reject zeros in a noise profile

Area = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class DigitalNegative:
    """Everything that is written into a DNG.

    Attributes:
        values: uint16, or floating point, (H, W) for a mosaic, (H, W, 3) for linear light in the camera's colours,
            (H, W) for that of a sensor without colour filters; not turned upright.
        filters: over the photosites of the mosaic's `area`; None for a linear picture.
        black: the values for no light, in the order of the pattern's photosites, or (1,) for a linear picture.
        white: the value of saturated photosites.
        camera: tags for the first directory: colours, calibration, profiles; at least `colour_tags`.
        picture: tags for the picture's directory: scale, crop, corrections; and black levels that take the place of
            `black`, if that is not all there is to say about them.
        exif: how the shot was taken; all tags have its byte order.
        orientation: how to turn the picture upright, 1 to 8 as in EXIF.
        noise: that the values still have, as shares of white; None if unknown.
        preview: (h, w, 3), 8 bits, sRGB, not turned upright.
        area: top, left, bottom and right of the photosites that make the picture, for values with masked borders; None
            for all of them.
        removed: the share of the noise that was removed, 0 to 1.
        compression: of the picture; the lossy ones are for linear light in three colours, with white at 65535.
    """

    values: NDArray[np.uint16 | np.floating]
    filters: ColourFilters | None
    black: tuple[float, ...]
    white: int
    camera: Directory
    exif: Exif
    orientation: int
    noise: ShotRead | None
    preview: NDArray[np.uint8]
    picture: Directory = field(default_factory=dict)
    area: Area | None = None
    removed: float = 0.0
    compression: Compression = "jpeg"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, masked borders included."""
        H, W = self.values.shape[:2]
        return H, W

    @property
    def is_lossy(self) -> bool:
        """Whether the file will not hold exactly these values."""
        return self.compression in ("lossy-jpeg", "lossy-jxl")

    @property
    def colours(self) -> int:
        """How many colours the sensor tells apart."""
        return 1 if self.filters is None and self.values.ndim == 2 else RGB


def main_directories(data: bytes) -> tuple[Exif, Exif]:
    """The first directory, and that of the full-size picture: the largest that is no preview."""
    found = picture_directories(data) or [Exif()]
    full = [each for each in found if not first_number(each, NEW_SUBFILE_TYPE, 0)]
    return found[0], max(full, key=lambda each: math.prod(stated_size(each)), default=found[0])


def side_pictures(data: bytes) -> list[str]:
    """The kinds of pictures that a DNG holds beside its own and previews of it."""
    kinds = [first_number(each, NEW_SUBFILE_TYPE, 0) for each in picture_directories(data)]
    return [name for kind, name in SIDE_PICTURES.items() if kind in kinds]


def is_dng(data: bytes) -> bool:
    """Whether a TIFF structure is a digital negative."""
    return DNG_VERSION in parse(data).main


def filter_pattern(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a mosaic's colour filter pattern; None if the file states none."""
    _, directory = main_directories(data)
    numbers = directory.numbers(directory.main.get(CFA_REPEAT))
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def picture_size(data: bytes) -> tuple[int, int]:
    """Rows and columns of the full-size picture, masked borders included; zeros if the file states none."""
    return stated_size(main_directories(data)[1])


def stated_size(directory: Exif) -> tuple[int, int]:
    """Rows and columns of a directory's picture; zeros if it states none."""
    return first_number(directory, IMAGE_LENGTH, 0), first_number(directory, IMAGE_WIDTH, 0)


def first_number(directory: Exif, tag: int, otherwise: int) -> int:
    """The first number of a tag; directories that LibRaw reads may have it in any integer type."""
    numbers = directory.numbers(directory.main.get(tag))
    return int(numbers[0]) if numbers else otherwise


def active_area(data: bytes) -> Area | None:
    """Top, left, bottom and right of the photosites that make the picture; None if the file states nothing sensible."""
    _, directory = main_directories(data)
    H, W = stated_size(directory)
    if ACTIVE_AREA not in directory.main:
        return (0, 0, H, W) if H and W else None
    area = stated_area(directory)
    if area is None:
        return None
    top, left, bottom, right = area
    return area if 0 <= top < bottom <= H and 0 <= left < right <= W else None


def stated_area(directory: Exif) -> Area | None:
    """A directory's ActiveArea, whether or not it lies within the picture; None if it has none of four numbers."""
    numbers = [int(number) for number in directory.numbers(directory.main.get(ACTIVE_AREA))]
    if len(numbers) != 4:
        return None
    top, left, bottom, right = numbers
    return top, left, bottom, right


def stated_black(data: bytes, pattern: tuple[int, int]) -> NDArray[np.float64] | None:
    """The black level of each place in a pattern of colour filters, averaged over all rows and columns.

    Args:
        data: the file.
        pattern: its rows and columns.

    Returns:
        The pattern's shape; None if the file contradicts itself.
    """
    _, directory = main_directories(data)
    levels, repeats = (directory.numbers(directory.main.get(tag)) for tag in (BLACK_LEVEL, BLACK_REPEAT))
    rows, columns = (int(number) for number in repeats) if len(repeats) == 2 else (1, 1)
    if len(levels or (0.0,)) != rows * columns:
        return None
    whole = np.tile(np.reshape(levels or (0.0,), (rows, columns)), pattern)  # both patterns fit into it
    deltas = (directory.numbers(directory.main.get(tag)) for tag in BLACK_DELTAS)
    means = [whole[y :: pattern[0], x :: pattern[1]].mean() for y, x in np.ndindex(pattern)]
    return np.reshape(means, pattern) + sum(sum(each) / len(each) for each in deltas if each)


def lossy_compression(data: bytes) -> Compression | None:
    """How the picture has been compressed with loss; None if it has not been, or if its JPEG XL does not say so."""
    _, directory = main_directories(data)
    scheme = directory.number(directory.main.get(COMPRESSION))
    if scheme == LOSSY_JPEG:
        return "lossy-jpeg"
    is_lossy = scheme == JXL and any(directory.numbers(directory.main.get(JXL_DISTANCE)))
    return "lossy-jxl" if is_lossy else None


def noise_profile(data: bytes) -> ShotRead | None:
    """The noise that a digital negative states, averaged over its colours; None if it states no valid one.

    The tag holds pairs (S, O): at a value x, as a share of white, noise has the variance S * x + O.
    """
    for directory in (main_directories(data)[1], *picture_directories(data)):
        numbers = directory.numbers(directory.main.get(NOISE_PROFILE))
        if len(numbers) >= 2 and len(numbers) % 2 == 0 and all(math.isfinite(number) for number in numbers):
            shot, variance = (sum(values) / len(values) for values in (numbers[::2], numbers[1::2]))
            is_noise = min(shot, variance) >= 0 and shot + variance > 0
            return ShotRead(shot, math.sqrt(variance)) if is_noise else None
    return None


def tags_of_picture(data: bytes) -> Exif:
    """The tags of the first directory and of the full-size picture's, which come first, as `main`."""
    first, picture = main_directories(data)
    return Exif(picture.order, first.main | picture.main)


def tags_to_keep(data: bytes, is_mosaic: bool) -> tuple[Directory, Directory]:
    """The tags about the camera, and about the picture, that remain true of a copy with other values.

    Args:
        data: the file.
        is_mosaic: whether the copy is the whole frame of a mosaic, in the same range of numbers.
    """
    first, main = (directory.main for directory in main_directories(data))
    wanted = PICTURE_TAGS | MOSAIC_TAGS | FRAME_TAGS | LEVEL_TAGS if is_mosaic else PICTURE_TAGS
    if LINEARIZATION_TABLE in main:
        wanted = wanted - {OPCODE_LIST_1}  # it is for numbers that the table has not been applied to
    of_camera = {tag: value for tag, value in {**main, **first}.items() if tag in CAMERA_TAGS}
    return of_camera, {tag: value for tag, value in {**first, **main}.items() if tag in wanted}


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
        filters=sensor.filters,
        black=(float(sensor.black),) * sensor.filters.pattern.size,
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
    """The bytes of a DNG file: a preview in the first directory, and the picture below it.

    Args:
        negative: what to write.
        software: the name of the program, for the metadata.

    Raises:
        ValueError: the picture is too narrow; with a message for the user.
    """
    if negative.shape[1] < UNIT:
        raise ValueError(f"it cannot hold pictures of fewer than {UNIT} columns: choose .tif or .png")
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
            negative.values
            if negative.compression == "deflate"
            else compressed_tiles(
                negative.values.astype(np.uint16, copy=False),
                negative.compression,
                is_mosaic=negative.filters is not None,
            ),
            shape=negative.values.shape,
            dtype=np.uint8 if negative.compression == "lossy-jpeg" else negative.values.dtype,
            photometric=_photometric(negative),
            planarconfig="contig" if negative.values.ndim == 3 else None,
            compression=SCHEMES[negative.compression],
            # tifffile would state 12 or 8 of lossless JPEG.
            compressionargs={"bitspersample": 16} if negative.compression == "jpeg" else None,
            predictor=_predictor(negative),
            tile=tile_shape(*negative.shape, negative.compression),
            subfiletype=0,
            software=False,
            metadata=None,
            extratags=_for_tifffile(_picture_directory(negative), exif.order),
        )
    _correct_tags(buffer, negative)
    add_directories(buffer, [exif])
    contents = buffer.getvalue()
    buffer.close()  # tifffile's own objects keep it
    return contents


def _predictor(negative: DigitalNegative) -> int | None:
    """Of floating point: the value before it of the same colour."""
    if negative.compression != "deflate":
        return None
    return tifffile.PREDICTOR.FLOATINGPOINT if negative.filters is None else tifffile.PREDICTOR.FLOATINGPOINTX2


def _photometric(negative: DigitalNegative) -> str:
    if negative.filters is not None:
        return "cfa"
    return "linear_raw" if negative.colours == RGB else "minisblack"


def _correct_tags(buffer: BytesIO, negative: DigitalNegative) -> None:
    """What tifffile cannot write: the type of the pointer that every reader expects, and linear raw of grey."""
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        first = file.pages[0].aspage()
        places = {first.tags[SUB_IFDS].offset + 2: LONG}
        if negative.colours != RGB:
            assert first.pages is not None  # the picture's own directory
            places[first.pages[0].aspage().tags[PHOTOMETRIC].valueoffset] = tifffile.PHOTOMETRIC.LINEAR_RAW
    for place, number in places.items():
        buffer.seek(place)
        buffer.write(struct.pack(negative.exif.order + "H", number))


def _first_directory(negative: DigitalNegative) -> Directory:
    exif = negative.exif
    known = exif.main[DNG_VERSION].data if DNG_VERSION in exif.main else VERSION
    oldest, least = (JXL_VERSION, JXL_VERSION) if "jxl" in negative.compression else (BACKWARD_VERSION, VERSION)
    descriptive = {tag: value for tag, value in exif.main.items() if tag in DESCRIPTIVE_TAGS and tag != SOFTWARE}
    return {
        **descriptive,
        **negative.camera,
        ORIENTATION: exif.short(negative.orientation),
        DNG_VERSION: Value(BYTE, max(least, known)),
        DNG_BACKWARD_VERSION: Value(BYTE, oldest),
    }


def _picture_directory(negative: DigitalNegative) -> Directory:
    exif, (H, W), colours = negative.exif, negative.shape, negative.colours
    tags = {
        WHITE_LEVEL: exif.packed(LONG, [negative.white] * (1 if negative.filters else colours)),
        ACTIVE_AREA: exif.packed(LONG, negative.area or (0, 0, H, W)),
    } | _compression_tags(negative)
    if negative.noise is not None:
        pair = [max(negative.noise.shot, MIN_NOISE), max(negative.noise.read**2, MIN_NOISE)]
        tags[NOISE_PROFILE] = exif.packed(DOUBLE, pair * colours)
    if negative.removed:
        tags[NOISE_REDUCTION] = exif.packed(RATIONAL, [negative.removed])
    if negative.filters is None:
        return negative.picture | tags
    tags |= {
        CFA_REPEAT: exif.packed(SHORT, negative.filters.pattern.shape),
        CFA_PATTERN: Value(BYTE, negative.filters.pattern.astype(np.uint8).tobytes()),
        CFA_PLANE_COLOUR: Value(BYTE, bytes([0, 1, 2])),
        CFA_LAYOUT: exif.short(1),
    }
    if BLACK_LEVEL not in negative.picture:
        tags |= {
            BLACK_REPEAT: exif.packed(SHORT, negative.filters.pattern.shape),
            BLACK_LEVEL: exif.packed(RATIONAL, negative.black),
        }
    return negative.picture | tags


def _compression_tags(negative: DigitalNegative) -> Directory:
    exif, colours = negative.exif, negative.colours
    match negative.compression:
        case "lossy-jpeg":
            return {
                WHITE_LEVEL: exif.packed(LONG, [SQUARE_ROOT_WHITE] * colours),
                OPCODE_LIST_2: Value(UNDEFINED, squares(*negative.shape, colours)),
            }
        case "lossy-jxl":
            return {JXL_DISTANCE: exif.packed(FLOAT, [DISTANCE])}
        case "jxl" if negative.filters is not None:
            fields = exif.long(FIELDS)
            return {JXL_DISTANCE: exif.packed(FLOAT, [0]), ROW_INTERLEAVE: fields, COLUMN_INTERLEAVE: fields}
        case "jxl":
            return {JXL_DISTANCE: exif.packed(FLOAT, [0])}
        case _:
            return {}


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
