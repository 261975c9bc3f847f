"""Digital negatives of many kinds, written here byte by byte rather than by the program's own writer or reader.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7; "TIFF Revision 6.0".

Legend: H x W photosites of the active area, h x w of the whole sensor with its masked borders.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float64]
Numbers = NDArray[np.uint16]
Tags = dict[int, tuple[int, Sequence[Any] | bytes | str]]  # type and values

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
CODES = {BYTE: "B", SHORT: "H", LONG: "I", UNDEFINED: "B", DOUBLE: "d"}
DENOMINATOR = 1_000_000

SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
NEUTRAL = np.array([0.5, 1.0, 0.6])  # the sensor's values for white
SHOT, READ = 0.001, 0.002  # little noise: whatever denoising does to the means of colours is small
GAIN_POINTS = 5  # of a gain map, along each side
CORNER_GAIN = 1.5
PREVIEW_STEP = 4
CFA, LINEAR_RAW = 32803, 34892  # photometric interpretations
D65 = 21
GAIN_MAP = 9  # the number of the opcode
LOSSLESS_JPEG = 7


@dataclass(frozen=True)
class Negative:
    """A kind of digital negative.

    Attributes:
        pattern: the colours of the first quad of the active area, or of the first 6 x 6 photosites, row by row; "" for
            three values a pixel, "M" for a sensor without filters.
        size: (H, W) of the active area.
        borders: masked rows and columns at the top, left, bottom and right.
        crop: top, left, height and width in the active area; None for no tag.
        orientation: 1 to 8, as in EXIF.
        bits: of each value; uncompressed values of 12 and 14 bits are packed.
        black: of each photosite of a quad, row by row, or one for all.
        white: of the linear values.
        order: "<" or ">", the byte order.
        has_table: whether the values are codes of 8 bits more or less evenly spread over the square root of light.
        has_gain_map: whether the corners are darker, and a gain map says by how much.
        model: of a Canon, or the name of a camera that nobody knows.
        compressed: as lossless JPEG with two components, as cameras write it; of mosaics of 16 bits.
    """

    pattern: str = "RGGB"
    size: tuple[int, int] = (320, 400)
    borders: tuple[int, int, int, int] = (0, 0, 0, 0)
    crop: tuple[int, int, int, int] | None = None
    orientation: int = 1
    bits: int = 16
    black: tuple[int, ...] = (1024,)
    white: int = 16383
    order: str = "<"
    has_table: bool = False
    has_gain_map: bool = False
    model: str = "Canon EOS 5D Mark II"
    compressed: bool = False

    def encode(self, scene: NDArray[np.uint8], seed: int | None = None) -> bytes:
        """The file of a scene.

        Args:
            scene: (H or more, W or more, 3), sRGB.
            seed: of the noise; None for none.
        """
        H, W = self.size
        scene = scene[:H, :W]
        light = linear(scene) * NEUTRAL
        if self.has_gain_map:
            light = light / gain_of(self.size)[..., None]
        if self.pattern == "M":
            light = light @ [0.3, 0.6, 0.1]
        elif self.pattern:
            light = mosaic(light, self.pattern)
        top, left, bottom, right = self.borders
        light = np.pad(light, [(top, bottom), (left, right), (0, 0)][: light.ndim])
        if seed is not None:
            rng = np.random.default_rng(seed)
            light = light + rng.standard_normal(light.shape) * np.sqrt(SHOT * light + READ**2)
        return self.encode_numbers(self._numbers(light), scene)

    def encode_numbers(self, numbers: Numbers, scene: NDArray[np.uint8]) -> bytes:
        """The file of given values, (h, w) or (h, w, 3), with a preview of the scene."""
        return self._file(numbers, np.ascontiguousarray(scene[::PREVIEW_STEP, ::PREVIEW_STEP]))

    @property
    def shown(self) -> tuple[int, int]:
        """Rows and columns of the upright picture, cropped as the file says."""
        H, W = self.size if self.crop is None else self.crop[2:]
        return (W, H) if self.orientation > 4 else (H, W)

    @property
    def maker(self) -> str:
        return "Canon" if self.model.startswith("Canon") else "Simulated"

    @property
    def _stated_black(self) -> tuple[int, ...]:
        # RawTherapee subtracts a single level from a few photosites of an X-Trans mosaic only.
        return self.black * 36 if len(self.pattern) == len(X_TRANS) else self.black

    def _black_at_each(self, shape: tuple[int, ...]) -> Light:
        if len(self.black) == 1:
            return np.full(shape, float(self.black[0]))
        quad = np.roll(np.reshape(np.array(self.black, float), (2, 2)), self.borders[:2], (0, 1))
        return np.tile(quad, (shape[0] // 2 + 1, shape[1] // 2 + 1))[: shape[0], : shape[1]]

    def _numbers(self, light: Light) -> Numbers:
        black = self._black_at_each(light.shape)
        numbers = np.rint(light * (self.white - black) + black).clip(0, self.white)
        if self.has_table:
            table = linearization_table(self.bits, self.white)
            numbers = np.searchsorted((table[1:].astype(float) + table[:-1]) / 2, numbers)
        return numbers.astype(np.uint16)

    def _file(self, numbers: Numbers, preview: NDArray[np.uint8]) -> bytes:
        file = TiffFile(self.order)
        colours = 1 if numbers.ndim == 2 else numbers.shape[2]
        raw = file.directory(self._picture_tags(numbers, file.block(self._packed(numbers)), colours))
        exif = file.directory(
            {
                33434: (RATIONAL, [1 / 200]),  # ExposureTime
                33437: (RATIONAL, [4.0]),  # FNumber
                34855: (SHORT, [1600]),  # ISOSpeedRatings
                36867: (ASCII, "2024:05:06 07:08:09"),  # DateTimeOriginal
                37386: (RATIONAL, [50.0]),  # FocalLength
                42036: (ASCII, "EF50mm f/1.8 II"),  # LensModel
            }
        )
        first: Tags = {
            254: (LONG, [1]),  # NewSubfileType: a preview
            **strip_tags(preview, file.block(preview.tobytes()), 2, 8, 1),
            271: (ASCII, self.maker),
            272: (ASCII, self.model),
            274: (SHORT, [self.orientation]),
            330: (LONG, [raw]),  # SubIFDs
            34665: (LONG, [exif]),
            50706: (BYTE, [1, 4, 0, 0]),  # DNGVersion
            50707: (BYTE, [1, 3 if self.has_gain_map else 1, 0, 0]),  # DNGBackwardVersion
            50708: (ASCII, self.model),  # UniqueCameraModel
        }
        if self.pattern != "M":
            matrix = np.diag(NEUTRAL) @ np.linalg.inv(SRGB_TO_XYZ)
            first |= {
                50721: (SRATIONAL, matrix.ravel()),  # ColorMatrix1
                50728: (RATIONAL, NEUTRAL),  # AsShotNeutral
                50778: (SHORT, [D65]),  # CalibrationIlluminant1
            }
        return file.finish(file.directory(first))

    def _picture_tags(self, numbers: Numbers, place: tuple[int, int], colours: int) -> Tags:
        top, left, bottom, right = self.borders
        h, w = numbers.shape[:2]
        is_mosaic = len(self.pattern) > 1
        compression = LOSSLESS_JPEG if self.compressed else 1
        tags: Tags = {
            254: (LONG, [0]),
            **strip_tags(numbers, place, CFA if is_mosaic else LINEAR_RAW, self.bits, compression),
            50714: (SHORT, self._stated_black if is_mosaic else self.black * colours),  # BlackLevel
            50717: (LONG, [self.white] * colours),  # WhiteLevel
            51041: (DOUBLE, [SHOT, READ**2] * (1 if self.pattern == "M" else 3)),  # NoiseProfile
        }
        if any(self.borders):
            tags[50829] = (LONG, [top, left, h - bottom, w - right])  # ActiveArea
        if self.crop is not None:
            y, x, crop_height, crop_width = self.crop
            tags |= {50719: (LONG, [x, y]), 50720: (LONG, [crop_width, crop_height])}  # DefaultCropOrigin and Size
        if is_mosaic:
            # The pattern is that of the active area's first quad; a file's CFAPattern, too, begins there.
            tags |= {
                33421: (SHORT, [isqrt(len(self.pattern))] * 2),  # CFARepeatPatternDim
                33422: (BYTE, ["RGB".index(colour) for colour in self.pattern]),  # CFAPattern
                50710: (BYTE, [0, 1, 2]),  # CFAPlaneColor
                50711: (SHORT, [1]),  # CFALayout
            }
        if is_mosaic and len(self._stated_black) > 1:
            tags[50713] = (SHORT, [isqrt(len(self._stated_black))] * 2)  # BlackLevelRepeatDim
        if self.has_table:
            tags[50712] = (SHORT, linearization_table(self.bits, self.white))
        if self.has_gain_map:
            tags[51009] = (UNDEFINED, gain_map_opcodes(self.size))  # OpcodeList2
        return tags

    def _packed(self, numbers: Numbers) -> bytes:
        if self.compressed:
            pairs = numbers.reshape(numbers.shape[0], -1, 2)
            return bytes(imagecodecs.jpeg_encode(pairs, lossless=True, predictor=1, bitspersample=self.bits))
        if self.bits == 8:
            return numbers.astype(np.uint8).tobytes()
        if self.bits == 16:
            return numbers.astype(f"{self.order}u2").tobytes()
        rows = numbers.reshape(numbers.shape[0], -1)
        bits = rows[..., None] >> np.arange(self.bits - 1, -1, -1) & 1  # the highest bit first, in either byte order
        return np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


class TiffFile:
    """A TIFF file in the making."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._data = bytearray(8)

    def block(self, data: bytes) -> tuple[int, int]:
        """Append data; where they begin, and their length."""
        self._data += bytes(len(self._data) % 2)
        place = len(self._data)
        self._data += data
        return place, len(data)

    def directory(self, tags: Tags) -> int:
        """Append a directory; where it begins."""
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            count, data = self._value(kind, values)
            if len(data) > 4:
                data = struct.pack(f"{self._order}I", self.block(data)[0])
            entries += struct.pack(f"{self._order}HHI", tag, kind, count) + data.ljust(4, b"\0")
        return self.block(struct.pack(f"{self._order}H", len(tags)) + entries + bytes(4))[0]

    def finish(self, first: int) -> bytes:
        """The whole file, given where the first directory begins."""
        mark = b"II" if self._order == "<" else b"MM"
        return mark + struct.pack(f"{self._order}HI", 42, first) + bytes(self._data[8:])

    def _value(self, kind: int, values: Sequence[Any] | bytes | str) -> tuple[int, bytes]:
        if isinstance(values, str):
            data = values.encode() + b"\0"
            return len(data), data
        if isinstance(values, bytes):
            return len(values), values
        if kind in (RATIONAL, SRATIONAL):
            code = "I" if kind == RATIONAL else "i"
            pairs = [number for value in values for number in (round(float(value) * DENOMINATOR), DENOMINATOR)]
            return len(values), struct.pack(f"{self._order}{len(pairs)}{code}", *pairs)
        return len(values), struct.pack(f"{self._order}{len(values)}{CODES[kind]}", *values)


