"""Joins the encoded segments of a clip, and puts the result in the place of the noisy video among all other streams."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import av

from denoise_cli.errors import UnwritableFile
from denoise_cli.io.clip_file import ALPHA_DECODERS, read_errors
from denoise_cli.io.clock import Clock
from denoise_cli.io.data_tracks import add_tracks
from denoise_cli.io.display_boxes import add_display_boxes, display_boxes
from denoise_cli.io.encode import Encoding, timing_options, write_errors
from denoise_cli.io.playlists import url
from denoise_cli.io.program import run_ffmpeg
from denoise_cli.io.video import TIMECODE, Reader
from denoise_cli.io.video_frame import has_alpha

OTHERS = "others"  # the file beside a result in the making with the tracks that came through standard input
LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG
# Encoders only mark full range in their streams. These filters mark limited range, if the source does.
RANGE_FILTERS = {"libx264": "h264_metadata", "libx265": "hevc_metadata"}
APPLE_HEVC_TAG = "hvc1"  # for HEVC in MP4 and QuickTime: Apple's programs do not play the other one
APPLE_KEY_PREFIX = "com."  # of metadata keys for which MP4 has no standard ones
# By FFmpeg's names of the codecs of covers.
COVERS = {"mjpeg": (".jpg", "image/jpeg"), "png": (".png", "image/png"), "bmp": (".bmp", "image/bmp")}
# Written by mkvmerge and FFmpeg.
STALE_TAGS = ("ENCODER", "BPS", "NUMBER_OF_BYTES", "NUMBER_OF_FRAMES", "DURATION", "ALPHA_MODE")


@dataclass(frozen=True)
class Tracks:
    """How the tracks of a clip get into the result.

    Attributes:
        copied: FFmpeg's numbers of those that FFmpeg copies packet by packet, and of the denoised one, in their order.
        added: of those that `data_tracks` copies.
        notes: a line for each track that is lost or changed.
        converted: of those in `copied`, the subtitles that FFmpeg encodes anew, and its names of the encoders.
    """

    copied: tuple[int, ...]
    added: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    converted: Mapping[int, str] = field(default_factory=dict)


def count_frames(segment: Path) -> int:
    """The number of frames in a segment.

    Raises:
        UnreadableFile: it is damaged.
    """
    with read_errors(segment):
        return sum(1 for _ in _packets(segment))


def join(segments: Sequence[Path], target: Path, encoding: Encoding) -> int:
    """Concatenate segments that were written with the same encoding.

    Returns:
        How long the last frame is shown, in ticks: as long as most.

    Raises:
        UnreadableFile: a segment is damaged.
        UnwritableFile: the target cannot be written.
    """
    # Decoding times follow from the order of all packets. Those in the files were made up for each segment alone.
    with read_errors(segments[0]):
        lengths = [(packet.pts, packet.duration or 0) for segment in segments for packet in _packets(segment)]
        times = [pts for pts, _ in lengths]
        first = av.open(url(segments[0]))
    display_times = sorted(times)
    steps = [after - before for before, after in pairwise(display_times)]
    durations = [*steps, median_low(steps) if steps else lengths[0][1]]
    rank = {pts: place for place, pts in enumerate(display_times)}
    delay = max((place - rank[pts] for place, pts in enumerate(times)), default=0)
    step = min(steps, default=1)
    decoding_times = [display_times[0] - step * (delay - i) for i in range(delay)] + display_times
    with first, write_errors(target):
        template = first.streams.video[0]
        options = timing_options(template.time_base or Fraction(1), encoding)
        with closing(av.open(url(target), "w", format=encoding.container, container_options=options)) as joined:
            stream = joined.add_stream_from_template(template, opaque=True)
            stream.time_base = template.time_base
            stream.metadata.update(template.metadata)  # which says that VP8 and VP9 have alpha
            for place, packet in enumerate(packet for segment in segments for packet in _packets(segment)):
                packet.dts = decoding_times[place]
                packet.duration = durations[rank[packet.pts]]
                packet.stream = stream
                joined.mux(packet)
    return durations[-1]


def assemble(
    clip: Reader,
    video: Path,
    target: Path,
    encoding: Encoding,
    tracks: Tracks,
    last: int,
    seconds: float = math.inf,
) -> None:
    """Write a file like the source, with the denoised video in place of the noisy one.

    Sound, subtitles, data, attachments and further videos are copied packet by packet, with chapters and metadata.

    Args:
        clip: the source; if its first frames were skipped, so are the sound and everything else that belongs to them.
        video: a file with nothing but the denoised video.
        target: the file to write; an existing one is replaced.
        encoding: of the video.
        tracks: the tracks to copy.
        last: how long the last frame is shown, in ticks of `video`.
        seconds: the length of the source to copy.

    Raises:
        UnwritableFile: the container cannot hold one of the streams, or the file cannot be written.
    """
    start, origin = float(clip.first_frame_time), float(clip.origin)
    retimed, others = _to_retime(clip, tracks), target.with_name("retimed")
    held = encoding
    if set(retimed) & set(tracks.converted):  # which are in a format of the source's container until they are converted
        held = replace(encoding, container="mov" if clip.is_mp4 else "matroska")
    begin = _retime(clip, retimed, others, held, seconds) if retimed else 0.0
    # The source's clock is kept, unless frames were skipped: then times count from the first one that was not.
    command = [*([] if start else ["-copyts"]), "-i", url(video)]
    if clip.pipe is not None:  # of which nothing is left to copy
        passed = target.with_name(OTHERS)
        command = ["-copyts", "-i", url(video), *(["-i", url(passed)] if passed.exists() else []), "-map", "0:v:0"]
        command += [
            *(["-map", "1"] if passed.exists() else []),
            "-c",
            "copy",
            *_stated(clip),
            *_video_options(clip, encoding, 0, last),
        ]
        _run([*command, *_container_options(clip, encoding), "-f", encoding.container, url(target)], target)
        return
    command += ["-ss", f"{start:.6f}"] if start else ["-itsoffset", f"{-origin:.6f}"] if origin else []
    command += ["-t", f"{seconds:.6f}"] if seconds < math.inf else []
    command += [*clip.program_options, "-i", url(clip.file)]
    # Without -copyts, FFmpeg would have each file begin at zero.
    command += [*(["-itsoffset", f"{begin:.6f}"] if start else []), "-i", url(others)] if retimed else []
    command += ["-c", "copy", "-copy_unknown", "-map_metadata", "1", "-map_chapters", "1"]
    # FFmpeg would write an attached picture to Matroska as one more video.
    attached = [index for index in tracks.copied if clip.kind(index) == "cover" and encoding.container == "matroska"]
    mapped = [index for index in tracks.copied if index not in attached]
    for place, index in enumerate(mapped):
        source = "0:v:0" if index == clip.stream.index else f"1:{index}"
        if index in retimed:
            source = f"2:{retimed.index(index)}"
            command += [f"-disposition:{place}", clip.disposition(index)]
        command += ["-map", source, f"-map_metadata:s:{place}", f"1:s:{index}"]
        command += [f"-c:{place}", tracks.converted[index]] if index in tracks.converted else []
    for place, index in enumerate(attached, start=len(mapped)):
        command += _attachment(clip, index, place, target.with_name(f"cover{index}"))
    command += ["-copypriorss", "0", "-avoid_negative_ts", "disabled"] if start else []
    command += [
        *_video_options(clip, encoding, mapped.index(clip.stream.index), last),
        *_container_options(clip, encoding),
    ]
    _run([*command, "-f", encoding.container, url(target)], target)
    if clip.is_mp4 and encoding.container in ("mp4", "mov"):
        boxes = display_boxes(clip.path, clip.number(clip.stream.index))
        with write_errors(target):
            add_display_boxes(target, mapped.index(clip.stream.index), boxes)
    if tracks.added:
        with write_errors(target):
            # An MP4's cover is not among its tracks.
            kept = [index for index in tracks.copied if clip.kind(index) != "cover"]
            add_tracks(clip.path, target, kept, tracks.added, clip.origin, seconds)


def has_own_keys(clip: Reader, container: str) -> bool:
    """Whether metadata are written by keys of their own, in place of the ones that all programs know and of covers."""
    return container in ("mp4", "mov") and any(key.startswith(APPLE_KEY_PREFIX) for key in clip.metadata)


def _run(words: Sequence[str], target: Path) -> None:
    if reason := run_ffmpeg(*words):
        raise UnwritableFile(target, f"FFmpeg cannot write it: {reason}")


def _stated(clip: Reader) -> list[str]:
    """FFmpeg's options for the metadata of a clip and of its video, where FFmpeg cannot read them itself."""
    kinds = (("-metadata", clip.metadata), ("-metadata:s:0", clip.stream.metadata))
    return [word for option, tags in kinds for key, value in tags.items() for word in (option, f"{key}={value}")]


