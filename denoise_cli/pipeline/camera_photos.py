"""Whether numbered pictures are photos: cameras number theirs, too, and most are no frames of a clip."""

from collections.abc import Iterable
from pathlib import Path

from PIL import ExifTags

from denoise_cli.errors import DenoiseError
from denoise_cli.io import image
from denoise_cli.io.exif import Exif, parse
from denoise_cli.io.raw import RawFile

# Cinema DNG 1.1: TimeCodes and FrameRate, which cameras for films write into each frame.
OF_FRAMES = (51043, 51044)


def are_photos(files: Iterable[Path]) -> bool:
    """Whether the first of these pictures that can be read has the EXIF of a camera's photo.

    That is an exposure time or a camera model, without a time code or a rate of frames.
    """
    for file in files:
        try:
            with image.opened(file) as picture:
                exif = picture.exif if isinstance(picture, RawFile) else parse(picture.metadata.exif or b"")
        except DenoiseError:  # whoever reads it as a frame says so
            continue
        return _is_of_a_shot(exif)
    return False


def _is_of_a_shot(exif: Exif) -> bool:
    if any(tag in exif.main for tag in OF_FRAMES):
        return False
    return ExifTags.Base.ExposureTime.value in exif.exif or ExifTags.Base.Model.value in exif.main
