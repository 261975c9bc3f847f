"""Joins the encoded segments of a clip, and puts the result in the place of the noisy video among all other streams."""

import math
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from denoise_cli.errors import MissingDependency, UnwritableFile
from denoise_cli.io.data_tracks import add_tracks
from denoise_cli.io.encode import Encoding, timing_options, write_errors
from denoise_cli.io.video import Reader, read_errors, url

LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG
# Encoders only mark full range in their streams. These filters mark limited range, if the source does.
RANGE_FILTERS = {"libx264": "h264_metadata", "libx265": "hevc_metadata"}
APPLE_HEVC_TAG = "hvc1"  # for HEVC in MP4 and QuickTime: Apple's programs do not play the other one
APPLE_KEY_PREFIX = "com."  # of metadata keys for which MP4 has no standard ones
LOG_PREFIX = re.compile(r"^(\[[^]]*\] *)+")  # in front of FFmpeg's messages
STALE_TAGS = ("ENCODER", "BPS", "NUMBER_OF_BYTES", "NUMBER_OF_FRAMES", "DURATION")  # written by mkvmerge and FFmpeg


@dataclass(frozen=True)
class Tracks:
    """How the tracks of a clip get into the result.

    Attributes:
        copied: FFmpeg's numbers of those that FFmpeg copies packet by packet, and of the denoised one, in their order.
        added: of those that `data_tracks` copies.
        notes: a line for each track that is lost or changed.
    """

    copied: tuple[int, ...]
    added: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def count_frames(segment: Path) -> int:
    """The number of frames in a segment.

    Raises:
        UnreadableFile: it is damaged.
    """
    with read_errors(segment):
        return sum(1 for _ in _packets(segment))


def join(segments: Sequence[Path], target: Path, encoding: Encoding) -> None:
    """Concatenate segments that were written with the same encoding.

    Raises:
        UnreadableFile: a segment is damaged.
        UnwritableFile: the target cannot be written.
    """
    # Decoding times follow from the order of all packets. Those in the files were made up for each segment alone.
    with read_errors(segments[0]):
        times = [packet.pts for segment in segments for packet in _packets(segment)]
        first = av.open(url(segments[0]))
    display_times = sorted(times)
    rank = {pts: place for place, pts in enumerate(display_times)}
    delay = max((place - rank[pts] for place, pts in enumerate(times)), default=0)
    step = min((after - before for before, after in pairwise(display_times)), default=1)
    decoding_times = [display_times[0] - step * (delay - i) for i in range(delay)] + display_times
    with first, write_errors(target):
        template = first.streams.video[0]
        options = timing_options(template.time_base or Fraction(1), encoding)
        with closing(av.open(url(target), "w", format=encoding.container, container_options=options)) as joined:
            stream = joined.add_stream_from_template(template, opaque=True)
            stream.time_base = template.time_base
            for place, packet in enumerate(packet for segment in segments for packet in _packets(segment)):
                packet.dts = decoding_times[place]
                packet.duration = _duration(display_times, rank[packet.pts], packet.duration)
                packet.stream = stream
                joined.mux(packet)


def assemble(
    clip: Reader, video: Path, target: Path, encoding: Encoding, tracks: Tracks, seconds: float = math.inf
) -> None:
    """Write a file like the source, with the denoised video in place of the noisy one.

    Sound, subtitles, data, attachments and further videos are copied packet by packet, with chapters and metadata.

    Args:
        clip: the source; if its first frames were skipped, so are the sound and everything else that belongs to them.
        video: a file with nothing but the denoised video.
        target: the file to write; an existing one is replaced.
        encoding: of the video.
        tracks: the tracks to copy.
        seconds: the length of the source to copy.

    Raises:
        UnwritableFile: the container cannot hold one of the streams, or the file cannot be written.
    """
    start = float(clip.first_frame_time)
    # The source's clock is kept, unless frames were skipped: then times count from the first one that was not.
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *([] if start else ["-copyts"]), "-i", url(video)]
    command += ["-ss", f"{start:.6f}"] if start else []
    command += ["-t", f"{seconds:.6f}"] if seconds < math.inf else []
    command += ["-i", url(clip.path), "-c", "copy", "-copy_unknown", "-map_metadata", "1", "-map_chapters", "1"]
    for place, index in enumerate(tracks.copied):
        source = "0:v:0" if index == clip.stream.index else f"1:{index}"
        command += ["-map", source, f"-map_metadata:s:{place}", f"1:s:{index}"]
    command += ["-copypriorss", "0", "-avoid_negative_ts", "disabled"] if start else []
    command += [
        *_video_options(clip, encoding, tracks.copied.index(clip.stream.index)),
        *_container_options(clip, encoding),
    ]
    done = subprocess.run(
        [*command, "-f", encoding.container, url(target)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        raise UnwritableFile(target, f"FFmpeg cannot write it: {LOG_PREFIX.sub('', reason)}")
    if tracks.added:
        with write_errors(target):
            add_tracks(clip.path, target, tracks.copied, tracks.added, clip.origin, seconds)


def ffmpeg_program() -> str:
    """The path of the ffmpeg program.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingDependency("writing video with sound", "imageio-ffmpeg") from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _video_options(clip: Reader, encoding: Encoding, place: int) -> list[str]:
    """FFmpeg's options for the denoised stream, which is the one with number `place` in the output."""
    flags = "+".join(flag.name or "" for flag in av.stream.Disposition if flag & clip.stream.disposition)
    options = [f"-disposition:{place}", flags or "0"]
    # The source's tags about the encoder and the size of its video no longer apply.
    keys = clip.stream.metadata
    stale = [key for key in keys if key.upper().partition("-")[0] in STALE_TAGS or key.startswith("_STATISTICS")]
    options += [word for key in stale for word in (f"-metadata:s:{place}", f"{key}=")]
    if clip.stream.codec_context.color_range == LIMITED_RANGE and encoding.encoder in RANGE_FILTERS:
        options += [f"-bsf:{place}", f"{RANGE_FILTERS[encoding.encoder]}=video_full_range_flag=0"]
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
    # This replaces the keys that all programs know, and the cover, so it is only set if needed.
    if clip.is_mp4 and encoding.container in ("mp4", "mov"):
        options += ["-write_tmcd", "0"]  # the source's own track of timecodes is copied
    if encoding.container in ("mp4", "mov") and any(key.startswith(APPLE_KEY_PREFIX) for key in clip.metadata):
        options += ["-movflags", "use_metadata_tags"]
    return options


def _duration(display_times: Sequence[int], place: int, of_last: int | None) -> int:
    return display_times[place + 1] - display_times[place] if place + 1 < len(display_times) else of_last or 0


def _packets(segment: Path) -> Iterator[Any]:
    with av.open(url(segment)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                yield packet
