"""Video out, through FFmpeg's libraries: what a clip is compressed with, and parts of it, compressed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.io.video import Frame, Reader, halvings, has_alpha, url

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
KNOW_FIELDS = ("libx264", "prores_ks")  # encoders that keep odd and even rows apart
SEEN_BITS = 10  # more than these is no reason to compress otherwise than the clip was
RAW_CONTAINER, RAW = "yuv4mpegpipe", "wrapped_avframe"
RAW_FORMATS = [
    f"{colours}{depth}"
    for depth in ("", "9le", "10le", "12le", "14le", "16le")
    for colours in ("yuv420p", "yuv422p", "yuv444p", "gray")
    if (colours, depth) != ("gray", "14le")
]
HEADSTART = 1000  # ticks; more than any encoder reorders frames
STDOUT = Path("-")


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
        frame: its first.
        extension: of the file to write, one of `CONTAINERS`; another one for raw frames (YUV4MPEG2).
        codec: an encoder, or what it makes; None to choose.
        crf: constant quality, less is better; None for one whose loss is not seen.
        preset: of the encoder; None for its own.
        pixel_format: FFmpeg's name; None for the clip's own.

    Raises:
        UsageError: what is asked for does not go together.
    """
    container, usual = CONTAINERS.get(extension, (RAW_CONTAINER, (RAW,)))
    encoders = [encoder for encoder in usual if formats_of(encoder)]
    if codec is not None:
        encoders = [ENCODERS.get(codec, codec)]
        if not formats_of(encoders[0]):
            known = ", ".join(encoder for encoder in usual if formats_of(encoder))
            raise UsageError(f"--codec {codec}: no such encoder here: choose one of {known}")
    if pixel_format is not None:
        able = [encoder for encoder in encoders if pixel_format in formats_of(encoder)]
        if not able:
            raise UsageError(f"--pix-fmt {pixel_format}: not in {container} by {' or '.join(encoders)}")
        encoders = able
    own = ENCODERS.get(clip.codec, "")
    bits = min(frame.layout.bits, SEEN_BITS)
    encoder = min(encoders, key=lambda name: (bits > _most_bits(name), name != own))
    formats = [pixel_format] if pixel_format is not None else formats_of(encoder)
    chosen = min(formats, key=lambda name: _loss(frame, name))
    options = _options(encoder, chosen, crf, preset)
    if frame.is_interlaced and encoder in KNOW_FIELDS:
        options["flags"] = "+ilme+ildct"
    if encoder == "libx265":
        options["x265-params"] = ":".join(["log-level=error", *_mastering(frame)])
    return Encoding(container, encoder, chosen, options)


def formats_of(encoder: str) -> list[str]:
    """The pixel formats that an encoder takes, by FFmpeg's names; none where there is no such encoder of video."""
    if encoder == RAW:
        return RAW_FORMATS
    with suppress(av.codec.codec.UnknownCodecError):
        return [form.name for form in av.Codec(encoder, "w").video_formats or ()]
    return []


