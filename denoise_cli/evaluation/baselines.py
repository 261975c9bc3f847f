"""Classical denoisers to compare with; each is called as a `Denoiser` is.

Sources: Buades, Coll, Morel, "Non-Local Means Denoising" (Image Processing On Line, 2011), as OpenCV has it; Chang, Yu,
Vetterli, "Adaptive Wavelet Thresholding for Image Denoising and Compression" (2000), as scikit-image has it.
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
from denoise_cli.io.mux import ffmpeg_program

Array = NDArray[np.float32]
Level = float | Array | ShotRead | None
Denoise = Callable[[Array, Level], Array]

# By channels, the best on crops of Set12 and of CBSD68 at sigma 15, 25 and 50; lightness has less noise than a channel.
H_PER_SIGMA = {1: 0.9, 3: 0.6}


def load_baseline(name: str) -> Denoise | None:
    """A classical denoiser by its name; None where the name is of none.

    Args:
        name: "nlm" for non-local means, as strong as the noise; "nlm:10" with OpenCV's h = 10 whatever the noise;
            "wavelet" for BayesShrink; "ffmpeg:bm3d=sigma={sigma}" for any filter of FFmpeg's, which is told the level
            on the scale of 255 in that place.

    Raises:
        MissingDependency: its library is not installed.
        UsageError: an h, or a filter, that is none.
    """
    kind, colon, h = name.partition(":")
    if kind == "nlm":
        _require("cv2", name, "opencv-python-headless")
        return partial(non_local_means, h=_read_h(name, h) if colon else None)
    if name == "wavelet":
        _require("pywt", name, "PyWavelets")
        return wavelet
    if kind == "ffmpeg":
        if not h:
            raise UsageError(f"--model {name}: expected ffmpeg:FILTER, like ffmpeg:bm3d=sigma={{sigma}}")
        return partial(ffmpeg_filter, graph=h)
    return None


def non_local_means(image: Array, sigma: Level = None, h: float | None = None) -> Array:
    """OpenCV's non-local means, which knows 8 bits only: the image is clipped and rounded first.

    Args:
        image: (H, W, C), C = 1 or 3, [0, 1].
        sigma: the noise's deviation in the image's unit, a number or a map (H, W), or a sensor's noise; None to
            estimate it.
        h: OpenCV's filter strength, of lightness and colour, on [0, 255]; None to have it follow sigma.

    Returns:
        The same shape.
    """
    import cv2

    if h is None:
        h = H_PER_SIGMA[image.shape[2]] * 255 * _one_level(image, sigma)
    values = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    if image.shape[2] == 1:
        clean = cv2.fastNlMeansDenoising(values, None, h)[..., None]
    else:
        clean = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(values[..., ::-1]), None, h, h)[..., ::-1]
    return np.divide(clean, 255, dtype=np.float32)


def wavelet(image: Array, sigma: Level = None) -> Array:
    """Soft thresholding of wavelet coefficients by BayesShrink, in YCbCr.

    Args:
        image: (H, W, C), C = 1 or 3, [0, 1].
        sigma: the noise's deviation in the image's unit, a number or a map (H, W), or a sensor's noise; None to
            estimate it.

    Returns:
        The same shape, not clipped.
    """
    level = _one_level(image, sigma)
    colour = image.shape[2] == 3
    clean = denoise_wavelet(image, level, method="BayesShrink", convert2ycbcr=colour, channel_axis=-1)
    return np.asarray(clean, np.float32)


def ffmpeg_filter(image: Array, sigma: Level = None, graph: str = "null") -> Array:
    """What a filter of FFmpeg's makes of one frame, of 8 bits: the image is clipped and rounded first.

    Args:
        image: (H, W, C), C = 1 or 3, [0, 1].
        sigma: the noise's deviation in the image's unit, a number or a map (H, W), or a sensor's noise; None to
            estimate it.
        graph: filters, as FFmpeg's -vf takes them, and {sigma} where they are told the level on the scale of 255.

    Returns:
        The same shape.

    Raises:
        UsageError: FFmpeg does not understand the filter.
    """
    H, W, C = image.shape
    packed, planar = ("rgb24", "gbrp") if C == 3 else ("gray", "gray")
    told = graph.replace("{sigma}", f"{255 * _one_level(image, sigma):.4f}") if "{sigma}" in graph else graph
    raw = ["-f", "rawvideo", "-pix_fmt", packed]
    filters = f"format={planar},{told}"
    done = subprocess.run(
        [ffmpeg_program(), "-v", "error", *raw, "-s", f"{W}x{H}", "-i", "-", "-vf", filters, *raw, "-"],
        input=np.rint(image.clip(0, 1) * 255).astype(np.uint8).tobytes(),
        capture_output=True,
        check=False,
    )
    if done.returncode or len(done.stdout) != H * W * C:
        said = done.stderr.decode(errors="replace").splitlines() or ["another size came out"]
        raise UsageError(f"--model ffmpeg:{graph}: {said[0]}")
    return np.divide(np.frombuffer(done.stdout, np.uint8).reshape(H, W, C), 255, dtype=np.float32)


def _one_level(image: Array, sigma: Level) -> float:
    """These methods know one level for the whole image: that of the same energy."""
    if sigma is None:
        return estimate_sigma(image)
    levels = sigma.level_of_photo(image) if isinstance(sigma, ShotRead) else sigma
    return float(np.sqrt(np.mean(np.square(levels))))


def _require(module: str, purpose: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingDependency(purpose, package)
    importlib.import_module(module)  # now, so that it does not count as the first photo's time


def _read_h(name: str, text: str) -> float:
    try:
        h = float(text)
    except ValueError:
        h = float("nan")
    if not 0 < h <= 255:
        raise UsageError(f"--model {name}: expected nlm:H with H from 0 to 255, like nlm:10")
    return h
