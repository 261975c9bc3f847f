"""Video out, through FFmpeg's libraries: the choice of an encoder, and segments of a clip encoded to files."""

import math
import os
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
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from denoise_cli.errors import ClosedPipe, UnwritableFile, UsageError
from denoise_cli.io.conversion import colours_in, converted
from denoise_cli.io.passing import Passing
from denoise_cli.io.pipes import PIPE, PipeWriter
from denoise_cli.io.playlists import url
from denoise_cli.io.scheduling import ordinary_scheduling
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import CONTENT_LIGHT, MASTERING_DISPLAY, Frame, chroma_shifts, has_alpha

# By extension: FFmpeg's name for the container, and the encoders whose video it can hold, the default first.
CONTAINERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    ".mp4": ("mp4", ("libx264", "libx264rgb", "libx265", "libsvtav1", "libvpx-vp9")),
    ".m4v": ("mp4", ("libx264", "libx264rgb", "libx265")),
    ".mov": ("mov", ("libx264", "libx264rgb", "libx265", "prores_ks", "dnxhd", "png", "qtrle")),
    ".mkv": (
        "matroska",
        ("libx264", "libx264rgb", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "ffv1"),
    ),
    ".webm": ("webm", ("libvpx-vp9", "libsvtav1")),
}
DEFAULT_CONTAINER = ".mp4"  # for clips in a container that is only read: MP4 stores times exactly
ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "dnxhr": "dnxhd",
}
# Constant quality (CRF) at which the loss is invisible.
DEFAULT_CRF = {"libx264": 17, "libx264rgb": 17, "libx265": 18, "libsvtav1": 20, "libvpx-vp9": 20}
MAX_CRF = {"libx264": 51, "libx264rgb": 51, "libx265": 51, "libsvtav1": 63, "libvpx-vp9": 63}
# Encoders that only take frames whose sides are multiples of the chroma subsampling.
WHOLE_CHROMA_ENCODERS = ("libx264", "libx265", "utvideo")
# Encoders that keep fields apart: those that are asked to by flags, and those that note it in each frame.
FIELD_FLAGS = ("libx264", "libx264rgb", "prores_ks", "dnxhd", "mpeg2video", "mpeg4", "ffvhuff", "huffyuv")
INTERLACED_ENCODERS = (*FIELD_FLAGS, "ffv1")
TOP_FIELD_FIRST, BOTTOM_FIELD_FIRST = 2, 3  # FFmpeg's AV_FIELD_TT and AV_FIELD_BB
# Encoders whose transparency only some containers hold.
ALPHA_CONTAINERS: Mapping[str, tuple[str, ...]] = {
    "libvpx": ("matroska", "webm"),
    "libvpx-vp9": ("matroska", "webm"),
    "libx265": (),  # in a layer that FFmpeg does not decode
}
# Profiles of DNxHR, which takes any size; FFmpeg's default is DNxHD, which takes a few sizes and bit rates.
UNUSABLE_FORMATS = {"libvpx-vp9": ("gbrap", "yuva422p", "yuva444p")}  # that an encoder lists but refuses
FULL_HD = (1920, 1080)  # the one size in which DNxHD has fields, and DNxHR none in any
DNXHD_RATE = "220M"  # of the finest DNxHD in that size
DNXHR_PROFILES = {
    "yuv422p": "dnxhr_hq",
    "yuv422p10le": "dnxhr_hqx",
    "yuv444p10le": "dnxhr_444",
    "gbrp10le": "dnxhr_444",
}
VISIBLE_BITS = 10  # a source with more is no reason to change to an encoder that keeps them
# By encoder: FFmpeg's option for the encoder's own parameters, and those that are always set. x264's macroblock tree is
# off because it differs from run to run on processors with AVX-512, but a resumed run must give the same result.
PARAMETERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "libx264": ("x264-params", ("mbtree=0",)),
    "libx264rgb": ("x264-params", ("mbtree=0",)),
    "libx265": ("x265-params", ("log-level=error",)),
    "libsvtav1": ("svtav1-params", ()),
}
# By encoder: the parameters for the mastering display and for the content light level.
HDR_PARAMETERS = {
    "libx264": ("mastering-display", "cll"),
    "libx264rgb": ("mastering-display", "cll"),
    "libx265": ("master-display", "max-cll"),
    "libsvtav1": ("mastering-display", "content-light"),
}
X26_PRESETS = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]
PRESETS = {
    "libx264": X26_PRESETS,
    "libx264rgb": X26_PRESETS,
    "libx265": X26_PRESETS,
    "libsvtav1": [str(speed) for speed in range(14)],
    "libvpx-vp9": [str(speed) for speed in range(-8, 9)],
}
# Raw frames (YUV4MPEG2).
RAW_CONTAINER = "yuv4mpegpipe"
RAW_ENCODER = "wrapped_avframe"
DEPTHS = ("", "9le", "10le", "12le", "14le", "16le")  # of FFmpeg's names of pixel formats
RAW_FORMATS = [
    "yuv411p",
    *(
        f"{colours}{depth}"
        for depth in DEPTHS
        for colours in ("yuv420p", "yuv422p", "yuv444p", "gray")
        if (colours, depth) != ("gray", "14le")
    ),
]
# Uncompressed video in NUT, which has transparency, RGB and the time of each frame.
NUT_ENCODER = "rawvideo"
RAW_ENCODERS = (RAW_ENCODER, NUT_ENCODER)
NUT_FORMATS = [
    *(f"{colours}{depth}" for depth in DEPTHS for colours in ("yuv420p", "yuv422p", "yuv444p", "gray", "gbrp")),
    *(f"yuva{chroma}p{depth}" for depth in ("", "9le", "10le", "16le") for chroma in (420, 422, 444)),
    *("yuva422p12le", "yuva444p12le"),
    *(f"gbrap{depth}" for depth in DEPTHS if depth != "9le"),
    *("yuv410p", "yuv411p", "yuv440p"),
]
# What goes to standard output, by the name that the user knows: as in `CONTAINERS`.
STREAMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "y4m": (RAW_CONTAINER, (RAW_ENCODER,)),
    "nut": ("nut", (NUT_ENCODER,)),
    "mkv": CONTAINERS[".mkv"],
}
MIN_TICKS = 10000  # per second, of the clock in which encoded frames are timed
DTS_LEAD = 1000  # ticks from decoding to display: more than any encoder reorders frames
STDOUT = PIPE


