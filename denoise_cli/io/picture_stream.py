"""A sequence of numbered pictures as a clip: read as photos, and streamed without loss to FFmpeg's reader.

So what is made of clips can be made of sequences, and no copy of them is written anywhere.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame

from denoise_cli.errors import DenoiseError, UnreadableFile, UsageError
from denoise_cli.imaging.pixels import convert, white_value
from denoise_cli.imaging.transfer import HLG, PQ
from denoise_cli.io import image, numbered, raw_formats
from denoise_cli.io.decoding import one_line
from denoise_cli.io.native import names_of
from denoise_cli.io.photo import Photo
from denoise_cli.io.pipes import PipeReader
from denoise_cli.io.profiles import is_srgb, numbers_of
from denoise_cli.io.raw import RawFile
from denoise_cli.io.video_frame import FULL_RANGE, RGB_MATRIX, planes_of

RATE = Fraction(25)  # frames per second, if the user names none
SRGB_PRIMARIES, SRGB_TRANSFER = 1, 13  # H.273
INTEGERS: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}


class PictureStream(PipeReader):
    """The frames of a sequence as Matroska, made while it is read.

    Args:
        path: a pattern or a folder, see `numbered.find`.
        rate: frames per second.

    Attributes:
        rate: frames per second.
        count: number of files.
        kind: the format of the first frame, as FFmpeg mostly names it, too.
        notes: a line for everything that frames of a clip do not hold.
        failures: a line for each frame so far that cannot be read.

    Raises:
        UsageError: the frames are camera RAW, or the path names no single sequence.
        UnreadableFile: none of the files can be read.
    """

    def __init__(self, path: Path, rate: Fraction = RATE) -> None:
        found = numbered.find(path)
        if next(iter(found.files.values())).suffix.lower() in raw_formats.EXTENSIONS:
            raise UsageError(f"{path}: camera RAW becomes .dng or pictures first: name an output such as out/%04d.dng")
        self.rate, self.count, self.failures = rate, len(found.files), list[str]()
        self._shape: tuple[int, ...] | None = None
        self._last = 0  # number of the last frame that was read
        self._pictures = self._read(found)
        first = next(self._pictures, None)
        if first is None:
            raise UnreadableFile(path, f"holds no frame that can be read ({self.failures[0]})")
        self.kind = first.kind
        self.notes = [*numbered.notes_on(found), *_losses(first)]
        self._has_alpha, self._bits = first.alpha is not None, 8 if first.bits == 8 else 16
        reading, self._writing = os.pipe()
        super().__init__(reading)
        self._thread = threading.Thread(target=self._stream, args=(first, rate), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Close the pipe, once nobody reads it any longer."""
        self.close()
        os.close(self.handle)
        self._thread.join()

    def _stream(self, first: Photo, rate: Fraction) -> None:
        try:
            with os.fdopen(self._writing, "wb") as sink:
                self._encode(first, rate, sink)
        except BrokenPipeError:  # whoever reads it has enough
            pass
        except Exception as error:  # noqa: BLE001 - else the frames that follow would be missing without a word
            self.failures.append(f"the frames after number {self._last} ({one_line(error)})")

    def _encode(self, first: Photo, rate: Fraction, sink: BinaryIO) -> None:
        with av.open(sink, "w", format="matroska") as container:
            picture = self._frame(first)
            stream: Any = container.add_stream("ffv1", rate=rate)
            stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
            stream.time_base = stream.codec_context.time_base = 1 / rate
            for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
                setattr(stream.codec_context, tag, getattr(picture, tag))
            for place, photo in enumerate(chain([first], self._pictures)):
                picture = self._frame(photo)
                picture.pts, picture.time_base = place, 1 / rate
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))

    def _read(self, found: numbered.Numbered) -> Iterator[Photo]:
        for number, file in found.files.items():
            try:
                with image.opened(file) as opened:
                    photo = check_frame(file, opened, self._shape)
            except Exception as error:  # noqa: BLE001 - whatever happens to one frame, the others are denoised
                words = str(error) if isinstance(error, DenoiseError) else f"{file}: {one_line(error)}"
                self.failures.append(words)
                continue
            self._shape, self._last = photo.pixels.shape, number
            yield photo

    def _frame(self, photo: Photo) -> VideoFrame:
        """A photo as FFmpeg's frame, with the depth and the planes of the first one."""
        dtype = INTEGERS[self._bits]
        photo = _as_integers(photo)
        pixels, alpha = convert(photo.pixels, dtype), photo.alpha
        H, W, C = pixels.shape
        planes = [pixels[..., 0]] if C == 1 else [pixels[..., channel] for channel in (1, 2, 0)]
        if self._has_alpha:
            planes = planes if C == 3 else planes * 3
            white = np.full((H, W), white_value(dtype), dtype)
            planes.append(white if alpha is None else convert(alpha, dtype))
        name = {1: "gray", 3: "gbrp", 4: "gbrap"}[len(planes)] + ("" if self._bits == 8 else "16le")
        picture = VideoFrame(W, H, name)
        colours, opacity = planes_of(picture)
        for plane, values in zip([*colours, *([] if opacity is None else [opacity])], planes, strict=True):
            plane[:] = values
        if len(planes) > 1 and self._bits == 8:  # which FFV1 holds in this order only
            picture = picture.reformat(format="bgra" if self._has_alpha else "bgr0")
        picture.color_range = FULL_RANGE
        if len(planes) > 1:
            picture.colorspace = RGB_MATRIX
        picture.color_primaries, picture.color_trc = _numbers(photo) or (picture.color_primaries, picture.color_trc)
        return picture


