"""Training examples of clips as cameras write them: with developed, smoothed noise, compressed from frame to frame.

Legend: T frames of a window: the one to denoise, then its neighbours, nearest first.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.examples import COLOURS, Example, film_grain, white_noise
from denoise_cli.data.photos import Source
from denoise_cli.imaging import camera
from denoise_cli.imaging.noise import UNKNOWN_LEVEL
from denoise_cli.imaging.windows import window

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Of the windows: the noise of a camera, white noise as in renderings and edited clips, and film grain as in scans. The
# others have no noise: what has none must stay as it is.
CAMERA_SHARE = 0.5
WHITE_SHARE = 0.2
GRAIN_SHARE = 0.08
CUT_SHARE = 0.06  # of the windows have neighbours from another scene, on one side or on both
EXACT_SHARE = 0.4  # of white noise and grain is neither clipped nor rounded
CODED_SHARE = 0.65  # of the clips of cameras are compressed, and as many of the others that are rounded
SUBSAMPLED_SHARE = 0.2  # of the clips of cameras are not, but hold a quarter of the chroma samples
# Chosen by us: from what editors keep to the low rates of phones and the web.
QUALITIES = (14, 34)  # constant rate factors of H.264
QUANTISERS = (2, 10)  # of MPEG-4 Part 2, as older cameras write it
OLD_SHARE = 0.15  # of the compressed clips are MPEG-4 Part 2
PRESETS = ("ultrafast", "veryfast", "medium")  # an encoder in a camera searches little
MOST_BEFORE = 4  # frames that are compressed before a window, so that it does not always begin with a key frame
BLOCK = 16  # pixels, the side of the blocks of a codec, whose grid can start anywhere


@dataclass(frozen=True)
class ClipNoise:
    """What clips have: most often the noise of a camera; white noise, film grain, or no noise in the others.

    The level is never given: the network learns to estimate it.

    Attributes:
        crops: windows of clean frames.
        sigma_max: the strongest white noise, as a standard deviation on [0, 1].
    """

    crops: Source
    sigma_max: float

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        kind = rng.random()
        if kind < CAMERA_SHARE:
            frames, target = self._by_camera(rng, patch)
        elif kind < CAMERA_SHARE + WHITE_SHARE + GRAIN_SHARE:
            frames, target = self._edited(rng, patch, is_grain=kind >= CAMERA_SHARE + WHITE_SHARE)
        else:
            frames = self._scenes(rng, patch)
            target = frames[0]
        noisy = np.concatenate(frames, axis=-1)
        return Example(noisy, target, np.full((patch, patch), UNKNOWN_LEVEL, np.float32))

    def _scenes(self, rng: np.random.Generator, side: int) -> list[Array]:
        frames = _frames(self.crops.draw(rng, side))
        if rng.random() < CUT_SHARE:
            others = _frames(self.crops.draw(rng, side))
            first = int(rng.integers(1, 3))  # those before it and those after it take turns
            step = int(rng.integers(1, 3))
            frames[first::step] = others[first::step]
        return frames

    def _by_camera(self, rng: np.random.Generator, patch: int) -> tuple[list[Array], Array]:
        drawn = replace(camera.draw_camera(rng), quality=None)
        side = patch + BLOCK
        scenes = self._scenes(rng, int(np.ceil((side + 2 * camera.MARGIN) / drawn.scale)))
        taken = [drawn.take(scene, rng) for scene in scenes]
        frames, target = [noisy[:side, :side] for noisy, _ in taken], taken[0][1][:side, :side]
        share = rng.random()
        if share < CODED_SHARE:
            frames = _coded(frames, rng)
        elif share < CODED_SHARE + SUBSAMPLED_SHARE:
            frames = [_subsampled(frame) for frame in frames]
        return _crop(frames, target, rng, patch)

    def _edited(self, rng: np.random.Generator, patch: int, is_grain: bool) -> tuple[list[Array], Array]:
        scenes = self._scenes(rng, patch + BLOCK)
        clean = np.concatenate(scenes)  # as one picture, whose noise is of one kind
        noisy = clean + (film_grain(clean, rng) if is_grain else white_noise(clean, self.sigma_max, rng))
        target = scenes[0]
        is_exact = rng.random() < EXACT_SHARE
        if not is_exact:
            clipped = noisy.clip(0, 1)
            target = target + camera.mean_noise(clipped - noisy, clean)[: len(target)]
            noisy = np.rint(clipped * 255) / np.float32(255)
        frames = list(np.split(noisy, len(scenes)))
        if not is_exact and rng.random() < CODED_SHARE:
            frames = _coded(frames, rng)
        return _crop(frames, target, rng, patch)


def _frames(drawn: Array) -> list[Array]:
    """The frames of a window, each (H, W, 3)."""
    return [drawn[..., first : first + COLOURS] for first in range(0, drawn.shape[-1], COLOURS)]


def _crop(frames: list[Array], target: Array, rng: np.random.Generator, patch: int) -> tuple[list[Array], Array]:
    y, x = rng.integers(BLOCK + 1, size=2)
    inside = np.s_[y : y + patch, x : x + patch]
    return [frame[inside] for frame in frames], target[inside]


def _coded(frames: list[Array], rng: np.random.Generator) -> list[Array]:
    """A window as it is read back from a compressed clip, in which the same frames, backwards, may stand before it."""
    times = window(len(frames) // 2, len(frames), len(frames))  # of most windows; the others' frames change places
    in_time = [frames[place] for place in np.argsort(times)]
    before = [in_time[place] for place in range(int(rng.integers(MOST_BEFORE + 1)), 0, -1)]
    pixels = [np.rint(frame * 255).astype(np.uint8) for frame in [*before, *in_time]]
    read = _through_codec(pixels, rng)[len(before) :]
    return [np.divide(read[time], 255, dtype=np.float32) for time in times]


def _through_codec(pixels: list[Pixels], rng: np.random.Generator) -> list[Pixels]:
    is_old = rng.random() < OLD_SHARE
    encoder = av.CodecContext.create("mpeg4" if is_old else "libx264", "w")
    decoder = av.CodecContext.create("mpeg4" if is_old else "h264", "r")
    encoder.height, encoder.width = pixels[0].shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 30), Fraction(30)
    encoder.thread_count = decoder.thread_count = 1
    if is_old:
        quantiser = str(rng.integers(QUANTISERS[0], QUANTISERS[1] + 1))
        encoder.options = {"qmin": quantiser, "qmax": quantiser}
    else:
        quality = rng.uniform(*QUALITIES)
        encoder.options = {"crf": f"{quality:.1f}", "preset": PRESETS[int(rng.integers(len(PRESETS)))]}
    packets = [packet for one in pixels for packet in encoder.encode(_to_yuv(one))] + encoder.encode(None)
    read = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [_to_rgb(frame) for frame in read]


def _subsampled(frame: Array) -> Array:
    return np.divide(_to_rgb(_to_yuv(np.rint(frame * 255).astype(np.uint8))), 255, dtype=np.float32)


def _to_rgb(frame: av.VideoFrame) -> Pixels:
    return frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray().astype(np.uint8, copy=False)


def _to_yuv(pixels: Pixels) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
