"""Camera RAW through a denoiser, from an open file to a photo or a DNG.

A mosaic is denoised before LibRaw develops it: stuck photosites are replaced, banding is removed, the colours are
packed into planes, the noise is made equally strong everywhere, and after the network the last two steps are undone.
Where the file has clipped the noise of shadows, they get back the light that they had. Where there is no mosaic,
LibRaw's linear picture is denoised by a network that was trained on demosaiced noise.

Legend: H x W photosites or pixels, h x w quads or blocks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from denoise_cli.errors import OutOfMemory
from denoise_cli.imaging import stuck
from denoise_cli.imaging.anscombe import AnscombeTransform
from denoise_cli.imaging.banding import find_banding, remaining_offsets
from denoise_cli.imaging.clipping import ClippedNoise, clipped_at
from denoise_cli.imaging.noise import ShotRead, developed_noise
from denoise_cli.imaging.photon_transfer import estimate_shot_read, share_after_smoothing
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tiles import Progress
from denoise_cli.io.development import as_photo, unmade_note
from denoise_cli.io.dng import DigitalNegative, side_pictures
from denoise_cli.io.dng_builder import camera_light, linear_dng, lost_note, mosaic_dng
from denoise_cli.io.photo import WHITE, Photo
from denoise_cli.io.raw import MOST_HEADROOM, Mosaic, Numbers, RawFile
from denoise_cli.pipeline.memory import return_freed_memory

Array = NDArray[np.float32]
NoiseSource = Literal["given", "file", "estimated"]
Output = Literal["photo", "mosaic_dng", "linear_dng"]
HotPixels = Literal["auto", "off"] | NDArray[np.bool_]  # to find them, to leave them, or where they are: (H, W)

# Smoothing leaves more of the stated noise than this share (of the geometric mean, see `photon_transfer`); with less,
# the statement is wrong.
LEAST_AFTER_SMOOTHING = 0.12
# A saturated photosite stays saturated if this share of its neighbours of the same colour is: elsewhere, noise has
# pushed it there.
NEIGHBOURHOOD = 5  # photosites of one colour, the side of a square
MOSTLY = 0.5
# What is left of banding is measured in strips, evenly spread, each of which begins where the pattern repeats.
STRIPS, STRIP = 4, 264  # photosites wide


@dataclass(frozen=True)
class KnownNoise:
    """The noise of a RAW file's values, as shares of white, where it is known from, and what to note about it."""

    noise: ShotRead
    source: NoiseSource
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DenoisedRaw:
    """What became of a RAW file, the noise that it had, and what the user should hear about it."""

    picture: Photo | DigitalNegative
    noise: KnownNoise
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DenoisedValues:
    """The denoised values of a RAW file, of which LibRaw has still to make a picture.

    Attributes:
        raw: the file, which is open.
        values: (H, W) of its photosites, in its own scale; or (H, W, 3) of a linear picture, if `is_developed`.
        is_developed: whether LibRaw has demosaiced the values.
        output: what is made of them.
        noise: that they had.
        removed: the share of it that was removed.
        notes: what the user should hear about that.
    """

    raw: RawFile
    values: Numbers
    is_developed: bool
    output: Output
    noise: KnownNoise
    removed: float
    notes: tuple[str, ...]

    def finish(self) -> DenoisedRaw:
        """Make the photo or the DNG; in any thread, as long as the file is open.

        Raises:
            OutOfMemory: it does not fit into memory.
            UnreadableFile: LibRaw cannot develop the file.
        """
        with _memory_for(self.raw):
            return self._finished_picture() if self.is_developed else self._finished_mosaic()

    def _finished_mosaic(self) -> DenoisedRaw:
        raw, numbers = self.raw, self.values
        if self.output == "photo":
            photo = as_photo(raw, raw.develop(numbers))
            return DenoisedRaw(photo, self.noise, self.notes + photo.notes)
        left = estimate_mosaic_noise(raw.mosaic_of(numbers)) if self.removed else self.noise.noise
        return_freed_memory()
        if self.output == "mosaic_dng":
            written = mosaic_dng(raw, numbers, left, self.removed)
            return DenoisedRaw(written, self.noise, self.notes + lost_note(raw, written))
        linear = linear_dng(raw, camera_light(raw, numbers), left, numbers, self.removed)
        return DenoisedRaw(linear, self.noise, self.notes + unmade_note(raw.unmade_operations))

    def _finished_picture(self) -> DenoisedRaw:
        raw, linear = self.raw, self.values
        if self.output == "photo":
            photo = as_photo(raw, linear.astype(np.uint16, copy=False))
            return DenoisedRaw(photo, self.noise, self.notes + photo.notes)
        left = estimate_picture_noise(linear, raw.gains) if self.removed else self.noise.noise
        written = linear_dng(raw, linear, left, removed=self.removed)
        return DenoisedRaw(written, self.noise, self.notes + unmade_note(raw.unmade_operations))


