"""Scans by Nikon's Coolscan: RAW files of three finished values a pixel, which do not state their gamma.

Gamma and white balance are those that the person chose who scanned.
"""

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io.exif import parse
from denoise_cli.io.metadata import MODEL, SOFTWARE
from denoise_cli.io.photo import WHITE

EIGHT_BITS = 255
GAMMA_OF_8_BITS = 2.2


def is_nikon_scan(data: bytes) -> bool:
    """Whether a file is a scan."""
    exif = parse(data)
    software, model = (exif.string(exif.main.get(tag)) for tag in (SOFTWARE, MODEL))
    return software.startswith("Nikon Scan") or "COOLSCAN" in model.upper()


def linear_light(numbers: NDArray[np.uint16 | np.floating]) -> NDArray[np.uint16]:
    """The light of a scan of 8 bits, 65535 as white.

    Args:
        numbers: of any shape, as LibRaw gives them: stretched to 65535, although it says that white is 255.
    """
    light = np.rint(np.linspace(0, 1, EIGHT_BITS + 1) ** GAMMA_OF_8_BITS * WHITE).astype(np.uint16)
    return light[numbers // (WHITE // EIGHT_BITS)]
