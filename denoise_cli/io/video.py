"""Video through FFmpeg's libraries: frames with their exact times, in and out; the other streams copied as they are.

A clip's video is written in parts, each of which decodes by itself; `join` makes one of them, and `assemble` puts it in
the place that the noisy video has in its file.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import PictureType, VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from denoise_cli.errors import MissingDependency, UnreadableFile, UnwritableFile, UsageError
from denoise_cli.imaging.yuv import Layout, Plane

# By extension: FFmpeg's name of the container, and the encoders of what it may hold, the usual one first.
CONTAINERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    ".mp4": ("mp4", ("libx264", "libx265", "libsvtav1", "libvpx-vp9")),
    ".m4v": ("mp4", ("libx264", "libx265")),
    ".mov": ("mov", ("libx264", "libx265", "prores_ks")),
    ".mkv": ("matroska", ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "ffv1")),
    ".webm": ("webm", ("libvpx-vp9", "libsvtav1")),
}
USUAL_CONTAINER = ".mp4"  # for what is read but not written here
ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
# Constant quality at which the loss is not seen.
USUAL_QUALITY = {"libx264": 17, "libx265": 18, "libsvtav1": 20, "libvpx-vp9": 20}
SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
RAW_CONTAINER, RAW = "yuv4mpegpipe", "wrapped_avframe"
RAW_FORMATS = [
    f"{colours}{depth}"
    for depth in ("", "9le", "10le", "12le", "14le", "16le")
    for colours in ("yuv420p", "yuv422p", "yuv444p", "gray")
    if (colours, depth) != ("gray", "14le")
]
LIMITED_RANGE, FULL_RANGE = 1, 2  # FFmpeg's AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG
# Encoders say of their streams only that the range is full; where a source says that it is limited, this adds it.
RANGE_FILTERS = {"libx264": "h264_metadata", "libx265": "hevc_metadata"}
SPEAKER = re.compile(r"^(\[[^]]*\] *)+")  # before what FFmpeg says
STALE = ("ENCODER", "BPS", "NUMBER_OF_BYTES", "NUMBER_OF_FRAMES", "DURATION")  # by mkvmerge and FFmpeg


@dataclass(frozen=True)
class Encoding:
    """How to compress a clip's video.

    Attributes:
        container: FFmpeg's name, as the others.
        encoder: the compression.
        pixel_format: of what is compressed.
        options: of the encoder.
    """

    container: str
    encoder: str
    pixel_format: str
    options: Mapping[str, str] = field(default_factory=dict)


class Frame:
    """A picture of a clip, with all that belongs to it: its time, its colour tags, captions, mastering data.

    Attributes:
        picture: as FFmpeg holds it.
        turned: the matrix by which it is turned to be shown, nine numbers as in MP4; None where it is upright.
    """

    def __init__(self, picture: VideoFrame) -> None:
        # Before anything is done to the picture: PyAV remembers where this lies, even when it has moved.
        self.turned = next((_integers(data) for data in picture.side_data if data.type.name == "DISPLAYMATRIX"), None)
        self.picture = _planar(picture)

    @property
    def seconds(self) -> float:
        """When it is shown, by the clip's own clock."""
        return self.picture.time

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
        across, down = _halvings(form)
        return Layout("yuv", bits, self._is_full, self.picture.colorspace, across, down)

    @property
    def planes(self) -> list[Plane]:
        """(H, W), then those of colour differences; views that `replace` changes. Transparency is left out."""
        bits = self.picture.format.components[0].bits
        return [_view(plane, bits) for plane in self.picture.planes[: min(len(self.picture.planes), 3)]]

    def replace(self, planes: Sequence[Plane]) -> None:
        """Put these samples in the place of its own."""
        self.picture.make_writable()
        for old, new in zip(self.planes, planes, strict=True):
            old[:] = new

    @property
    def _is_full(self) -> bool:
        return self.picture.color_range == FULL_RANGE or self.picture.format.name.startswith("yuvj")