def strip_tags(pixels: NDArray[Any], place: tuple[int, int], photometric: int, bits: int, compression: int) -> Tags:
    """The layout of a picture, (h, w) or (h, w, colours), in a single strip."""
    colours = 1 if pixels.ndim == 2 else pixels.shape[2]
    return {
        256: (LONG, [pixels.shape[1]]),
        257: (LONG, [pixels.shape[0]]),
        258: (SHORT, [bits] * colours),
        259: (SHORT, [compression]),
        262: (SHORT, [photometric]),
        273: (LONG, [place[0]]),
        277: (SHORT, [colours]),
        278: (LONG, [pixels.shape[0]]),
        279: (LONG, [place[1]]),
        284: (SHORT, [1]),
    }


def linear(scene: NDArray[np.uint8]) -> Light:
    """sRGB as light, [0, 1]."""
    shares = scene / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def mosaic(light: Light, pattern: str) -> Light:
    """(H, W, 3) through filters that repeat in a square pattern: (H, W)."""
    sites, side = np.empty(light.shape[:2]), isqrt(len(pattern))
    for (y, x), colour in zip(np.ndindex(side, side), pattern, strict=True):
        sites[y::side, x::side] = light[y::side, x::side, "RGB".index(colour)]
    return sites


def gain_grid() -> Light:
    """(points, points): gains that grow from 1 in the middle to the corners."""
    side = np.linspace(-1, 1, GAIN_POINTS)
    return 1 + (CORNER_GAIN - 1) * (side[:, None] ** 2 + side**2) / 2


