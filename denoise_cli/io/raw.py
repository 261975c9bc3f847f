"""Camera RAW, open in LibRaw: what its photosites measured, and the picture that LibRaw develops from them.

Legend: H x W photosites or pixels, h x w repetitions of the colour filters' pattern, C planes.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging import xtrans
from denoise_cli.imaging.filters import ColourFilters, filters_of, repeated_part
from denoise_cli.io.camera_exif import exif_of
from denoise_cli.io.decoding import decoder_errors
from denoise_cli.io.dng import (
    COMPRESSION,
    LOSSY_JPEG,
    OPCODE_LIST_1,
    OPCODE_LIST_2,
    OPCODE_LIST_3,
    RGB,
    Area,
    is_dng,
    noise_profile,
    tags_of_picture,
)
from denoise_cli.io.dng_pixels import decode
from denoise_cli.io.exif import PREFIX, Exif, parse
from denoise_cli.io.frame import SWAPS_AXES, area_of_dng, frame_of_dng, frame_of_libraw
from denoise_cli.io.libraw import libraw, silenced_stderr
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.nikon_scan import EIGHT_BITS, GAMMA_OF_8_BITS, is_nikon_scan, linear_light
from denoise_cli.io.opcodes import Curve, Operations, operation_names, parse_operations
from denoise_cli.io.photo import WHITE
from denoise_cli.io.raw_checks import (
    check_jpeg,
    check_rows,
    refuse_black_above_white,
    refuse_truncated_panasonic,
    refuse_unknown_pattern,
)
from denoise_cli.io.raw_levels import black_of_moved_area, saturation_below_white
from denoise_cli.io.white_balance import neutral_of_white

if TYPE_CHECKING:
    from rawpy import RawPy


# Photosites in the file's own scale, from `black` to `white`: integers, or floating point.
Numbers = NDArray[np.uint16 | np.floating]
Picture = NDArray[np.uint16]  # developed
Colours = Literal["srgb", "camera"]

GREEN_BESIDE_BLUE = 3  # LibRaw's number for the second green
# For the values as they are stored, and before and after demosaicing.
STRIP = 240  # rows that are converted to light at a time; patterns of filters repeat in it
SMALLEST_XTRANS = 512  # photosites, the shorter side, for LibRaw's demosaicing
SMALLEST_SIDE = 16  # photosites
MIN_MASKED = 16  # photosites of the border
MASK_EDGE = 4  # photosites at each end of the border that are left out: light may reach them
# Merged exposures reach beyond white. Networks are shown light up to this multiple of it: more would make the rest so
# dark, and its noise so weak, that they no longer see it.
MOST_HEADROOM = 8.0


@dataclass(frozen=True)
class Mosaic:
    """What the photosites of a Bayer or an X-Trans sensor measured.

    Attributes:
        light: (H, W), linear; 0 is black, 1 is a saturated photosite; noise reaches below 0.
        full: (H, W), where photosites are saturated and the true light is unknown.
        filters: over the photosites.
        headroom: the brightest light to denoise, 1 or more; only merged exposures exceed 1.
    """

    light: NDArray[np.float32]
    full: NDArray[np.bool_]
    filters: ColourFilters
    headroom: float = 1.0


class RawFile:
    """A RAW file, open in LibRaw until `close` is called or the `with` statement ends; for one thread at a time.

    One thread at a time may open files, and nothing else may print on stderr meanwhile, for it would be discarded with
    what LibRaw prints.

    Nothing here depends on what was called before. Whatever is developed or measured starts from the file's own
    numbers, or from those that are passed in.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.
        name: the file's name in error messages.

    Attributes:
        kind: "raw".
        is_dng: whether it is a DNG.
        original: the file.
        data: the file; or a plain DNG with the same picture and tags, if LibRaw would read the file's pixels wrongly.
        area: where the picture's photosites are among all that the file holds: a DNG's own ActiveArea, of which LibRaw
            develops a row or a column less if it begins at an odd one; otherwise what LibRaw takes for the picture.
        numbers: (H, W) uint16, what those photosites measured, or (H, W, C) of files with several values a pixel. Of
            DNGs in floating point they are float32, with 0 as black and 1 as white.
        black: (4,), the numbers that stand for no light: red, green beside red, blue, green beside blue.
        white: the number of a saturated photosite; merged exposures in floating point reach beyond it.
        noise: what the file says about its noise, as shares of white; None if it says nothing.
        damage: what seems to be damaged in the file, although it can be read.
        notes: what the user should hear about how the file was read, damage included.
        embedded_preview: the largest preview in the file, made by the camera: a JPEG, or (h, w, 3) uint8; None if there
            is none.
        frame: which part of the picture is to be seen.
        before_demosaicing: what a DNG asks to be done to its values; `develop` does it.
        after_demosaicing: what it asks to be done to the developed picture; `develop` does not.
        unmade_operations: the names of what it asks to be done to its values, and `develop` does not do.

    Raises:
        MissingDependency: rawpy is not installed.
        UnreadableFile: LibRaw cannot read the file, or it has too many pixels. Every method raises this for what
            turns out to be damaged later.
    """

    kind = "raw"

    def __init__(self, data: bytes, max_pixels: int, name: object = "camera RAW") -> None:
        self.original = data
        self.name = name
        with decoder_errors(name):
            self.is_dng = is_dng(data)
            self._decoded = decode(data, max_pixels) if self.is_dng else None
            self.damage = check_jpeg(data) if self.is_dng else ()
        self.data = data if self._decoded is None else self._decoded.plain
        with ExitStack() as on_failure:
            with libraw(name) as rawpy, silenced_stderr():
                self._raw: RawPy = rawpy.imread(BytesIO(self.data))
                on_failure.callback(self.close)
                refuse_too_large((self._raw.sizes.raw_width, self._raw.sizes.raw_height), max_pixels)
                self._raw.unpack()
                self._is_flat = self._raw.raw_type == rawpy.RawType.Flat
                self._spaces = {"srgb": rawpy.ColorSpace.sRGB, "camera": rawpy.ColorSpace.raw}
                self.embedded_preview = self._read_preview()
            with decoder_errors(name):
                self._describe()
            on_failure.pop_all()

    def __enter__(self) -> "RawFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what LibRaw holds."""
        self._raw.close()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the upright picture, as far as it is to be seen."""
        (top, bottom), (left, right) = self.frame.rows, self.frame.columns
        H, W = bottom - top, right - left
        return (W, H) if self.sizes.flip & SWAPS_AXES else (H, W)

    @property
    def is_float(self) -> bool:
        """Whether the file holds floating point."""
        return self.numbers.dtype == np.float32

    @property
    def bits(self) -> int:
        """Of each number in the file."""
        return self._decoded.bits if self._decoded is not None and self.is_float else self.white.bit_length()

    @cached_property
    def headroom(self) -> float:
        """The brightest light to denoise, 1 or more; only merged exposures exceed 1."""
        return min(max(float(self._saturated), 1.0), MOST_HEADROOM) if self.is_float else 1.0

    @cached_property
    def _saturated(self) -> float:
        """The number from which on photosites are saturated: white, or the largest of merged exposures."""
        return max(float(self.numbers.max()), 1.0) if self.is_float else self.white

    @property
    def developed_area(self) -> Area:
        """Top, left, bottom and right of what `develop` makes a picture of."""
        top, left = self.sizes.top_margin, self.sizes.left_margin
        return top, left, top + self.sizes.height, left + self.sizes.width

    @property
    def _moved(self) -> tuple[int, int]:
        """Rows and columns from what `develop` makes a picture of to the file's own `area`."""
        (top, left, *_), (own_top, own_left, *_) = self.developed_area, self.area
        return own_top - top, own_left - left

    @property
    def is_grey(self) -> bool:
        """Whether the sensor has no colour filters."""
        return self._is_grey

    @property
    def obstacle(self) -> str | None:
        """Why the file has no mosaic that can be denoised; None if it has one."""
        if not self._is_flat:
            return "three values a pixel"
        if self._is_grey:
            return "no colour filters"
        rows, columns = self._filters.shape
        if self._raw.color_desc != b"RGBG" or self._known_filters is None:
            return f"an unknown pattern of {rows} x {columns} colour filters"
        if min(self.numbers.shape) < SMALLEST_SIDE:
            return "too few photosites"
        return None

    @property
    def filters(self) -> ColourFilters:
        """The colour filters of a file without `obstacle`."""
        assert self._known_filters is not None, self.obstacle
        return self._known_filters

    @property
    def layout(self) -> str:
        """A description of the file's values for the user."""
        if self.obstacle is not None:
            return self.obstacle
        if self.filters.kind == "xtrans":
            return "X-Trans mosaic"
        return "".join("RGBG"[colour] for colour in self._filters.flat) + " mosaic"

    @cached_property
    def mosaic(self) -> Mosaic:
        """The file's own mosaic, if there is no `obstacle`."""
        return self.mosaic_of(self.numbers)

    def mosaic_of(self, numbers: Numbers) -> Mosaic:
        """Numbers, (H, W) in the file's own scale, as light."""
        black = self.black_of_pattern
        light = numbers.astype(np.float32)
        rows, columns = black.shape
        for y, x in np.ndindex(black.shape):
            site = light[y::rows, x::columns]
            site -= np.float32(black[y, x])
            site /= np.float32(self.white - black[y, x])
        return Mosaic(light, numbers >= self._saturated, self.filters, self.headroom)

    def numbers_of(self, light: NDArray[np.float32]) -> Numbers:
        """Light, (H, W) as `mosaic_of` gives it, in the file's own scale; saturated photosites keep their number."""
        if self.is_float:
            return light
        black, numbers = self.black_of_pattern, np.empty_like(self.numbers)
        rows, columns = black.shape
        for y, x in np.ndindex(black.shape):
            site = light[y::rows, x::columns] * np.float32(self.white - black[y, x]) + np.float32(black[y, x])
            numbers[y::rows, x::columns] = np.rint(site, out=site).clip(0, self.white)
        saturated = (self.numbers >= self.white) & (light >= 1)
        numbers[saturated] = self.numbers[saturated]
        return numbers

    def frame_with(self, numbers: Numbers) -> Numbers:
        """All photosites of the file, masked borders included, with these numbers, (H, W), in its `area`."""
        if numbers.shape == self._frame.shape:
            return numbers
        top, left, bottom, right = self.area
        frame = self._frame.copy()
        frame[top:bottom, left:right] = numbers
        return frame

    def masked(self, axis: int) -> NDArray[np.float32] | None:
        """What photosites of a mosaic's border measured, which no light should reach, as light.

        Args:
            axis: 0 for those to the left or right of each row of the picture, 1 for those above or below each column.

        Returns:
            (H, M), or (W, M) of columns; None if there are fewer than `MIN_MASKED`.
        """
        top, left, bottom, right = self.area
        frame, first, last = (self._frame, left, right) if axis == 0 else (self._frame.T, top, bottom)
        inside = np.s_[top:bottom] if axis == 0 else np.s_[left:right]
        borders = frame[inside, MASK_EDGE : max(first - MASK_EDGE, 0)], frame[inside, last + MASK_EDGE : -MASK_EDGE]
        border = max(borders, key=lambda border: border.shape[1])
        if border.shape[1] < MIN_MASKED:
            return None
        black = np.float32(self.black_of_pattern.mean())
        light: NDArray[np.float32] = (border.astype(np.float32) - black) / (np.float32(self.white) - black)
        return light

    def planes(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Planes of one colour in which noise can be measured if there is no mosaic, and where they saturate.

        Returns:
            (h, w, C) twice, light and saturation as in `Mosaic`: a plane for each place of the filters' pattern, or
            for each value of a pixel.
        """
        if not self._is_flat:
            numbers, black = self.numbers[..., :RGB], self.black[:RGB]
        else:
            rows, columns = self._filters.shape
            h, w = self.numbers.shape[0] // rows, self.numbers.shape[1] // columns
            whole = self.numbers[: rows * h, : columns * w]
            numbers = np.stack([whole[y::rows, x::columns] for y, x in np.ndindex(rows, columns)], axis=-1)
            black = self.black_of_pattern.ravel()
        span = np.subtract(self.white, black, dtype=np.float32)
        light: NDArray[np.float32] = np.divide(numbers - black.astype(np.float32), span, dtype=np.float32)
        return light, numbers >= self._saturated

    @property
    def black_of_pattern(self) -> NDArray[np.int64]:
        """The black level of each place in the filters' pattern."""
        return self.black[self._filters]

    @property
    def gains(self) -> NDArray[np.float64]:
        """(3,), the white balance: factors of red, green and blue, the least of them 1."""
        if self._is_grey:
            return np.ones(RGB)
        balance = np.array(self._raw.camera_whitebalance if self._balance is None else self._balance)[:RGB]
        return balance / balance.min()

    @property
    def xyz_to_camera(self) -> NDArray[np.float64]:
        """(3, 3), LibRaw's matrix from XYZ to the camera's colours; zeros if it knows none."""
        return np.array(self._raw.rgb_xyz_matrix[:RGB], np.float64)

    @property
    def exif(self) -> Exif:
        """What the file says about the shot, or else what LibRaw found out about it."""
        exif = exif_of(self.original)
        return exif if exif else self._exif_of_preview

    def check_develops(self) -> None:
        """Check that LibRaw can demosaic the file.

        Raises:
            UnreadableFile: it is a mosaic that is too small.
        """
        if self._is_xtrans and min(self.shape) < SMALLEST_XTRANS:
            least = f"{SMALLEST_XTRANS} x {SMALLEST_XTRANS} photosites"
            reason = f"LibRaw develops no X-Trans mosaics of less than {least}: choose a .dng without --linear"
            raise UnreadableFile(self.name, reason)

    @property
    def _is_xtrans(self) -> bool:
        return self._is_flat and self._filters.shape == (xtrans.PERIOD, xtrans.PERIOD)

    def develop(
        self,
        numbers: Numbers | None = None,
        colours: Colours = "srgb",
        upright: bool = True,
        half_size: bool = False,
    ) -> Picture:
        """The picture in linear light, in the camera's white balance: all of it, also what is not to be seen.

        Args:
            numbers: of the photosites; None for the file's own.
            colours: of the result.
            upright: whether to turn it as the camera was held.
            half_size: one pixel for each quad, which is much faster.

        Returns:
            (H, W, 3), 65535 as white; (H, W, 4) in the colours of a camera that has four.

        Raises:
            UnreadableFile: LibRaw cannot develop it.
        """
        with libraw(self.name):
            if self._is_flat:
                self._buffer[:] = self._integers(self._operated(self.numbers if numbers is None else numbers))
            elif self.before_demosaicing.known:
                self._buffer[..., :RGB] = self._integers(self._operated(self.numbers)[..., :RGB])
            # Threads of LibRaw's X-Trans demosaicing overwrite what others still read, where its tiles overlap.
            with threadpool_limits(limits=1 if self._is_xtrans else None, user_api="openmp"):
                picture = self._raw.postprocess(
                    output_color=self._spaces[colours],
                    user_flip=None if upright else 0,
                    half_size=half_size,
                    use_camera_wb=self._balance is None,
                    user_wb=self._balance,
                    gamma=(1, 1),
                    output_bps=16,
                    # A denoised picture must not become brighter because the largest value of the noisy one was noise.
                    no_auto_bright=True,
                    adjust_maximum_thr=0.0,
                    user_sat=self._saturation,
                    user_black=None if self._user_black is None else 0,
                    user_cblack=self._user_black,
                )
        deep: Picture = picture.view(np.uint16)  # as it is: rawpy's own annotation knows only 8 bits
        return np.repeat(deep, RGB, axis=2) if deep.shape[2] == 1 else deep

    def _integers(self, numbers: Numbers) -> NDArray[np.uint16]:
        """Numbers in the scale of LibRaw's buffer, in which floating point ends at white."""
        scaled = np.rint(numbers.clip(0, 1) * np.float32(WHITE)) if self.is_float else numbers
        return scaled.astype(np.uint16, copy=False)

    def _read_preview(self) -> bytes | NDArray[np.uint8] | None:
        import rawpy

        try:
            # A damaged preview makes LibRaw forget what it has unpacked, and what was decoded here came without one.
            with rawpy.imread(BytesIO(self.original)) as own:
                preview = own.extract_thumb()
        except (rawpy.LibRawError, NotImplementedError):  # the latter by rawpy, for HEIF and JPEG XL
            return None
        if preview.format == rawpy.ThumbFormat.JPEG:
            return bytes(preview.data)
        pixels = np.asarray(preview.data)
        return pixels if pixels.ndim == RGB and pixels.shape[2] == RGB and pixels.dtype == np.uint8 else None

    def _describe(self) -> None:
        self.black = np.array(self._raw.black_level_per_channel, np.int64)
        self.white = int(self._raw.white_level)
        self.noise = noise_profile(self.data) if self.is_dng else None
        # LibRaw changes its sizes, the view of its buffer and the number of colours when it develops a picture.
        self.sizes = self._raw.sizes
        self._is_grey = self._raw.num_colors == 1
        self._buffer = self._raw.raw_image_visible
        self.area = self.developed_area
        if self._is_flat:
            self._frame = self._raw.raw_image
            if self.is_dng:
                self.area = area_of_dng(self.data, self.developed_area, self._frame.shape)
            top, left, bottom, right = self.area
            self._buffer = self._frame[top:bottom, left:right]
        self._read_picture_tags()
        is_changed = self._is_flat or bool(self.before_demosaicing.known)
        self.numbers: Numbers = self._buffer.copy() if is_changed else self._buffer
        self._user_black: list[int] | None = None
        self._saturation: int | None = None
        self._balance: list[float] | None = None
        refuse_black_above_white(self.black, self.white)
        refuse_truncated_panasonic(self.original, self.sizes.raw_height, self.sizes.raw_width)
        self.damage += check_rows(self.numbers, self.black[:RGB])
        self.notes = self.damage
        if self._decoded is not None and self._decoded.light is not None:
            self._use_floating_point(self._decoded.light)
        elif not self._is_flat:
            self._correct_white()
        if self._is_flat:
            self._find_filters()
            if not self.is_dng:
                self._adjust_white()
        if not self._is_grey and self._balance is None and min(self._raw.camera_whitebalance[:RGB]) <= 0:
            red, green, blue = self._find_balance()
            self._balance = [red, green, blue, green]  # its own value for the second green would show as a pattern

    def _use_floating_point(self, light: NDArray[np.float32]) -> None:
        if light.shape[:2] != self._buffer.shape[:2]:
            raise ValueError("LibRaw develops only a part of it")
        self.numbers, self.black, self.white = light, np.zeros_like(self.black), 1

    def _correct_white(self) -> None:
        """LibRaw subtracts black from three values a pixel, but not from white unless black is that of a fourth too."""
        black = int(self.black[0])
        if self.is_dng and black:
            self._saturation = self.white - black
        elif not self.is_dng and is_nikon_scan(self.original):
            self._read_scan()

    def _read_scan(self) -> None:
        self._balance = [1.0] * 4
        gamma = 1.0
        if self.white == EIGHT_BITS:
            gamma = GAMMA_OF_8_BITS
            self.numbers[:] = linear_light(self.numbers)
            self.white = self._saturation = WHITE
        self.notes += (f"a scan, which does not state its gamma: taken to be {gamma:g}",)

    def _read_picture_tags(self) -> None:
        tags = tags_of_picture(self.data) if self.is_dng else Exif()
        self.frame = frame_of_dng(tags, self.sizes) if self.is_dng else frame_of_libraw(self.sizes)
        before, after = (tags.main[tag].data if tag in tags.main else b"" for tag in (OPCODE_LIST_2, OPCODE_LIST_3))
        # What is decoded here has lost the first list, which refers to the whole sensor.
        of_sensor = tags_of_picture(self.original).main.get(OPCODE_LIST_1) if self.is_dng else None
        self.before_demosaicing, self.after_demosaicing = parse_operations(before), parse_operations(after)
        stored = operation_names(of_sensor.data) if of_sensor is not None else ()
        self.unmade_operations = stored + self.before_demosaicing.unknown
        if tags.number(tags.main.get(COMPRESSION)) == LOSSY_JPEG:
            # LibRaw does not give the values that the file holds, but what its curves make of them.
            known = tuple(each for each in self.before_demosaicing.known if not isinstance(each, Curve))
            self.before_demosaicing = Operations(known, self.before_demosaicing.unknown)

    def _find_balance(self) -> tuple[float, float, float]:
        """The white balance of a file for which LibRaw knows none."""
        neutral = neutral_of_white(tags_of_picture(self.data)) if self.is_dng else None
        if neutral is not None:
            red, green, blue = (1 / neutral).tolist()
            return red, green, blue
        # LibRaw then estimates it from the picture, noise included. What it finds in the file's own numbers is used
        # from now on.
        self.develop()
        found = self._raw.auto_whitebalance
        assert found is not None  # the picture has just been developed
        red, green, blue, _ = found
        return red, green, blue

    def _operated(self, numbers: Numbers) -> Numbers:
        """Numbers, (H, W) or (H, W, C), after what the file asks to be done to them before demosaicing."""
        if not self.before_demosaicing.known:
            return numbers
        result, (H, W) = numbers.copy(), numbers.shape[:2]
        black = self.black[:RGB].astype(np.float32)  # of the values of a pixel
        if self._is_flat:
            rows, columns = self._filters.shape
            black = np.tile(self.black_of_pattern, (STRIP // rows, -(-W // columns)))[:, :W, None].astype(np.float32)
        begin = self.frame.from_pixel(*self._moved)
        for top in range(0, H, STRIP):
            strip = result[top : top + STRIP].reshape(-1, W, *numbers.shape[2:] or (1,))[..., :RGB]
            dark = black[: len(strip)] if self._is_flat else black
            light = (strip - dark) / (self.white - dark)
            self.before_demosaicing.apply(light, begin.from_pixel(top))
            changed = light * (self.white - dark) + dark
            strip[:] = changed if self.is_float else np.rint(changed).clip(0, self.white)
        return result

    def _find_filters(self) -> None:
        if self.is_dng:
            refuse_unknown_pattern(self.data)
        top, left, *_ = self.area
        pattern = self._raw.raw_pattern
        if pattern is not None and pattern.shape == (xtrans.PERIOD, xtrans.PERIOD):
            # In all colours at once, rawpy looks beyond the table for photosites of a border of more than a period.
            found = [self._raw.raw_color(top + y, left + x) for y, x in np.ndindex(pattern.shape)]
            colours = np.reshape(np.array(found, np.uint8), pattern.shape)
        else:
            colours = self._raw.raw_colors[top:, left:]
        self._filters = np.zeros((1, 1), np.uint8) if self._is_grey else repeated_part(colours)
        self._known_filters = filters_of(np.where(self._filters == GREEN_BESIDE_BLUE, 1, self._filters))
        black = black_of_moved_area(self.black, self._filters, self._moved)
        if black is not None:
            self.black = black
            self._user_black = black.tolist()

    def _adjust_white(self) -> None:
        found = saturation_below_white(self.numbers, self.black_of_pattern, self.white)
        if found is not None:
            self._saturation, self.white = found

    @cached_property
    def _exif_of_preview(self) -> Exif:
        """The EXIF of the embedded JPEG, which LibRaw writes itself if the camera did not."""
        jpeg = self.embedded_preview if isinstance(self.embedded_preview, bytes) else b""
        start = jpeg.find(PREFIX)
        return parse(jpeg[start:]) if start >= 0 else Exif()
