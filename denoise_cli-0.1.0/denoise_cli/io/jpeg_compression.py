"""`JpegCompression`: how strongly a JPEG is compressed, so that it can be written again in the same way."""

from dataclasses import dataclass, replace

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

SIDE = 8  # of a table
COARSEST_STEP = 255  # of a baseline JPEG, which every program reads; libjpeg warns on stderr of a coarser one
FULL, HALF_WIDTH, HALF = 0, 1, 2  # Pillow's names for 4:4:4, 4:2:2 and 4:2:0
YCCK = 2  # Adobe's number
AXES_SWAPPED = {5, 6, 7, 8}  # orientations


@dataclass(frozen=True)
class JpegCompression:
    """What a JPEG loses, apart from its pixels.

    Attributes:
        tables: quantisation tables, 64 values each, row by row: one for all components, two for Y and both colours, or
            one for each of three components or of the four inks.
        coarser: by how much the colours are coarser than the lightness, horizontally and vertically: (2, 2) for 4:2:0.
        is_progressive: whether the file shows the whole picture before its details.
    """

    tables: tuple[tuple[int, ...], ...]
    coarser: tuple[int, int] = (1, 1)
    is_progressive: bool = False

    @property
    def subsampling(self) -> int:
        """Pillow's name for a subsampling: `coarser`, or a finer one if Pillow does not write that."""
        horizontal, vertical = self.coarser
        if horizontal < 2:
            return FULL
        return HALF if vertical >= 2 else HALF_WIDTH

    def turned(self, orientation: int) -> "JpegCompression":
        """The same for the picture when it is upright, given the orientation in which it is stored, 1 to 8."""
        if orientation not in AXES_SWAPPED:
            return self
        transposed = tuple(tuple(table[i % SIDE * SIDE + i // SIDE] for i in range(SIDE**2)) for table in self.tables)
        return replace(self, tables=transposed, coarser=self.coarser[::-1])


def compression_of(picture: Image.Image) -> JpegCompression | None:
    """How a JPEG is compressed; None if it is not one, or if it stores red, green and blue.

    Inks are stored as such or, by Adobe's programs, with C, M and Y as lightness and colours (YCCK). Pillow writes the
    former alone, with the tables of the latter's lightness for all of them.
    """
    if not isinstance(picture, JpegImageFile) or picture.layers not in (1, 3, 4) or _is_rgb(picture):
        return None
    found = [picture.quantization.get(table) for _, _, _, table in picture.layer]
    is_ycck = picture.layers == 4 and picture.info.get("adobe_transform") == YCCK
    if is_ycck:
        found = found[:1]
    tables = [tuple(min(step, COARSEST_STEP) for step in table) for table in found if table is not None]
    if len(tables) < len(found):
        return None
    while len(tables) > 1 and tables[-1] == tables[-2]:  # the last one is used for all that follow
        tables.pop()
    (_, *lightness, _), *colours = picture.layer if picture.layers < 4 else picture.layer[:1]
    coarser = tuple(min((lightness[axis] // colour[axis + 1] for colour in colours), default=1) for axis in (0, 1))
    return JpegCompression(tuple(tables), (coarser[0], coarser[1]), "progressive" in picture.info)


def _is_rgb(picture: JpegImageFile) -> bool:
    """Whether the components are red, green and blue, by the rules of libjpeg."""
    if "jfif" in picture.info:
        return False
    if "adobe_transform" in picture.info:
        return picture.layers == 3 and picture.info["adobe_transform"] == 0
    return [component for component, *_ in picture.layer] == list(b"RGB")
