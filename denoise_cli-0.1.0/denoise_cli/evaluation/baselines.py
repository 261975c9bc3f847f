"""Classical denoisers to compare with, called like a `Denoiser`.

Sources: Buades, Coll, Morel, "Non-Local Means Denoising" (Image Processing On Line, 2011), implemented by OpenCV;
Chang, Yu, Vetterli, "Adaptive Wavelet Thresholding for Image Denoising and Compression" (2000), implemented by
scikit-image.
"""

import importlib
import importlib.util
import subprocess
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_wavelet

from denoise_cli.errors import MissingDependency, UsageError
from denoise_cli.imaging.noise import ShotRead, estimate_sigma
from denoise_cli.io.program import ffmpeg_program

Array = NDArray[np.float32]
Level = float | Array | ShotRead | None
Denoise = Callable[[Array, Level], Array]

# OpenCV's h by number of channels: the best on crops of Set12 and of CBSD68 at sigma 15, 25 and 50. In colour it is
# smaller because lightness is less noisy than a single channel.
H_PER_SIGMA = {1: 0.9, 3: 0.6}


def load_baseline(name: str) -> Denoise | None:
    """The classical denoiser with this name, or None if there is none.

    Args:
        name: "nlm" for non-local means whose strength follows the noise level; "nlm:10" for OpenCV's h = 10 at any
            level; "wavelet" for BayesShrink; "ffmpeg:FILTER" for any filter of FFmpeg, such as
            "ffmpeg:bm3d=sigma={sigma}", in which {sigma} stands for the level on the scale of 255.

    Raises:
        MissingDependency: its library is not installed.
        UsageError: the h is out of range, or no filter is given.
    """
    kind, colon, setting = name.partition(":")
    if kind == "nlm":
        _require("cv2", name, "opencv-python-headless")
        return partial(non_local_means, h=_read_h(name, setting) if colon else None)
    if name == "wavelet":
        _require("pywt", name, "PyWavelets")
        return wavelet
    if kind == "ffmpeg":
        if not setting:
            raise UsageError(f"--model {name}: expected ffmpeg:FILTER, like ffmpeg:bm3d=sigma={{sigma}}")
        return partial(ffmpeg_filter, graph=setting)
    return None


def non_local_means(image: Array, sigma: Level = None, h: float | None = None) -> Array:
    """Denoise by OpenCV's non-local means, which takes 8 bits only: the image is clipped and rounded first.

    Args:
        image: (H, W, C), C = 1 or 3, [0, 1].
        sigma: the noise's standard deviation in the image's unit, a number or a map (H, W), or a sensor's noise; None
            to estimate it.
        h: OpenCV's filter strength for lightness and colour, on [0, 255]; None to derive it from sigma.

    Returns:
        The same shape.
    """
    import cv2

    if h is None:
        h = H_PER_SIGMA[image.shape[2]] * 255 * _uniform_level(image, sigma)
    values = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    if image.shape[2] == 1:
        clean = cv2.fastNlMeansDenoising(values, None, h)[..., None]
    else:
        clean = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(values[..., ::-1]), None, h, h)[..., ::-1]
    return np.divide(clean, 255, dtype=np.float32)


def wavelet(image: Array, sigma: Level = None) -> Array:
    """Denoise by soft thresholding of wavelet coefficients (BayesShrink), in YCbCr if the image has colour.

    Args:
        image: (H, W, C), C = 1 or 3, [0, 1].
        sigma: the noise's standard deviation in the image's unit, a number or a map (H, W), or a sensor's noise; None
            to estimate it.

    Returns:
        The same shape, not clipped.
    """
    level = _uniform_level(image, sigma)
    colour = image.shape[2] == 3
    clean = denoise_wavelet(image, level, method="BayesShrink", convert2ycbcr=colour, channel_axis=-1)
    return np.asarray(clean, np.float32)


def ffmpeg_filter(image: Array, sigma: Level = None, graph: str = "null") -> Array:
    """Denoise by a filter of FFmpeg, on a single frame in 8 bits: the image is clipped and rounded first.

    Args:
        image: (H, W, C), C = 1 or 3, [0, 1].
        sigma: the noise's standard deviation in the image's unit, a number or a map (H, W), or a sensor's noise; None
            to estimate it.
        graph: filters as FFmpeg's -vf takes them, in which {sigma} is replaced by the level on the scale of 255.

    Returns:
        The same shape.

    Raises:
        UsageError: FFmpeg refuses the filter, or the filter changes the image's size.
    """
    H, W, C = image.shape
    packed, planar = ("rgb24", "gbrp") if C == 3 else ("gray", "gray")
    filters = graph.replace("{sigma}", f"{255 * _uniform_level(image, sigma):.4f}") if "{sigma}" in graph else graph
    filters = f"format={planar},{filters}"
    raw = ["-f", "rawvideo", "-pix_fmt", packed]
    done = subprocess.run(
        [ffmpeg_program(), "-v", "error", *raw, "-s", f"{W}x{H}", "-i", "-", "-vf", filters, *raw, "-"],
        input=np.rint(image.clip(0, 1) * 255).astype(np.uint8).tobytes(),
        capture_output=True,
        check=False,
    )
    if done.returncode or len(done.stdout) != H * W * C:
        reasons = done.stderr.decode(errors="replace").splitlines() or ["changes the size of the picture"]
        raise UsageError(f"--model ffmpeg:{graph}: {reasons[0]}")
    return np.divide(np.frombuffer(done.stdout, np.uint8).reshape(H, W, C), 255, dtype=np.float32)


def _uniform_level(image: Array, sigma: Level) -> float:
    """The uniform level with the same energy: these methods take one level for the whole image."""
    if sigma is None:
        return estimate_sigma(image)
    levels = sigma.level_of_photo(image) if isinstance(sigma, ShotRead) else sigma
    return float(np.sqrt(np.mean(np.square(levels))))


def _require(module: str, purpose: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingDependency(purpose, package)
    importlib.import_module(module)  # now, so that the import is not timed with the first photo


def _read_h(name: str, text: str) -> float:
    try:
        h = float(text)
    except ValueError:
        h = float("nan")
    if not 0 < h <= 255:
        raise UsageError(f"--model {name}: expected nlm:H with H from 0 to 255, like nlm:10")
    return h
