"""Colours that files name by code points (CICP).

Source: ITU-T H.273; ITU-T H.Sup19 for the matrices that go with primaries.
"""

from dataclasses import dataclass

from denoise_cli.imaging.transfer import HLG, LINEAR, PQ
from denoise_cli.io.profiles import BT709_CURVE, D65, SRGB_CHROMATICITIES, SRGB_CURVE, icc_profile

UNSPECIFIED = 2
SRGB_PRIMARIES, BT2020, DCI_P3, DISPLAY_P3 = 1, 9, 11, 12
BT709, SRGB = 1, 13  # transfer functions
DCI_WHITE = (0.314, 0.351)
PRIMARIES = {
    SRGB_PRIMARIES: "Rec. 709",
    UNSPECIFIED: "unspecified primaries",
    5: "Rec. 601, 625 lines",
    6: "Rec. 601, 525 lines",
    BT2020: "Rec. 2020",
    DCI_P3: "DCI-P3",
    DISPLAY_P3: "Display P3",
}
# x and y of red, green and blue; others are close to sRGB's.
CHROMATICITIES = {
    BT2020: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    DCI_P3: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    DISPLAY_P3: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
TRANSFERS = {
    BT709: "Rec. 709",
    UNSPECIFIED: "unspecified curve",
    4: "gamma 2.2",
    5: "gamma 2.8",
    6: "Rec. 601",
    LINEAR: "linear",
    SRGB: "sRGB",
    14: "Rec. 2020",
    15: "Rec. 2020",
    PQ: "PQ",
    17: "gamma 2.6",
    HLG: "HLG",
}
LIKE_BT709 = {BT709, 6, 14, 15}
GAMMAS = {4: 2.2, 5: 2.8, LINEAR: 1.0, 17: 2.6}
# Code points that can be read as sRGB: unspecified, BT.709 and its equivalents, sRGB.
SRGB_LIKE_PRIMARIES = {SRGB_PRIMARIES, UNSPECIFIED, 5, 6}
SRGB_LIKE_TRANSFERS = {UNSPECIFIED, SRGB, *LIKE_BT709}
# Matrices between RGB and lightness with two colours.
IDENTITY, BT709_MATRIX, BT601_MATRIX, BT2020_MATRIX = 0, 1, 6, 9
WRITTEN_MATRICES = {IDENTITY, BT709_MATRIX, 5, BT601_MATRIX, BT2020_MATRIX}


@dataclass(frozen=True)
class CodePoints:
    """The colours of a picture.

    Attributes:
        primaries: a key of `PRIMARIES`.
        transfer: a key of `TRANSFERS`.
        matrix: by which the file turns RGB into lightness and colours; None if it does not.
    """

    primaries: int
    transfer: int
    matrix: int | None = None

    @property
    def name(self) -> str:
        """In words, such as "PQ, Rec. 2020"."""
        return f"{TRANSFERS[self.transfer]}, {PRIMARIES[self.primaries]}"

    @property
    def is_hdr(self) -> bool:
        """Whether values are encoded for HDR, which only some profiles can say."""
        return self.transfer in (PQ, HLG)

    @property
    def is_like_srgb(self) -> bool:
        """Whether a file that says nothing about its colours would be understood in about the same way."""
        return self.primaries in SRGB_LIKE_PRIMARIES and self.transfer in SRGB_LIKE_TRANSFERS

    @property
    def matrix_to_write(self) -> int:
        """The file's own matrix, if it is a usual one, or the one that goes with the primaries."""
        return self.matrix if self.matrix in WRITTEN_MATRICES else self._usual_matrix

    @property
    def matrix_for_lightness(self) -> int:
        """The same for files that store lightness and colours, never RGB."""
        return self._usual_matrix if self.matrix == IDENTITY else self.matrix_to_write

    @property
    def _usual_matrix(self) -> int:
        return {SRGB_PRIMARIES: BT709_MATRIX, BT2020: BT2020_MATRIX}.get(self.primaries, BT601_MATRIX)

    def profile(self, is_grey: bool) -> bytes | None:
        """A colour profile that says the same; None where none is needed, see `is_like_srgb`.

        Raises:
            ValueError: it is HDR, which profiles that every program reads cannot say.
        """
        if self.is_hdr:
            raise ValueError(f"{self.name}: only code points can say this")
        if self.is_like_srgb:
            return None
        table = BT709_CURVE if self.transfer in LIKE_BT709 else SRGB_CURVE
        primaries = None if is_grey else CHROMATICITIES.get(self.primaries, SRGB_CHROMATICITIES)
        white = DCI_WHITE if self.primaries == DCI_P3 else D65
        return icc_profile(white, primaries, GAMMAS.get(self.transfer, table))


def stated(primaries: int, transfer: int, matrix: int | None = None) -> CodePoints | None:
    """The colours that a file states; None if that is sRGB, or nothing.

    Raises:
        ValueError: they are of a kind that is not known; with a message for the user.
    """
    if primaries not in PRIMARIES or transfer not in TRANSFERS:
        raise ValueError(f"colours that are not known (CICP {primaries}/{transfer}): convert it to sRGB first")
    if (primaries, transfer) in ((SRGB_PRIMARIES, SRGB), (UNSPECIFIED, UNSPECIFIED)):
        return None
    return CodePoints(primaries, transfer, matrix)
