"""Frames of clips as FFmpeg decodes them: samples, colour tags, side data and captions."""

import math
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from denoise_cli.imaging.yuv import Layout, Plane

# FFmpeg's names of chroma subsamplings, by how often chroma is halved in width and in height.
SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
RGB_MATRIX = 0  # H.273's number for red, green and blue
MASTERING_DISPLAY = SideData.MASTERING_DISPLAY_METADATA.name
CONTENT_LIGHT = SideData.CONTENT_LIGHT_LEVEL.name
DOLBY_VISION = "Dolby Vision"
CROPPING = "the cropping (clean aperture)"
SPHERICAL, STEREO = "the spherical projection (360\u00b0)", "the arrangement of the two views (3D)"
# FFmpeg's side data that encoders and containers may not hold, as users know them. Those with HDR and captions differ
# from frame to frame.
SIDE_DATA = {
    SideData.DYNAMIC_HDR_PLUS: "HDR10+",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid",
    SideData.DOVI_RPU_BUFFER: DOLBY_VISION,
    SideData.DOVI_METADATA: DOLBY_VISION,
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "the ambient viewing environment",
    SideData.A53_CC: "closed captioning (CEA-608/708)",
    SideData.AFD: "the active format description (AFD)",
    SideData.S12M_TIMECODE: "the timecode in the frames (SMPTE 12M)",
    SideData.SPHERICAL: SPHERICAL,
    SideData.STEREO3D: STEREO,
}
MATRIX_ONE = 1 << 16  # 1 in the fixed-point numbers of MP4's matrices


class Frame:
    """A frame of a clip, with its time, its colour tags and its captions.

    Attributes:
        picture: FFmpeg's frame, with a plane for each colour.
        display_matrix: how to turn the picture for display, nine numbers as in MP4; None if it is upright.
        mastering: HDR metadata (mastering display, content light level) as bytes of FFmpeg's structures, by the name of
            the side data.
        side_data: names of what else belongs to it, such as HDR10+ and closed captions, of the kinds in `SIDE_DATA`.
        has_dolby_colours: whether its samples are in Dolby Vision's own colour space, by its metadata.
        original_planes: the planes before `replace`; None if nothing was replaced.
    """

    original_planes: list[Plane] | None = None

    def __init__(self, picture: VideoFrame) -> None:
        # Read this first: PyAV keeps pointers to side data, which are wrong once the picture has been changed.
        self.display_matrix = _display_matrix(picture)
        self.mastering = {
            kind.name: data
            for kind in (SideData.MASTERING_DISPLAY_METADATA, SideData.CONTENT_LIGHT_LEVEL)
            if (data := _side_data(picture, kind)) is not None
        }
        found = (name for kind, name in SIDE_DATA.items() if _side_data(picture, kind) is not None)
        self.side_data = list(dict.fromkeys(found))
        self.has_dolby_colours = _has_dolby_colours(picture)
        self.picture = _planar(picture)

    @property
    def is_interlaced(self) -> bool:
        """Whether odd and even rows were taken at different times."""
        return self.picture.interlaced_frame

    def shown(self) -> tuple[bool, str | None]:
        """Whether the lower field comes first, and where chroma lies by FFmpeg's name, such as left; None if unstated.

        PyAV does not pass on what FFmpeg knows of both: it is read from what FFmpeg's filter showinfo says.
        """
        graph, level = av.filter.Graph(), av.logging.get_level()
        picture = self.picture
        entry = graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, av.time_base)
        )
        exit_ = graph.add("buffersink")
        graph.link_nodes(entry, graph.add("sidedata", "mode=delete"), graph.add("showinfo", "checksum=0"), exit_)
        graph.configure()
        av.logging.set_level(av.logging.INFO)
        try:
            with av.logging.Capture() as lines:
                graph.push(picture)
                graph.pull()
        finally:
            av.logging.set_level(level)
        text = " ".join(line for _, _, line in lines)
        place = re.search(r"\bcl:(\S+)", text)
        return " i:B " in text, place[1] if place is not None and place[1] != "unspecified" else None

    @property
    def layout(self) -> Layout:
        """How to interpret the planes."""
        form = self.picture.format
        bits = form.components[0].bits
        if len(form.components) < 3:
            return Layout("grey", bits, self._is_full, across=0, down=0)
        if form.is_rgb:
            return Layout("gbr", bits, full=True, across=0, down=0)
        across, down = chroma_shifts(form)
        return Layout("yuv", bits, self._is_full, self.picture.colorspace, across, down)

    @property
    def planes(self) -> list[Plane]:
        """Luma, (H, W), then chroma, (h, w); or green, blue and red. Views that `replace` changes, without alpha."""
        return planes_of(self.picture)[0]

    def replace(self, planes: Sequence[Plane]) -> None:
        """Overwrite the samples with others of the same shapes and types."""
        self.original_planes = [plane.copy() for plane in self.planes]
        self.picture.make_writable()
        for old, new in zip(self.planes, planes, strict=True):
            old[:] = new

    def side_by_side(self) -> "Frame":
        """A frame of twice the width, with the original on the left; the width is cut to a multiple of 4 pixels."""
        picture = self.picture
        width = picture.width // 4 * 4  # so that chroma planes of any subsampling have two equal halves
        both = VideoFrame(2 * width, picture.height, picture.format.name)
        both.pts, both.time_base = picture.pts, picture.time_base
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(both, tag, getattr(picture, tag))
        result = Frame(both)
        result.display_matrix = self.display_matrix
        alpha, both_alpha = planes_of(picture)[1], planes_of(both)[1]
        befores, afters, targets = list(self.original_planes or self.planes), self.planes, result.planes
        if alpha is not None and both_alpha is not None:
            befores, afters, targets = [*befores, alpha], [*afters, alpha], [*targets, both_alpha]
        for target, before, after in zip(targets, befores, afters, strict=True):
            half = target.shape[1] // 2
            target[:, :half], target[:, half:] = before[:, :half], after[:, :half]
        return result

    @property
    def _is_full(self) -> bool:
        return self.picture.color_range == FULL_RANGE or is_full_range(self.picture.format)