def gain_of(size: tuple[int, int]) -> Light:
    """(H, W): the grid between its points, as the specification interpolates it."""
    y, x = ((np.arange(length) + 0.5) / length * (GAIN_POINTS - 1) for length in size)
    points = np.arange(GAIN_POINTS)
    rows = np.array([np.interp(x, points, row) for row in gain_grid()])
    return np.array([np.interp(y, points, column) for column in rows.T]).T


def gain_map_opcodes(size: tuple[int, int]) -> bytes:
    """An OpcodeList2 with one gain map for each place of a quad, as phones write it; always big-endian."""
    lists = struct.pack(">I", 4)
    spacing = 1 / (GAIN_POINTS - 1)
    for y, x in np.ndindex(2, 2):
        area = struct.pack(">8I", y, x, *size, 0, 1, 2, 2)  # top, left, bottom, right, plane, planes, pitches
        points = struct.pack(">2I4dI", GAIN_POINTS, GAIN_POINTS, spacing, spacing, 0, 0, 1)
        body = area + points + gain_grid().astype(">f4").tobytes()
        lists += struct.pack(">I4s2I", GAIN_MAP, bytes([1, 3, 0, 0]), 1, len(body)) + body
    return lists


def linearization_table(bits: int, white: int) -> Numbers:
    """The linear value of each code: fine steps in the dark, coarse ones in the light."""
    codes = np.linspace(0, 1, 1 << bits)
    return np.rint(codes**2 * white).astype(np.uint16)