class Writer:
    """A part of a clip's video, compressed, for `mux.join`; left by an exception, its file is not finished.

    Args:
        path: a file to make; `STDOUT` for standard output.
        like: the clip, whose shape of pixels, clock and rate it has.
        encoding: how to compress.

    Raises:
        UnwritableFile: the disk refuses.
    """

    def __init__(self, path: Path, like: Reader, encoding: Encoding) -> None:
        self.path = path
        self._like = like
        self._encoding = encoding
        options = {"strict": "-1"} if encoding.encoder == RAW else clock(like.time_base, encoding)
        place = "pipe:1" if path == STDOUT else url(path)
        with writable(path):
            self._container: OutputContainer = av.open(place, "w", format=encoding.container, container_options=options)
        self._stream: VideoStream | None = None
        self._due: int | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            with suppress(av.FFmpegError, OSError):
                self._container.close()
            return
        with writable(self.path):
            try:
                if self._stream is not None:
                    self._mux(self._stream.encode(None))
            finally:
                self._container.close()

    def write(self, frame: Frame) -> None:
        """Add a frame; colour tags and the way in which it is turned are those of the first.

        Raises:
            UsageError: the encoder does not take its settings.
            UnwritableFile: the disk refuses.
        """
        if self._stream is None:
            self._stream = self._begin(frame)
        picture = frame.picture
        picture.pict_type = PictureType.NONE  # or the encoder would repeat the camera's choice of key frames
        with writable(self.path):
            self._mux(self._stream.encode(picture))

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            # `join` works out when a packet is due. What encoders say is wrong for less frames than x265 looks ahead.
            self._due = packet.pts - HEADSTART if self._due is None else self._due + 1
            packet.dts = self._due
            self._container.mux(packet)

    def _begin(self, frame: Frame) -> VideoStream:
        source, encoding, picture = self._like.stream, self._encoding, frame.picture
        try:
            stream: Any = self._container.add_stream(
                encoding.encoder, rate=self._like.rate, options=dict(encoding.options)
            )
        except ValueError as error:
            raise UsageError(f"{encoding.container} cannot hold what {encoding.encoder} makes: see --codec") from error
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, encoding.pixel_format
        stream.time_base = stream.codec_context.time_base = self._like.time_base
        stream.codec_context.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(0)
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, tag, getattr(picture, tag))
        if frame.turned is not None and encoding.encoder != RAW:
            stream.set_display_matrix(frame.turned)
        try:
            with writable(self.path):
                self._container.start_encoding()
        except UnwritableFile as error:
            if not isinstance(error.__cause__, (av.ArgumentError, av.ExternalError)):
                raise
            raise UsageError(
                f"{encoding.encoder} does not take these settings ({error.__cause__.strerror}): "
                "see --preset, --crf and --pix-fmt"
            ) from error
        return stream


def clock(time_base: Fraction, encoding: Encoding) -> dict[str, str]:
    """What keeps a container from changing times: from beginning at zero, and MP4 from rounding the first one."""
    if encoding.container not in ("mp4", "mov"):
        return {"avoid_negative_ts": "disabled"}
    return {"movie_timescale": str(time_base.denominator)}


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say in the program's own words what FFmpeg says of a file that it writes."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise UnwritableFile(path, f"cannot be written ({error.strerror})") from error


def _most_bits(encoder: str) -> int:
    return max(av.VideoFormat(name, 64, 64).components[0].bits for name in formats_of(encoder))


def _loss(frame: Frame, name: str) -> tuple[bool, int, int, bool, int]:
    """What a format would lose of a frame: transparency, fineness of colour, bits; then what it would add."""
    layout, form = frame.layout, av.VideoFormat(name, 64, 64)
    bits = form.components[0].bits
    grey = layout.colours == "grey"
    across, down = halvings(form) if len(form.components) >= 3 and not form.is_rgb else (0, 0)
    coarser = max(across - layout.across, 0) + max(down - layout.down, 0)
    lacks_colour = 4 * (len(form.components) < 3 and not grey)
    return (
        has_alpha(frame.picture.format) > has_alpha(form),
        max(layout.bits - bits, 0),
        0 if grey else coarser + lacks_colour,
        name != frame.picture.format.name,
        bits + len(form.components),
    )


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
    if encoder == "libvpx-vp9":
        options |= {"b": "0", "row-mt": "1"}
    if encoder == "prores_ks":
        options["profile"] = "4444" if "444" in pixel_format else "hq"
    return options


def _mastering(frame: Frame) -> list[str]:
    """What x265 has to write for HDR: the mastering display in its units, and the brightest light."""
    parameters = []
    display = frame.mastering.get("MASTERING_DISPLAY_METADATA")
    if display is not None:
        # AVMasteringDisplayMetadata: red, green, blue, white (x, y), least and most light as fractions; two flags.
        numbers = np.frombuffer(display, np.int32)
        values = numbers[0:20:2] / np.maximum(numbers[1:20:2], 1)
        if numbers[20] and numbers[21]:
            red, green, blue, white = (tuple(round(v * 50000) for v in values[i : i + 2]) for i in (0, 2, 4, 6))
            least, most = (round(v * 10000) for v in values[8:10])
            points = "".join(f"{name}({x},{y})" for name, (x, y) in zip("GBR", (green, blue, red), strict=True))
            parameters.append(f"master-display={points}WP({white[0]},{white[1]})L({most},{least})")
    light = frame.mastering.get("CONTENT_LIGHT_LEVEL")
    if light is not None:
        most, mean = np.frombuffer(light, np.uint32)[:2]
        parameters.append(f"max-cll={most},{mean}")
    return parameters