def denoise_raw(
    raw: RawFile,
    denoise: Denoiser,
    output: Output,
    noise: ShotRead | None = None,
    strength: float = 1.0,
    progress: Progress | None = None,
    hot_pixels: HotPixels = "auto",
) -> DenoisedValues:
    """Denoise the values of an open RAW file.

    Args:
        raw: the file; without `obstacle` if `denoise` is for mosaics.
        denoise: for mosaics, or for linear pictures.
        output: a photo, a DNG of the mosaic (of a linear picture if there is no mosaic to write), or one of a linear
            picture.
        noise: of its values, as shares of white; None to take it from the file or estimate it.
        strength: 0 to 1, the share of the noise that is removed.
        progress: called with the fraction done.
        hot_pixels: which photosites of a mosaic are replaced, because they are stuck.

    Returns:
        What becomes the output by `finish`, which needs no network: the next file can be denoised meanwhile.

    Raises:
        OutOfMemory: even the smallest tile, or the whole picture, does not fit into memory.
        UnreadableFile: LibRaw cannot develop the file.
    """
    with _memory_for(raw):
        known = noise_of(raw, noise)
        if denoise.is_for_mosaics:
            return _denoise_mosaic_of(raw, denoise, output, known, strength, progress, hot_pixels)
        return _denoise_picture_of(raw, denoise, output, known, strength, progress)


@contextmanager
def _memory_for(raw: RawFile) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"{raw.name}: does not fit into memory") from error


def noise_of(raw: RawFile, given: ShotRead | None = None) -> KnownNoise:
    """The given noise, or else what the file says (less, if the mosaic has been smoothed), or else an estimate."""
    if given is not None:
        return KnownNoise(given, "given")
    if raw.noise is not None:
        smoothed = _smoothed(raw, raw.noise)
        return KnownNoise(raw.noise, "file") if smoothed is None else smoothed
    return KnownNoise(estimate_noise(raw), "estimated")


def _smoothed(raw: RawFile, stated: ShotRead) -> KnownNoise | None:
    """What smoothing has left of the stated noise; None if nothing shows that there is less than stated."""
    if raw.obstacle is not None or not (stated.shot or stated.read):  # without a mosaic, demosaicing has smoothed it
        return None
    pack = raw.mosaic.filters.pack
    share = share_after_smoothing(stated, pack(raw.mosaic.light), pack(raw.mosaic.full))
    if share is None:
        return None
    if share < LEAST_AFTER_SMOOTHING:
        note = "the file's NoiseProfile states far more noise than there is: estimated instead"
        return KnownNoise(estimate_noise(raw), "estimated", (note,))
    note = f"the noise has been smoothed before: {share:.0%} of the file's NoiseProfile used"
    return KnownNoise(stated.scaled(share), "file", (note,))


def estimate_noise(raw: RawFile) -> ShotRead:
    """Estimate the noise from the file's values; zero if there are too few."""
    if raw.obstacle is None:
        return estimate_mosaic_noise(raw.mosaic)
    return estimate_shot_read(*raw.planes()) or ShotRead(0.0, 0.0)


def estimate_mosaic_noise(mosaic: Mosaic) -> ShotRead:
    """Estimate the noise of a mosaic from its values; zero if there are too few."""
    pack = mosaic.filters.pack
    return estimate_shot_read(pack(mosaic.light), pack(mosaic.full)) or ShotRead(0.0, 0.0)


def estimate_picture_noise(linear: Numbers, gains: NDArray[np.float64]) -> ShotRead:
    """Estimate the noise of a linear picture, (H, W, 3), in the sensor's values before the white balance `gains`."""
    values = np.divide(linear, WHITE * gains, dtype=np.float32)
    return estimate_shot_read(values, linear >= max(WHITE, linear.max())) or ShotRead(0.0, 0.0)


