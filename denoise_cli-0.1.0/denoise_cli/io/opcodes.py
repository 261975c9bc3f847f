"""What a digital negative asks its developers to do to the values: lists of operations, such as gain maps.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7, chapter 7. Lists are big-endian, whatever the file is.

Legend: H x W photosites or pixels, C planes; V x U points of a gain map.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io.frame import Frame
from denoise_cli.io.photo import WHITE

Light = NDArray[np.float32]

NAMES = {
    1: "WarpRectilinear", 2: "WarpFisheye", 3: "FixVignetteRadial", 4: "FixBadPixelsConstant", 5: "FixBadPixelsList",
    6: "TrimBounds", 7: "MapTable", 8: "MapPolynomial", 9: "GainMap", 10: "DeltaPerRow", 11: "DeltaPerColumn",
    12: "ScalePerRow", 13: "ScalePerColumn", 14: "WarpRectilinear2",
}  # fmt: skip
AREA = ">8I"
HEAD = 16  # bytes before the parameters of an operation
CURVES = ("MapTable", "MapPolynomial")


@dataclass(frozen=True)
class Area:
    """The values that an operation changes: a rectangle in some planes, or every `row_pitch`-th row of one, and so on.

    Rows and columns are counted from the corner of the active area.
    """

    top: int
    left: int
    bottom: int
    right: int
    plane: int
    planes: int
    row_pitch: int
    column_pitch: int

    def within(self, frame: Frame, shape: tuple[int, ...]) -> tuple[range, range, range]:
        """Rows and columns of the active area, and planes, that a picture of (H, W, C) at `frame` has of it."""
        H, W, C = shape
        return (
            _steps(self.top, self.bottom, self.row_pitch, frame.top, H),
            _steps(self.left, self.right, self.column_pitch, frame.left, W),
            range(min(self.plane, C), min(self.plane + self.planes, C)),
        )

    @property
    def is_every_plane(self) -> bool:
        """Whether it is about all colours of a developed picture."""
        return self.plane == 0 and self.planes >= 3


@dataclass(frozen=True)
class GainMap:
    """Factors for light at a grid of points, interpolated between them; beyond it, those at its border.

    Attributes:
        area: what is multiplied.
        spacing, origin: of the points, vertical and horizontal, as shares of the active area's sides.
        gains: (V, U, P), for the planes of the area; the last also for those that follow.
    """

    area: Area
    spacing: tuple[float, float]
    origin: tuple[float, float]
    gains: Light

    @property
    def treats_colours_alike(self) -> bool:
        """Whether it multiplies all colours of a pixel by the same."""
        return self.area.is_every_plane and bool((self.gains == self.gains[..., :1]).all())

    def apply(self, light: Light, frame: Frame) -> None:
        """Multiply light, (H, W, C), in place."""
        rows, columns, planes = self.area.within(frame, light.shape)
        upper, lower, down = self._between(rows, 0, frame.height)
        left, right, across = self._between(columns, 1, frame.width)
        for plane in planes:
            points = self.gains[..., min(plane - self.area.plane, self.gains.shape[2] - 1)]
            wide = points[:, left] * (1 - across) + points[:, right] * across  # (V, columns)
            part = light[_slice(rows, frame.top), _slice(columns, frame.left), plane]
            part *= wide[upper] * (1 - down[:, None]) + wide[lower] * down[:, None]
            np.minimum(part, 1, out=part)

    def _between(self, places: range, axis: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Light]:
        """For the middle of each pixel: the points before and after it, and how far it is from one to the other."""
        last = self.gains.shape[axis] - 1
        spacing = self.spacing[axis] or 1.0  # a single point has none
        at = (((np.array(places) + 0.5) / length - self.origin[axis]) / spacing).clip(0, last)
        before = at.astype(np.intp)
        return before, np.minimum(before + 1, last), (at - before).astype(np.float32)


@dataclass(frozen=True)
class Vignette:
    """Factors for light that depend on the distance from the optical centre.

    Attributes:
        terms: of the second, fourth, ... tenth power of the distance; that of the farthest corner is 1.
        centre: vertical and horizontal, as shares of the active area's sides.
    """

    terms: tuple[float, ...]
    centre: tuple[float, float]

    treats_colours_alike = True

    def apply(self, light: Light, frame: Frame) -> None:
        """Multiply light, (H, W, C), in place."""
        H, W, _ = light.shape
        y, x = self.centre[0] * frame.height, self.centre[1] * frame.width
        farthest = max(y, frame.height - y) ** 2 + max(x, frame.width - x) ** 2
        down, across = np.arange(H) + frame.top + 0.5 - y, np.arange(W) + frame.left + 0.5 - x
        distance = ((down[:, None] ** 2 + across**2) / farthest).astype(np.float32)
        gain = np.polynomial.polynomial.polyval(distance, np.array((1, *self.terms), np.float32))
        light *= gain[..., None]
        np.minimum(light, 1, out=light)


@dataclass(frozen=True)
class Lines:
    """A factor and a summand for each row, or for each column, of an area."""

    area: Area
    is_rows: bool
    factors: Light
    summands: Light

    @property
    def treats_colours_alike(self) -> bool:
        """Whether it multiplies all colours of a pixel by the same, and adds nothing."""
        return self.area.is_every_plane and not self.summands.any()

    def apply(self, light: Light, frame: Frame) -> None:
        """Change light, (H, W, C), in place."""
        rows, columns, planes = self.area.within(frame, light.shape)
        lines, first = (rows, self.area.top) if self.is_rows else (columns, self.area.left)
        step = self.area.row_pitch if self.is_rows else self.area.column_pitch
        which = ((np.array(lines, np.intp) - first) // step).clip(0, len(self.factors) - 1)
        part = light[_slice(rows, frame.top), _slice(columns, frame.left), planes.start : planes.stop]
        along = (slice(None), None, None) if self.is_rows else (None, slice(None), None)
        part *= self.factors[which][along]
        part += self.summands[which][along]
        np.clip(part, 0, 1, out=part)


@dataclass(frozen=True)
class Curve:
    """A function of each value in an area: a table from black to white, or a polynomial."""

    area: Area
    table: Light | None
    coefficients: tuple[float, ...] = ()

    treats_colours_alike = False  # it is no factor: on developed colours it does not do what it does on the camera's

    def apply(self, light: Light, frame: Frame) -> None:
        """Change light, (H, W, C), in place."""
        rows, columns, planes = self.area.within(frame, light.shape)
        part = light[_slice(rows, frame.top), _slice(columns, frame.left), planes.start : planes.stop]
        inside = part.clip(0, 1)
        if self.table is not None:
            part[:] = np.interp(inside, np.linspace(0, 1, len(self.table)), self.table)
        else:
            part[:] = np.polynomial.polynomial.polyval(inside, self.coefficients)
        np.clip(part, 0, 1, out=part)


Operation = GainMap | Vignette | Lines | Curve


@dataclass(frozen=True)
class Operations:
    """A list of operations, and the names of those that are not understood.

    >>> Operations().unknown
    ()
    """

    known: tuple[Operation, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def treat_colours_alike(self) -> bool:
        """Whether they multiply all colours of a pixel by the same."""
        return all(operation.treats_colours_alike for operation in self.known)

    def apply(self, light: Light, frame: Frame) -> None:
        """Change light, (H, W, C), 0 to 1, in place; what becomes brighter than white is white."""
        for operation in self.known:
            operation.apply(light, frame)


def parse_operations(data: bytes) -> Operations:
    """Read the value of a tag OpcodeList; an operation that is damaged counts as unknown.

    >>> parse_operations(bytes([0, 0, 0, 1, 0, 0, 0, 1, 1, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])).unknown
    ('WarpRectilinear',)
    """
    known: list[Operation] = []
    unknown: list[str] = []
    for number, parameters in _entries(data):
        try:
            operation = _operation(number, parameters)
        except (struct.error, ValueError):  # fewer parameters than it announces
            operation = None
        if operation is None:
            unknown.append(_name(number))
        else:
            known.append(operation)
    return Operations(tuple(known), tuple(dict.fromkeys(unknown)))


def split_leading_curves(data: bytes) -> tuple[tuple[Curve, ...], bytes]:
    """The curves that come before all other operations in the value of a tag OpcodeList, and a list of the others.

    >>> split_leading_curves(bytes(4)) == ((), bytes(4))
    True
    """
    curves: list[Curve] = []
    at = 4
    for number, parameters in _entries(data):
        operation = _operation(number, parameters) if _name(number) in CURVES else None
        if not isinstance(operation, Curve):
            break
        curves.append(operation)
        at += HEAD + len(parameters)
    left = int.from_bytes(data[:4], "big") - len(curves)
    return tuple(curves), left.to_bytes(4, "big") + data[at:]


def operation_names(data: bytes) -> tuple[str, ...]:
    """The names of all operations in the value of a tag OpcodeList, each of them once."""
    return tuple(dict.fromkeys(_name(number) for number, _ in _entries(data)))


def _name(number: int) -> str:
    return NAMES.get(number, f"operation {number}")


def _entries(data: bytes) -> Iterable[tuple[int, bytes]]:
    """The number and the parameters of each operation."""
    at = 4
    for _ in range(int.from_bytes(data[:4], "big")):
        if at + HEAD > len(data):
            return
        number, _, _, length = struct.unpack_from(">4I", data, at)  # between them: version and flags
        yield number, data[at + HEAD : at + HEAD + length]
        at += HEAD + length


def _operation(number: int, parameters: bytes) -> Operation | None:
    """The operation of a number; None if it is not understood."""
    name = _name(number)
    if name == "FixVignetteRadial":
        *terms, x, y = struct.unpack_from(">7d", parameters)
        return Vignette(tuple(terms), (y, x))
    if name not in OF_AN_AREA:
        return None
    area = Area(*struct.unpack_from(AREA, parameters))
    if min(area.row_pitch, area.column_pitch) < 1:
        raise ValueError("an area without rows or columns")
    return OF_AN_AREA[name](area, parameters[struct.calcsize(AREA) :])


def _gain_map(area: Area, rest: bytes) -> GainMap:
    V, U, *floats, planes = struct.unpack_from(">2I4dI", rest)
    gains = _array(">f4", V * U * planes, rest[struct.calcsize(">2I4dI") :]).reshape(V, U, planes)
    if gains.size == 0 or not np.isfinite(floats).all() or min(floats[:2]) < 0:
        raise ValueError("a gain map without points, or without a place for them")
    return GainMap(area, (floats[0], floats[1]), (floats[2], floats[3]), gains)


def _map_table(area: Area, rest: bytes) -> Curve:
    return Curve(area, _counted(">u2", rest) / np.float32(WHITE))


def _map_polynomial(area: Area, rest: bytes) -> Curve:
    degree = int.from_bytes(rest[:4], "big")
    return Curve(area, None, tuple(np.frombuffer(rest[4:], ">f8", degree + 1).tolist()))


def _deltas(area: Area, rest: bytes, is_rows: bool) -> Lines:
    values = _counted(">f4", rest) / np.float32(WHITE)  # Adobe's SDK takes them for numbers of 16 bits
    return Lines(area, is_rows, np.ones_like(values), values)


def _scales(area: Area, rest: bytes, is_rows: bool) -> Lines:
    values = _counted(">f4", rest)
    return Lines(area, is_rows, values, np.zeros_like(values))


OF_AN_AREA: dict[str, Callable[[Area, bytes], Operation]] = {
    "MapTable": _map_table,
    "MapPolynomial": _map_polynomial,
    "GainMap": _gain_map,
    "DeltaPerRow": partial(_deltas, is_rows=True),
    "DeltaPerColumn": partial(_deltas, is_rows=False),
    "ScalePerRow": partial(_scales, is_rows=True),
    "ScalePerColumn": partial(_scales, is_rows=False),
}


def _counted(kind: str, data: bytes) -> Light:
    """An array behind its length, which is not zero."""
    return _array(kind, int.from_bytes(data[:4], "big") or len(data), data[4:])


def _array(kind: str, count: int, data: bytes) -> Light:
    values = np.frombuffer(data, kind, count).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("values that are not numbers")
    return values


def _steps(start: int, stop: int, step: int, first: int, length: int) -> range:
    """Every `step`-th number of an area that is among `length` numbers from `first` on."""
    begin = start + max(0, -(-(first - start) // step)) * step
    return range(begin, max(begin, min(stop, first + length)), step)


def _slice(places: range, first: int) -> slice:
    """The same places, counted from `first`."""
    return slice(places.start - first, places.stop - first, places.step)
