"""The white balance of digital negatives that state the colour of the light (AsShotWhiteXY), which LibRaw ignores.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7, chapter 6, "Mapping Camera Color Space to CIE XYZ Space".
"""

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io.dng import AS_SHOT_WHITE, COLOUR_MATRIX, ILLUMINANT
from denoise_cli.io.exif import Exif

COLOUR_MATRICES = (COLOUR_MATRIX, 50722)
CALIBRATIONS = (50723, 50724)
ANALOG_BALANCE = 50727
ILLUMINANTS = (ILLUMINANT, 50779)
CAMERA_SIGNATURE = 50931
PROFILE_SIGNATURE = 50932
# Kelvin, by EXIF's number for a kind of light; the middle for those that are a range.
TEMPERATURES = {
    1: 5500, 2: 4150, 3: 2850, 4: 5500, 9: 5500, 10: 6500, 11: 7500, 12: 6400, 13: 5050, 14: 4150, 15: 3525, 16: 2925,
    17: 2850, 18: 5500, 19: 6500, 20: 5500, 21: 6500, 22: 7500, 23: 5000, 24: 3200,
}  # fmt: skip


def neutral_of_white(tags: Exif) -> NDArray[np.float64] | None:
    """(3,), what the camera sees of white by AsShotWhiteXY; None if the file does not state that, or no matrix.

    Args:
        tags: of the file's first and full-size directories, as `main`.
    """
    white = tags.numbers(tags.main.get(AS_SHOT_WHITE))
    if len(white) != 2 or white[1] <= 0:
        return None
    x, y = white
    matrix = _matrix_at(tags, correlated_temperature(x, y))
    if matrix is None:
        return None
    neutral = matrix @ np.array([x / y, 1, (1 - x - y) / y])
    return neutral / neutral.max() if neutral.min() > 0 else None


def correlated_temperature(x: float, y: float) -> float:
    """The temperature, in kelvin, of the black body whose colour is nearest to a chromaticity.

    Source: Krystek, "An algorithm to calculate correlated colour temperature" (1985), for the colours of black bodies.

    >>> round(correlated_temperature(0.3127, 0.3290) / 100)  # daylight
    65
    """
    kelvin = 1e6 / np.arange(20, 600, 0.25)  # evenly spaced in what the eye sees
    u = (0.860117757 + 1.54118254e-4 * kelvin + 1.28641212e-7 * kelvin**2) / (
        1 + 8.42420235e-4 * kelvin + 7.08145163e-7 * kelvin**2
    )
    v = (0.317398726 + 4.22806245e-5 * kelvin + 4.20481691e-8 * kelvin**2) / (
        1 - 2.89741816e-5 * kelvin + 1.61456053e-7 * kelvin**2
    )
    own_u, own_v = 4 * x / (-2 * x + 12 * y + 3), 6 * y / (-2 * x + 12 * y + 3)  # CIE 1960
    return float(kelvin[np.argmin((u - own_u) ** 2 + (v - own_v) ** 2)])


def _matrix_at(tags: Exif, temperature: float) -> NDArray[np.float64] | None:
    """(3, 3), from XYZ to the camera's colours in light of a temperature; None if the file has no matrix."""
    gains = tags.numbers(tags.main.get(ANALOG_BALANCE))
    balance = np.diag(gains if len(gains) == 3 else np.ones(3))
    # A calibration belongs to the profile only if both are signed alike.
    calibrated = tags.string(tags.main.get(CAMERA_SIGNATURE)) == tags.string(tags.main.get(PROFILE_SIGNATURE))
    found = []
    for colours, calibration, illuminant in zip(COLOUR_MATRICES, CALIBRATIONS, ILLUMINANTS, strict=True):
        matrix, correction = _square(tags, colours), _square(tags, calibration) if calibrated else None
        if matrix is not None:
            kelvin = TEMPERATURES.get(tags.number(tags.main.get(illuminant)) or 0, 0)
            found.append((kelvin, balance @ (np.eye(3) if correction is None else correction) @ matrix))
    if not found:
        return None
    (cold, first), (warm, second) = found[0], found[-1]
    if min(cold, warm) <= 0 or cold == warm:
        return first
    share = (1 / temperature - 1 / cold) / (1 / warm - 1 / cold)
    share = min(max(share, 0.0), 1.0)
    return (1 - share) * first + share * second


def _square(tags: Exif, tag: int) -> NDArray[np.float64] | None:
    numbers = tags.numbers(tags.main.get(tag))
    return np.array(numbers).reshape(3, 3) if len(numbers) == 9 else None
