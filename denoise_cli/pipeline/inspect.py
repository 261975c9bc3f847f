"""A photo's format, colours, camera and noise, and the model that would be used for it."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, ImageCms

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.noise import estimate_sigma
from denoise_cli.imaging.pixels import white_value
from denoise_cli.io import image
from denoise_cli.io.exif import Exif, parse
from denoise_cli.io.metadata import camera_name
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.pipeline.model_choice import model_for


@dataclass(frozen=True)
class Facts:
    """Facts about one photo; None if the file does not state them, or if they do not apply.

    Attributes:
        source: the file.
        format: "jpeg", "png" and so on; "raw", "dng".
        width, height: in pixels, upright.
        bits: per value; for RAW, as many as its white level needs.
        pages: how many the file has; the rest is about the first.
        colours: "grey", "RGB", "CMYK", "Lab" or "black and white"; for RAW the kind of values, such as "RGGB mosaic".
        alpha: whether it has transparency.
        profile: name of the ICC profile.
        encoding: what is known of colours and encoding besides it, such as "PQ, Rec. 2020"; None for sRGB.
        camera, iso, exposure: how the picture was taken; the exposure in seconds.
        black, white: for RAW, the numbers of no light and of a saturated photosite.
        sigma: noise level of a photo, on the scale of 255.
        shot, read: noise of RAW, as shares of white.
        noise_from: "file" or "estimated".
        model: the one that `denoise image` would choose.
        damage: what is damaged in the file, although it can be read.
    """

    source: str
    format: str
    width: int
    height: int
    bits: int
    pages: int
    colours: str
    alpha: bool
    profile: str | None
    encoding: str | None
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
    damage: tuple[str, ...] = ()


def inspect(path: Path, max_pixels: int = image.MAX_PIXELS) -> Facts:
    """Inspect a photo, or standard input if the path is "-".

    Raises:
        UnreadableFile: it is a folder, or see `io.image.opened`.
        MissingDependency: the format's library is not installed.
    """
    if path.is_dir():
        raise UnreadableFile(path, f"is a folder: name the photos in it, such as {path}/*.jpg")
    with image.opened(path, max_pixels) as source:
        model = model_for(source, path)
        return _of_raw(source, path, model) if isinstance(source, RawFile) else _of_photo(source, path, model)


def level_of(photo: Photo) -> float:
    """The estimated noise level of a photo's visible pixels, [0, 1]."""
    visible = None if photo.alpha is None else photo.alpha > 0
    pixels = photo.as_srgb() if photo.black is None else photo.light
    return estimate_sigma(pixels, white_value(pixels.dtype), visible)


def _of_photo(photo: Photo, path: Path, model: str) -> Facts:
    exif = parse(photo.metadata.exif or b"")
    H, W = photo.shape
    return Facts(
        source=str(path),
        format=photo.kind,
        width=W,
        height=H,
        bits=1 if photo.is_bilevel else photo.depth or photo.bits,
        pages=1 + len(photo.others),
        colours=_colours(photo),
        alpha=photo.alpha is not None,
        profile=_profile(photo.metadata.icc),
        encoding=photo.metadata.encoding,
        camera=camera_name(exif) or None,
        iso=_iso(exif),
        exposure=_exposure(exif),
        black=None,
        white=None,
        sigma=round(level_of(photo) * 255, 3),
        shot=None,
        read=None,
        noise_from="estimated",
        model=model,
        damage=photo.repairs,
    )


def _of_raw(raw: RawFile, path: Path, model: str) -> Facts:
    from denoise_cli.pipeline.raw import noise_of  # for RAW alone: SciPy takes long to import

    exif, known = raw.exif, noise_of(raw)
    H, W = raw.shape
    return Facts(
        source=str(path),
        format="dng" if raw.is_dng else "raw",
        width=W,
        height=H,
        bits=raw.bits,
        pages=1,
        colours=raw.layout,
        alpha=False,
        profile=None,
        encoding=None,
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
        damage=raw.damage,
    )


def _colours(photo: Photo) -> str:
    if photo.black is not None:
        return "CMYK"
    if photo.lab is not None:
        return "Lab"
    if photo.is_bilevel:
        return "black and white"
    return "grey" if photo.pixels.shape[2] == 1 else "RGB"


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
