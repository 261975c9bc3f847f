"""Reading a clip: its frames, decoded by FFmpeg's libraries, with exact times, and what was wrong with it."""

import math
from collections.abc import Collection, Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.clip_end import is_cut
from denoise_cli.io.clip_file import ALPHA_DECODERS, ClipFile, read_errors
from denoise_cli.io.clock import Clock
from denoise_cli.io.data_tracks import hidden_timecode
from denoise_cli.io.passing import PASSED_KINDS, Passing, Waiting
from denoise_cli.io.timecode import later
from denoise_cli.io.video_frame import Frame

MAY_JUMP: Any = Flags.ts_discont.value  # a flag of formats whose clocks start anywhere and may jump
TIMECODE = "timecode"  # a tag, in capitals in Matroska
# Where recordings were joined, FFmpeg takes one of so many packets before the place for incomplete: it is whole.
PACKETS_BEFORE_JUMP = 2


class Reader(ClipFile):
    """An open clip whose frames are read.

    Attributes:
        waiting: packets of the other tracks of standard input, which the result may take.
        damaged: number of packets so far that could not be decoded.
        incomplete: number of packets so far of which a part is missing; their frames are there, but may show it.
        concealed: number of frames so far in which the decoder made up what was missing or wrong.
        last_end: when the last frame so far ends, by the file's clock, in seconds; None before the first.
        first_frame_time: time of the first frame that was read, in seconds from the start of the file; 0 if `frames`
            skips nothing.
    """

    def __init__(self, path: Path, allow_playlists: bool = False, rate: Fraction | None = None) -> None:
        super().__init__(path, allow_playlists, rate)
        self.damaged = self.incomplete = self.concealed = 0
        self._is_last_concealed = False
        self._has_begun = False  # with a whole key frame: those before it may refer to what was never in the file
        self.last_end: Fraction | None = None
        self._longest_step = Fraction(0)
        self._clock = Clock()
        self._first: int | None = None  # tick that was sought
        self.first_frame_time = Fraction(0)
        self.waiting = Waiting()
        self._place = 0  # of the next numbered picture
        self._end = 0  # bytes from the beginning of the file to the end of the last packet
        self._alpha_decoder = self._decoder_of_alpha()

    def frames(
        self, start: float = 0.0, seconds: float = math.inf, deinterlace: bool = False
    ) -> Generator[Frame, None, None]:
        """Decode frames in display order. Packets that cannot be decoded are counted and skipped.

        Args:
            start: seconds to skip; times then count from the first frame that is not skipped.
            seconds: length of the interval to decode.
            deinterlace: whether fields are combined into whole frames, by FFmpeg's bwdif.

        Raises:
            UnreadableFile: the rest of the file cannot be read, or its size or pixel format changes.
        """
        form: tuple[int, int, str] | None = None
        last: int | None = None
        pictures = self._between(start, seconds)
        for picture in self._deinterlaced(pictures) if deinterlace else pictures:
            new_form = (picture.width, picture.height, picture.format.name)
            if form is not None and form != new_form:
                at = float(picture.time)
                raise UnreadableFile(
                    self.path, f"changes from {_describe(form)} to {_describe(new_form)} at {at:.1f} s"
                )
            form = new_form
            if last is not None and picture.pts is not None and picture.pts <= last:
                picture.pts = last + 1  # two frames with the same time cannot be written
            last = picture.pts
            yield Frame(picture)

    @property
    def origin(self) -> Fraction:
        """The time in the file that is 0 in the result, in seconds, once the first frame has been read."""
        starts_anywhere = self._container.format.flags & MAY_JUMP
        if not self.first_frame_time and not starts_anywhere:
            return Fraction(0)
        return self.first_frame_time + Fraction(self._container.start_time or 0, av.time_base)

    @property
    def timecode(self) -> str | None:
        """The time of the first frame by the camera's clock, HH:MM:SS:FF; None if the file does not state it.

        After the first frame that `frames` has not skipped, it is the time of that.
        """
        tags = [*self.stream.metadata.items(), *self.metadata.items()]
        stated = next((value for key, value in tags if key.lower() == TIMECODE), None)
        if stated is None:
            return None
        # FFmpeg states the first timecode in the file, also if the edit list skips that.
        hidden = hidden_timecode(self.path) if self.is_mp4 and self.file == self.path else Fraction(0)
        return later(stated, round((hidden + self.first_frame_time) * self.rate), self.rate)

    @property
    def jumps(self) -> list[Fraction]:
        """By how much times were moved after each jump of the clock so far, in seconds."""
        return self._clock.jumps

    @property
    def has_wrapped_clock(self) -> bool:
        """Whether the counter of the clock ran over; FFmpeg makes the times before that negative."""
        return self.origin < 0

    def passing(self, indices: Collection[int], seconds: float = math.inf) -> Passing:
        """Let tracks of standard input go through; of the others nothing is kept any longer.

        Args:
            indices: their numbers.
            seconds: the length of the clip that is written.
        """
        waiting = self.waiting
        waiting.chosen, waiting.origin = frozenset(indices), self.origin
        waiting.begin = Fraction(0) if self.first_frame_time else None
        waiting.end = None if math.isinf(seconds) else Fraction(seconds).limit_denominator(av.time_base)
        return Passing({index: self._container.streams[index] for index in indices}, waiting)

    def seek(self, container: InputContainer) -> None:
        """Go to where the video was read from, in the same file, opened again."""
        if self._first is not None:
            container.seek(self._first, stream=container.streams[self.stream.index])

    def end_of(self, seconds: float) -> Fraction:
        """When the last frame that was read ends in the result, in seconds, if so many seconds are written."""
        end = max((self.last_end or Fraction(0)) - self.origin, Fraction(0))
        return end if math.isinf(seconds) else min(end, Fraction(seconds).limit_denominator(av.time_base))

    @property
    def ends_early(self) -> bool:
        """Whether the frames that were read end before the file says, or the file within a part of its structure."""
        name = self.container
        if name in ("yuv4mpegpipe", "nut"):
            size = self.path.stat().st_size if self.pipe is None else self.pipe.total
            # FFmpeg leaves out the unfinished frame of the one; the other ends with an index, which is then missing.
            return size > self._end if name == "yuv4mpegpipe" else size <= self._end
        if self._is_last_concealed or (self.pipe is None and is_cut(self.path, name)):
            return True
        end = self.promised_end
        if end is None or self.last_end is None:
            return False
        return self.last_end + max(2 / self.rate, self._longest_step) < end

    def _between(self, start: float, seconds: float) -> Iterator[VideoFrame]:
        base = self.time_base
        zero = Fraction(self._container.start_time or 0, av.time_base)
        # As the user typed it, because 0.08 as a binary fraction is later than the frame at 2/25; and in whole ticks,
        # because FFmpeg rounds the start of a file to microseconds.
        begin = Fraction(start).limit_denominator(av.time_base)
        first = round((zero + begin) / base) if start > 0 else None
        end = None if math.isinf(seconds) else Fraction(seconds).limit_denominator(av.time_base)
        step, expected, shift = max(round(1 / (self.rate * base)), 1), self.stream.start_time or 0, None
        # By a clock that jumps back, a time is in several places: only the order of the packets tells which is meant.
        if first is not None and self.pipe is None and not self._jumps_back():
            self._first = first
            with read_errors(self.path):
                self.seek(self._container)
        # AVI does not store display times, and those that FFmpeg makes up jump backwards.
        use_decoding_times = self._container.format.name == "avi"
        for picture in self._decoded():
            self._note_concealment(picture)
            if use_decoding_times:
                picture.pts = picture.dts
            if picture.pts is None:  # raw streams and some broken files
                picture.pts = expected
            self._note_end(picture, step)
            expected = picture.pts + step
            if first is not None and picture.pts < first:
                self.waiting.drop_before(picture.pts * base)
                continue
            if end is not None and picture.pts >= round((zero + begin + end) / base):
                return
            if shift is None:
                self.first_frame_time = Fraction(0) if first is None else picture.pts * base - zero
                shift = round(self.origin / base) if first is None else picture.pts
            picture.pts -= shift
            yield picture

    def _jumps_back(self) -> bool:
        """Whether the clock of the video does, anywhere in the file."""
        if not self._container.format.flags & MAY_JUMP:
            return False
        clock = Clock()
        with read_errors(self.path), self.reopened() as container:
            for packet in container.demux(container.streams[self.stream.index]):
                clock.move(packet)
        return bool(clock.jumps)

    def _note_end(self, picture: VideoFrame, usual: int) -> None:
        """Remember when a frame ends, and the longest time from the end of one to the end of the next."""
        assert picture.pts is not None
        end = (picture.pts + (picture.duration or usual)) * self.time_base
        if self.last_end is not None:
            self._longest_step = max(self._longest_step, end - self.last_end)
        self.last_end = end if self.last_end is None else max(self.last_end, end)

    def _note_concealment(self, picture: VideoFrame) -> None:
        self._is_last_concealed = self._has_begun and picture.is_corrupt
        self._has_begun |= picture.key_frame and not picture.is_corrupt
        self.concealed += self._is_last_concealed

    def _decoded(self) -> Iterator[VideoFrame]:
        since_incomplete: list[int] = []  # the number of packets since each incomplete one that may be before a jump
        with read_errors(self.path):
            packet: Any
            for packet in self._container.demux(self._demuxed()):
                if packet.pos is not None:
                    self._end = packet.pos + packet.size
                if packet.stream.index != self.stream.index:
                    self.waiting.add(packet)
                    continue
                if self._container.format.flags & MAY_JUMP:
                    jumps = len(self._clock.jumps)
                    self._clock.move(packet)
                    if len(self._clock.jumps) > jumps:
                        since_incomplete = []
                    since_incomplete = [count + 1 for count in since_incomplete] + [0] * packet.is_corrupt
                    self.incomplete += sum(count > PACKETS_BEFORE_JUMP for count in since_incomplete)
                    since_incomplete = [count for count in since_incomplete if count <= PACKETS_BEFORE_JUMP]
                else:
                    self.incomplete += packet.is_corrupt
                try:
                    decoder = self._alpha_decoder
                    pictures = packet.decode() if decoder is None else decoder.decode(packet)
                except (av.InvalidDataError, av.ArgumentError):  # the latter for raw frames that are cut off
                    self.damaged += 1
                    continue
                yield from pictures if self.pictures is None else self._timed(pictures)
        self.incomplete += len(since_incomplete)

    def _timed(self, pictures: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Numbered pictures with exact times, which Matroska rounds to milliseconds."""
        for picture in pictures:
            picture.pts, picture.time_base, picture.duration = self._place, self.time_base, 1
            self._place += 1
            yield picture

    def _demuxed(self) -> list[Any]:
        """The video, and of standard input the tracks that may go through with it."""
        others = [stream for stream in self._container.streams if self.kind(stream.index) in PASSED_KINDS]
        return [self.stream, *(others if self.pipe is not None else [])]

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
                # The filter's tick is half the clip's.
                whole.pts = round(whole.pts * whole.time_base / self.time_base)
                whole.time_base = self.time_base
                yield whole

    def _decoder_of_alpha(self) -> Any:
        """For VP8 and VP9 with transparency, which FFmpeg's own decoders ignore: that of libvpx; otherwise None."""
        if not self.has_hidden_alpha:
            return None
        decoder = ALPHA_DECODERS[self.codec]
        try:
            return av.CodecContext.create(decoder, "r")
        except av.codec.codec.UnknownCodecError:  # libvpx is not in every build of FFmpeg
            return None


def _describe(form: tuple[int, int, str]) -> str:
    width, height, pixel_format = form
    return f"{width} x {height} {pixel_format}"