@dataclass(frozen=True)
class Encoding:
    """How to compress a clip's video.

    Attributes:
        container: FFmpeg's name for it.
        encoder: FFmpeg's name for it.
        pixel_format: FFmpeg's name for the format that is encoded.
        matrix: of its colours, by H.273's number.
        full: whether its samples are in full range.
        fields: the order of fields as FFmpeg numbers it; None for whole frames.
        options: for the encoder.
        animation: what is made of the finished video, one of the kinds of `animation.ANIMATIONS`; "" for none.
    """

    container: str
    encoder: str
    pixel_format: str
    matrix: int
    full: bool
    fields: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    animation: str = ""

    @property
    def name(self) -> str:
        """What users hear of it: the kind of animation, or the encoder."""
        return self.animation or self.encoder


def choose_encoding(
    clip: Reader,
    frame: Frame,
    extension: str,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pixel_format: str | None = None,
) -> Encoding:
    """Choose how to compress a clip: like the source, as far as the container and the encoder allow.

    Args:
        clip: the source.
        frame: its first frame.
        extension: of the file to write, one of `CONTAINERS`; or one of `STREAMS`, for standard output.
        codec: a codec or one of FFmpeg's encoders; None to choose.
        crf: constant quality, smaller is better; None for a quality whose loss is invisible.
        preset: of the encoder; None for its default.
        pixel_format: FFmpeg's name; None for the one nearest to the source's.

    Raises:
        UsageError: the options contradict each other, or are not supported.
    """
    container, candidates = (CONTAINERS if extension in CONTAINERS else STREAMS)[extension]
    encoders = [encoder for encoder in candidates if formats_of(encoder)]
    if codec is not None and candidates[0] in RAW_ENCODERS:
        raise UsageError(f"--codec {codec}: {extension} on standard output is not compressed: try --format mkv")
    if codec is not None:
        available = ", ".join(encoders)
        encoders = [ENCODERS.get(codec, codec)]
        if not formats_of(encoders[0]):
            raise UsageError(f"--codec {codec}: no such encoder is available: choose one of {available}")
    if pixel_format is not None:
        capable = [encoder for encoder in encoders if pixel_format in formats_of(encoder)]
        if not capable:
            raise UsageError(f"--pix-fmt {pixel_format}: not supported in {container} by {' or '.join(encoders)}")
        encoders = capable
    usable = {name: _usable_formats(frame, name, container, pixel_format) for name in encoders}

    def drawbacks(name: str) -> tuple[object, ...]:
        alpha, bits, chroma, family, *_ = min(_loss(frame, form, container, name) for form in usable[name])
        visible = max(bits - max(frame.layout.bits - VISIBLE_BITS, 0), 0)
        loses_fields = frame.is_interlaced and not holds_fields(frame, name)
        return alpha, visible, chroma, loses_fields, codec_of(name) != clip.codec, family

    encoder = min((name for name in encoders if usable[name]), key=drawbacks, default=None)
    if encoder is None:
        size = f"{frame.picture.width} x {frame.picture.height}"
        raise UsageError(
            f"--pix-fmt {pixel_format}: {encoders[0]} cannot encode {size} pixels in it: try yuv444p, or --codec vp9"
        )
    chosen = min(usable[encoder], key=lambda name: _loss(frame, name, container, encoder))
    matrix, full = colours_in(frame, chosen)
    options, fields = _options_for(clip, frame, encoder, chosen, crf, preset)
    return Encoding(container, encoder, chosen, matrix, full, fields, options)