def chroma_shifts(form: VideoFormat) -> tuple[int, int]:
    """How often chroma planes are halved in width and in height."""
    across, down = (-(-1024 // form.chroma_width(1024)), -(-1024 // form.chroma_height(1024)))
    return across.bit_length() - 1, down.bit_length() - 1


def has_alpha(form: VideoFormat) -> bool:
    """Whether a pixel format can hold transparency."""
    return any(component.is_alpha for component in form.components)


def is_full_range(form: VideoFormat) -> bool:
    """Whether a pixel format says by its name that black is 0 and white the largest number."""
    return form.name.startswith("yuvj")


def planes_of(picture: VideoFrame) -> tuple[list[Plane], Plane | None]:
    """Views of a planar picture's samples: its colours as in `Frame.planes`, and its alpha, (H, W), if it has any."""
    bits = picture.format.components[0].bits
    planes = [_view(plane, bits) for plane in picture.planes]
    return planes[:3], planes[3] if len(planes) > 3 else None


def _planar(picture: VideoFrame) -> VideoFrame:
    """Convert a picture to a planar format of 8 to 16 bits per sample."""
    form = picture.format
    planes = [component.plane for component in form.components]
    bits = {component.bits for component in form.components}
    odd = form.is_big_endian or form.has_palette or form.is_bit_stream
    if len(set(planes)) == len(planes) and not odd and bits <= set(range(8, 17)):
        return picture
    depth = "" if max(bits) <= 8 else f"{min(max(bits), 16)}le"
    alpha = has_alpha(form) or form.has_palette
    is_grey = len(planes) < 3
    if is_grey and not alpha and not form.has_palette:
        return picture.reformat(format=f"gray{depth}")
    if is_grey or form.is_rgb or form.has_palette:  # grey with alpha occurs in pictures of RGB's range only
        made = picture.reformat(format=f"gbr{'a' * alpha}p{depth}")
        made.colorspace = RGB_MATRIX
        return made
    return picture.reformat(format=f"yuv{'a' * alpha}{SUBSAMPLINGS[chroma_shifts(form)]}p{depth}")


def _view(plane: VideoPlane, bits: int) -> Plane:
    dtype: Any = np.dtype(np.uint8 if bits == 8 else np.uint16)
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def _side_data(picture: VideoFrame, kind: SideData) -> bytes | None:
    try:
        found: Any = picture.side_data
        return next((bytes(data) for data in found if data.type == kind), None)
    except ValueError:  # there is side data of a kind that PyAV does not know
        return None


def _has_dolby_colours(picture: VideoFrame) -> bool:
    metadata = _side_data(picture, SideData.DOVI_METADATA)
    if metadata is None:
        return False
    # AVDOVIMetadata begins with the place of AVDOVIRpuDataHeader, whose bytes 4 and 10 are vdr_rpu_profile and
    # bl_video_full_range_flag: 0 and 1 for profile 5 alone, see ff_dovi_guess_profile_hevc.
    header = metadata[int.from_bytes(metadata[:8], sys.byteorder) :]
    return header[4:5] == b"\0" and header[10:11] == b"\1"


def _display_matrix(picture: VideoFrame) -> list[int] | None:
    matrix = _side_data(picture, SideData.DISPLAYMATRIX)
    if matrix is not None:
        return np.frombuffer(matrix, np.int32).tolist()
    if not picture.rotation:
        return None
    angle = math.radians(picture.rotation)
    cos, sin = round(math.cos(angle) * MATRIX_ONE), round(math.sin(angle) * MATRIX_ONE)
    return [cos, -sin, 0, sin, cos, 0, 0, 0, 1 << 30]
