"""A clip as a file: opened through FFmpeg's libraries, its tracks, and what it says of itself."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import whole_copy
from denoise_cli.io.decoding import one_line
from denoise_cli.io.limits import MAX_PIXELS, refuse_too_large
from denoise_cli.io.missing import check_exists
from denoise_cli.io.numbered import frames_advice, is_sequence
from denoise_cli.io.passing import PASSED_KINDS, holds
from denoise_cli.io.pipes import EXPECTED, PIPE, PROBING, PipeReader
from denoise_cli.io.playlists import input_options, open_input, program_options, still
from denoise_cli.io.video_frame import has_alpha
from denoise_cli.temporary_files import scratch_folder

if TYPE_CHECKING:
    from denoise_cli.io.picture_stream import PictureStream

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
MATROSKA = "matroska,webm"  # FFmpeg's name
# FFmpeg's names of formats whose headers state the length of every track.
HEADER_FORMATS = ("mov", "avi", "mxf", "ivf", "rm")
LONGEST_TRACK_FORMATS = (MATROSKA, "flv")  # whose headers state the length of the longest track alone
STATED_DURATION = re.compile(r"\d+:\d\d:\d\d(\.\d+)?")  # a tag of Matroska's tracks
PICTURE_FORMATS = ("gif", "apng", "webp")  # FFmpeg's names; those of other formats for pictures end in _pipe
PICTURE_BRANDS = ("avif", "heic", "heix", "mif1", "mif2")  # of HEIF and AVIF, without those of animations
WEBP_HEADER = 38  # bytes, up to and with the name of the chunk that says how an animation is shown


class ClipFile:
    """An open clip.

    Args:
        path: anything that FFmpeg reads; "-" for YUV4MPEG2, NUT or Matroska from standard input, which is read once;
            or numbered pictures, see `picture_stream`.
        allow_playlists: whether local files that it names may be opened, too.
        rate: frames per second of numbered pictures; None for the usual rate.

    Attributes:
        pipe: standard input, or the stream of numbered pictures; None if the clip is a file.
        pictures: the same stream; None for all other clips.
        file: what is read: the file itself, or a temporary copy without loss, see `whole_copy`.
        stream: FFmpeg's stream of the video that is denoised, the file's main one.

    Raises:
        UnreadableFile: the file is missing, not a video, a still picture, damaged, or too large, or names other files
            that may not be opened.
    """

    def __init__(self, path: Path, allow_playlists: bool = False, rate: Fraction | None = None) -> None:
        self.path = path
        self.allow_playlists = allow_playlists
        self.file, self._folder = path, ExitStack()
        self._copied_codec = ""
        self._copied_form: str | None = None
        self.pictures = self._streamed(rate) if path != PIPE and is_sequence(path) else None
        self.pipe = PipeReader() if path == PIPE else self.pictures
        self._container: InputContainer = self._opened() if self.pipe is None else self._opened_pipe(self.pipe)
        found = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not found:
            self.__exit__()
            raise UnreadableFile(path, "holds no video")
        best = self._container.streams.best("video")
        self.stream: VideoStream = best if best in found else found[0]
        self.stream.thread_type = "AUTO"
        reason = self._obstacle()
        if reason is not None:
            self.__exit__()
            raise UnreadableFile(path, reason)
        # Frames may be larger than the container says, and may grow.
        self.stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}

    def _opened(self) -> InputContainer:
        """The file, or a copy of an animation that FFmpeg's libraries would not read, or not whole."""
        check_exists(self.path, frames_advice(self.path))
        if not self.path.is_file():
            raise UnreadableFile(self.path, "is not a file")
        self._copied_form = form = whole_copy.reader_for(self.path)
        self._copied_codec = whole_copy.CODECS.get(form or "", "")
        if form is not None:
            self.file = whole_copy.copy(self.path, form, self._temporary_folder())
        with read_errors(self.path):
            container = self.reopened()
            video: Any = container.streams.best("video")
            alpha = None if video is None else whole_copy.alpha_track(container, video.index)
            if alpha is None:
                return container
            self._copied_codec = _codec_name(video)
            bits, tracks = video.codec_context.format.components[0].bits, (video.index, alpha)
            container.close()
            self.file = whole_copy.copy_with_alpha(self.path, *tracks, bits, self._temporary_folder())
            return self.reopened()

    def _streamed(self, rate: Fraction | None) -> "PictureStream":
        from denoise_cli.io.picture_stream import RATE, PictureStream  # all formats of photos

        stream = PictureStream(self.path, rate or RATE)
        self._folder.callback(stream.finish)
        self._copied_codec = stream.kind
        return stream

    def _opened_pipe(self, pipe: PipeReader) -> InputContainer:
        file: Any = pipe
        try:
            # The formats of a pipe, not all that are files: others need seeking, unless they are small.
            return av.open(
                file, options=input_options(self.allow_playlists) | PROBING, metadata_errors="surrogateescape"
            )
        except av.FFmpegError as error:
            if not pipe.total:
                raise UnreadableFile(self.path, "no data came: the program before it may have failed") from error
            raise UnreadableFile(self.path, f"cannot be read as video: {EXPECTED}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._folder.close()

    def _temporary_folder(self) -> Path:
        return self._folder.enter_context(scratch_folder())

    def reopened(self) -> InputContainer:
        """The file once more, read from its beginning.

        Raises:
            av.FFmpegError: it cannot be read any longer.
        """
        return open_input(self.file, self.allow_playlists)

    @property
    def program_options(self) -> list[str]:
        """What the ffmpeg program has to be told before it reads the file."""
        return program_options(self._container, self.allow_playlists)

    @property
    def time_base(self) -> Fraction:
        """The tick of the clip's clock, in seconds."""
        if self.pictures is not None:
            return 1 / self.pictures.rate
        return self.stream.time_base or Fraction(1, av.time_base)

    @property
    def rate(self) -> Fraction:
        """Average number of frames per second; a guess if the file does not state it."""
        if self.pictures is not None:
            return self.pictures.rate
        average, real = self.stream.average_rate, self.stream.base_rate
        if average and real and average > 2 * real:  # DV, where FFmpeg takes the tick of the clock for the average
            return real
        return average or self.stream.guessed_rate or Fraction(25)

    @property
    def has_constant_rate(self) -> bool:
        """Whether the file states a constant frame rate."""
        is_stated = self.stream.average_rate is not None and self.rate == self.stream.base_rate
        return is_stated or self.pictures is not None

    @property
    def codec(self) -> str:
        """FFmpeg's name for the codec."""
        return self._copied_codec or _codec_name(self.stream)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's metadata, without that of its streams."""
        return self._container.metadata

    @property
    def streams(self) -> list[tuple[str, str]]:
        """The kind and the codec of every stream, in the file's order."""
        return [(stream.type, _codec_name(stream)) for stream in self._container.streams]

    @property
    def description(self) -> str:
        """What FFmpeg says of the video in words, in which it names side data that PyAV does not pass on."""
        container: Any = self._container
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            text = str(container.dumps_format())
        finally:
            av.logging.set_level(level)
        parts = re.split(r"^  Stream #0:(\d+)", text, flags=re.MULTILINE)
        found = (
            part for number, part in zip(parts[1::2], parts[2::2], strict=True) if number == str(self.stream.index)
        )
        return next(found, "")

    @property
    def container(self) -> str:
        """FFmpeg's name for the container of the file itself, also if a copy of it is read."""
        return self._copied_form or self._container.format.name

    @property
    def is_mp4(self) -> bool:
        """Whether the file is MP4 or QuickTime, or of their family."""
        return "mov" in self._container.format.name.split(",")

    @property
    def is_nut(self) -> bool:
        """Whether the clip is NUT."""
        return self._container.format.name == "nut"

    @property
    def is_matroska(self) -> bool:
        """Whether the clip is Matroska or WebM."""
        return self._container.format.name == MATROSKA

    def kind(self, index: int) -> str:
        """What stream number `index` is: audio, video, cover, subtitle, data, attachment or unknown."""
        stream: Any = self._container.streams[index]
        return "cover" if stream.type == "video" and _is_cover(stream) else str(stream.type)

    def can_pass(self, index: int, container: str) -> bool:
        """Whether a stream is sound or subtitles, which a container, by FFmpeg's name, can hold."""
        return self.kind(index) in PASSED_KINDS and holds(container, self._container.streams[index])

    def metadata_of(self, index: int) -> Mapping[str, str]:
        """The metadata of a stream."""
        return self._container.streams[index].metadata

    def cover(self, index: int) -> bytes:
        """The file of a picture that is attached to the clip."""
        with read_errors(self.path), self.reopened() as container:
            packets = container.demux(container.streams[index])
            return next((bytes(packet) for packet in packets if packet.size), b"")

    def disposition(self, index: int) -> str:
        """What a stream is meant for, as FFmpeg writes it."""
        flags = self._container.streams[index].disposition
        return "+".join(flag.name or "" for flag in av.stream.Disposition if flag & flags) or "0"

    def number(self, index: int) -> int:
        """By which the file itself names a stream, such as an MP4's track number."""
        return int(self._container.streams[index].id)

    @property
    def copied_streams(self) -> list[int]:
        """Indices of the streams that the result contains, including the denoised one."""
        # Text tracks that hold chapter titles are discarded: FFmpeg reads them as chapters, and writes those.
        return [
            stream.index
            for stream in self._container.streams
            if stream.discard != av.stream.Discard.all and not self._stands_for_video(stream)
        ]

    @property
    def has_alpha(self) -> bool:
        """Whether the video can have transparency, including that of VP8 and VP9, which the decoder ignores."""
        form = self.stream.codec_context.format
        return (form is not None and (has_alpha(form) or form.has_palette)) or self.has_hidden_alpha

    @property
    def has_hidden_alpha(self) -> bool:
        """Whether the video is VP8 or VP9 with transparency, which FFmpeg's own decoders ignore."""
        tags = {key.lower(): value for key, value in self.stream.metadata.items()}
        return self.codec in ALPHA_DECODERS and tags.get("alpha_mode") == "1"

    @property
    def promised_end(self) -> Fraction | None:
        """When the video ends according to the file, by its clock, in seconds; None if it does not say so.

        FFmpeg guesses for files that have no header which says so, and those of Matroska and Flash state the longest
        track.
        """
        said = next((text for key, text in self.stream.metadata.items() if key.partition("-")[0] == "DURATION"), "")
        if STATED_DURATION.fullmatch(said):
            hours, minutes, seconds = (Fraction(part) for part in said.split(":"))
            return 3600 * hours + 60 * minutes + seconds
        if self.stream.duration is not None and set(HEADER_FORMATS) & set(self._container.format.name.split(",")):
            return ((self.stream.start_time or 0) + self.stream.duration) * self.time_base
        is_stated = self._container.format.name in LONGEST_TRACK_FORMATS and self.pipe is None
        if is_stated and self._container.duration and self._is_cut_off():
            return Fraction(self._container.duration, av.time_base)
        return None

    def expected_frames(self, start: float = 0.0, seconds: float = math.inf) -> int:
        """The approximate number of frames in an interval of the clip; 0 if the file does not state its length.

        Args:
            start: seconds to skip.
            seconds: length of the interval.
        """
        duration = self._container.duration
        whole = 0.0 if duration is None else duration / av.time_base
        if self.pictures is not None:
            whole = float(self.pictures.count / self.rate)
        if self.stream.duration is not None:
            whole = float(self.stream.duration * self.time_base)
        if self.stream.frames and start == 0 and seconds >= whole:
            return self.stream.frames
        return round(min(max(whole - start, 0.0), seconds) * self.rate)

    def _obstacle(self) -> str | None:
        """Why the file cannot be denoised as a clip; None if it can."""
        context: Any = self.stream.codec_context
        if context is None:
            return "holds video that this build of FFmpeg cannot decode"
        if self._is_still():
            return still(self.path)
        try:
            refuse_too_large((self.stream.width, self.stream.height), MAX_PIXELS)
        except ValueError as error:
            return str(error)
        return None

    def _is_still(self) -> bool:
        """Whether the file is in a format for pictures, and holds a single one."""
        name = self._container.format.name
        is_for_pictures = name.endswith("_pipe") or name in PICTURE_FORMATS
        if not is_for_pictures and self._container.metadata.get("major_brand") not in PICTURE_BRANDS:
            return False
        with read_errors(self.path), self.reopened() as container:
            packets = (packet for packet in container.demux(container.streams[self.stream.index]) if packet.size)
            first = list(islice(packets, 2))
        # FFmpeg reads an animated WebP as one packet, and may not decode it.
        return len(first) < 2 and not any(b"ANIM" in bytes(packet)[:WEBP_HEADER] for packet in first)

    def _stands_for_video(self, stream: Any) -> bool:
        """Whether a stream is the still picture of an animation in AVIF, which players would show instead of it."""
        is_still = stream.type == "video" and stream.frames == 1 and stream.duration is None and not _is_cover(stream)
        return is_still and stream is not self.stream and self.is_mp4

    def _is_cut_off(self) -> bool:
        """Whether no track of a file lasts as long as the file says."""
        with read_errors(self.path), self.reopened() as container:
            ends = [
                (packet.pts + (packet.duration or 0)) * packet.time_base
                for packet in container.demux()
                if packet.pts is not None
            ]
        return max(ends, default=Fraction(0)) + 1 < Fraction(self._container.duration or 0, av.time_base)


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Translate FFmpeg's errors about a file that it reads into `UnreadableFile`."""
    try:
        yield
    except av.FFmpegError as error:
        raise UnreadableFile(path, f"cannot be read as video ({one_line(error)})") from error


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _codec_name(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