def formats_of(encoder: str) -> list[str]:
    """The pixel formats that an encoder takes, by FFmpeg's names; empty if there is no such video encoder."""
    if encoder == RAW_ENCODER:
        return RAW_FORMATS
    if encoder == NUT_ENCODER:
        return NUT_FORMATS
    with suppress(av.codec.codec.UnknownCodecError):
        # Frames in the memory of a GPU have formats without components.
        return [form.name for form in av.Codec(encoder, "w").video_formats or () if form.components]
    return []


class Writer:
    """Encodes a segment of a clip's video, for `mux.join`; if an exception leaves it, the file stays incomplete.

    Args:
        path: the file to write; `STDOUT` for standard output.
        clip: the source, whose pixel aspect ratio, clock and frame rate are kept.
        encoding: how to compress.
        passing: other tracks, which standard output takes at once; None for none.

    Raises:
        UnwritableFile: the file cannot be written.
    """

    def __init__(self, path: Path, clip: Reader, encoding: Encoding, passing: Passing | None = None) -> None:
        self.path = path
        self._passing = passing
        self._clip = clip
        self._encoding = encoding
        options = {"strict": "-1"} if encoding.encoder == RAW_ENCODER else timing_options(clip.time_base, encoding)
        options |= {"flush_packets": "1"} if path == STDOUT else {}
        aspect = clip.stream.sample_aspect_ratio if encoding.encoder == RAW_ENCODER else None
        output: Any = PipeWriter(aspect) if path == STDOUT else url(path)
        with write_errors(path):
            self._container: OutputContainer = av.open(
                output, "w", format=encoding.container, container_options=options
            )
        self._stream: VideoStream | None = None
        self._dts: int | None = None  # decoding time of the last packet, ticks
        self._written = 0

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            with suppress(av.FFmpegError, OSError):
                self._container.close()
            return
        with write_errors(self.path):
            try:
                if self._stream is not None:
                    self._mux(self._stream.encode(None))
                    self._pass_on()
            finally:
                self._container.close()

    def write(self, frame: Frame) -> None:
        """Add a frame. Colour tags and the display matrix are taken from the first one.

        Raises:
            UsageError: the encoder does not accept its settings.
            UnwritableFile: the file cannot be written.
        """
        picture = converted(frame, self._encoding.pixel_format, self._encoding.matrix, self._encoding.full)
        if self._stream is None:
            self._stream = self._begin(frame, picture)
        if self._encoding.encoder == RAW_ENCODER:  # which has a frame rate instead of times
            picture.pts, picture.time_base = self._written, 1 / self._clip.rate
        self._written += 1
        picture.pict_type = PictureType.NONE  # or the encoder would repeat the source's choice of key frames
        with write_errors(self.path):
            self._mux(self._stream.encode(picture))
            self._pass_on()

    def _pass_on(self) -> None:
        if self._passing is not None:
            self._passing.write()

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            if self._encoding.encoder == NUT_ENCODER:
                self._container.mux(packet)
                continue
            # `join` works out the decoding times. Those of encoders are wrong for fewer frames than x265's lookahead.
            following = packet.pts - DTS_LEAD if self._dts is None else self._dts + 1
            if self._passing is not None and packet.dts is not None:  # by which other tracks find their places
                following = min(max(following, packet.dts), packet.pts)
            self._dts = packet.dts = following
            self._container.mux(packet)

    def _begin(self, frame: Frame, picture: VideoFrame) -> VideoStream:
        os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 would print all its settings
        source, encoding = self._clip.stream, self._encoding
        try:
            stream: Any = self._container.add_stream(
                encoding.encoder, rate=self._clip.rate, options=dict(encoding.options)
            )
        except ValueError as error:
            raise UsageError(f"{encoding.container} cannot hold video from {encoding.encoder}: see --codec") from error
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, encoding.pixel_format
        if encoding.encoder == RAW_ENCODER:
            tick = 1 / self._clip.rate
        else:  # `DTS_LEAD` ticks of a coarser clock are more than MP4 allows
            base = self._clip.time_base
            tick = base / math.ceil(MIN_TICKS * base)
        stream.time_base = stream.codec_context.time_base = tick
        stream.codec_context.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(0)
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, tag, getattr(picture, tag))
        if encoding.fields is not None:
            stream.codec_context.field_order = encoding.fields
        if has_alpha(picture.format):
            stream.metadata["alpha_mode"] = "1"  # of VP8 and VP9 in Matroska
        if frame.display_matrix is not None and encoding.encoder != RAW_ENCODER:
            stream.set_display_matrix(frame.display_matrix)
        if self._passing is not None:
            self._passing.begin(self._container)
        try:
            with write_errors(self.path), ordinary_scheduling():
                self._container.start_encoding()
        except UnwritableFile as error:
            if not isinstance(error.__cause__, (av.ArgumentError, av.ExternalError)):
                raise
            raise UsageError(
                f"{encoding.encoder} does not accept these settings ({error.__cause__.strerror}): "
                "see --preset, --crf and --pix-fmt"
            ) from error
        return stream