def four_blacks(middle: int) -> tuple[int, int, int, int]:
    """Black levels that differ from colour to colour."""
    return middle - 8, middle + 4, middle - 2, middle + 10


X_TRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"
UNKNOWN = "Simulated camera"  # RawTherapee has levels of its own for the default model, but not for this

NEGATIVES: Mapping[str, Negative] = {
    **{f"phase-{pattern}": Negative(pattern) for pattern in ("RGGB", "GRBG", "GBRG", "BGGR")},
    "unknown-camera": Negative(model=UNKNOWN),
    "odd-area": Negative("GBRG", (319, 399), borders=(3, 5, 2, 4)),
    "odd-area-crop": Negative("RGGB", (321, 401), borders=(7, 3, 1, 0), crop=(5, 8, 300, 380)),
    "even-area": Negative("RGGB", borders=(4, 8, 0, 0)),
    "crop": Negative("GRBG", crop=(7, 4, 303, 391)),
    **{f"orientation-{turn}": Negative(orientation=turn) for turn in range(2, 9)},
    "12-bit": Negative(bits=12, black=(256,), white=4095),
    "14-bit": Negative(bits=14, black=(512,), white=16383),
    "16-bit": Negative(black=(2048,), white=65535),
    "big-endian": Negative(order=">"),
    "big-endian-12-bit": Negative(bits=12, black=(256,), white=4095, order=">"),
    "big-endian-14-bit": Negative(bits=14, black=(512,), white=16383, order=">"),
    "black-per-colour": Negative(black=four_blacks(1024)),
    "black-per-colour-odd-area": Negative("GRBG", (319, 399), borders=(1, 1, 0, 0), black=four_blacks(1024)),
    # RawTherapee shows such a file of a camera that it knows far too bright, and dcraw takes its levels for monochrome.
    "table": Negative(bits=12, has_table=True, model=UNKNOWN),
    "gain-map": Negative(has_gain_map=True),
    "gain-map-odd-area": Negative("GBRG", (319, 399), borders=(3, 5, 2, 4), has_gain_map=True),
    "lossless-jpeg": Negative(compressed=True),
    "several-tiles": Negative("BGGR", (531, 701)),
    "two-columns-of-tiles": Negative("RGGB", (300, 1024)),
    "x-trans": Negative(X_TRANS, (576, 600), bits=14, model=UNKNOWN),
    "x-trans-crop": Negative(X_TRANS[12:] + X_TRANS[:12], (576, 600), crop=(7, 4, 560, 590), bits=14, model=UNKNOWN),
    "monochrome": Negative("M", model=UNKNOWN),
    "monochrome-12-bit-crop": Negative(
        "M", model=UNKNOWN, bits=12, black=(256,), white=4095, crop=(8, 8, 300, 380), order=">"
    ),
    "three-values": Negative("", black=(0,), white=65535),
}