def check_frame(file: Path, picture: Photo | RawFile, shape: tuple[int, ...] | None) -> Photo:
    """A picture that can be a frame of its sequence.

    Args:
        file: where it is from.
        picture: what was read.
        shape: of the pixels of the frames before, (H, W, C); None if there are none.

    Raises:
        UnreadableFile: it is no single RGB or greyscale picture, or of another size.
    """
    if isinstance(picture, RawFile):
        raise UnreadableFile(file, "is camera RAW, unlike its name: give it an extension of camera RAW")
    if picture.others:
        raise UnreadableFile(file, f"holds {1 + len(picture.others)} pages: a frame is a single picture")
    if picture.black is not None:
        raise UnreadableFile(file, "is CMYK: a frame is RGB or greyscale: use denoise image")
    if shape not in (None, picture.pixels.shape):
        assert shape is not None
        raise UnreadableFile(file, f"is {_described(picture.pixels.shape)}, but the frames before {_described(shape)}")
    return picture


def _described(shape: tuple[int, ...]) -> str:
    H, W, C = shape
    return f"{W} x {H} {'greyscale' if C == 1 else 'RGB'}"


def _as_integers(photo: Photo) -> Photo:
    """A photo whose values a clip can hold: linear light and floating point are encoded as sRGB."""
    if photo.metadata.transfer in (PQ, HLG) and photo.pixels.dtype != np.float32:
        return photo
    encoded = photo.as_srgb()
    return photo if encoded is photo.pixels else replace(photo, pixels=encoded)


def _numbers(photo: Photo) -> tuple[int, int] | None:
    """The primaries and the transfer function that a clip states, by H.273; None to state none."""
    meta = photo.metadata
    stated = None if meta.cicp is None else (meta.cicp.primaries, meta.cicp.transfer)
    if stated is None and meta.icc is not None:
        stated = (SRGB_PRIMARIES, SRGB_TRANSFER) if is_srgb(meta.icc) else numbers_of(meta.icc)
    if meta.transfer is not None and meta.transfer not in (PQ, HLG):  # linear light, which has been encoded
        return (SRGB_PRIMARIES if stated is None else stated[0]), SRGB_TRANSFER
    return stated


def _losses(photo: Photo) -> Iterator[str]:
    """What the user should hear about what a frame of a clip does not hold."""
    meta = photo.metadata
    if photo.pixels.dtype == np.float32:
        yield "floating point becomes 16 bits, and light beyond white is clipped: numbered .exr or .tif keep it"
    if meta.icc is not None and _numbers(photo) is None:
        yield "the colour profile is left out: a clip has none"
    kept = {"EXIF": meta.exif, "XMP": meta.xmp, "IPTC": meta.iptc}
    if lost := [name for name, value in kept.items() if value] + names_of(meta.natives):
        yield f"not carried over to a clip: {', '.join(lost)} of the pictures"
