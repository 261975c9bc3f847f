"""Parts of a clip's video put together, and the result in the place that the noisy video has in its file."""

import math
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from denoise_cli.errors import MissingDependency, UnwritableFile
from denoise_cli.io.encode import Encoding, timing_options, write_errors
from denoise_cli.io.video import Reader, read_errors, url

LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG
# Encoders say of their streams only that the range is full; where a source says that it is limited, this adds it.
RANGE_FILTERS = {"libx264": "h264_metadata", "libx265": "hevc_metadata"}
APPLE_HEVC_TAG = "hvc1"  # of HEVC in MP4 and QuickTime: with the other one, Apple's programs play nothing
APPLE_KEY_PREFIX = "com."  # metadata that MP4's own keys have no place for
LOG_PREFIX = re.compile(r"^(\[[^]]*\] *)+")  # before what FFmpeg says
CAPABLE_CONTAINERS = (".mkv", ".mov")  # containers that hold what others do not
STALE_TAGS = ("ENCODER", "BPS", "NUMBER_OF_BYTES", "NUMBER_OF_FRAMES", "DURATION")  # by mkvmerge and FFmpeg


def count_frames(part: Path) -> int:
    """How many frames a part holds.

    Raises:
        UnreadableFile: it is damaged.
    """
    with read_errors(part):
        return sum(1 for _ in _packets(part))


def join(parts: Sequence[Path], target: Path, encoding: Encoding) -> None:
    """Put parts one after another, which were written with the same encoding.

    Raises:
        UnreadableFile: one is damaged.
        UnwritableFile: the disk refuses.
    """
    # When a packet is due at the decoder is told by the order of the packets alone: what each part says of it was
    # made up without the others.
    with read_errors(parts[0]):
        times = [packet.pts for part in parts for packet in _packets(part)]
        first = av.open(url(parts[0]))
    shown = sorted(times)
    rank = {pts: place for place, pts in enumerate(shown)}
    delay = max((place - rank[pts] for place, pts in enumerate(times)), default=0)
    step = min((after - before for before, after in pairwise(shown)), default=1)
    due = [shown[0] - step * (delay - i) for i in range(delay)] + shown
    with first, write_errors(target):
        template = first.streams.video[0]
        options = timing_options(template.time_base or Fraction(1), encoding)
        with closing(av.open(url(target), "w", format=encoding.container, container_options=options)) as joined:
            stream = joined.add_stream_from_template(template, opaque=True)
            stream.time_base = template.time_base
            for place, packet in enumerate(packet for part in parts for packet in _packets(part)):
                packet.dts = due[place]
                packet.duration = _until_next(shown, rank[packet.pts], packet.duration)
                packet.stream = stream
                joined.mux(packet)


def assemble(clip: Reader, video: Path, target: Path, encoding: Encoding, seconds: float = math.inf) -> None:
    """Make a file like the source, in which only the denoised video is new.

    Sound, subtitles, data, attachments and further videos are copied packet by packet, chapters and metadata with them.

    Args:
        clip: the source; where frames were left out at its beginning, so is what belongs to them.
        video: a file with the denoised video alone.
        target: the file to make; one that is there is replaced.
        encoding: of the video.
        seconds: how much of the source belongs to it.

    Raises:
        UnwritableFile: the container cannot hold one of the streams, or the disk refuses.
    """
    begin = float(clip.first_frame_time)
    # The source's clock is kept, but from a later beginning on everything is counted from there.
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *([] if begin else ["-copyts"]), "-i", url(video)]
    command += ["-ss", f"{begin:.6f}"] if begin else []
    command += ["-t", f"{seconds:.6f}"] if seconds < math.inf else []
    command += ["-i", url(clip.path), "-c", "copy", "-copy_unknown", "-map_metadata", "1", "-map_chapters", "1"]
    for place, index in enumerate(clip.copied_streams):
        source = "0:v:0" if index == clip.stream.index else f"1:{index}"
        command += ["-map", source, f"-map_metadata:s:{place}", f"1:s:{index}"]
    command += ["-copypriorss", "0", "-avoid_negative_ts", "disabled"] if begin else []
    command += [
        *_video_options(clip, encoding, clip.copied_streams.index(clip.stream.index)),
        *_container_options(clip, encoding),
    ]
    done = subprocess.run(
        [*command, "-f", encoding.container, url(target)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        others = " or ".join(extension for extension in CAPABLE_CONTAINERS if extension != target.suffix.lower())
        raise UnwritableFile(target, f"FFmpeg cannot write it: {LOG_PREFIX.sub('', reason)}: try {others}")


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


def _video_options(clip: Reader, encoding: Encoding, place: int) -> list[str]:
    """What is to be said of the denoised stream, which is in this place."""
    flags = "+".join(flag.name or "" for flag in av.stream.Disposition if flag & clip.stream.disposition)
    words = [f"-disposition:{place}", flags or "0"]
    # What the source says of its own video's encoder and size is true no longer.
    keys = clip.stream.metadata
    stale = [key for key in keys if key.upper().partition("-")[0] in STALE_TAGS or key.startswith("_STATISTICS")]
    words += [word for key in stale for word in (f"-metadata:s:{place}", f"{key}=")]
    if clip.stream.codec_context.color_range == LIMITED_RANGE and encoding.encoder in RANGE_FILTERS:
        words += [f"-bsf:{place}", f"{RANGE_FILTERS[encoding.encoder]}=video_full_range_flag=0"]
    shape = clip.stream.sample_aspect_ratio
    if shape and shape != 1:  # not every encoder writes it into what it makes
        whole = shape * Fraction(clip.stream.width, clip.stream.height)
        words += [f"-aspect:{place}", f"{whole.numerator}:{whole.denominator}"]
    if encoding.encoder == "libx265" and encoding.container in ("mp4", "mov"):
        words += [f"-tag:{place}", APPLE_HEVC_TAG]
    return words


def _container_options(clip: Reader, encoding: Encoding) -> list[str]:
    words = [word for key, value in timing_options(clip.time_base, encoding).items() for word in (f"-{key}", value)]
    # These take the place of the keys that all programs know, and of the cover: only where they are needed.
    if encoding.container in ("mp4", "mov") and any(key.startswith(APPLE_KEY_PREFIX) for key in clip.metadata):
        words += ["-movflags", "use_metadata_tags"]
    return words


def _until_next(shown: Sequence[int], place: int, otherwise: int | None) -> int:
    return shown[place + 1] - shown[place] if place + 1 < len(shown) else otherwise or 0


def _packets(part: Path) -> Iterator[Any]:
    with av.open(url(part)) as opened:
        for packet in opened.demux(video=0):
            if packet.size:
                yield packet