def timing_options(time_base: Fraction, encoding: Encoding) -> dict[str, str]:
    """Container options that preserve times: without them, clips would start at zero, or MP4 would round the start."""
    if encoding.container == "nut":  # which has no times before zero
        return {}
    if encoding.container not in ("mp4", "mov"):
        return {"avoid_negative_ts": "disabled"}
    return {"movie_timescale": str(time_base.denominator)}


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Translate FFmpeg's errors about a file that it writes into `UnwritableFile`."""
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedPipe(path, "nobody reads it any longer") from error
    except (av.FFmpegError, OSError) as error:
        raise UnwritableFile(path, f"cannot be written ({error.strerror})") from error


def codec_of(encoder: str) -> str:
    """FFmpeg's name for the codec of an encoder."""
    return av.Codec(encoder, "w").canonical_name if encoder != RAW_ENCODER else encoder


def _usable_formats(frame: Frame, encoder: str, container: str, pixel_format: str | None) -> list[str]:
    formats = formats_of(encoder) if pixel_format is None else [pixel_format]
    # Grey with alpha is not among the arrangements that frames are converted to.
    unusable = UNUSABLE_FORMATS.get(encoder, ())
    formats = [n for n in formats if len(av.VideoFormat(n, 64, 64).components) != 2 and n not in unusable]
    if pixel_format is None:
        formats = [n for n in formats if holds_alpha(n, container, encoder) or not has_alpha(av.VideoFormat(n, 64, 64))]
    if encoder in WHOLE_CHROMA_ENCODERS:
        formats = [name for name in formats if _has_whole_chroma(frame, name)]
    return formats


