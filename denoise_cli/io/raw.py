"""Camera RAW through LibRaw: the mosaic, out and in again, and what is developed of it.

Legend: H x W photosites, or pixels.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from denoise_cli.errors import MissingDependency
from denoise_cli.imaging.bayer import Phase
from denoise_cli.imaging.camera import XYZ
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io.dng import (
    AS_SHOT_NEUTRAL,
    AS_SHOT_WHITE,
    CROP_ORIGIN,
    CROP_SIZE,
    DigitalNegative,
    colour_tags,
    filter_pattern,
    is_dng,
    kept,
    noise_profile,
)
from denoise_cli.io.exif import LONG, PREFIX, RATIONAL, Directory, Exif, parse, pictures
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import IPTC_TAG, ORIENTATION, XMP_TAG, Metadata, descriptive, upright
from denoise_cli.io.photo import Photo, from_float

if TYPE_CHECKING:
    from rawpy import RawPy

EXTENSIONS = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
}  # fmt: skip
# Of RAW that is not laid out as a TIFF structure: Fujifilm, Panasonic, Olympus, Canon, Sigma, Minolta.
BEGINNINGS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"II\x1a\0\0\0HEAPCCDR", b"FOVb", b"\0MRM")
CR3 = b"ftypcrx "
PHOTOMETRIC, FILTERS = 262, 32803  # of a TIFF directory: what its values are, and those of a mosaic
COLOURS, WHITE = 3, 65535
PREVIEW = 1024  # pixels, its longer side
ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)  # of LibRaw's numbers for how it turns a picture, as EXIF has them
MAKE, MODEL = ExifTags.Base.Make.value, ExifTags.Base.Model.value
FEWEST_PIXELS = 100
UNKNOWN_CAMERA = "Unknown"
QUAD = ((0, 0), (0, 1), (1, 0), (1, 1))
SECOND_GREEN = 3  # LibRaw's number for the green beside blue
SIDEWAYS = 4  # of LibRaw's numbers: rows become columns
KNOWN_PATTERNS = (None, (2, 2), (6, 6))  # rows and columns, as a DNG names them; LibRaw takes any other for Bayer's
STRIP = 256  # rows
LEAST_SIDE, LONGEST_PATTERN = 16, 12  # photosites
NEAR_FULL = 0.75  # of the white level: LibRaw's own share, from which it takes the largest value for a full sensor's


@dataclass(frozen=True)
class Mosaic:
    """What the photosites have measured.

    Attributes:
        light: (H, W), 0 where a photosite saw none, 1 where it is full; noise reaches below 0.
        full: (H, W), where it is: how much light there was, nobody knows.
        phase: where red is in the quads.
    """

    light: NDArray[np.float32]
    full: NDArray[np.bool_]
    phase: Phase


class Negative:
    """A RAW file, open in LibRaw; for one thread at a time, and closed by `close`, or at the end of a `with`.

    Args:
        data: the file.
        max_pixels: refuse more.

    Attributes:
        data: the file.
        kind: "raw".
        is_dng: whether it is a digital negative.
        black: (4,), the numbers that stand for no light: red, green beside red, blue, green beside blue.
        white: the number that a full photosite has.
        noise: what the file says of its noise, as shares of white; None where it says nothing.

    Raises:
        MissingDependency: rawpy is not installed.
        ValueError: a file that LibRaw cannot read, or too many pixels, in the words that the user reads.
    """

    kind = "raw"

    def __init__(self, data: bytes, max_pixels: int) -> None:
        self.data = data
        with _explained() as rawpy:
            self.raw = rawpy.imread(BytesIO(data))
        try:
            refuse_too_large((self.raw.sizes.width, self.raw.sizes.height), max_pixels)
            with _explained():
                self.raw.unpack()
            self._look()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Negative":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what LibRaw holds."""
        self.raw.close()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture as LibRaw turns it."""
        H, W = self._sizes.height, self._sizes.width
        return (W, H) if self._sizes.flip & SIDEWAYS else (H, W)

    @property
    def obstacle(self) -> str | None:
        """Why there is no mosaic that can be denoised; None where there is one."""
        if self.raw.raw_type != self._kinds.Flat:
            return "three values a pixel"
        if self._is_grey:
            return "no colour filters"
        rows, columns = self._filters.shape
        if (rows, columns) != (2, 2):
            return f"colour filters in a pattern of {rows} x {columns}"
        if self.raw.color_desc != b"RGBG" or _phase_of(self._filters) is None:
            return "other colour filters than a Bayer sensor's"
        if min(self.raw.raw_image_visible.shape) < LEAST_SIDE:
            return "too small"
        return None

    def mosaic(self) -> Mosaic:
        """What can be denoised where there is no obstacle."""
        numbers = self.raw.raw_image_visible
        black = self._black_of_pattern
        light = numbers.astype(np.float32)
        for y, x in QUAD:
            site = light[y::2, x::2]
            site -= np.float32(black[y, x])
            site /= np.float32(self.white - black[y, x])
        phase = _phase_of(self._filters)
        assert phase is not None, self.obstacle
        return Mosaic(light, numbers >= self.white, phase)

    def put(self, light: NDArray[np.float32]) -> None:
        """Have LibRaw develop another mosaic, as `mosaic` gave it; what is not changed keeps its number."""
        black, numbers = self._black_of_pattern, np.empty_like(self.raw.raw_image_visible)
        for y, x in QUAD:
            site = light[y::2, x::2] * np.float32(self.white - black[y, x]) + np.float32(black[y, x])
            numbers[y::2, x::2] = np.rint(site, out=site).clip(0, self.white)
        same = (self.raw.raw_image_visible >= self.white) & (light >= 1)
        numbers[same] = self.raw.raw_image_visible[same]
        self.raw.raw_image_visible[:] = numbers

    def planes(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """What noise can be measured in where there is no Bayer mosaic: planes of one colour, and where they are full.

        Returns:
            (h, w, C) twice, as `Mosaic` has them: each place of the filters' pattern is a plane, or each value of a
            pixel.
        """
        if self.raw.raw_type != self._kinds.Flat:
            numbers = self.raw.raw_image_visible[..., :COLOURS]
            black = self.black[:COLOURS]
        else:
            rows, columns = self._filters.shape
            whole = self.raw.raw_image_visible
            h, w = whole.shape[0] // rows, whole.shape[1] // columns
            parts = (
                whole[y : y + rows * h : rows, x : x + columns * w : columns] for y, x in np.ndindex(rows, columns)
            )
            numbers, black = np.stack(list(parts), axis=-1), self._black_of_pattern.ravel()
        light = (numbers.astype(np.float32) - black.astype(np.float32)) / (self.white - black).astype(np.float32)
        return light, numbers >= self.white

    @property
    def gains(self) -> NDArray[np.float64]:
        """(3,), what LibRaw multiplies red, green and blue by, the least by 1."""
        if self._is_grey:
            return np.ones(COLOURS)
        balance = np.array(self.raw.camera_whitebalance if self._balance is None else self._balance)[:COLOURS]
        return balance / balance.min()

    def linear(self, of_camera: bool = False) -> NDArray[np.uint16]:
        """The picture in linear light: (H, W, 3), upright, in the camera's white balance, 65535 as white.

        Args:
            of_camera: in the camera's own colours, not in sRGB's, and not turned.

        Raises:
            ValueError: LibRaw cannot develop it, or the camera sees four colours.
        """
        if not of_camera:
            return self._processed(output_color=self._spaces.sRGB)
        linear = self._processed(output_color=self._spaces.raw, user_flip=0)
        if linear.shape[-1] != COLOURS:
            raise ValueError(f"its {linear.shape[-1]} colours do not fit into a linear DNG: choose .tif or .png")
        return linear

    def developed(self) -> Photo:
        """The picture as a photo."""
        return self.photo(self.linear())

    def photo(self, linear: NDArray[np.uint16]) -> Photo:
        """What `linear` gives as a photo, sRGB-encoded, 16 bits, with what the file says beside its pixels."""
        # 65536 possible values: a table costs less than 36 million powers.
        table = from_float(linear_to_srgb(np.linspace(0, 1, 65536, dtype=np.float32)), np.dtype(np.uint16))
        shown = linear[..., :1] if self._is_grey else linear
        pixels = np.empty_like(shown)
        for top in range(0, len(shown), STRIP):  # an index takes four times the memory of what is looked up
            pixels[top : top + STRIP] = table[shown[top : top + STRIP]]
        exif = self.exif()
        xmp, iptc = (exif.main[tag].data if tag in exif.main else None for tag in (XMP_TAG, IPTC_TAG))
        _, packed = upright(descriptive(exif))  # LibRaw has turned the picture already
        return Photo(pixels, alpha=None, kind="raw", metadata=Metadata(exif=packed, xmp=xmp, iptc=iptc))

    @property
    def layout(self) -> str:
        """What the values are, in words."""
        if self.obstacle is not None:
            return self.obstacle
        return "".join("RGBG"[colour] for colour in self._filters.flat) + " mosaic"

    def exif(self) -> Exif:
        """What the file says of how the picture was taken, or LibRaw's words for it."""
        exif = parse(self.data)
        return exif if exif else _exif_of_preview(self.raw)

    def digital_negative(self, noise: ShotRead | None, linear: NDArray[np.uint16] | None = None) -> DigitalNegative:
        """What is open here, with the mosaic that was last put, as a digital negative; the last that is asked of it.

        Args:
            noise: what is left of it.
            linear: write this, as `linear` gives it of the camera's colours, instead of the mosaic.
        """
        exif = self.exif()
        phase, white = None, WHITE
        black: tuple[float, ...] = (0.0,)
        if linear is None:
            phase, black = _phase_of(self._filters), tuple(float(number) for number in self._black_of_pattern.flat)
            values, white = self.raw.raw_image_visible.copy(), self.white
        else:  # as the sensor saw it: who develops it balances white
            values = np.rint(linear / self.gains).astype(np.uint16)
        orientation = self._orientation(exif)
        xmp = {tag: value for tag, value in exif.main.items() if tag in (XMP_TAG, IPTC_TAG)}
        # From here on, pictures are made at half the size, and LibRaw forgets the whole one.
        camera, picture = kept(self.data, linear is None) if self.is_dng else self._told(exif)
        if not {AS_SHOT_NEUTRAL, AS_SHOT_WHITE} & set(camera):
            camera = camera | {AS_SHOT_NEUTRAL: exif.packed(RATIONAL, self.gains.min() / self.gains)}
        return DigitalNegative(
            values=values,
            phase=phase,
            black=black,
            white=white,
            camera=xmp | camera,
            exif=exif,
            orientation=orientation,
            noise=noise,
            preview=self._preview(),
            picture=picture,
        )

    def _orientation(self, exif: Exif) -> int:
        stored = exif.number(exif.main.get(ORIENTATION)) if self.is_dng else None
        return stored if stored is not None and 1 <= stored <= 8 else ORIENTATIONS[self._sizes.flip & 7]

    def _told(self, exif: Exif) -> tuple[Directory, Directory]:
        """What LibRaw knows of a camera, and of the part of the picture that its maker shows."""
        sizes = self._sizes
        picture: Directory = {}
        left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
        right, bottom = left + sizes.crop_width, top + sizes.crop_height
        if 0 <= left < right <= sizes.width and 0 <= top < bottom <= sizes.height:
            picture = {
                CROP_ORIGIN: exif.packed(LONG, (left, top)),
                CROP_SIZE: exif.packed(LONG, (sizes.crop_width, sizes.crop_height)),
            }
        matrix = np.array(self.raw.rgb_xyz_matrix[:COLOURS], np.float64)
        if self._is_grey:
            matrix = np.linalg.inv(XYZ)
        elif not matrix.any():
            matrix = np.diag(1 / self.gains) @ np.linalg.inv(XYZ @ self._to_srgb())
        maker, model = (exif.words(exif.main.get(tag)) for tag in (MAKE, MODEL))
        name = model if model.startswith(maker) else f"{maker} {model}"
        neutral = 1 / self.gains
        return colour_tags(exif, matrix, neutral / neutral.max(), name.strip() or UNKNOWN_CAMERA), picture

    def _to_srgb(self) -> NDArray[np.float64]:
        """(3, 3), from the camera's balanced colours to sRGB's, as LibRaw shows it: not all its tables are told."""
        spaces = (self._spaces.raw, self._spaces.sRGB)
        pictures = [self._processed(output_color=space, half_size=True).reshape(-1, COLOURS) for space in spaces]
        whole = np.logical_and(*((picture > WHITE // 100) & (picture < WHITE * 9 // 10) for picture in pictures)).all(1)
        if np.count_nonzero(whole) < FEWEST_PIXELS:
            return np.eye(COLOURS)
        own, srgb = (picture[whole].astype(np.float64) for picture in pictures)
        return np.linalg.lstsq(own, srgb, rcond=None)[0].T.astype(np.float64)

    def _preview(self) -> NDArray[np.uint8]:
        """(h, w, 3), sRGB, not turned."""
        linear = self._processed(output_color=self._spaces.sRGB, user_flip=0, half_size=True)
        encoded = from_float(linear_to_srgb(np.divide(linear, WHITE, dtype=np.float32)), np.dtype(np.uint8))
        picture = Image.fromarray(encoded)
        picture.thumbnail((PREVIEW, PREVIEW))
        return np.asarray(picture)

    def _look(self) -> None:
        import rawpy

        self._kinds, self._spaces = rawpy.RawType, rawpy.ColorSpace
        self.is_dng = is_dng(self.data)
        self.black = np.array(self.raw.black_level_per_channel, np.int64)
        self.white = int(self.raw.white_level)
        self.noise = noise_profile(self.data) if self.is_dng else None
        self._peak: int | None = None
        self._balance: list[float] | None = None
        self._sizes = self.raw.sizes  # LibRaw has others once it has developed a picture, and counts the greens as one
        self._is_grey = self.raw.num_colors == 1
        if self.black.max() >= self.white:
            raise ValueError(f"its black level, {self.black.max()}, is not below its white level, {self.white}")
        if self.raw.raw_type == self._kinds.Flat:
            if self.is_dng and filter_pattern(self.data) not in KNOWN_PATTERNS:
                raise ValueError("LibRaw knows no way to develop its pattern of colour filters")
            colours = self.raw.raw_colors_visible[: 2 * LONGEST_PATTERN, : 2 * LONGEST_PATTERN]
            if self._is_grey:
                colours = np.zeros_like(colours)
            self._filters = colours[: _period(colours), : _period(colours.T)].copy()
            self._black_of_pattern = self.black[self._filters]
            if not self.is_dng:
                self._adjust_white()
        if not self._is_grey and min(self.raw.camera_whitebalance[:COLOURS]) <= 0:
            # LibRaw looks for white in the picture, noise and all: from now on, it takes what it finds here.
            self.linear()
            red, green, blue, _ = self.raw.auto_whitebalance
            self._balance = [red, green, blue, green]  # what it finds for the other green would show as a pattern

    def _adjust_white(self) -> None:
        """As LibRaw does: sensors are full before their numbers end, and the largest one that is there tells."""
        black = self._black_of_pattern
        numbers = self.raw.raw_image_visible
        rows, columns = black.shape
        places = np.ndindex(rows, columns)
        peak = max(int(numbers[y::rows, x::columns].max()) - int(black[y, x]) for y, x in places)
        least = int(black.min())
        if NEAR_FULL * (self.white - least) < peak < self.white - least:
            self._peak, self.white = peak, int(numbers.max())

    def _processed(self, **options: object) -> NDArray[np.uint16]:
        # The denoised picture must not be made brighter because its largest value was noise.
        with _explained():
            picture: NDArray[np.uint16] = self.raw.postprocess(
                use_camera_wb=self._balance is None,
                user_wb=self._balance,
                no_auto_bright=True,
                gamma=(1, 1),
                output_bps=16,
                adjust_maximum_thr=0.0,
                user_sat=self._peak,
                **options,
            )
        return np.repeat(picture, COLOURS, axis=2) if picture.shape[2] == 1 else picture


def is_tiff_of_camera(data: bytes) -> bool:
    """Whether a TIFF structure is a camera's RAW, whatever its name: Canon's says so, others hold a mosaic."""
    found = (one.number(one.main.get(PHOTOMETRIC)) for one in pictures(data))
    return data[8:10] == b"CR" or FILTERS in found


@contextmanager
def _explained() -> "Iterator[ModuleType]":
    """LibRaw's errors in words; rawpy, which has to be there."""
    try:
        import rawpy
    except ImportError as error:
        raise MissingDependency("reading camera RAW", "rawpy") from error
    try:
        with _silence():
            yield rawpy
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"LibRaw cannot read it ({reason})") from error


def _period(colours: NDArray[np.uint8]) -> int:
    """After how many rows a pattern begins anew."""
    lengths = range(1, min(len(colours), LONGEST_PATTERN + 1))
    return next((length for length in lengths if (colours[length:] == colours[:-length]).all()), LONGEST_PATTERN)


def _phase_of(filters: NDArray[np.uint8]) -> Phase | None:
    """Where red is in a quad of LibRaw's numbers, 3 standing for the green beside blue; None if it is not a Bayer's."""
    colours = np.where(filters == SECOND_GREEN, 1, filters).tolist()
    known = {(0, 0): [[0, 1], [1, 2]], (0, 1): [[1, 0], [2, 1]], (1, 0): [[1, 2], [0, 1]], (1, 1): [[2, 1], [1, 0]]}
    return next((phase for phase, quad in known.items() if quad == colours), None)


def _exif_of_preview(raw: "RawPy") -> Exif:
    """The EXIF that LibRaw finds, or makes, for the embedded JPEG of a RAW that is not laid out as a TIFF."""
    import rawpy

    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawError:
        return Exif()
    jpeg = bytes(preview.data) if preview.format == rawpy.ThumbFormat.JPEG else b""
    start = jpeg.find(PREFIX)
    return parse(jpeg[start:]) if start >= 0 else Exif()


@contextmanager
def _silence() -> Iterator[None]:
    """Nobody sees what is written to file descriptor 2 meanwhile; one that is closed stays so."""
    # LibRaw, and libjpeg inside it, print there about damaged data, and rawpy offers no switch: the user is promised
    # one line per failure. The descriptor is the whole process's, so two threads must not be in here at once.
    with ExitStack() as restored:
        with suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()
            stderr = os.dup(2)
            restored.callback(os.close, stderr)
            with Path(os.devnull).open("wb") as nowhere:
                restored.callback(os.dup2, stderr, 2)
                os.dup2(nowhere.fileno(), 2)
        yield