def denoise_mosaic(
    mosaic: Mosaic,
    noise: ShotRead,
    denoise: Denoiser,
    progress: Progress | None = None,
    hot_pixels: HotPixels = "auto",
) -> Array:
    """Denoise the light of a mosaic.

    Args:
        mosaic: as `RawFile.mosaic` gives it.
        noise: of its values, as shares of white.
        denoise: for mosaics.
        progress: called with the fraction done.
        hot_pixels: which photosites are replaced, because they are stuck.

    Returns:
        (H, W), as `mosaic.light`.

    Raises:
        OutOfMemory: even the smallest tile does not fit.
    """
    if not (noise.shot or noise.read):
        return mosaic.light
    transform = AnscombeTransform(noise, mosaic.headroom)
    planes = mosaic.filters.pack(_without_stuck(mosaic, noise, hot_pixels))
    clean = transform.inverse(
        denoise(transform.forward(_within(planes, transform)), transform.level, progress=progress)
    )
    clean = _with_beyond(clean, planes, transform)
    floors = clipped_at(planes, noise.read)
    if floors is not None:
        clean = ClippedNoise(noise, floors).restore(clean, planes)
    # Light beyond saturation is lost: highlights would be tinted if one colour stayed saturated and another did not.
    saturated = _mostly(mosaic.filters.pack(mosaic.full))
    clean[saturated] = np.maximum(planes[saturated], 1)
    return mosaic.filters.unpack(clean, mosaic.light.shape)


