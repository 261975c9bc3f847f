"""What the program sees in a photo: its format, its colours, its camera, its noise, and what it would do."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, ImageCms

from denoise_cli.imaging.noise import estimate_sigma
from denoise_cli.io import image
from denoise_cli.io.exif import Exif, parse
from denoise_cli.io.metadata import camera_name
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.pipeline.model_choice import model_for
from denoise_cli.pipeline.raw import noise_of


@dataclass(frozen=True)
class Facts:
    """Of one photo; None where the file does not say, or has no such thing.

    Attributes:
        source: the file.
        format: "jpeg", "png" and so on; "raw", "dng".
        width, height: in pixels, upright.
        bits: of a value; of RAW, as many as its white level needs.
        colours: "grey", "RGB"; of RAW what its values are, like "RGGB mosaic".
        alpha: whether it has transparency.
        profile: of its colours, by name.
        camera, iso, exposure: how it was taken; seconds.
        black, white: of RAW, the numbers that stand for no light and for a full photosite.
        sigma: of noise in a photo, on the scale of 255.
        shot, read: of noise in RAW, as shares of white.
        noise_from: "file" or "estimated".
        model: what `denoise image` would take.
    """

    source: str
    format: str
    width: int
    height: int
    bits: int
    colours: str
    alpha: bool
    profile: str | None
    camera: str | None
    iso: int | None
    exposure: float | None
    black: float | None
    white: int | None
    sigma: float | None
    shot: float | None
    read: float | None
    noise_from: str
    model: str


def inspect(path: Path, max_pixels: int = image.MAX_PIXELS) -> Facts:
    """Look at a photo, or at standard input by the name "-".

    Raises:
        UnreadableFile: as of `io.image.opened`.
        MissingDependency: the format's library is not installed.
    """
    with image.opened(path, max_pixels) as source:
        model = model_for(source, path)
        return _of_raw(source, path, model) if isinstance(source, RawFile) else _of_photo(source, path, model)


def _of_photo(photo: Photo, path: Path, model: str) -> Facts:
    exif = parse(photo.metadata.exif or b"")
    (H, W), C = photo.shape, photo.pixels.shape[2]
    return Facts(
        source=str(path),
        format=photo.kind,
        width=W,
        height=H,
        bits=photo.bits,
        colours="grey" if C == 1 else "RGB",
        alpha=photo.alpha is not None,
        profile=_profile(photo.metadata.icc),
        camera=camera_name(exif) or None,
        iso=_iso(exif),
        exposure=_exposure(exif),
        black=None,
        white=None,
        sigma=round(estimate_sigma(photo.as_float()) * 255, 3),
        shot=None,
        read=None,
        noise_from="estimated",
        model=model,
    )


def _of_raw(raw: RawFile, path: Path, model: str) -> Facts:
    exif, known = raw.exif, noise_of(raw)
    H, W = raw.shape
    return Facts(
        source=str(path),
        format="dng" if raw.is_dng else "raw",
        width=W,
        height=H,
        bits=raw.white.bit_length(),
        colours=raw.layout,
        alpha=False,
        profile=None,
        camera=camera_name(exif) or None,
        iso=_iso(exif),
        exposure=_exposure(exif),
        black=round(float(raw.black.mean()), 2),
        white=raw.white,
        sigma=None,
        shot=known.noise.shot,
        read=known.noise.read,
        noise_from=known.source,
        model=model,
    )


def _profile(icc: bytes | None) -> str | None:
    if icc is None:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip() or None
    except (ImageCms.PyCMSError, OSError):
        return "damaged"


def _iso(exif: Exif) -> int | None:
    return exif.number(exif.exif.get(ExifTags.Base.ISOSpeedRatings.value))


def _exposure(exif: Exif) -> float | None:
    numbers = exif.numbers(exif.exif.get(ExifTags.Base.ExposureTime.value))
    return numbers[0] or None if numbers else None