def _attachment(clip: Reader, index: int, place: int, path: Path) -> list[str]:
    """FFmpeg's options for attaching a cover, as stream `place` of the output; it is written to `path` before."""
    with write_errors(path):
        path.write_bytes(clip.cover(index))
    extension, mime_type = COVERS.get(clip.streams[index][1], ("", "application/octet-stream"))
    tags = {key.lower(): value for key, value in clip.metadata_of(index).items()}
    tags = {"filename": f"cover{extension}", "mimetype": mime_type} | tags
    named = [word for key, value in tags.items() for word in (f"-metadata:s:{place}", f"{key}={value}")]
    return ["-attach", url(path), *named]


def _to_retime(clip: Reader, tracks: Tracks) -> list[int]:
    """The tracks whose times FFmpeg would not get right."""
    others = [index for index in tracks.copied if index != clip.stream.index]
    if clip.jumps:
        return [index for index in others if clip.kind(index) in ("audio", "subtitle", "data")]
    # FFmpeg would leave out those that began before the cut.
    return [index for index in others if clip.first_frame_time and clip.kind(index) == "subtitle"]


def _retime(clip: Reader, indices: Sequence[int], target: Path, encoding: Encoding, seconds: float) -> float:
    """Copy tracks to a file of their own, with their times in the result.

    Returns:
        When the first packet is due, in seconds.
    """
    first: Fraction | None = None
    stop = Fraction(seconds).limit_denominator(av.time_base) if seconds < math.inf else None
    options = timing_options(clip.time_base, encoding)
    with read_errors(clip.path), clip.reopened() as source, write_errors(target):
        if clip.jumps and clip.first_frame_time:
            clip.seek(source)  # the clock is followed from where the video was
        clocks = {index: Clock(clip.jumps) for index in indices}
        with closing(av.open(url(target), "w", format=encoding.container, container_options=options)) as result:
            streams = {index: result.add_stream_from_template(source.streams[index]) for index in indices}
            for packet in source.demux([source.streams[index] for index in indices]):
                index = packet.stream.index
                if packet.pts is None or packet.dts is None or not packet.size:
                    continue
                clocks[index].move(packet)
                if clocks[index].is_beyond:
                    continue
                tick = packet.time_base
                shift, length = round(clip.origin / tick), packet.duration or 0
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                if packet.pts < 0 and clip.first_frame_time:
                    if clip.kind(index) != "subtitle" or packet.pts + length <= 0:
                        continue
                    packet.duration, packet.pts, packet.dts = packet.pts + length, 0, 0
                if stop is not None and packet.pts * tick >= stop:
                    continue
                first = packet.pts * tick if first is None else min(first, packet.pts * tick)
                packet.stream = streams[index]
                result.mux(packet)
    return float(first or 0)


