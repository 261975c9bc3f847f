"""Video in, through FFmpeg's libraries: frames with their exact times, and all that is known of them."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.yuv import Layout, Plane
from denoise_cli.io.limits import MAX_PIXELS, refuse_too_large

SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
MASTERING_DISPLAY, CONTENT_LIGHT = SideData.MASTERING_DISPLAY_METADATA.name, SideData.CONTENT_LIGHT_LEVEL.name
MATRIX_ONE = 1 << 16  # one, in the fixed point of MP4's matrices


class Frame:
    """A picture of a clip, with all that belongs to it: its time, its colour tags, captions.

    Attributes:
        picture: as FFmpeg holds it.
        turned: the matrix by which it is turned to be shown, nine numbers as in MP4; None where it is upright.
        mastering: the display that HDR was mastered on and the light that it reaches, as FFmpeg's structures have it,
            by the name of its side data.
        noisy: its planes as they were before `replace`; None where nothing was replaced.
    """

    original_planes: list[Plane] | None = None

    def __init__(self, picture: VideoFrame) -> None:
        # Before anything is done to the picture: PyAV remembers where these lie, even when they have moved.
        self.display_matrix = _display_matrix(picture)
        self.mastering = {
            kind.name: data
            for kind in (SideData.MASTERING_DISPLAY_METADATA, SideData.CONTENT_LIGHT_LEVEL)
            if (data := _side_data(picture, kind)) is not None
        }
        self.picture = _planar(picture)

    @property
    def is_interlaced(self) -> bool:
        """Whether its odd and even rows are of two moments."""
        return self.picture.interlaced_frame

    @property
    def layout(self) -> Layout:
        """How to read its planes."""
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
        """(H, W), then those of colour differences; views that `replace` changes. Transparency is left out."""
        bits = self.picture.format.components[0].bits
        return [_view(plane, bits) for plane in self.picture.planes[: min(len(self.picture.planes), 3)]]

    def replace(self, planes: Sequence[Plane]) -> None:
        """Put these samples in the place of its own."""
        self.original_planes = [plane.copy() for plane in self.planes]
        self.picture.make_writable()
        for old, new in zip(self.planes, planes, strict=True):
            old[:] = new

    def side_by_side(self) -> "Frame":
        """One picture of twice the width: as it was, and as it is; an odd column at the right is left out."""
        own = self.picture
        width = own.width // 4 * 4  # so that colour differences of any size have whole halves
        both = VideoFrame(2 * width, own.height, own.format.name)
        both.pts, both.time_base = own.pts, own.time_base
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(both, tag, getattr(own, tag))
        result = Frame(both)
        result.display_matrix = self.display_matrix
        for target, before, after in zip(result.planes, self.original_planes or self.planes, self.planes, strict=True):
            half = target.shape[1] // 2
            target[:, :half], target[:, half:] = before[:, :half], after[:, :half]
        return result

    @property
    def _is_full(self) -> bool:
        return self.picture.color_range == FULL_RANGE or self.picture.format.name.startswith("yuvj")


class Reader:
    """A clip's video, opened.

    Args:
        path: anything that FFmpeg reads.

    Attributes:
        stream: FFmpeg's view of the video that is denoised, the file's main one.
        damaged: packets that could not be decoded, so far.
        began: where the first frame that was read lies, in seconds after the file's beginning.

    Raises:
        UnreadableFile: it is not there, not a video, damaged, or too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self.first_frame_time = Fraction(0)
        if not path.is_file():
            raise UnreadableFile(path, "is no file" if path.exists() else "no such file")
        with read_errors(path):
            self._container: InputContainer = av.open(url(path), metadata_errors="surrogateescape")
        found = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not found:
            self._container.close()
            raise UnreadableFile(path, "holds no video")
        best = self._container.streams.best("video")
        self.stream: VideoStream = best if best in found else found[0]
        self.stream.thread_type = "AUTO"
        try:
            refuse_too_large((self.stream.width, self.stream.height), MAX_PIXELS)
        except ValueError as error:
            self._container.close()
            raise UnreadableFile(path, str(error)) from error

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def time_base(self) -> Fraction:
        """The clip's tick, in seconds."""
        return self.stream.time_base or Fraction(1, av.time_base)

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average; a guess where the file does not say it."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def has_constant_rate(self) -> bool:
        """Whether all frames are shown for the same time, as far as the file tells."""
        return self.stream.average_rate is not None and self.stream.average_rate == self.stream.base_rate

    @property
    def codec(self) -> str:
        """FFmpeg's name of what the video is compressed with."""
        return _codec_name(self.stream)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself."""
        return self._container.metadata

    @property
    def streams(self) -> list[tuple[str, str]]:
        """Every stream's kind and codec, in the file's order."""
        return [(stream.type, _codec_name(stream)) for stream in self._container.streams]

    @property
    def copied_streams(self) -> list[int]:
        """The places of the streams that have a place in the result, this one's among them."""
        # Text that players show as chapters is read as chapters, and written as such.
        return [stream.index for stream in self._container.streams if stream.discard != av.stream.Discard.all]

    @property
    def has_alpha(self) -> bool:
        """Whether its pictures have transparency: of VP8 and VP9, that of which the decoder shows nothing, as well."""
        form = self.stream.codec_context.format
        return (form is not None and has_alpha(form)) or self.stream.metadata.get("alpha_mode") == "1"

    @property
    def declared_frames(self) -> int:
        """How many frames the file says that it holds; 0 where it does not say it."""
        return self.stream.frames

    def expected_frames(self, start: float = 0.0, seconds: float = math.inf) -> int:
        """About how many frames there are in a part of the clip; 0 where the file does not say how long it is."""
        duration = self._container.duration
        whole = 0.0 if duration is None else duration / av.time_base
        if self.stream.duration is not None:
            whole = float(self.stream.duration * self.time_base)
        if self.stream.frames and start == 0 and seconds >= whole:
            return self.stream.frames
        return round(min(max(whole - start, 0.0), seconds) * self.rate)

    def frames(
        self, start: float = 0.0, seconds: float = math.inf, deinterlace: bool = False
    ) -> Generator[Frame, None, None]:
        """The frames in the order in which they are shown; packets that cannot be decoded are counted and left out.

        Args:
            start: seconds to leave out at the beginning; time is counted from the first frame after them.
            seconds: how many to go on for.
            deinterlace: make a whole frame of the two fields of each, by bwdif (FFmpeg).

        Raises:
            UnreadableFile: the file cannot be read any further, or what follows is of another size or pixel format.
        """
        shape: tuple[int, int, str] | None = None
        last: int | None = None
        pictures = self._between(start, seconds)
        for picture in self._deinterlaced(pictures) if deinterlace else pictures:
            now = (picture.width, picture.height, picture.format.name)
            if shape not in (None, now):
                at = float(picture.time)
                raise UnreadableFile(self.path, f"changes from {_describe(shape)} to {_describe(now)} at {at:.1f} s")
            shape = now
            if last is not None and picture.pts is not None and picture.pts <= last:
                picture.pts = last + 1  # two frames of one moment cannot be written
            last = picture.pts
            yield Frame(picture)

    def _between(self, start: float, seconds: float) -> Iterator[VideoFrame]:
        base = self.time_base
        zero = Fraction(self._container.start_time or 0, av.time_base)
        # As it was typed: 0.08 as a binary fraction is later than the frame at 2/25. In whole ticks: the beginning of
        # a file is told in microseconds, rounded.
        begin = Fraction(start).limit_denominator(av.time_base)
        first = round((zero + begin) / base) if start > 0 else None
        end = None if math.isinf(seconds) else Fraction(seconds).limit_denominator(av.time_base)
        step, expected, shift = max(round(1 / (self.rate * base)), 1), self.stream.start_time or 0, None
        if first is not None:
            with read_errors(self.path):
                self._container.seek(first, stream=self.stream)
        # AVI has no times of when frames are shown: those that FFmpeg makes up leap back.
        by_order = self._container.format.name == "avi"
        for picture in self._decoded():
            if by_order:
                picture.pts = picture.dts
            if picture.pts is None:  # raw streams, and some broken ones
                picture.pts = expected
            expected = picture.pts + step
            if first is not None and picture.pts < first:
                continue
            if end is not None and picture.pts >= round((zero + begin + end) / base):
                return
            if shift is None:
                shift = 0 if first is None else picture.pts
                self.first_frame_time = Fraction(0) if first is None else picture.pts * base - zero
            picture.pts -= shift
            yield picture

    def _decoded(self) -> Iterator[VideoFrame]:
        with read_errors(self.path):
            for packet in self._container.demux(self.stream):
                try:
                    pictures = packet.decode()
                except av.InvalidDataError:
                    self.damaged += 1
                    continue
                yield from pictures

    def _deinterlaced(self, pictures: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        graph = av.filter.Graph()
        entry, exit_ = graph.add_buffer(template=self.stream), graph.add("buffersink")
        graph.link_nodes(entry, graph.add("bwdif", "mode=send_frame:deint=interlaced"), exit_).configure()
        for picture in chain(pictures, [None]):
            graph.push(picture)
            while True:
                try:
                    whole: Any = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    break
                # The filter counts in halves of the clip's ticks.
                whole.pts = round(whole.pts * whole.time_base / self.time_base)
                whole.time_base = self.time_base
                yield whole


def chroma_shifts(form: VideoFormat) -> tuple[int, int]:
    """How often the planes of colour differences are halved in width and in height."""
    across, down = (-(-1024 // form.chroma_width(1024)), -(-1024 // form.chroma_height(1024)))
    return across.bit_length() - 1, down.bit_length() - 1


def has_alpha(form: VideoFormat) -> bool:
    """Whether a format has room for transparency."""
    return any(component.is_alpha for component in form.components)


def url(path: Path) -> str:
    """A file's name as FFmpeg takes it for one: not for an option, nor for a protocol."""
    return f"file:{path}"


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Say in the program's own words what FFmpeg says of a file that it reads."""
    try:
        yield
    except av.FFmpegError as error:
        raise UnreadableFile(path, f"cannot be read as video ({error.strerror})") from error


def _planar(picture: VideoFrame) -> VideoFrame:
    """The same picture, every colour in a plane of its own, 8 to 16 bits a sample."""
    form = picture.format
    planes = [component.plane for component in form.components]
    bits = {component.bits for component in form.components}
    odd = form.is_big_endian or form.has_palette or form.is_bit_stream
    if len(set(planes)) == len(planes) and not odd and bits <= set(range(8, 17)):
        return picture
    depth = "" if max(bits) <= 8 else f"{min(max(bits), 16)}le"
    alpha = has_alpha(form) or form.has_palette
    if form.is_rgb or form.has_palette:
        return picture.reformat(format=f"gbr{'a' * alpha}p{depth}")
    if len(planes) < 3 and not alpha:
        return picture.reformat(format=f"gray{depth}")
    subsampling = SUBSAMPLINGS[chroma_shifts(form)] if len(planes) >= 3 else "444"
    return picture.reformat(format=f"yuv{'a' * alpha}{subsampling}p{depth}")


def _view(plane: VideoPlane, bits: int) -> Plane:
    dtype: Any = np.dtype(np.uint8 if bits == 8 else np.uint16)
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def _side_data(picture: VideoFrame, kind: SideData) -> bytes | None:
    try:
        found: Any = picture.side_data
        return next((bytes(data) for data in found if data.type == kind), None)
    except ValueError:  # among the others is one that PyAV does not know
        return None


def _display_matrix(picture: VideoFrame) -> list[int] | None:
    matrix = _side_data(picture, SideData.DISPLAYMATRIX)
    if matrix is not None:
        return np.frombuffer(matrix, np.int32).tolist()
    if not picture.rotation:
        return None
    angle = math.radians(picture.rotation)
    cos, sin = round(math.cos(angle) * MATRIX_ONE), round(math.sin(angle) * MATRIX_ONE)
    return [cos, -sin, 0, sin, cos, 0, 0, 0, 1 << 30]


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _codec_name(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _describe(shape: tuple[int, int, str] | None) -> str:
    return "nothing" if shape is None else f"{shape[0]} x {shape[1]} {shape[2]}"
