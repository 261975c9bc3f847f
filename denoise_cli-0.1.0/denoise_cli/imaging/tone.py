"""Tone curves that give one picture the brightness of another one of the same scene.

Legend: H x W and h x w pixels, C colours.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator

Pixels = NDArray[np.uint8]
Curve = Callable[[NDArray[np.floating]], NDArray[np.float64]]

SIDE = 320  # pixels: pictures are compared at this size, at which noise and sharpening hardly show
LARGE = 2 * SIDE  # pixels: larger pictures are reduced before they are turned and cut
SHARES = np.linspace(0.002, 0.998, 499)  # of a picture's pixels, from its shadows to its highlights
STEP = 1 / 48  # between the points of a curve, where the picture has any
LEAST_LIKENESS = 0.8  # the correlation of two pictures of the same scene


def tone_curves(picture: Pixels, model: Pixels) -> list[Curve] | None:
    """For each colour, the curve that brings as many pixels of a picture below each level as there are in its model.

    Comparing numbers of pixels, instead of pixels with each other, does without exact alignment: one of the pictures
    may be corrected for its lens, or sharpened.

    Args:
        picture: (H, W, C), encoded.
        model: (h, w, C), encoded; turned in any way, cut, or with bars around it.

    Returns:
        C functions from [0, 1] to [0, 1] that never fall; None if the model shows something else.
    """
    ours, theirs = (_resized(each, min(LARGE, max(each.shape[:2]))) for each in (picture, model))
    turned = [np.rot90(theirs, turns)[:, ::side] for turns, side in product(range(4), (1, -1))]
    pairs = [_common_part(ours, each, aspect) for each in turned for aspect in (_aspect(ours), _aspect(each))]
    likeness = [_likeness(*pair) for pair in pairs]
    best = int(np.argmax(likeness))
    if likeness[best] < LEAST_LIKENESS:
        return None
    shares = [np.quantile(each.reshape(-1, picture.shape[2]) / 255, SHARES, axis=0) for each in pairs[best]]
    return [_curve(shares[0][:, c], shares[1][:, c]) for c in range(picture.shape[2])]


def _common_part(ours: Pixels, theirs: Pixels, aspect: float) -> tuple[Pixels, Pixels]:
    """The middles of two pictures, of this height in shares of their width, in one small size."""
    size = (SIDE, max(round(SIDE * aspect), 1)) if aspect < 1 else (max(round(SIDE / aspect), 1), SIDE)
    first, second = (_image(_middle(each, aspect)).resize(size, Image.Resampling.BOX) for each in (ours, theirs))
    return np.asarray(first), np.asarray(second)


def _middle(picture: Pixels, aspect: float) -> Pixels:
    H, W = picture.shape[:2]
    h, w = max(min(H, round(W * aspect)), 1), max(min(W, round(H / aspect)), 1)
    top, left = (H - h) // 2, (W - w) // 2
    return picture[top : top + h, left : left + w]


def _aspect(picture: Pixels) -> float:
    return picture.shape[0] / picture.shape[1]


def _resized(picture: Pixels, longer: int) -> Pixels:
    """The picture with a longer side of this many pixels."""
    H, W = picture.shape[:2]
    size = [max(round(side * longer / max(H, W)), 1) for side in (W, H)]
    return np.asarray(_image(picture).resize((size[0], size[1]), Image.Resampling.BOX)).reshape(*size[::-1], -1)


def _image(picture: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture[..., 0] if picture.shape[2] == 1 else picture))


def _likeness(ours: Pixels, theirs: Pixels) -> float:
    """The correlation of the two pictures' brightness; 0 if one is uniform."""
    first, second = (each.reshape(*each.shape[:2], -1).mean(axis=2).ravel() for each in (ours, theirs))
    if min(first.std(), second.std()) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _curve(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Curve:
    """The curve through values that as many pixels of either picture stay below; straight on to black and to white."""
    steps = np.concatenate([[True], np.diff(ours // STEP) > 0])
    steps[-1] |= ours[-1] > ours[steps][-1]  # the highlights, unless they are what the last step is
    x, y = ours[steps], theirs[steps]
    if x[0] > 0:
        x, y = np.append(0, x), np.append(0, y)
    if x[-1] < 1:
        x, y = np.append(x, 1), np.append(y, 1)
    return PchipInterpolator(x, y)