class Passes:
    """The progress of several passes over one mosaic, of which it is not known how many there will be.

    Args:
        progress: called with the fraction of all that is done; None for no calls.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress, self._done = progress, 0.0

    def next(self, share: float) -> Progress | None:
        """The progress of the next pass, which takes this share, [0, 1], of what was left to be done before."""
        progress, start = self._progress, self._done
        self._done += share * (1 - start)
        stop = self._done
        return None if progress is None else lambda done: progress(start + (stop - start) * done)


def remove_banding(
    mosaic: Mosaic,
    noise: ShotRead,
    denoise: Denoiser,
    masked: Callable[[int], Array | None] = lambda _: None,
    passes: Passes | None = None,
) -> tuple[Mosaic, tuple[str, ...]]:
    """Remove offsets of whole rows and columns.

    Args:
        mosaic: as `RawFile.mosaic` gives it.
        noise: of its values, as shares of white.
        denoise: for mosaics; shows what is left of the offsets.
        masked: see `RawFile.masked`.
        passes: told about each pass of the network.

    Returns:
        The mosaic, and what the user should hear about it.

    Raises:
        OutOfMemory: even the smallest tile does not fit.
    """
    notes, passes = [], passes or Passes()
    for name, axis in (("rows", 0), ("columns", 1)):
        light = mosaic.light if axis == 0 else mosaic.light.T
        banding = find_banding(light, mosaic.filters.pattern.shape[axis], noise, masked(axis))
        if banding is None:
            continue
        offsets = banding.offsets
        mosaic = _without_offsets(mosaic, offsets, axis)
        if not banding.is_measured:
            left = _remaining_offsets(mosaic, axis, noise, denoise, passes)
            mosaic, offsets = _without_offsets(mosaic, left, axis), offsets + left
        notes.append(f"banding removed: {name} differed by {offsets.std():.2g} of white")
    return mosaic, tuple(notes)


def _without_offsets(mosaic: Mosaic, offsets: NDArray[np.float64], axis: int) -> Mosaic:
    even = mosaic.light.copy()
    np.subtract(even, np.expand_dims(offsets.astype(np.float32), 1 - axis), out=even, where=~mosaic.full)
    return replace(mosaic, light=even)


def _remaining_offsets(
    mosaic: Mosaic, axis: int, noise: ShotRead, denoise: Denoiser, passes: Passes
) -> NDArray[np.float64]:
    across = 1 - axis
    length, period = mosaic.light.shape[across], mosaic.filters.pattern.shape[across]
    some = np.arange(length)
    if length > STRIPS * STRIP:
        starts = np.linspace(0, length - STRIP, STRIPS).astype(int) // period * period
        some = (starts[:, None] + np.arange(STRIP)).ravel()
    part = replace(mosaic, light=mosaic.light.take(some, across), full=mosaic.full.take(some, across))
    share = len(some) / (len(some) + length)  # the whole mosaic follows
    clean = denoise_mosaic(part, noise, denoise, progress=passes.next(share), hot_pixels="off")
    light, full = part.light, part.full
    if axis == 1:
        light, full, clean = light.T, full.T, clean.T
    return remaining_offsets(light, full, clean, mosaic.filters.pattern.shape[axis], noise)


def _without_stuck(mosaic: Mosaic, noise: ShotRead, hot_pixels: HotPixels) -> Array:
    planes = mosaic.filters.pattern_of_planes
    if isinstance(hot_pixels, str):
        if hot_pixels == "off":
            return mosaic.light
        hot_pixels = stuck.find_stuck(mosaic.light, planes, noise)
    return stuck.replace(mosaic.light, hot_pixels, planes)


def denoise_picture(
    picture: Numbers,
    noise: ShotRead,
    gains: NDArray[np.float64],
    denoise: Denoiser,
    strength: float = 1.0,
    progress: Progress | None = None,
) -> Numbers:
    """Denoise LibRaw's linear picture.

    Args:
        picture: (H, W, 3), as `RawFile.develop` or `camera_light` gives it.
        noise: of the file's values, as shares of white.
        gains: (3,), of the white balance.
        denoise: for linear pictures.
        strength: 0 to 1, the share of the noise that is removed; 0 returns the picture unchanged.
        progress: called with the fraction done.

    Returns:
        The same shape.

    Raises:
        OutOfMemory: even the smallest tile does not fit.
    """
    if strength == 0 or not (noise.shot or noise.read):
        return picture
    light = np.divide(picture, WHITE, dtype=np.float32)
    headroom = min(max(float(light.max()), 1.0), MOST_HEADROOM)
    transform = AnscombeTransform(developed_noise(noise, gains), headroom)
    clean = transform.inverse(
        denoise(transform.forward(_within(light, transform)), transform.level, strength, progress)
    )
    clean = _with_beyond(clean, light, transform)
    clean *= WHITE
    if picture.dtype == np.float32:
        return clean
    return np.rint(clean, out=clean).clip(0, WHITE).astype(np.uint16)


def _within(light: Array, transform: AnscombeTransform) -> Array:
    """What a network is shown of merged exposures: light far beyond white would darken its surroundings."""
    return light if transform.headroom == 1 else np.minimum(light, np.float32(transform.headroom))


def _with_beyond(clean: Array, light: Array, transform: AnscombeTransform) -> Array:
    """Denoised light, and the original one where the network was not shown it."""
    return clean if transform.headroom == 1 else np.where(light > transform.headroom, light, clean)


def _denoise_mosaic_of(
    raw: RawFile,
    denoise: Denoiser,
    output: Output,
    known: KnownNoise,
    strength: float,
    progress: Progress | None,
    hot_pixels: HotPixels,
) -> DenoisedValues:
    mosaic, noise = raw.mosaic, known.noise
    notes: tuple[str, ...] = ()
    passes = Passes(progress)
    light = mosaic.light
    if strength and (noise.shot or noise.read):
        # Before banding, for which columns of stuck photosites would be taken.
        mosaic = replace(mosaic, light=_without_stuck(mosaic, noise, hot_pixels))
        mosaic, notes = remove_banding(mosaic, noise, denoise, raw.masked, passes)
        if notes and known.source == "estimated":  # banding had passed for noise
            noise = estimate_mosaic_noise(mosaic)
            known = replace(known, noise=noise)
        return_freed_memory()
        light = denoise_mosaic(mosaic, noise, denoise, passes.next(1), "off")
        denoise.release_memory()
        if strength < 1:  # of banding and stuck photosites, too, the share that is wanted stays
            light = raw.mosaic.light + np.float32(strength) * (light - raw.mosaic.light)
    return_freed_memory()
    changed = light is not raw.mosaic.light
    del raw.mosaic  # it need not be in memory until the file is closed
    numbers, removed = (raw.numbers_of(light), strength) if changed else (raw.numbers, 0.0)
    return DenoisedValues(raw, numbers, False, output, known, removed, known.notes + _notes(raw, output) + notes)


def _denoise_picture_of(
    raw: RawFile, denoise: Denoiser, output: Output, known: KnownNoise, strength: float, progress: Progress | None
) -> DenoisedValues:
    linear = raw.develop() if output == "photo" else camera_light(raw)
    return_freed_memory()
    clean = denoise_picture(linear, known.noise, raw.gains, denoise, strength, progress)
    denoise.release_memory()
    return_freed_memory()
    removed = strength if clean is not linear else 0.0
    return DenoisedValues(raw, clean, True, output, known, removed, known.notes + _notes(raw, output))


def _notes(raw: RawFile, output: Output) -> tuple[str, ...]:
    notes = raw.notes
    if raw.is_dng and (beside := side_pictures(raw.original)):
        notes += (f"not kept: {', '.join(beside)}",)
    if output == "photo" and raw.headroom != 1:
        notes += ("light beyond white is clipped: a .dng keeps it",)
    return notes


def _mostly(saturated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of (h, w, C), where a place and most of those around it, in its own plane, are true."""
    if not saturated.any():
        return saturated
    shares = [
        uniform_filter(saturated[..., c].astype(np.float32), NEIGHBOURHOOD, mode="nearest") >= MOSTLY
        for c in range(saturated.shape[-1])
    ]
    return saturated & np.stack(shares, axis=-1)
