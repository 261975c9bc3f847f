"""Frames converted to the pixel format of an encoder, so that their samples and their colour tags agree.

FFmpeg's swscale changes the arrangement of samples and the resolution of chroma here, and nothing else: it takes grey
for full range whatever the tags say, and RGB for BT.601 whatever the size.
"""

from contextlib import suppress
from dataclasses import replace

import av
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from denoise_cli.imaging.yuv import Layout, convert
from denoise_cli.io.video_frame import SUBSAMPLINGS, Frame, chroma_shifts, has_alpha, is_full_range, planes_of

UNSPECIFIED = 2  # H.273's number of matrices, primaries and transfer functions that are not stated
RGB_MATRIX = 0
BT709, BT601, BT2020 = 1, 6, 9
BT2020_PRIMARIES = 9
SD_SIZE = (1024, 576)  # the largest picture that players take for BT.601 if nothing is stated
LIMITED, FULL = 1, 2  # FFmpeg's numbers of ranges


def usual_matrix(picture: VideoFrame) -> int:
    """The matrix of YCbCr that suits a picture which states none, by H.273's number."""
    if picture.color_primaries == BT2020_PRIMARIES:
        return BT2020
    return BT601 if picture.width <= SD_SIZE[0] and picture.height <= SD_SIZE[1] else BT709


def colours_in(frame: Frame, pixel_format: str) -> tuple[int, bool]:
    """How a frame's colours are stated in a pixel format: the matrix, by H.273's number, and whether in full range."""
    layout, form = frame.layout, av.VideoFormat(pixel_format, 64, 64)
    if form.is_rgb or form.has_palette:
        return RGB_MATRIX, True
    if layout.colours == "gbr":
        return usual_matrix(frame.picture), is_full_range(form)
    return frame.picture.colorspace, layout.full or is_full_range(form)


def converted(frame: Frame, pixel_format: str, matrix: int, full: bool) -> VideoFrame:
    """A frame's picture as an encoder takes it, tagged; the frame stays as it is, and is returned if nothing changes.

    Args:
        frame: the frame.
        pixel_format: FFmpeg's name.
        matrix: H.273's number of the matrix of the result.
        full: whether the result is in full range.
    """
    picture, source = frame.picture, frame.layout
    form = av.VideoFormat(pixel_format, 64, 64)
    target = _layout(form, matrix, full)
    same_samples = source.colours == target.colours == "gbr" or (source.full, source.matrix) == (full, matrix)
    if picture.format.name == pixel_format and same_samples:
        return picture
    if UNSPECIFIED in (source.matrix, target.matrix):
        usual = usual_matrix(picture)
        source, target = (replace(s, matrix=usual) if s.matrix == UNSPECIFIED else s for s in (source, target))
    alpha, changes_colours = has_alpha(form), (source.colours == "gbr") != (target.colours == "gbr")
    changes_colours |= source.colours == target.colours == "yuv" and source.matrix != target.matrix
    shifts = (source.across, source.down) if source.colours == target.colours == "yuv" else (0, 0)
    arranged = _planar(target.colours, target.bits, shifts, alpha)
    if arranged is None or (changes_colours and (source.across or source.down)):
        shifts, whole = (0, 0), _planar("yuv", source.bits, (0, 0), has_alpha(picture.format))
        arranged = _planar(target.colours, target.bits, shifts, alpha)
        assert whole is not None
        picture = _rearranged(picture, whole)
        source = replace(source, bits=picture.format.components[0].bits, across=0, down=0)
    assert arranged is not None
    planes, opacity = planes_of(picture)
    if source.colours == "yuv" and target.colours == "grey":
        planes, source = planes[:1], replace(source, colours="grey")
    made = _blank(picture, arranged)
    target = replace(target, bits=made.format.components[0].bits)
    new, new_opacity = planes_of(made)
    for plane, values in zip(new, convert(planes, source, target), strict=True):
        plane[:] = values
    if new_opacity is not None:
        white = np.float32(2**target.bits - 1)
        new_opacity[:] = white if opacity is None else np.rint(opacity * (white / np.float32(2**source.bits - 1)))
    _tag(made, matrix, target.full)
    if arranged != pixel_format:
        made = _rearranged(made, pixel_format)
        _tag(made, matrix, target.full)
    return made


def _blank(picture: VideoFrame, name: str) -> VideoFrame:
    """A new picture with the time, the fields and the side data of another, whose samples are to be overwritten."""
    if picture.format.name == name:  # else PyAV would return the picture itself
        picture = picture.reformat(format="gray" if name != "gray" else "gray16le")
    return picture.reformat(format=name)


def _layout(form: VideoFormat, matrix: int, full: bool) -> Layout:
    bits = max(min(max(component.bits for component in form.components), 16), 8)
    if form.is_rgb or form.has_palette:
        return Layout("gbr", bits, full=True, across=0, down=0)
    if len(form.components) < 3:
        return Layout("grey", bits, full, matrix, across=0, down=0)
    return Layout("yuv", bits, full, matrix, *chroma_shifts(form))


def _planar(colours: str, bits: int, shifts: tuple[int, int], alpha: bool) -> str | None:
    """FFmpeg's name for a plane for each colour, of at least as many bits; None if it has no such format."""
    kind = {"gbr": f"gbr{'a' * alpha}p", "grey": "gray", "yuv": f"yuv{'a' * alpha}{SUBSAMPLINGS[shifts]}p"}[colours]
    for depth in (bits, 16):
        name = kind if depth == 8 else f"{kind}{depth}le"
        with suppress(ValueError):
            av.VideoFormat(name, 64, 64)
            return name
    return None


def _rearranged(picture: VideoFrame, name: str) -> VideoFrame:
    """The same samples in another arrangement, or with chroma of another resolution."""
    # Both sides are said to have one range, so that only the arrangement changes: any, unless a name says which.
    named = is_full_range(picture.format) or is_full_range(av.VideoFormat(name, 64, 64))
    both = FULL if named else LIMITED
    return picture.reformat(format=name, src_color_range=both, dst_color_range=both)


def _tag(picture: VideoFrame, matrix: int, full: bool) -> None:
    picture.colorspace = matrix
    picture.color_range = FULL if full else LIMITED
