"""The colour filters over a sensor's photosites: which kind of pattern, and where a mosaic begins in it.

Legend: H x W photosites, h x w repetitions of a Bayer quad or of an X-Trans block, C planes.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging import bayer, xtrans
from denoise_cli.imaging.bayer import Phase

Scalar = TypeVar("Scalar", bound=np.generic)
FilterKind = Literal["bayer", "xtrans"]

LONGEST_PERIOD = 12  # photosites after which a pattern repeats


@dataclass(frozen=True)
class ColourFilters:
    """A pattern of red, green and blue filters.

    >>> ColourFilters("bayer", (0, 1)).pattern.tolist()
    [[1, 0], [2, 1]]

    Attributes:
        kind: "bayer" for quads of two by two, "xtrans" for Fujifilm's six by six.
        phase: where red is in the first quad; for X-Trans, the place in `xtrans.PATTERN` at which the mosaic begins.
    """

    kind: FilterKind
    phase: Phase

    @property
    def planes(self) -> int:
        """C, the number of planes that `pack` makes."""
        planes: int = self._module.PLANES
        return planes

    @property
    def side(self) -> int:
        """Rows and columns of photosites that have one value in each plane."""
        return 2 if self.kind == "bayer" else xtrans.BLOCK

    @property
    def pattern(self) -> NDArray[np.intp]:
        """(2, 2) or (6, 6), the colours of the first photosites: 0 red, 1 green, 2 blue."""
        pattern: NDArray[np.intp] = self._module.pattern(self.phase)
        return pattern

    @property
    def pattern_of_planes(self) -> NDArray[np.intp]:
        """(2, 2) or (6, 6), the plane that each of the first photosites goes to in `pack`."""
        whole = np.broadcast_to(np.arange(self.planes), (self.side, self.side, self.planes))
        return self.unpack(np.tile(whole, (2, 2, 1)), self.pattern.shape)

    def pack(self, mosaic: NDArray[Scalar]) -> NDArray[Scalar]:
        """A mosaic, (H, W), as planes of one colour each, (h, w, C)."""
        packed: NDArray[Scalar] = self._module.pack(mosaic, self.phase)
        return packed

    def unpack(self, planes: NDArray[Scalar], shape: tuple[int, int]) -> NDArray[Scalar]:
        """Undo `pack`, for a mosaic of a shape (H, W)."""
        mosaic: NDArray[Scalar] = self._module.unpack(planes, self.phase, shape)
        return mosaic

    def sample(self, light: NDArray[Scalar]) -> NDArray[Scalar]:
        """Keep of each pixel the one colour that the sensor measures there: (H, W, 3) to (H, W)."""
        pattern, mosaic = self.pattern, np.empty(light.shape[:2], light.dtype)
        rows, columns = pattern.shape
        for y, x in np.ndindex(rows, columns):
            mosaic[y::rows, x::columns] = light[y::rows, x::columns, pattern[y, x]]
        return mosaic

    @property
    def _module(self) -> ModuleType:
        return bayer if self.kind == "bayer" else xtrans


def repeated_part(colours: NDArray[Scalar]) -> NDArray[Scalar]:
    """The pattern of which a mosaic is made.

    >>> repeated_part(np.tile([[0, 1], [1, 2]], (20, 20))).tolist()
    [[0, 1], [1, 2]]

    Args:
        colours: (H, W), the number of each photosite's colour.

    Returns:
        The least rows and columns that repeat; `LONGEST_PERIOD` of them if they do not.
    """
    first = colours[: 2 * LONGEST_PERIOD, : 2 * LONGEST_PERIOD]
    return first[: _period(first), : _period(first.T)].copy()


def filters_of(pattern: NDArray[np.integer]) -> ColourFilters | None:
    """The filters whose pattern is (2, 2) or (6, 6) colours, as `ColourFilters.pattern` has them; None if unknown.

    >>> filters_of(np.array([[1, 2], [0, 1]]))
    ColourFilters(kind='bayer', phase=(1, 0))
    """
    if (phase := xtrans.phase_of(pattern)) is not None:
        return ColourFilters("xtrans", phase)
    quads = (ColourFilters("bayer", phase) for phase in bayer.PHASES.values())
    return next((one for one in quads if np.array_equal(one.pattern, pattern)), None)


def _period(colours: NDArray[np.generic]) -> int:
    """The number of rows after which a pattern repeats."""
    lengths = range(1, min(len(colours), LONGEST_PERIOD + 1))
    return next((length for length in lengths if (colours[length:] == colours[:-length]).all()), LONGEST_PERIOD)