def _loss(frame: Frame, name: str, container: str, encoder: str) -> tuple[bool, int, int, bool, bool, int]:
    """Sort key: what a pixel format would lose of a frame (transparency, bits, chroma, RGB), then add to it."""
    layout, form = frame.layout, av.VideoFormat(name, 64, 64)
    bits = min(component.bits for component in form.components)
    grey = layout.colours == "grey"
    across, down = chroma_shifts(form) if len(form.components) >= 3 and not form.is_rgb else (0, 0)
    lost_chroma = max(across - layout.across, 0) + max(down - layout.down, 0)
    lost_colour = 4 * ((len(form.components) < 3 or form.has_palette) and not grey)
    return (
        has_alpha(frame.picture.format) > holds_alpha(name, container, encoder),
        max(layout.bits - bits, 0),
        0 if grey else lost_chroma + lost_colour,
        not grey and (form.is_rgb or form.has_palette) != (layout.colours == "gbr"),
        name != frame.picture.format.name,
        bits + len(form.components),
    )


def holds_fields(frame: Frame, encoder: str) -> bool:
    """Whether an encoder keeps the fields of an interlaced frame apart."""
    is_possible = encoder != "dnxhd" or (frame.picture.width, frame.picture.height) == FULL_HD
    return encoder in INTERLACED_ENCODERS and is_possible


def holds_alpha(pixel_format: str, container: str, encoder: str) -> bool:
    """Whether an encoder keeps transparency in a pixel format, in a container."""
    return has_alpha(av.VideoFormat(pixel_format, 64, 64)) and container in ALPHA_CONTAINERS.get(encoder, (container,))


def _options_for(
    clip: Reader, frame: Frame, encoder: str, pixel_format: str, crf: float | None, preset: str | None
) -> tuple[dict[str, str], int | None]:
    """An encoder's options for a clip, and the order of fields as FFmpeg numbers it; None for whole frames."""
    options = _options(encoder, pixel_format, crf, preset)
    lower_first, siting = frame.shown()
    fields = None
    if frame.is_interlaced and (encoder == RAW_ENCODER or holds_fields(frame, encoder)):
        fields = BOTTOM_FIELD_FIRST if lower_first else TOP_FIELD_FIRST
        if encoder in FIELD_FLAGS:
            options["flags"] = "+ilme+ildct"
        if encoder == "dnxhd":
            options |= {"profile": "dnxhd", "b": DNXHD_RATE}
    if encoder in PARAMETERS:
        parameters = [*PARAMETERS[encoder][1], *_hdr_parameters(frame, encoder)]
        if encoder in ("libx264", "libx264rgb") and clip.has_constant_rate:
            # Otherwise x264 would write the clip's clock tick where players look for its frame rate.
            parameters.append("force-cfr=1")
        if encoder in ("libx264", "libx264rgb") and fields is not None:
            parameters.append("bff=1" if lower_first else "tff=1")
        options[PARAMETERS[encoder][0]] = ":".join(parameters)
    form = av.VideoFormat(pixel_format, 64, 64)
    if siting is not None and not form.is_rgb and chroma_shifts(form) == (frame.layout.across, frame.layout.down):
        options["chroma_sample_location"] = siting
    return {name: value for name, value in options.items() if value}, fields