def _video_options(clip: Reader, encoding: Encoding, place: int, last: int) -> list[str]:
    """FFmpeg's options for the denoised stream, which is the one with number `place` in the output."""
    options = [f"-disposition:{place}", clip.disposition(clip.stream.index)]
    # The source's tags about the encoder and the size of its video no longer apply.
    keys = clip.stream.metadata
    stale = [key for key in keys if key.upper().partition("-")[0] in STALE_TAGS or key.startswith("_STATISTICS")]
    options += [word for key in stale for word in (f"-metadata:s:{place}", f"{key}=")]
    if clip.timecode:
        for option, tags in ((f"-metadata:s:{place}", clip.stream.metadata), ("-metadata", clip.metadata)):
            for key in (key for key in tags if key.lower() == TIMECODE):
                options += [option, f"{key}={clip.timecode}"]
    if encoding.encoder in ALPHA_DECODERS.values():
        alpha = has_alpha(av.VideoFormat(encoding.pixel_format, 16, 16))
        options += [f"-metadata:s:{place}", f"alpha_mode={int(alpha) or ''}"]
    filters = []
    if clip.stream.codec_context.color_range == LIMITED_RANGE and encoding.encoder in RANGE_FILTERS:
        filters.append(f"{RANGE_FILTERS[encoding.encoder]}=video_full_range_flag=0")
    if encoding.container in ("mp4", "mov"):
        # FFmpeg takes the time to the next packet for a frame's duration. With a pause among reordered frames, that
        # would make the file longer than it is. Unless it is told otherwise, the filter also changes the times.
        filters.append(f"setts=pts=PTS:dts=DTS:duration={last}")
    options += [f"-bsf:{place}", ",".join(filters)] if filters else []
    pixel_aspect = clip.stream.sample_aspect_ratio
    if pixel_aspect and pixel_aspect != 1:  # not every encoder writes it into its stream
        aspect = pixel_aspect * Fraction(clip.stream.width, clip.stream.height)
        options += [f"-aspect:{place}", f"{aspect.numerator}:{aspect.denominator}"]
    if encoding.encoder == "libx265" and encoding.container in ("mp4", "mov"):
        options += [f"-tag:{place}", APPLE_HEVC_TAG]
    return options


def _container_options(clip: Reader, encoding: Encoding) -> list[str]:
    """FFmpeg's options for the output file."""
    options = [word for key, value in timing_options(clip.time_base, encoding).items() for word in (f"-{key}", value)]
    if clip.is_mp4 and encoding.container in ("mp4", "mov"):
        options += ["-write_tmcd", "0"]  # the source's own track of timecodes is copied
    if has_own_keys(clip, encoding.container):
        options += ["-movflags", "use_metadata_tags"]
    return options


def _packets(segment: Path) -> Iterator[Any]:
    with av.open(url(segment)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                yield packet