class Reader:
    """A clip's video, opened.

    Args:
        path: anything that FFmpeg reads.

    Attributes:
        stream: FFmpeg's view of the video that is denoised, the file's main one.

    Raises:
        UnreadableFile: it is not there, not a video, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            self._container: InputContainer = av.open(str(path))
        found = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not found:
            self._container.close()
            raise UnreadableFile(path, "holds no video")
        best = self._container.streams.best("video")
        self.stream: VideoStream = best if best in found else found[0]
        self.stream.thread_type = "AUTO"

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def seconds(self) -> float | None:
        """How long the clip is, as far as its file says it."""
        if self.stream.duration is not None:
            return float(self.stream.duration * self.stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average; a guess where the file does not say it."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def streams(self) -> list[tuple[int, str]]:
        """Every stream's kind and codec, in the file's order."""
        return [(stream.type, _codec(stream)) for stream in self._container.streams]

    def expected_frames(self, start: float = 0.0, seconds: float = float("inf")) -> int:
        """About how many frames there are in a part of the clip; 0 where the file does not say how long it is."""
        whole = self.seconds or 0.0
        taken = min(max(whole - start, 0.0), seconds)
        if self.stream.frames and taken == whole:
            return self.stream.frames
        return round(taken * self.rate)

    def frames(self, start: float = 0.0, seconds: float = float("inf"), deinterlace: bool = False) -> Iterator[Frame]:
        """The frames in the order in which they are shown.

        Args:
            start: seconds to leave out at the beginning; time is counted from there.
            seconds: how many to go on for.
            deinterlace: make a whole frame of the two fields of each, by bwdif (FFmpeg).

        Raises:
            UnreadableFile: what follows is damaged, or of another size or pixel format.
        """
        base = self.stream.time_base
        zero = Fraction(self._container.start_time or 0, av.time_base)
        # As it was typed: 0.08 as a binary fraction is later than the frame at 2/25.
        begin = Fraction(start).limit_denominator(av.time_base)
        end = begin + Fraction(seconds).limit_denominator(av.time_base) if seconds < float("inf") else None
        shape, expected = None, self.stream.start_time or 0
        step = max(round(1 / (self.rate * base)), 1)
        with _readable(self.path):
            if begin > 0:
                self._container.seek(round((zero + begin) / base), stream=self.stream)
            pictures = self._container.decode(self.stream)
            for picture in self._deinterlaced(pictures) if deinterlace else pictures:
                if picture.pts is None:  # raw streams, and some broken ones
                    picture.pts = expected
                expected = picture.pts + step
                at = picture.pts * base - zero
                if at < begin:
                    continue
                if end is not None and at >= end:
                    return
                now = (picture.width, picture.height, picture.format.name)
                if shape not in (None, now):
                    raise UnreadableFile(
                        self.path, f"changes from {_named(shape)} to {_named(now)} at {float(at):.1f} s"
                    )
                shape = now
                if begin > 0:
                    picture.pts -= round((zero + begin) / base)
                yield Frame(picture)

    def _deinterlaced(self, pictures: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        graph = av.filter.Graph()
        entry, exit_ = graph.add_buffer(template=self.stream), graph.add("buffersink")
        graph.link_nodes(entry, graph.add("bwdif", "mode=send_frame:deint=interlaced"), exit_).configure()
        for picture in chain(pictures, [None]):
            graph.push(picture)
            while True:
                try:
                    yield graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    break


class Writer:
    """A part of a clip's video, compressed.

    Args:
        path: a file to make.
        like: the clip, whose shape of pixels, clock and rate it has.
        encoding: how to compress.
        container: FFmpeg's name.
    """

    def __init__(self, path: Path, like: Reader, encoding: Encoding) -> None:
        self.path = path
        self._like = like
        self._encoding = encoding
        with _writable(path):
            self._container: OutputContainer = (
                av.open(sys.stdout.buffer, "w", format=RAW_CONTAINER, container_options={"strict": "-1"})
                if encoding.encoder == RAW
                else av.open(str(path), "w", format=encoding.container, container_options=_clock(like.stream, encoding))
            )
        self._stream: VideoStream | None = None

    def write(self, frame: Frame) -> None:
        """Add a frame; its colour tags and its turning are those of the first.

        Raises:
            UnwritableFile: the disk or the encoder refuses.
        """
        picture = frame.picture
        with _writable(self.path):
            if self._stream is None:
                self._stream = self._begin(frame)
            picture.pict_type = PictureType.NONE  # or the encoder would repeat the camera's choice of key frames
            self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        with _writable(self.path):
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()

    def _begin(self, frame: Frame) -> VideoStream:
        source, encoding, picture = self._like.stream, self._encoding, frame.picture
        stream = self._container.add_stream(encoding.encoder, rate=self._like.rate, options=dict(encoding.options))
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, encoding.pixel_format
        stream.time_base = stream.codec_context.time_base = source.time_base
        stream.codec_context.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(0)
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, tag, getattr(picture, tag))
        if frame.turned is not None:
            stream.set_display_matrix(frame.turned)
        return stream


def choose_encoding(
    clip: Reader,
    frame: Frame,
    extension: str,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pixel_format: str | None = None,
) -> Encoding:
    """What a clip is compressed with: what it was compressed with, where the container and the encoder allow.

    Args:
        clip: the source.
        frame: one of its.
        extension: of the file to write, one of `CONTAINERS`; another one for raw frames (YUV4MPEG2).
        codec: an encoder, or what it makes; None to choose.
        crf: constant quality, less is better; None for one whose loss is not seen.
        preset: of the encoder; None for its own.
        pixel_format: FFmpeg's name; None for the clip's own.

    Raises:
        UsageError: what is asked for does not go together.
    """
    container, encoders = CONTAINERS.get(extension, (RAW_CONTAINER, (RAW,)))
    wanted = pixel_format or frame.picture.format.name
    if codec is not None:
        encoder = ENCODERS.get(codec, codec)
        if encoder not in av.codecs_available or not av.Codec(encoder, "w").is_encoder:
            raise UsageError(f"--codec {codec}: no such encoder: choose one of {', '.join(encoders)}")
        choices: tuple[str, ...] = (encoder,)
    else:
        own = ENCODERS.get(_codec(clip.stream), "")
        choices = tuple(sorted(encoders, key=lambda encoder: encoder != own))
    able = [encoder for encoder in choices if wanted in _formats_of(encoder)]
    if not able and pixel_format is not None:
        raise UsageError(f"--pix-fmt {pixel_format}: not in {container} by {' or '.join(choices)}")
    encoder = able[0] if able else choices[0]
    if not able:
        wanted = _nearest(frame, _formats_of(encoder))
    return Encoding(container, encoder, wanted, _options(encoder, wanted, crf, preset))


def _options(encoder: str, pixel_format: str, crf: float | None, preset: str | None) -> dict[str, str]:
    options: dict[str, str] = {}
    if encoder in USUAL_QUALITY:
        options["crf"] = f"{USUAL_QUALITY[encoder] if crf is None else crf:g}"
    elif crf is not None:
        raise UsageError(f"--crf {crf:g}: {encoder} has no such setting")
    if preset is not None:
        if encoder not in USUAL_QUALITY:
            raise UsageError(f"--preset {preset}: {encoder} has no such setting")
        options["cpu-used" if encoder == "libvpx-vp9" else "preset"] = preset
    if encoder == "libx264":
        # On processors with AVX-512 x264's macroblock tree is not the same from run to run, as a resumed run has to be.
        options["x264-params"] = "mbtree=0"
    if encoder == "libx265":
        options["x265-params"] = "log-level=error"
    if encoder == "libvpx-vp9":
        options |= {"b": "0", "row-mt": "1"}
    if encoder == "prores_ks":
        options["profile"] = "4444" if "444" in pixel_format else "hq"
    return options


def count_frames(part: Path) -> int:
    """How many frames a part holds."""
    with _readable(part):
        return sum(1 for _ in _packets(part))


def join(parts: Sequence[Path], target: Path, encoding: Encoding) -> None:
    """Put parts one after another, which were written with the same encoding.

    Raises:
        UnwritableFile: the disk refuses.
    """
    # When a packet is due at the decoder is told by the order of the packets alone: what each part says of it was
    # made up without the others.
    times = [packet.pts for part in parts for packet in _packets(part)]
    shown = sorted(times)
    rank = {pts: place for place, pts in enumerate(shown)}
    delay = max((place - rank[pts] for place, pts in enumerate(times)), default=0)
    step = min((after - before for before, after in pairwise(shown)), default=1)
    due = [shown[0] - step * (delay - i) for i in range(delay)] + shown
    with _writable(target), av.open(str(parts[0])) as first:
        template = first.streams.video[0]
        clock = _clock(template, encoding)
        joined = av.open(str(target), "w", format=encoding.container, container_options=clock)
        stream = joined.add_stream_from_template(template, opaque=True)
        stream.time_base = template.time_base
        for place, packet in enumerate(packet for part in parts for packet in _packets(part)):
            packet.dts = due[place]
            packet.duration = _until_next(shown, rank[packet.pts], packet.duration)
            packet.stream = stream
            joined.mux(packet)
        joined.close()


def _until_next(shown: Sequence[int], place: int, otherwise: int | None) -> int:
    return shown[place + 1] - shown[place] if place + 1 < len(shown) else otherwise or 0


def _packets(part: Path) -> Iterator["av.Packet"]:
    with av.open(str(part)) as opened:
        for packet in opened.demux(video=0):
            if packet.size:
                yield packet


def assemble(
    clip: Reader, video: Path, target: Path, encoding: Encoding, start: float = 0.0, seconds: float = float("inf")
) -> None:
    """Make a file like the source, in which only the denoised video is new.

    Sound, subtitles, data, attachments and further videos are copied packet by packet, chapters and metadata with them.

    Args:
        clip: the source.
        video: a file with the denoised video alone.
        target: the file to make; one that is there is replaced.
        encoding: of the video.
        start: where the video begins in the source, in seconds.
        seconds: how long it is.

    Raises:
        UnwritableFile: the container cannot hold one of the streams, or the disk refuses.
    """
    own, count = clip.stream.index, len(clip.streams)
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y"]
    # The source's clock is kept, but from a later start on everything is counted from there.
    command += ["-i", str(video), "-ss", f"{start:.6f}"] if start > 0 else ["-copyts", "-i", str(video)]
    command += ["-t", f"{seconds:.6f}"] if seconds < float("inf") else []
    command += ["-i", str(clip.path), "-c", "copy", "-copy_unknown", "-map_metadata", "1", "-map_chapters", "1"]
    for place in range(count):
        command += ["-map", "0:v:0" if place == own else f"1:{place}", f"-map_metadata:s:{place}", f"1:s:{place}"]
    command += ["-copypriorss", "0", "-avoid_negative_ts", "disabled"] if start > 0 else []
    command += [f"-disposition:{own}", _disposition(clip.stream)]
    # What the source says of its own video's encoder and size is true no longer.
    stale = [key for key in clip.stream.metadata if key.upper() in STALE or key.startswith("_STATISTICS")]
    command += [word for key in stale for word in (f"-metadata:s:{own}", f"{key}=")]
    if clip.stream.codec_context.color_range == LIMITED_RANGE and encoding.encoder in RANGE_FILTERS:
        command += [f"-bsf:{own}", f"{RANGE_FILTERS[encoding.encoder]}=video_full_range_flag=0"]
    if encoding.container in ("mp4", "mov"):
        command += ["-movflags", "use_metadata_tags"]
    command += [word for key, value in _clock(clip.stream, encoding).items() for word in (f"-{key}", value)]
    done = subprocess.run(
        [*command, "-f", encoding.container, str(target)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        raise UnwritableFile(target, f"FFmpeg cannot write it: {SPEAKER.sub('', reason)}")


def _clock(stream: VideoStream, encoding: Encoding) -> dict[str, str]:
    """What keeps a container from changing times: from beginning at zero, and MP4 from rounding the first one."""
    if encoding.container not in ("mp4", "mov"):
        return {"avoid_negative_ts": "disabled"}
    return {"movie_timescale": str(Fraction(stream.time_base or 1).denominator)}


def _planar(picture: VideoFrame) -> VideoFrame:
    """The same picture, every colour in a plane of its own, 8 to 16 bits a sample."""
    form = picture.format
    colours = form.components[:3] if len(form.components) >= 3 else form.components[:1]
    apart = len({component.plane for component in colours}) == len(colours)
    bits = {component.bits for component in colours}
    if apart and not (form.is_big_endian or form.has_palette or form.is_bit_stream) and bits <= set(range(8, 17)):
        return picture
    depth = max(*bits, 8)
    if form.is_rgb or form.has_palette:
        target = "gbrp" + ("" if depth == 8 else f"{min(depth, 16)}le")
    elif len(colours) == 1:
        target = "gray" + ("" if depth == 8 else f"{min(depth, 16)}le")
    else:
        target = f"yuv{SUBSAMPLINGS[_halvings(form)]}p" + ("" if depth == 8 else f"{min(depth, 16)}le")
    return picture.reformat(format=target)


def _halvings(form: "av.VideoFormat") -> tuple[int, int]:
    """How often the planes of colour differences are halved in width and in height."""
    across, down = (-(-1024 // form.chroma_width(1024)), -(-1024 // form.chroma_height(1024)))
    return across.bit_length() - 1, down.bit_length() - 1


def _view(plane: VideoPlane, bits: int) -> Plane:
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: plane.height, : plane.width]


def _integers(data: SideData) -> list[int]:
    return np.frombuffer(bytes(data), np.int32).tolist()


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _codec(stream: "av.stream.Stream") -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _formats_of(encoder: str) -> list[str]:
    if encoder == RAW:
        return RAW_FORMATS
    return [form.name for form in av.Codec(encoder, "w").video_formats or ()]


def _nearest(frame: Frame, formats: Sequence[str]) -> str:
    """The format that loses least: as many bits, or more; colour as fine, or finer; then as little more as may be."""
    layout = frame.layout

    def loss(name: str) -> tuple[int, int, int]:
        form = av.VideoFormat(name, 64, 64)
        bits = form.components[0].bits
        across, down = _halvings(form) if len(form.components) >= 3 and not form.is_rgb else (0, 0)
        lost = max(across - layout.across, 0) + max(down - layout.down, 0)
        return max(layout.bits - bits, 0), lost, bits + len(form.components)

    return min(formats, key=loss)


def _disposition(stream: VideoStream) -> str:
    return "+".join(flag.name for flag in av.stream.Disposition if flag & stream.disposition) or "0"


def ffmpeg_program() -> str:
    """The path of the ffmpeg program.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingDependency("putting sound and video together", "imageio-ffmpeg") from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _named(shape: tuple[int, int, str] | None) -> str:
    return "nothing" if shape is None else f"{shape[0]} x {shape[1]} {shape[2]}"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise UnreadableFile(path, f"cannot be read as video ({error.strerror})") from error


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise UnwritableFile(path, f"cannot be written ({error.strerror})") from error