def _options(encoder: str, pixel_format: str, crf: float | None, preset: str | None) -> dict[str, str]:
    options: dict[str, str] = {}
    if encoder in DEFAULT_CRF:
        if crf is not None and not 0 <= crf <= MAX_CRF[encoder]:
            raise UsageError(f"--crf {crf:g}: {encoder} takes 0 to {MAX_CRF[encoder]}")
        options["crf"] = f"{DEFAULT_CRF[encoder] if crf is None else crf:g}"
    elif crf is not None:
        raise UsageError(f"--crf {crf:g}: {encoder} has no such setting")
    if preset is not None:
        if encoder not in DEFAULT_CRF:
            raise UsageError(f"--preset {preset}: {encoder} has no such setting")
        if preset not in PRESETS[encoder]:
            raise UsageError(f"--preset {preset}: {encoder} takes {', '.join(PRESETS[encoder])}")
        options["cpu-used" if encoder == "libvpx-vp9" else "preset"] = preset
    if encoder == "libvpx-vp9":
        options |= {"b": "0", "row-mt": "1"}
    if encoder == "libx265":
        options["a53cc"] = "1"  # closed captions of the frames, which FFmpeg has libx264 write without being told
    if encoder == "dnxhd":
        options["profile"] = DNXHR_PROFILES[pixel_format]
    if encoder == "prores_ks":
        options["profile"] = "4444" if "444" in pixel_format else "hq"
    return options


def _has_whole_chroma(frame: Frame, name: str) -> bool:
    """Whether a frame's sides are multiples of a format's chroma subsampling."""
    form = av.VideoFormat(name, 64, 64)
    across, down = chroma_shifts(form) if len(form.components) >= 3 and not form.is_rgb else (0, 0)
    return not (frame.picture.width % 2**across or frame.picture.height % 2**down)


def _hdr_parameters(frame: Frame, encoder: str) -> list[str]:
    """The encoder's parameters for HDR: the mastering display and the content light level."""
    parameters = []
    display = frame.mastering.get(MASTERING_DISPLAY)
    # Chromaticities in units of 1/50000, luminances in 1/10000 cd/m2; AV1 takes plain decimals.
    points, light = (1.0, 1.0) if encoder == "libsvtav1" else (50000.0, 10000.0)
    display_name, light_name = HDR_PARAMETERS[encoder]
    if display is not None:
        # AVMasteringDisplayMetadata: fractions for red, green, blue, white (x, y), least and most light; two flags.
        numbers = np.frombuffer(display, np.int32)
        values = numbers[0:20:2] / np.maximum(numbers[1:20:2], 1)
        if numbers[20] and numbers[21]:
            scaled = [*(values[:8] * points), *(values[8:] * light)]
            text = [f"{value:.5f}" if encoder == "libsvtav1" else f"{round(value)}" for value in scaled]
            red, green, blue, white = (f"({text[i]},{text[i + 1]})" for i in (0, 2, 4, 6))
            parameters.append(f"{display_name}=G{green}B{blue}R{red}WP{white}L({text[9]},{text[8]})")
    levels = frame.mastering.get(CONTENT_LIGHT)
    if levels is not None:
        most, mean = np.frombuffer(levels, np.uint32)[:2]
        parameters.append(f"{light_name}={most},{mean}")
    return parameters
